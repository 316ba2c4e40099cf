//! One run of a handler over a bulk, and what becomes of each message.

use crate::handler::{BoundHandler, Failure, Handling, Outcome};
use crate::message::{Bulk, Entry};
use crate::meter::{Began, RouteMeter};
use crate::publish::Publisher;
use crate::route::{Action, Policy};
use crate::throttle::{Throttle, warn_throttled};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;

/// What all runs of a route share.
pub(crate) struct Shared {
    pub(crate) route: Arc<str>,
    pub(crate) policy: Policy,
    pub(crate) handler: BoundHandler,
    /// For what the handler returns.
    pub(crate) publisher: Publisher,
    /// Lines of handlers that failed, and of messages that no handler sees.
    pub(crate) failed: Throttle,
    pub(crate) unread: Throttle,
    pub(crate) meter: RouteMeter,
}

/// A handler that was polled in place and goes on as a task.
pub(crate) struct Begun {
    handling: Handling,
    at: Instant,
}

/// A run after its poll in place.
pub(crate) enum Polled {
    Ended(Conclusion),
    GoesOn(Begun),
}

/// What is to become of the messages of a bulk, as it was when the run ended: a mark that is set later changes
/// nothing.
pub(crate) enum Conclusion {
    /// The same of all, as is nearly always the case.
    All(Action),
    Each(Vec<Action>),
}

impl Conclusion {
    /// The mark, else what a body that did not decode takes, else the default.
    fn of(bulk: &Bulk, default: Action, on_decode_error: Action) -> Self {
        let actions = bulk.entries().iter().map(|entry| match entry.marked() {
            Some(mark) => mark,
            None if entry.undecodable() => on_decode_error,
            None => default,
        });
        let mut rest = actions.clone();
        match rest.next() {
            Some(first) if rest.any(|action| action != first) => Self::Each(actions.collect()),
            first => Self::All(first.unwrap_or(default)),
        }
    }

    /// What is to become of the message in this place of the bulk.
    pub(crate) fn action(&self, place: usize) -> Option<Action> {
        match self {
            Self::All(action) => Some(*action),
            Self::Each(actions) => actions.get(place).copied(),
        }
    }
}

impl Shared {
    /// Polls a run once, here and now. One that does not end by it goes on by [`run`](Self::run).
    ///
    /// Nobody is woken by what this poll waits for. Nothing is lost by that: the task polls at once, and a future
    /// must then see for itself what has happened meanwhile, and tell the waker of its latest poll of the rest.
    /// `room` is the box of a handler that has ended, for the next one.
    pub(crate) fn poll_once(&self, bulk: &Bulk, room: &mut Option<Handling>, now: Instant) -> Polled {
        // All that is the handler's is inside: its call, its poll, its drop and its errors' texts.
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut handling = (self.handler)(bulk.clone(), room.take());
            match handling.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => Polled::GoesOn(Begun { handling, at: now }),
                Poll::Ready(Ok(outcome)) if !outcome.publish.is_empty() => {
                    Polled::GoesOn(Begun { handling: Handling::new(std::future::ready(Ok(outcome))), at: now })
                }
                Poll::Ready(ended) => {
                    *room = Some(handling);
                    Polled::Ended(self.conclude(bulk, ended.map(|outcome| outcome.action)))
                }
            }
        }));
        polled.unwrap_or_else(|panic| Polled::Ended(self.conclude(bulk, Err(Failure::panicked(&*panic)))))
    }

    /// Runs the handler over a bulk to its end: an `Err`, a panic, a timeout and an output that could not be
    /// published are all a failure of this run and of nothing else.
    pub(crate) async fn run(self: Arc<Self>, bulk: Bulk, begun: Option<Begun>) -> Conclusion {
        let began = Began::at(begun.as_ref().map(|begun| begun.at));
        let result = match self.handle(bulk.clone(), begun).await {
            Ok(Outcome { action, publish }) if publish.is_empty() => Ok(action),
            Ok(Outcome { action, publish }) => {
                self.publisher.publish_all(publish).await.map(|()| action).map_err(Failure::from)
            }
            Err(failure) => Err(failure),
        };
        self.meter.handled_since(began);
        self.conclude(&bulk, result)
    }

    async fn handle(&self, bulk: Bulk, begun: Option<Begun>) -> Result<Outcome, Failure> {
        let handler = Arc::clone(&self.handler);
        let elapsed = begun.as_ref().map(|begun| begun.at.elapsed()).unwrap_or_default();
        // The call itself is made inside, so that a panic before the first await is caught too. Nothing of
        // the handler is touched again after a panic: its future is dropped with everything it held.
        let handling = async move { begun.map_or_else(|| handler(bulk, None), |begun| begun.handling).await };
        let guarded = AssertUnwindSafe(handling).catch_unwind();
        let ended = match self.policy.timeout {
            None => guarded.await,
            Some(timeout) => match tokio::time::timeout(timeout.saturating_sub(elapsed), guarded).await {
                Ok(ended) => ended,
                Err(_) => return Err(Failure::new(format!("it did not end within its timeout of {timeout:?}"))),
            },
        };
        ended.unwrap_or_else(|panic| Err(Failure::panicked(&*panic)))
    }

    fn conclude(&self, bulk: &Bulk, result: Result<Option<Action>, Failure>) -> Conclusion {
        let Policy { on_success, on_exception, on_decode_error, .. } = self.policy;
        let default = match result {
            Ok(action) => action.unwrap_or(on_success),
            Err(failure) => {
                self.meter.failed();
                #[cfg(feature = "otel")]
                crate::otel::failed(&failure);
                let action = failure.action().unwrap_or(on_exception);
                // A lone body that does not decode was reported where it was decoded.
                if !bulk.entries().iter().all(Entry::undecodable) {
                    warn_throttled!(self.failed, route = bulk.route(), messages = bulk.len(), error = %failure, default = ?action, "the handler failed");
                }
                action
            }
        };
        Conclusion::of(bulk, default, on_decode_error)
    }
}
