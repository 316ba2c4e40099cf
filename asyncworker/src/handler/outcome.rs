//! What handlers return.

use super::Failure;
use crate::publish::Publish;
use crate::route::Action;

/// What a handler that succeeded wants done: an action for its unmarked messages, and messages to
/// publish before they are settled.
#[derive(Debug, Default)]
pub struct Outcome {
    pub(crate) action: Option<Action>,
    pub(crate) publish: Vec<Publish>,
}

impl Outcome {
    /// What is to become of the unmarked messages; `None`: the route's `on_success`.
    #[must_use]
    pub fn action(&self) -> Option<Action> {
        self.action
    }

    /// How many messages are to be published first.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.publish.len()
    }
}

/// What a handler may return.
///
/// - `()`: done, the route's `on_success`
/// - [`Action`]: what becomes of its unmarked messages
/// - [`Publish`], `Option<Publish>` or `Vec<Publish>`: published and confirmed first; only then are its
///   messages settled. A publish that fails is the handler's failure
/// - `Result` of any of these with [`Failure`] or any error: an `Err` takes the route's `on_exception`,
///   or the failure's own action
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "not something a handler may return",
    note = "it may return `()`, `Action`, `Publish`, `Option<Publish>`, `Vec<Publish>`, or a `Result` of one of them with `Failure` or any error"
)]
pub trait IntoOutcome {
    /// Turns the returned value into what is to be done.
    ///
    /// # Errors
    /// The handler's own failure.
    fn into_outcome(self) -> Result<Outcome, Failure>;
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Result<Outcome, Failure> {
        Ok(self)
    }
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Result<Outcome, Failure> {
        Ok(Outcome::default())
    }
}

impl IntoOutcome for Action {
    fn into_outcome(self) -> Result<Outcome, Failure> {
        Ok(Outcome { action: Some(self), ..Outcome::default() })
    }
}

impl IntoOutcome for Publish {
    fn into_outcome(self) -> Result<Outcome, Failure> {
        vec![self].into_outcome()
    }
}

impl IntoOutcome for Option<Publish> {
    fn into_outcome(self) -> Result<Outcome, Failure> {
        self.into_iter().collect::<Vec<_>>().into_outcome()
    }
}

impl IntoOutcome for Vec<Publish> {
    fn into_outcome(self) -> Result<Outcome, Failure> {
        Ok(Outcome { publish: self, ..Outcome::default() })
    }
}

impl<R: IntoOutcome, E: Into<Failure>> IntoOutcome for Result<R, E> {
    fn into_outcome(self) -> Result<Outcome, Failure> {
        self.map_err(Into::into)?.into_outcome()
    }
}

/// What a function may return that handles no messages and so has nothing to say of them: nothing, or a `Result` of
/// nothing with [`Failure`] or any error. Such are the handlers of websockets and of events inside the app, the items of
/// a [`QueueService`](crate::QueueService), tasks, and callbacks of [`Timeit`](crate::Timeit).
#[diagnostic::on_unimplemented(
    message = "a function that handles no messages cannot return `{Self}`",
    label = "neither `()` nor `Result<(), _>`",
    note = "it may return nothing, or a `Result<(), _>` with `Failure` or any error"
)]
pub trait IntoResult: sealed::Sealed {
    /// Its failure, if it failed.
    ///
    /// # Errors
    /// That failure.
    fn into_result(self) -> Result<(), Failure>;
}

impl IntoResult for () {
    fn into_result(self) -> Result<(), Failure> {
        Ok(())
    }
}

impl<E: Into<Failure>> IntoResult for Result<(), E> {
    fn into_result(self) -> Result<(), Failure> {
        self.map_err(Into::into)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl<E> Sealed for Result<(), E> {}
}
