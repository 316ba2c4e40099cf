//! What a handler says when it fails.

use crate::error::{BoxError, one_line, panic_message};
use crate::route::Action;
use std::any::Any;
use std::fmt;

/// Why a handler failed, and what is to become of its unmarked messages if not the route's
/// `on_exception`.
///
/// Every error turns into one by `?`; so a handler returns `Result<_, Failure>` and needs no error type
/// of its own.
///
/// ```
/// use asyncworker::prelude::*;
///
/// async fn index(orders: Batch<Message>) -> Result<(), Failure> {
///     let file = std::fs::read("index")                  // any error: the route's on_exception
///         .map_err(Failure::requeue)?;                   // or an action for this one
///     if file.is_empty() {
///         return Err(Failure::reject("the index is empty"));
///     }
///     Ok(())
/// }
/// ```
pub struct Failure {
    error: BoxError,
    action: Option<Action>,
}

impl Failure {
    /// A failure that takes the route's `on_exception`.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self { error: error.into(), action: None }
    }

    /// A failure whose messages are done with all the same.
    pub fn accept(error: impl Into<BoxError>) -> Self {
        Self { error: error.into(), action: Some(Action::Ack) }
    }

    /// A failure whose messages are refused for good.
    pub fn reject(error: impl Into<BoxError>) -> Self {
        Self { error: error.into(), action: Some(Action::Reject) }
    }

    /// A failure whose messages are to come again.
    pub fn requeue(error: impl Into<BoxError>) -> Self {
        Self { error: error.into(), action: Some(Action::Requeue) }
    }

    /// A panic that was caught.
    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Self {
        Self::new(format!("it panicked: {}", panic_message(panic)))
    }

    /// What is to become of the unmarked messages; `None`: the route's `on_exception`.
    #[must_use]
    pub fn action(&self) -> Option<Action> {
        self.action
    }

    /// The error itself.
    #[must_use]
    pub fn error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.error
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&*self.error))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        match self.action {
            Some(action) => write!(f, " ({action:?})"),
            None => Ok(()),
        }
    }
}
