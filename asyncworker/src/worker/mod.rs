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
mod progress;
mod retries;
mod run;
mod signal;
mod window;

pub(crate) use progress::Progress;
pub(crate) use signal::{Settler, Signal};
pub(crate) use window::Frame;

#[cfg(test)]
mod tests;

use crate::handler::{BoundHandler, Handling};
use crate::message::{Bulk, Delivery, Origin};
use crate::meter::{LoopCounts, RouteMeter, Tally};
use crate::publish::Publisher;
use crate::route::{Action, Policy};
use crate::throttle::{Throttle, warn_throttled};
use bucket::Bucket;
use credit::Credit;
use retries::{LONGEST, News, Retries};
use run::{Conclusion, Polled, Shared};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet, yield_now};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, Span};
use window::Window;

/// What has ended is settled at once, but not again within this time unless half the prefetch waits: waiting
/// longer would starve the consumer. So a quiet route settles at once and by no timer, and a busy one sends few
/// frames.
const SETTLE_DELAY: Duration = Duration::from_millis(1);

/// How many runs in place, and for how long, before other tasks of the runtime get a turn: the runtime's own budget
/// does not count them.
const RUNS_A_TURN: usize = 1_000;
const LONGEST_TURN: Duration = Duration::from_micros(100);

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

/// One queue of the route: the window of its channel, while it has one.
#[derive(Default)]
struct Lane {
    open: Option<Open>,
    cancelled: bool,
}

struct Open {
    lane: usize,
    epoch: u64,
    settler: Arc<dyn Settler>,
    window: Window,
    /// What the window has concluded and not settled yet.
    tally: Tally,
}

impl Open {
    /// Gives how many messages, of those whose handler has ended, this settles.
    fn settle(
        &mut self,
        how: impl Fn(&mut Window, &mut Vec<Frame>),
        frames: &mut Vec<Frame>,
        meter: &RouteMeter,
    ) -> usize {
        let concluded = self.window.concluded();
        how(&mut self.window, frames);
        if !frames.is_empty() {
            self.settler.settle(frames);
            meter.settled(self.lane, frames.len(), &mut self.tally);
            frames.clear();
        }
        concluded
    }
}

#[derive(Default)]
struct Room {
    bulk: Option<Bulk>,
    handling: Option<Handling>,
}

/// The runs in place since other tasks had a turn.
#[derive(Default)]
struct Turn {
    runs: usize,
    took: Duration,
}

impl Turn {
    fn ran(&mut self, took: Duration) {
        self.runs += 1;
        self.took += took;
    }

    fn is_over(&self) -> bool {
        self.runs >= RUNS_A_TURN || self.took >= LONGEST_TURN
    }
}

/// How a task ended.
type Ended = Result<(Id, Conclusion), JoinError>;

struct State {
    shared: Arc<Shared>,
    /// The route's span, for runs that are tasks: those in place are in it anyway.
    span: Span,
    bucket: Bucket,
    lanes: Vec<Lane>,
    credit: Credit,
    turn: Turn,
    retries: Retries,
    progress: Arc<Progress>,
    /// Of a bulk and of a handler that have ended: what runs in place takes it, and so allocates nothing.
    room: Room,
    /// Told once a pass.
    counts: LoopCounts,
    runs: JoinSet<Conclusion>,
    running: HashMap<Id, Bulk>,
    /// Read once a pass, and after each run in place.
    now: Instant,
    /// When less than half the prefetch may be settled again.
    rested_at: Instant,
    draining: bool,
    frames: Vec<Frame>,
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
        let counts = meter.counts();
        let mut state = State {
            bucket: Bucket::new(policy.bulk, policy.flush_interval),
            shared: Arc::new(Shared {
                route,
                policy,
                handler,
                publisher,
                meter,
                failed: Throttle::new(),
                unread: Throttle::new(),
            }),
            span: Span::current(),
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            credit: Credit::default(),
            turn: Turn::default(),
            retries: Retries::default(),
            progress,
            room: Room::default(),
            counts,
            runs: JoinSet::new(),
            running: HashMap::new(),
            now,
            rested_at: now,
            draining: false,
            frames: Vec::new(),
        };
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
            // Set for a later time it wakes once too often, which is cheaper than to set it at every pass.
            if let Some(at) = wake_at.filter(|at| *at < timer.deadline() || timer.is_elapsed()) {
                timer.as_mut().reset(at);
            }
            tokio::select! {
                biased;
                () = stop.abandon.cancelled() => break,
                () = stop.drain.cancelled(), if !state.draining => state.drain(),
                Some(signal) = inbox.recv() => first = Some(signal),
                Some(ended) = state.runs.join_next_with_id() => state.ended(ended),
                () = &mut timer, if wake_at.is_some() => {}
                () = std::future::ready(()), if state.can_start() => {}
            }
        }
        state.finish()
    }
}

