/* The worker on rabbitmq-c: one thread, one multiple ack for up to 100 messages. It takes the same `key=value` arguments
 * as the other workers and prints the same line. It does not parse: it scans each body for the quotes of its JSON, which
 * is the least that a handler would do. */
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

static void consume(amqp_connection_state_t connection, int latency) {
    uint64_t messages = number("messages"), prefetch = number("prefetch"), bulk = number("bulk");
    uint64_t every = bulk > 1 ? bulk : prefetch < 2 * ACK_EVERY ? (prefetch + 1) / 2 : ACK_EVERY;
    uint64_t handled = 0, unacked = 0, bytes = 0, quotes = 0;
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
        if (ages) {
            const char *at = memmem(body, length, "\"at\":", 5);
            must(at != NULL, "a body without `at`");
            ages[handled] = nanoseconds(CLOCK_REALTIME) - strtoull(at + 5, NULL, 10);
        }
        for (size_t i = 0; i < length; i++) quotes += body[i] == '"';
        bytes += length;
        handled++;
        if (++unacked == every || handled == messages) {
            must(!amqp_basic_ack(connection, 1, envelope.delivery_tag, unacked > 1), "basic.ack");
            unacked = 0;
        }
        amqp_destroy_envelope(&envelope);
    }
    must(quotes > 0, "bodies without quotes");
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
    if (!strcmp(text("task"), "publish"))
        publish(connection);
    else
        consume(connection, !strcmp(text("task"), "latency"));
    return 0;
}
