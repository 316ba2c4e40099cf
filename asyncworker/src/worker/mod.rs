//! The engine: from deliveries to a handler and back. It knows no broker and no network.
//!
//! One [`Worker`] a route. Its consumers tell it what happens by [`Signal`]s; it fills the bucket, runs
//! bulks, concludes each message in the settle window of the lane it came by, and hands the frames of the
//! windows to the lanes' settlers. A *lane* is one queue of the route with a channel of its own: so a
//! queue that is missing, refused or deleted never disturbs its siblings.

mod bucket;
mod credit;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod lane;
mod progress;
mod retries;
mod run;
mod signal;
mod state;
mod turn;
mod window;

pub(crate) use progress::Progress;
pub(crate) use signal::{Settler, Signal};
pub(crate) use window::Frame;

#[cfg(test)]
mod tests;

use crate::handler::BoundHandler;
use crate::meter::RouteMeter;
use crate::publish::Publisher;
use crate::route::Policy;
use crate::throttle::Throttle;
use run::Shared;
use state::State;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use turn::Turn;

/// How long an abandoned loop may take to end. Only a handler that blocks the thread it shares with the loop
/// takes longer; the end of the channel then gives its messages back.
const GRACE: Duration = Duration::from_millis(100);

/// How a worker is told to stop.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    /// Start no more bulks, but for the partial one; wait for those that run.
    pub(crate) drain: CancellationToken,
    /// Wait no longer: drop the handlers that still run and give their messages back.
    pub(crate) abandon: CancellationToken,
}

/// The engine of one route.
pub(crate) struct Worker {
    pub(crate) route: Arc<str>,
    pub(crate) policy: Policy,
    pub(crate) handler: BoundHandler,
    /// For what the handler returns.
    pub(crate) publisher: Publisher,
    pub(crate) inbox: mpsc::UnboundedReceiver<Signal>,
    pub(crate) lanes: usize,
    pub(crate) progress: Arc<Progress>,
    pub(crate) meter: RouteMeter,
    pub(crate) stop: Stop,
}

impl Worker {
    /// Runs until it is drained. Gives the number of handlers that had to be abandoned.
    pub(crate) async fn run(self) -> usize {
        let abandon = self.stop.abandon.clone();
        let given_up = async {
            abandon.cancelled().await;
            sleep(GRACE).await;
        };
        // A task of its own: a handler that blocks its thread may block the loop, and nothing else.
        let running = AbortOnDropHandle::new(tokio::spawn(self.run_loop().in_current_span()));
        tokio::select! {
            abandoned = running => abandoned.unwrap_or(1),
            () = given_up => {
                tracing::error!("a handler blocks its thread; the messages of its route go back");
                1
            }
        }
    }

    async fn run_loop(self) -> usize {
        let Self { route, policy, handler, publisher, mut inbox, lanes, progress, meter, stop } = self;
        let now = Instant::now();
        let (failed, unread) = (Throttle::new(), Throttle::new());
        let shared = Shared { route, policy, handler, publisher, meter, failed, unread };
        let mut state = State::new(shared, lanes, progress, now);
        let mut timer = pin!(sleep_until(now));
        let mut first = None;
        loop {
            // All that is ready is taken before anything is settled, so that what ended together is
            // settled together.
            state.now = Instant::now();
            while let Some(signal) = first.take().or_else(|| inbox.try_recv().ok()) {
                state.take(signal);
            }
            while let Some(ended) = state.runs.try_join_next_with_id() {
                state.ended(ended);
            }
            // Before a handler can hold up the loop.
            state.tell_progress();
            // Until what has ended must be settled.
            let mut ended = state.concluded().max().unwrap_or_default();
            while state.can_start() && ended < state.half() && !state.turn.is_over() {
                ended += state.start_bulk();
            }
            state.empty_room();
            state.shared.meter.tell(&mut state.counts);
            let settle_at = state.settle_when_due();
            state.tell_progress();
            if state.is_drained() {
                break;
            }
            if state.turn.is_over() {
                state.turn = Turn::default();
                yield_now().await;
            } else if state.can_start() {
                continue;
            }
            let wake_at = state.wake_at(settle_at);
            // What is set already is put off to where it may be needed again, which wakes nobody. To set it anew wakes
            // the thread that waits for input, and so does a timer that fires.
            let put_off = (!timer.is_elapsed()).then(|| timer.deadline().max(state.rested_at));
            let next = [wake_at, put_off].into_iter().flatten().min();
            if let Some(at) = next.filter(|at| *at != timer.deadline() || timer.is_elapsed()) {
                timer.as_mut().reset(at);
            }
            let mut polls = 0;
            tokio::select! {
                biased;
                // Never ready.
                () = poll_fn(|_| {
                    polls += 1;
                    Poll::Pending
                }) => {}
                () = stop.abandon.cancelled() => break,
                () = stop.drain.cancelled(), if !state.draining => state.drain(),
                // Before those that would then wake this task while it runs, and with it another thread.
                () = std::future::ready(()), if state.can_start() => {}
                Some(signal) = inbox.recv() => first = Some(signal),
                Some(ended) = state.runs.join_next_with_id() => state.ended(ended),
                () = &mut timer, if wake_at.is_some() => {}
            }
            // It has waited, and so others had their turn.
            if polls > 1 {
                state.turn = Turn::default();
            }
        }
        state.finish()
    }
}
