//! One run of a handler over a bulk, and what becomes of each message.

use crate::handler::{BoundHandler, Failure, Outcome};
use crate::message::{Bulk, Entry};
use crate::publish::Publisher;
use crate::route::{Action, Policy};
use futures_util::FutureExt;
use std::any::Any;
use std::panic::AssertUnwindSafe;

/// Runs the handler over a bulk to its end: an `Err`, a panic, a timeout and an output that could not be
/// published are all a failure of this run and of nothing else. Gives what is to become of each message.
pub(crate) async fn run(handler: BoundHandler, bulk: Bulk, policy: Policy, publisher: Publisher) -> Vec<Action> {
    let result = match handle(handler, bulk.clone(), &policy).await {
        Ok(Outcome { action, publish }) if publish.is_empty() => Ok(action),
        Ok(Outcome { action, publish }) => publisher.publish_all(publish).await.map(|()| action).map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    let default = match &result {
        Ok(action) => action.unwrap_or(policy.on_success),
        Err(failure) => {
            let action = failure.action().unwrap_or(policy.on_exception);
            // A lone body that does not decode was reported where it was decoded.
            if !bulk.entries().iter().all(Entry::undecodable) {
                tracing::warn!(route = bulk.route(), messages = bulk.len(), error = %failure, default = ?action, "the handler failed");
            }
            action
        }
    };
    bulk.entries().iter().map(|entry| conclusion(entry, default, policy.on_decode_error)).collect()
}

/// The mark, else what a body that did not decode takes, else the default.
fn conclusion(entry: &Entry, default: Action, on_decode_error: Action) -> Action {
    match entry.marked() {
        Some(mark) => mark,
        None if entry.undecodable() => on_decode_error,
        None => default,
    }
}

async fn handle(handler: BoundHandler, bulk: Bulk, policy: &Policy) -> Result<Outcome, Failure> {
    // The call itself is made inside, so that a panic before the first await is caught too. Nothing of
    // the handler is touched again after a panic: its future is dropped with everything it held.
    let guarded = AssertUnwindSafe(async move { handler(bulk).await }).catch_unwind();
    let ended = match policy.timeout {
        None => guarded.await,
        Some(timeout) => match tokio::time::timeout(timeout, guarded).await {
            Ok(ended) => ended,
            Err(_) => return Err(Failure::new(format!("it did not end within its timeout of {timeout:?}"))),
        },
    };
    ended.unwrap_or_else(|panic| Err(Failure::new(format!("it panicked: {}", panic_message(&*panic)))))
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with a value that is no text")
}
