//! The engine: from deliveries to a handler and back. It knows no broker and no network.
//!
//! One [`Worker`] a route. Its consumers tell it what happens by [`Signal`]s; it fills the bucket, runs
//! bulks, concludes each message in the settle window of the lane it came by, and hands the frames of the
//! windows to the lanes' settlers. A *lane* is one queue of the route with a channel of its own: so a
//! queue that is missing, refused or deleted never disturbs its siblings.

mod bucket;
mod run;
mod signal;
mod window;

pub(crate) use signal::{Settler, Signal};
pub(crate) use window::Frame;

#[cfg(test)]
mod tests;

use crate::handler::BoundHandler;
use crate::message::{Bulk, Delivery};
use crate::publish::Publisher;
use crate::route::{Action, Policy};
use bucket::Bucket;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use window::Window;

/// How long a conclusion waits for others to share its frame while handlers still run. When none runs
/// there is nothing to wait for, and at half the prefetch waiting would starve the consumer.
const SETTLE_DELAY: Duration = Duration::from_millis(1);

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
    pub(crate) stop: Stop,
}

/// One queue of the route: the window of its channel, while it has one.
#[derive(Default)]
struct Lane {
    open: Option<Open>,
    cancelled: bool,
}

struct Open {
    epoch: u64,
    settler: Arc<dyn Settler>,
    window: Window,
}

/// A bulk that runs, and how it ended.
type Ended = Result<(Id, Vec<Action>), JoinError>;

struct State {
    route: Arc<str>,
    policy: Policy,
    handler: BoundHandler,
    publisher: Publisher,
    bucket: Bucket,
    lanes: Vec<Lane>,
    runs: JoinSet<Vec<Action>>,
    running: HashMap<Id, Bulk>,
    /// When conclusions that wait for company are settled at the latest.
    settle_at: Option<Instant>,
    draining: bool,
    frames: Vec<Frame>,
}

impl Worker {
    /// Runs until it is drained. Gives the number of handlers that had to be abandoned.
    pub(crate) async fn run(self) -> usize {
        let Self { route, policy, handler, publisher, mut inbox, lanes, stop } = self;
        let mut state = State {
            bucket: Bucket::new(policy.bulk, policy.flush_interval),
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            runs: JoinSet::new(),
            running: HashMap::new(),
            settle_at: None,
            draining: false,
            frames: Vec::new(),
            route,
            policy,
            handler,
            publisher,
        };
        loop {
            // All that is ready is taken before anything is settled, so that what ended together is
            // settled together.
            while let Ok(signal) = inbox.try_recv() {
                state.take(signal);
            }
            while let Some(ended) = state.runs.try_join_next_with_id() {
                state.conclude(ended);
            }
            state.start_bulks();
            state.settle_when_due();
            if state.is_drained() {
                break;
            }
            let wake_at = state.wake_at();
            tokio::select! {
                Some(signal) = inbox.recv() => state.take(signal),
                Some(ended) = state.runs.join_next_with_id() => state.conclude(ended),
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
                () = stop.drain.cancelled(), if !state.draining => state.drain(),
                () = stop.abandon.cancelled() => break,
            }
        }
        state.finish()
    }
}

impl State {
    fn take(&mut self, signal: Signal) {
        match signal {
            Signal::Opened { lane, epoch, settler } => {
                self.lanes[lane].open = Some(Open { epoch, settler, window: Window::new() });
            }
            Signal::Deliveries(mut deliveries) => {
                deliveries.retain(|delivery| self.enter(delivery));
                // What comes in while draining is handled by nobody: it is given back at the end.
                if !self.draining {
                    self.bucket.put(Instant::now(), deliveries);
                }
            }
            Signal::Lost { lane, epoch } => {
                if self.open_lane(lane, epoch).is_some() {
                    self.lanes[lane].open = None;
                    self.bucket.forget(lane);
                }
            }
            Signal::Cancelled { lane } => self.lanes[lane].cancelled = true,
        }
    }

    /// Enters a delivery into its window. Gives whether it is to be handled: one of a lost epoch comes
    /// again, and one that its source could not read is refused at once, by itself.
    fn enter(&mut self, delivery: &Delivery) -> bool {
        let Some(open) = self.lanes[delivery.lane].open.as_mut().filter(|open| open.epoch == delivery.epoch) else {
            return false;
        };
        open.window.delivered(delivery.tag);
        let Some(cause) = delivery.malformed else { return true };
        open.window.conclude(delivery.tag, Action::Reject);
        tracing::warn!(
            route = &*self.route,
            queue = &*delivery.queue,
            exchange = &*delivery.exchange,
            routing_key = &*delivery.routing_key,
            length = delivery.body.len(),
            cause,
            "a message cannot be read and is rejected"
        );
        false
    }

