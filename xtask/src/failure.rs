//! What went wrong, in words for the person at the terminal.

use std::fmt;
use std::io;
use std::path::Path;

/// A task that could not be done. The message says what to do next where there is something to do.
#[derive(Debug)]
pub(crate) struct Failure(String);

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// For [`Result::map_err`]: an I/O error says neither what was tried nor on which file.
    pub(crate) fn on(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = format!("cannot {doing} {}", path.display());
        move |error| Self(format!("{what}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
