/* The worker on rabbitmq-c: one thread, one multiple ack for up to 100 messages. It takes the same `key=value` arguments
 * as the other workers and prints the same line. Its parser is a hand-written scan for the fields of this one message:
 * less than any JSON library does, and what a C program in a hurry would do. */
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define ACK_EVERY 100
#define PUBLISH_WINDOW 100

static int arguments_count;
static char **arguments;

static const char *text(const char *key) {
    size_t length = strlen(key);
    for (int i = 1; i < arguments_count; i++)
        if (!strncmp(arguments[i], key, length) && arguments[i][length] == '=') return arguments[i] + length + 1;
    fprintf(stderr, "`%s=` is missing\n", key);
    exit(2);
}

static uint64_t number(const char *key) { return strtoull(text(key), NULL, 10); }

static void must(int ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "failed: %s\n", what);
    exit(1);
}

static void replied(amqp_connection_state_t connection, const char *what) {
    must(amqp_get_rpc_reply(connection).reply_type == AMQP_RESPONSE_NORMAL, what);
}

static uint64_t nanoseconds(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static long peak_kib(const struct rusage *usage) {
    char line[256];
    long kib = usage->ru_maxrss;
    FILE *status = fopen("/proc/self/status", "r");
    if (!status) return kib;
    while (fgets(line, sizeof line, status))
        if (sscanf(line, "VmHWM: %ld kB", &kib) == 1) break;
    fclose(status);
    return kib;
}

static void report(uint64_t messages, uint64_t bytes, uint64_t start, uint64_t *ages) {
    double seconds = (double)(nanoseconds(CLOCK_MONOTONIC) - start) / 1e9;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("{\"messages\":%llu,\"bytes\":%llu,\"seconds\":%.6f,\"cpu_seconds\":%.6f,\"peak_kib\":%ld",
           (unsigned long long)messages, (unsigned long long)bytes, seconds, cpu, peak_kib(&usage));
    if (ages) {
        /* As in the other workers, the first tenth is left out. */
        uint64_t count = messages - messages / 10;
        ages += messages / 10;
        qsort(ages, count, sizeof *ages, ascending);
        printf(",\"p50_us\":%.1f,\"p99_us\":%.1f", (double)ages[count / 2] / 1e3, (double)ages[count * 99 / 100] / 1e3);
    }
    printf("}\n");
}

/* What the workers in Rust parse a body into. */
struct order {
    uint64_t id, at;
    double total;
    char customer[64];
};

static const char *blanks(const char *at, const char *end) {
    while (at < end && *at == ' ') at++;
    return at;
}

static const char *string(const char *at, const char *end, const char **text, size_t *length) {
    if (at == end || *at++ != '"') return NULL;
    *text = at;
    for (; at < end && *at != '"'; at++)
        if (*at == '\\' || (unsigned char)*at < ' ') return NULL;
    *length = (size_t)(at - *text);
    return at < end ? at + 1 : NULL;
}

/* A number without sign or exponent: its digits, and what they are divided by. */
static const char *digits(const char *at, const char *end, uint64_t *value, double *divisor) {
    const char *first = at;
    int point = 0;
    *value = 0;
    *divisor = 1;
    for (; at < end && ((*at >= '0' && *at <= '9') || (*at == '.' && !point)); at++) {
        if (*at == '.') {
            point = 1;
        } else {
            *value = *value * 10 + (uint64_t)(*at - '0');
            if (point) *divisor *= 10;
        }
    }
    return at > first ? at : NULL;
}

/* Whether the body is an order: an object with all the fields, each of its type; other fields are skipped. */
static int parse(const char *at, const char *end, struct order *order) {
    enum { ID = 1, AT = 2, TOTAL = 4, CUSTOMER = 8 };
    int seen = 0;
    if (at == end || *at++ != '{') return 0;
    for (;;) {
        const char *key, *text = NULL;
        size_t length, size = 0;
        uint64_t value = 0;
        double divisor = 1;
        at = string(blanks(at, end), end, &key, &length);
        if (!at || at == end || *at++ != ':') return 0;
        at = blanks(at, end);
        at = at < end && *at == '"' ? string(at, end, &text, &size) : digits(at, end, &value, &divisor);
        if (!at) return 0;
        if (length == 2 && !memcmp(key, "id", 2) && !text && divisor == 1) {
            order->id = value;
            seen |= ID;
        } else if (length == 2 && !memcmp(key, "at", 2) && !text && divisor == 1) {
            order->at = value;
            seen |= AT;
        } else if (length == 5 && !memcmp(key, "total", 5) && !text) {
            order->total = (double)value / divisor;
            seen |= TOTAL;
        } else if (length == 8 && !memcmp(key, "customer", 8) && text && size < sizeof order->customer) {
            memcpy(order->customer, text, size);
            order->customer[size] = 0;
            seen |= CUSTOMER;
        }
        at = blanks(at, end);
        if (at < end && *at == ',')
            at++;
        else
            return at + 1 == end && *at == '}' && seen == (ID | AT | TOTAL | CUSTOMER);
    }
}

static void end(amqp_connection_state_t connection) {
    amqp_channel_close(connection, 1, AMQP_REPLY_SUCCESS);
    amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(connection);
}

static void publish(amqp_connection_state_t connection) {
    uint64_t messages = number("messages"), size = number("body"), sent = 0, confirmed = 0;
    amqp_bytes_t key = amqp_cstring_bytes(text("queue")), body = amqp_bytes_malloc(size);
    memset(body.bytes, 'x', size);
    amqp_confirm_select(connection, 1);
    replied(connection, "confirm.select");
    uint64_t start = nanoseconds(CLOCK_MONOTONIC);
    while (confirmed < messages) {
        for (; sent < messages && sent - confirmed < PUBLISH_WINDOW; sent++)
            must(!amqp_basic_publish(connection, 1, amqp_empty_bytes, key, 0, 0, NULL, body), "basic.publish");
        amqp_frame_t frame;
        amqp_maybe_release_buffers(connection);
        must(!amqp_simple_wait_frame(connection, &frame), "waiting for a confirm");
        if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD) continue;
        amqp_basic_ack_t *ack = frame.payload.method.decoded;
        /* Confirms come in ascending order here: one that is multiple covers all before it. */
        confirmed = ack->multiple ? ack->delivery_tag : confirmed + 1;
    }
    end(connection);
    report(confirmed, confirmed * size, start, NULL);
}

