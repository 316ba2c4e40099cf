//! The one error of building, starting and stopping an app.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;

/// Any error, boxed.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// Why an app could not be built, started or stopped in order.
///
/// `Display` says what is wrong and where, without its cause; the cause is in
/// [`source`](StdError::source). `Debug` prints both, line by line, because that is what a `main` that
/// returns this error shows.
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<BoxError>,
}

/// What an [`Error`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The app was put together wrongly: an unknown connection, a bulk of no size, a missing state,
    /// a bad URI or setting. Nothing was started.
    Configuration,
    /// A startup hook failed, or the address for HTTP could not be bound. No message was consumed.
    Startup,
    /// A service was not ready in time when the app started, or failed past its restart limit.
    Service,
    /// A queue, exchange or binding could not be declared as asked.
    Topology,
    /// A broker cannot be reached, or the connection to it was lost: what a connection-failure hook gets.
    Connection,
    /// The app did not stop in order: a handler outlived the deadline, a shutdown hook failed, or a
    /// second signal cut the drain short. What was not settled is back in its queue.
    Shutdown,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    pub(crate) fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the error is about.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&told_once(self, "\n  caused by: "))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// An error with all its causes on one line, for a log.
pub(crate) fn one_line(error: &(dyn StdError + 'static)) -> String {
    told_once(error, ": ")
}

/// An error and its causes; many errors repeat their source's words in their own, and those are left out.
fn told_once(error: &(dyn StdError + 'static), between: &str) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !told.contains(&text) {
            told.push_str(between);
            told.push_str(&text);
        }
        cause = error.source();
    }
    told
}

/// What a panic says.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with a value that is no text")
}
