//! Logging by `tracing`, set up with one call.
//!
//! asyncworker opens a span for each connection, route and bulk, and puts what it has to say into
//! structured fields. No credential is ever among them.
//!
//! # OpenTelemetry
//!
//! With the feature `otel` there are spans of the target `asyncworker::otel`, at the level `info`, for a layer of
//! [`tracing-opentelemetry`](https://docs.rs/tracing-opentelemetry) to export:
//!
//! - `publish {destination}`, of the kind producer, in the span that is current. Its context is written into the message's
//!   headers by the global propagator (`opentelemetry::global::set_text_map_propagator`, which without being called writes
//!   none). A context that is in the headers already stays, and is linked to.
//! - `process {destination}`, of the kind consumer, around the run of a handler. It links to the context in each message;
//!   where it is one message, that is its parent too. It is an error when the run fails.
//! - `run {name}`, around the run of a schedule: a trace of its own.
//!
//! Names, attributes, links and that parent are by the [conventions for
//! messaging](https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/) and for
//! [RabbitMQ](https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/), whose status is "development": they may
//! change, and the spans with them. SDKs keep 128 links a span unless told otherwise.
//!
//! Let the exporting layer listen to that target and to the program's own (`Targets::new().with_target(..)`): the spans of
//! connections and routes last as long as the app does. [`init`] does not show the target unless it is named. Where nobody
//! listens, no header is read or written.

use std::io::IsTerminal;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Logs to standard error, for people.
///
/// What is shown is said by `ASYNCWORKER_LOGLEVEL`: a level (`debug`), or levels by target
/// (`info,mycrate=trace`). Default `info`. With `ASYNCWORKER_LOGFORMAT=json` it does as [`init_json`].
/// The AMQP library's own lines are left out unless its target `lapin` is named: what goes wrong on a
/// connection is told once, with its cause, by asyncworker.
///
/// # Errors
/// The program has a subscriber already.
pub fn init() -> Result<(), TryInitError> {
    match std::env::var("ASYNCWORKER_LOGFORMAT") {
        Ok(format) if format.eq_ignore_ascii_case("json") => init_json(),
        _ => install(fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr)),
    }
}

/// Logs to standard error, one JSON object a line: for machines.
///
/// # Errors
/// The program has a subscriber already.
pub fn init_json() -> Result<(), TryInitError> {
    install(fmt::layer().json().with_writer(std::io::stderr))
}

/// What `App::run` does.
pub(crate) fn init_unless_set() {
    if !tracing::dispatcher::has_been_set() {
        // Somebody may have been quicker: then there is a subscriber, and that is all that matters.
        let _ = init();
    }
}

fn install<L>(layer: L) -> Result<(), TryInitError>
where
    L: Layer<tracing_subscriber::Registry> + Send + Sync + 'static,
{
    let asked = std::env::var("ASYNCWORKER_LOGLEVEL").unwrap_or_default();
    let filter = filter(&asked);
    tracing_subscriber::registry().with(layer.with_filter(filter.0)).try_init()?;
    if let Some(problem) = filter.1 {
        tracing::warn!(
            variable = "ASYNCWORKER_LOGLEVEL",
            value = asked,
            problem,
            "the log level cannot be read; showing `info`"
        );
    }
    Ok(())
}

/// The filter that was asked for, and what was wrong with it.
fn filter(asked: &str) -> (Targets, Option<String>) {
    // Python's names are taken too: WARNING and CRITICAL.
    let asked = asked.trim().to_ascii_lowercase().replace("warning", "warn").replace("critical", "error");
    let (targets, problem) = match asked.parse::<Targets>() {
        _ if asked.is_empty() => (Targets::new().with_default(tracing::Level::INFO), None),
        Ok(targets) => (targets, None),
        Err(error) => (Targets::new().with_default(tracing::Level::INFO), Some(error.to_string())),
    };
    let quiet =
        ["lapin", "amq_protocol", "async_rs", "asyncworker::otel"].into_iter().filter(|target| !asked.contains(target));
    (targets.with_targets(quiet.map(|target| (target, tracing::level_filters::LevelFilter::OFF))), problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn the_default_shows_info_and_keeps_the_amqp_library_quiet() {
        let (filter, problem) = filter("");
        assert!(problem.is_none());
        assert!(filter.would_enable("mycrate", &Level::INFO));
        assert!(!filter.would_enable("mycrate", &Level::DEBUG));
        assert!(!filter.would_enable("lapin::channel", &Level::ERROR));
    }

    #[test]
    fn levels_are_read_by_target_and_by_pythons_names() {
        assert!(!filter("WARNING").0.would_enable("mycrate", &Level::INFO));
        let (filter, _) = filter("info,lapin=debug");
        assert!(filter.would_enable("lapin::channel", &Level::DEBUG));
    }

    #[test]
    fn a_level_that_cannot_be_read_is_told_and_info_is_shown() {
        let (filter, problem) = filter("mycrate=loud");
        assert!(problem.is_some());
        assert!(filter.would_enable("mycrate", &Level::INFO));
    }
}