    /// The lane's channel, if it is still the one of this epoch: a tag of another means nothing to it.
    fn open_lane(&mut self, lane: usize, epoch: u64) -> Option<&mut Open> {
        self.lanes[lane].open.as_mut().filter(|open| open.epoch == epoch)
    }

    fn start_bulks(&mut self) {
        if self.draining {
            return;
        }
        let now = Instant::now();
        while self.runs.len() < self.policy.concurrency && self.bucket.is_ready(now) {
            self.start_bulk();
        }
    }

    fn start_bulk(&mut self) {
        let bulk = Bulk::new(Arc::clone(&self.route), self.bucket.take());
        let span = tracing::debug_span!("bulk", route = &*self.route, messages = bulk.len());
        let run = run::run(Arc::clone(&self.handler), bulk.clone(), self.policy.clone(), self.publisher.clone());
        let id = self.runs.spawn(run.instrument(span)).id();
        self.running.insert(id, bulk);
    }

    fn conclude(&mut self, ended: Ended) {
        let (id, actions) = match ended {
            Ok((id, actions)) => (id, Some(actions)),
            // The run catches the panics of the handler; this is the runtime going down.
            Err(error) => (error.id(), None),
        };
        let Some(bulk) = self.running.remove(&id) else { return };
        for (index, entry) in bulk.entries().iter().enumerate() {
            let action = actions.as_ref().and_then(|actions| actions.get(index).copied());
            let action = action.unwrap_or(self.policy.on_exception);
            let delivery = &entry.delivery;
            if let Some(open) = self.open_lane(delivery.lane, delivery.epoch) {
                open.window.conclude(delivery.tag, action);
            }
        }
    }

    /// Settles what has ended when nothing runs that could share its frame, when half the prefetch
    /// waits, or when it has waited long enough.
    fn settle_when_due(&mut self) {
        let half = usize::from(self.policy.prefetch).div_ceil(2);
        let most = self.concluded().max();
        let due = match most {
            None | Some(0) => {
                self.settle_at = None;
                return;
            }
            Some(most) => most >= half || self.runs.is_empty(),
        };
        let now = Instant::now();
        let settle_at = *self.settle_at.get_or_insert(now + SETTLE_DELAY);
        if due || settle_at <= now {
            self.settle(Window::flush);
        }
    }

    fn concluded(&self) -> impl Iterator<Item = usize> {
        self.lanes.iter().filter_map(|lane| lane.open.as_ref()).map(|open| open.window.concluded())
    }

    fn settle(&mut self, how: impl Fn(&mut Window, &mut Vec<Frame>)) {
        self.settle_at = None;
        for open in self.lanes.iter_mut().filter_map(|lane| lane.open.as_mut()) {
            how(&mut open.window, &mut self.frames);
            if !self.frames.is_empty() {
                open.settler.settle(&self.frames);
                self.frames.clear();
            }
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let can_start = !self.draining && self.runs.len() < self.policy.concurrency;
        let flush_at = self.bucket.due().filter(|_| can_start);
        [flush_at, self.settle_at].into_iter().flatten().min()
    }

    /// From now on no bulk starts but the partial one, and that only if its turn is now.
    fn drain(&mut self) {
        if self.runs.len() < self.policy.concurrency && !self.bucket.is_empty() {
            self.start_bulk();
        }
        self.bucket.clear();
        self.draining = true;
    }

    fn is_drained(&self) -> bool {
        self.draining && self.runs.is_empty() && self.lanes.iter().all(|lane| lane.cancelled)
    }

    /// Settles what has ended and gives everything else back.
    fn finish(mut self) -> usize {
        while let Some(ended) = self.runs.try_join_next_with_id() {
            self.conclude(ended);
        }
        let abandoned = self.runs.len();
        if abandoned > 0 {
            let messages: usize = self.running.values().map(Bulk::len).sum();
            tracing::error!(
                route = &*self.route,
                handlers = abandoned,
                messages,
                "handlers did not end in time; their messages go back"
            );
        }
        self.settle(Window::give_back);
        self.runs.abort_all();
        abandoned
    }
}