static void consume(amqp_connection_state_t connection, int latency, int raw) {
    uint64_t messages = number("messages"), prefetch = number("prefetch"), bulk = number("bulk");
    uint64_t every = bulk > 1 ? bulk : prefetch < 2 * ACK_EVERY ? (prefetch + 1) / 2 : ACK_EVERY;
    uint64_t handled = 0, unacked = 0, bytes = 0;
    uint64_t *ages = latency ? malloc(messages * sizeof *ages) : NULL;
    if (latency) every = 1;
    amqp_basic_qos(connection, 1, 0, (uint16_t)prefetch, 0);
    replied(connection, "basic.qos");
    uint64_t start = nanoseconds(CLOCK_MONOTONIC);
    amqp_basic_consume(connection, 1, amqp_cstring_bytes(text("queue")), amqp_cstring_bytes("bench"), 0, 0, 0,
                       amqp_empty_table);
    replied(connection, "basic.consume");
    while (handled < messages) {
        amqp_envelope_t envelope;
        amqp_maybe_release_buffers(connection);
        amqp_rpc_reply_t reply = amqp_consume_message(connection, &envelope, NULL, 0);
        must(reply.reply_type == AMQP_RESPONSE_NORMAL, "waiting for a message");
        const char *body = envelope.message.body.bytes;
        size_t length = envelope.message.body.len;
        uint64_t now = ages ? nanoseconds(CLOCK_REALTIME) : 0;
        struct order order;
        must(raw || parse(body, body + length, &order), "a body is no order");
        /* The compiler is not to leave out what nobody reads. */
        __asm__ volatile("" : : "r"(&order) : "memory");
        if (ages) ages[handled] = now - order.at;
        bytes += length;
        handled++;
        if (++unacked == every || handled == messages) {
            must(!amqp_basic_ack(connection, 1, envelope.delivery_tag, unacked > 1), "basic.ack");
            unacked = 0;
        }
        amqp_destroy_envelope(&envelope);
    }
    end(connection);
    report(handled, bytes, start, ages);
}

int main(int count, char **values) {
    arguments_count = count;
    arguments = values;
    amqp_connection_state_t connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(connection);
    must(socket && !amqp_socket_open(socket, "127.0.0.1", (int)number("port")), "connecting");
    amqp_rpc_reply_t login = amqp_login(connection, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest");
    must(login.reply_type == AMQP_RESPONSE_NORMAL, "the login");
    amqp_channel_open(connection, 1);
    replied(connection, "channel.open");
    const char *task = text("task");
    if (!strcmp(task, "publish"))
        publish(connection);
    else
        consume(connection, !strcmp(task, "latency"), !strcmp(task, "bytes"));
    return 0;
}