impl State {
    fn take(&mut self, signal: Signal) {
        match signal {
            Signal::Opened { lane, epoch, settler } => {
                self.lanes[lane].open =
                    Some(Open { lane, epoch, settler, window: Window::new(), tally: Tally::default() });
                self.progress.consumes(lane, true);
            }
            Signal::Deliveries { at, origin, mut deliveries } => {
                // Those that came since this pass began are of now, so that no age is below 0.
                let at = at.min(self.now);
                self.enter(at, &origin, &mut deliveries);
                // What comes in while draining is handled by nobody: it is given back at the end.
                if !self.draining {
                    self.bucket.put(at, origin, deliveries);
                }
            }
            Signal::Lost { lane, epoch } => {
                if let Some(mut open) = self.lanes[lane].open.take_if(|open| open.epoch == epoch) {
                    // Its channel may close only now, and then what has ended does not come again.
                    let settled = open.settle(Window::flush, &mut self.frames, &self.shared.meter);
                    self.progress.settled(settled, self.now);
                    self.progress.consumes(lane, false);
                    self.bucket.forget(lane);
                }
            }
            #[cfg(feature = "sse")]
            Signal::Consumes { lane, consumes } => self.progress.consumes(lane, consumes),
            Signal::Cancelled { lane } => {
                self.lanes[lane].cancelled = true;
                self.progress.consumes(lane, false);
            }
        }
    }

    /// Enters deliveries into their window, and leaves those that are to be handled: of a lost epoch none, because
    /// they come again. One that its source could not read is refused at once, by itself.
    fn enter(&mut self, at: Instant, origin: &Origin, deliveries: &mut Vec<Delivery>) {
        let at = self.progress.stamp(at);
        let Some(open) = self.lanes[origin.lane].open.as_mut().filter(|open| open.epoch == origin.epoch) else {
            return deliveries.clear();
        };
        deliveries.retain(|delivery| {
            open.window.delivered(delivery.tag, at);
            let Some(cause) = delivery.malformed else { return true };
            if open.window.conclude(delivery.tag, Action::Reject) {
                open.tally.unread();
            }
            let names = delivery.names(origin);
            warn_throttled!(
                self.shared.unread,
                route = &*self.shared.route,
                queue = &*origin.queue,
                exchange = &*names.exchange,
                routing_key = &*names.routing_key,
                length = delivery.body.len(),
                cause,
                "a message is rejected unread"
            );
            false
        });
    }

    /// The lane's channel, if it is still the one of this epoch: a tag of another means nothing to it.
    fn open_lane(&mut self, lane: usize, epoch: u64) -> Option<&mut Open> {
        self.lanes[lane].open.as_mut().filter(|open| open.epoch == epoch)
    }

    fn can_start(&self) -> bool {
        self.has_room() && self.bucket.is_ready(self.now)
    }

    /// Whether one more bulk may run.
    fn has_room(&self) -> bool {
        let running = self.runs.len();
        !self.draining && running < self.shared.policy.concurrency && self.retries.may_start(running, self.now)
    }

    /// Polls the run of the next bulk in place, if the credit is good; what does not end by that is a task. Gives
    /// how many messages it has.
    fn start_bulk(&mut self) -> usize {
        self.counts.waited(self.now, self.bucket.next_came());
        let bulk = self.next_bulk();
        self.counts.starts(bulk.len(), self.shared.policy.bulk);
        let span = span_of(&bulk);
        let messages = bulk.len();
        let mut begun = None;
        if self.credit.is_good() {
            let polled = span.in_scope(|| self.shared.poll_once(&bulk, &mut self.room.handling, self.now));
            let start = std::mem::replace(&mut self.now, Instant::now());
            let took = self.now - start;
            self.turn.ran(took);
            self.credit.in_place(took, matches!(polled, Polled::Ended(_)));
            match polled {
                Polled::Ended(conclusion) => {
                    self.counts.handled(took);
                    self.conclude(bulk, &conclusion);
                    return messages;
                }
                Polled::GoesOn(handler) => begun = Some(handler),
            }
        } else {
            self.credit.as_task();
        }
        let span = if span.is_disabled() { self.span.clone() } else { span };
        let run = Arc::clone(&self.shared).run(bulk.clone(), begun).instrument(span);
        let id = self.runs.spawn(run).id();
        self.running.insert(id, bulk);
        messages
    }

