//! Every metric: its name, its kind, its labels and what it says. The table of `docs/guide.md` and the tests hold to this one.

/// What is said of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Definition {
    /// After namespace and prefix.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// In the order of the values that come with a sample.
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

/// What a metric's number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// In the words of the text format.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $constant: Definition =
            Definition { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*

        /// All of them, in the order they are shown in.
        #[cfg(test)]
        pub(super) const ALL: &[Definition] = &[$($constant),*];
    };
}

metrics! {
    ACTIVE_CONSUMERS: Gauge "amqp_active_consumers" ["queue_name"]
        "Consumers registered with the broker";
    PROCESSED_MESSAGES: Counter "amqp_processed_messages" ["queue_name", "action"]
        "Messages settled: ack, reject (for good) or requeue";
    DECODE_ERRORS: Counter "amqp_decode_errors" ["queue_name"]
        "Messages settled whose body was asked for and did not decode";
    UNREAD_MESSAGES: Counter "amqp_unread_messages" ["queue_name"]
        "Messages rejected before any handler saw them: broken, or larger than max_body_size";
    ACTIVE_CONNECTIONS: Gauge "amqp_active_connections" ["connection"]
        "Open connections to the broker";
    RECONNECTS: Counter "amqp_reconnects" ["connection"]
        "Connections made again after one was lost";
    PUBLISH: Histogram "amqp_publish_ms" ["connection", "outcome"]
        "Time from a publish to its confirm, or to its failure, in milliseconds";
    FILLED_BUCKETS: Counter "amqp_filled_buckets" ["route"]
        "Bulks handed over full";
    FLUSHED_BUCKETS: Counter "amqp_flushed_buckets" ["route"]
        "Bulks handed over before they were full, by time or at the end";
    FAILED_BUCKETS: Counter "amqp_failed_buckets" ["route"]
        "Bulks whose handler returned an error, panicked or ran into its timeout";
    BUCKET_HANDLE: Histogram "amqp_bucket_handle" ["route"]
        "Time a bulk was handled, what it returned published included, in milliseconds";
    BULK_SIZE: Histogram "amqp_bulk_size" ["route"]
        "Messages a bulk";
    QUEUE_TO_HANDLER: Histogram "amqp_queue_to_handler_ms" ["route"]
        "Time from a message's arrival at the worker to its handler's start, in milliseconds";
    IN_FLIGHT: Gauge "amqp_in_flight" ["route"]
        "Messages that came and are not settled";
    OLDEST_IN_FLIGHT: Gauge "amqp_oldest_in_flight_ms" ["route"]
        "Time since the oldest of these came, in milliseconds";
    SETTLE_FRAMES: Counter "amqp_settle_frames" ["route"]
        "Frames sent to settle messages: basic.ack, basic.reject and basic.nack";
    SCHEDULE_RUNS: Counter "schedule_runs" ["schedule", "outcome"]
        "Runs of schedules that have ended: completed or failed";
    SKIPPED_TICKS: Counter "schedule_skipped_ticks" ["schedule"]
        "Ticks at which no run began, for as many as may be were under way";
    REQUEST_DURATION: Histogram "http_request_duration_ms" ["method", "path", "status"]
        "Time from a request to its answer's head, in milliseconds";
    RESPONSE_SIZE: Histogram "http_response_size_bytes" ["method", "path", "status"]
        "Size of the answers' bodies";
    REQUESTS_IN_PROGRESS: Gauge "http_requests_in_progress" []
        "Requests whose answers have not been sent to their end";
    CPU: Counter "process_cpu_seconds_total" []
        "Processor time of the process, user and system, in seconds";
    START_TIME: Gauge "process_start_time_seconds" []
        "When the process started, in seconds since 1970";
    RESIDENT_MEMORY: Gauge "process_resident_memory_bytes" []
        "Memory of the process that is in RAM";
    VIRTUAL_MEMORY: Gauge "process_virtual_memory_bytes" []
        "Address space of the process";
    OPEN_FILES: Gauge "process_open_fds" []
        "File descriptors the process has open";
    MOST_FILES: Gauge "process_max_fds" []
        "File descriptors the process may have open";
    THREADS: Gauge "process_threads" []
        "Threads of the process";
}