    fn next_bulk(&mut self) -> Bulk {
        let (room, route) = (self.room.bulk.take(), &self.shared.route);
        if self.shared.policy.bulk == 1
            && let Some((origin, delivery)) = self.bucket.take_one()
        {
            return Bulk::one(room, route, origin, delivery);
        }
        Bulk::new(room, route, self.bucket.take())
    }

    fn ended(&mut self, ended: Ended) {
        let (id, conclusion) = match ended {
            Ok(ended) => ended,
            // The run catches the panics of the handler; this is the runtime going down.
            Err(error) => (error.id(), Conclusion::All(self.shared.policy.on_exception)),
        };
        if let Some(bulk) = self.running.remove(&id) {
            self.conclude(bulk, &conclusion);
        }
    }

    fn conclude(&mut self, bulk: Bulk, conclusion: &Conclusion) {
        let all_back = matches!(conclusion, Conclusion::All(Action::Requeue));
        match self.retries.ended(all_back, self.now) {
            Some(News::Slowed) => tracing::warn!(
                route = &*self.shared.route,
                "every message of the route goes back to its queue; they are tried again one bulk at a time, after pauses of up to {LONGEST:?}"
            ),
            Some(News::Recovered) => tracing::info!(route = &*self.shared.route, "the route goes on"),
            None => {}
        }
        for (place, entry) in bulk.entries().iter().enumerate() {
            let action = conclusion.action(place).unwrap_or(self.shared.policy.on_exception);
            if let Some(open) = self.open_lane(entry.origin.lane, entry.origin.epoch)
                && open.window.conclude(entry.delivery.tag, action)
            {
                open.tally.concluded(entry, action);
            }
        }
        self.room.bulk = bulk.into_room();
    }

    /// Settles what has ended when it is time, or else says when that is.
    fn settle_when_due(&mut self) -> Option<Instant> {
        let most = self.concluded().max().filter(|most| *most > 0)?;
        if most < self.half() && self.now < self.rested_at {
            return Some(self.rested_at);
        }
        self.settle(Window::flush);
        None
    }

    /// So many as a lane's consumer must not wait for.
    fn half(&self) -> usize {
        usize::from(self.shared.policy.prefetch).div_ceil(2)
    }

    fn concluded(&self) -> impl Iterator<Item = usize> {
        self.lanes.iter().filter_map(|lane| lane.open.as_ref()).map(|open| open.window.concluded())
    }

    fn settle(&mut self, how: impl Fn(&mut Window, &mut Vec<Frame>)) {
        self.rested_at = self.now + SETTLE_DELAY;
        let mut settled = 0;
        for open in self.lanes.iter_mut().filter_map(|lane| lane.open.as_mut()) {
            settled += open.settle(&how, &mut self.frames, &self.shared.meter);
        }
        self.progress.settled(settled, self.now);
    }

    fn tell_progress(&self) {
        let windows = || self.lanes.iter().filter_map(|lane| lane.open.as_ref()).map(|open| &open.window);
        let unsettled = windows().map(Window::outstanding).sum();
        self.progress.unsettled(unsettled, windows().filter_map(Window::oldest), self.now);
    }

    fn wake_at(&self, settle_at: Option<Instant>) -> Option<Instant> {
        let flush_at = self.bucket.due().filter(|_| self.has_room());
        let retry_at = self.retries.until().filter(|until| *until > self.now && !self.bucket.is_empty());
        [flush_at, settle_at, retry_at].into_iter().flatten().min()
    }

    /// From now on no bulk starts but the partial one, and that only if its turn is now.
    fn drain(&mut self) {
        if self.has_room() && !self.bucket.is_empty() {
            self.now = Instant::now();
            self.start_bulk();
        }
        self.bucket.clear();
        self.draining = true;
        // At once, because a channel that was about to open is given up by now.
        self.settle(Window::flush);
    }

    fn is_drained(&self) -> bool {
        self.draining && self.runs.is_empty() && self.lanes.iter().all(|lane| lane.cancelled)
    }

    /// Settles what has ended and gives everything else back.
    fn finish(mut self) -> usize {
        while let Some(ended) = self.runs.try_join_next_with_id() {
            self.ended(ended);
        }
        let abandoned = self.runs.len();
        if abandoned > 0 {
            let messages: usize = self.running.values().map(Bulk::len).sum();
            tracing::error!(
                route = &*self.shared.route,
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

/// The span of a run: that of its messages' traces where somebody listens to those.
fn span_of(bulk: &Bulk) -> Span {
    #[cfg(feature = "otel")]
    if let Some(span) = crate::otel::process(bulk) {
        return span;
    }
    tracing::debug_span!("bulk", route = bulk.route(), messages = bulk.len())
}
