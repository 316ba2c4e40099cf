//! What a route's loop does: deliveries into the bucket, bulks to the handler, what has ended to the settler.

use super::bucket::Bucket;
use super::credit::Credit;
use super::lane::{Lane, Open};
use super::progress::Progress;
use super::retries::{LONGEST, News, Retries};
use super::run::{Conclusion, Polled, Shared};
use super::signal::Signal;
use super::turn::Turn;
use super::window::{Frame, Window};
use crate::handler::Handling;
use crate::message::{Bulk, Delivery, Origin};
use crate::meter::LoopCounts;
use crate::route::Action;
use crate::throttle::warn_throttled;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{Instrument, Span};

/// What has ended is settled at once, but not again within this time unless half the prefetch waits: waiting
/// longer would starve the consumer. So a quiet route settles at once and by no timer, and a busy one sends few
/// frames.
pub(super) const SETTLE_DELAY: Duration = Duration::from_millis(1);

/// How a task ended.
pub(super) type Ended = Result<(Id, Conclusion), JoinError>;

/// What a route's loop knows, and what it does with what happens.
pub(super) struct State {
    pub(super) shared: Arc<Shared>,
    /// The route's span, for runs that are tasks: those in place are in it anyway.
    span: Span,
    bucket: Bucket,
    lanes: Vec<Lane>,
    credit: Credit,
    pub(super) turn: Turn,
    retries: Retries,
    progress: Arc<Progress>,
    /// Of a bulk and of a handler that have ended: what runs in place takes it, and so allocates nothing.
    room: Room,
    /// Told once a pass.
    pub(super) counts: LoopCounts,
    pub(super) runs: JoinSet<Conclusion>,
    running: HashMap<Id, Bulk>,
    /// Read once a pass, and after each run in place.
    pub(super) now: Instant,
    /// When less than half the prefetch may be settled again.
    pub(super) rested_at: Instant,
    pub(super) draining: bool,
    frames: Vec<Frame>,
}

#[derive(Default)]
struct Room {
    bulk: Option<Bulk>,
    handling: Option<Handling>,
}

impl State {
    /// Before anything has happened, on a route of so many lanes.
    pub(super) fn new(shared: Shared, lanes: usize, progress: Arc<Progress>, now: Instant) -> Self {
        let Shared { policy, meter, .. } = &shared;
        let (bucket, counts) = (Bucket::new(policy.bulk, policy.flush_interval), meter.counts());
        Self {
            bucket,
            counts,
            shared: Arc::new(shared),
            span: Span::current(),
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            credit: Credit::default(),
            turn: Turn::default(),
            retries: Retries::default(),
            progress,
            room: Room::default(),
            runs: JoinSet::new(),
            running: HashMap::new(),
            now,
            rested_at: now,
            draining: false,
            frames: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, signal: Signal) {
        match signal {
            Signal::Opened { lane, epoch, settler } => {
                self.lanes[lane].open = Some(Open::new(lane, epoch, settler));
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

    pub(super) fn can_start(&self) -> bool {
        self.has_room() && self.bucket.is_ready(self.now)
    }

    /// Whether one more bulk may run.
    fn has_room(&self) -> bool {
        let running = self.runs.len();
        !self.draining && running < self.shared.policy.concurrency && self.retries.may_start(running, self.now)
    }

    /// Polls the run of the next bulk in place, if the credit is good; what does not end by that is a task. Gives
    /// how many messages it has.
    pub(super) fn start_bulk(&mut self) -> usize {
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
            self.credit.in_place(messages, took, matches!(polled, Polled::Ended(_)));
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

    pub(super) fn ended(&mut self, ended: Ended) {
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
        self.room.bulk = Some(bulk);
    }

    /// Lets go of the messages of the bulk that has ended last: the one after it would have replaced them.
    pub(super) fn empty_room(&mut self) {
        self.room.bulk = self.room.bulk.take().and_then(Bulk::into_room);
    }

    /// Settles what has ended when it is time, or else says when that is.
    pub(super) fn settle_when_due(&mut self) -> Option<Instant> {
        let most = self.concluded().max().filter(|most| *most > 0)?;
        if most < self.half() && self.now < self.rested_at {
            return Some(self.rested_at);
        }
        self.settle(Window::flush);
        None
    }

    /// So many as a lane's consumer must not wait for.
    pub(super) fn half(&self) -> usize {
        usize::from(self.shared.policy.prefetch).div_ceil(2)
    }

    /// The channels that are there.
    fn opened(&self) -> impl Iterator<Item = &Open> {
        self.lanes.iter().filter_map(|lane| lane.open.as_ref())
    }

    pub(super) fn concluded(&self) -> impl Iterator<Item = usize> {
        self.opened().map(|open| open.window.concluded())
    }

    fn settle(&mut self, how: impl Fn(&mut Window, &mut Vec<Frame>)) {
        self.rested_at = self.now + SETTLE_DELAY;
        let mut settled = 0;
        for open in self.lanes.iter_mut().filter_map(|lane| lane.open.as_mut()) {
            settled += open.settle(&how, &mut self.frames, &self.shared.meter);
        }
        self.progress.settled(settled, self.now);
    }

    pub(super) fn tell_progress(&self) {
        for open in self.opened() {
            self.progress.rests_at(open.lane, open.window.rests_at());
        }
        let windows = || self.opened().map(|open| &open.window);
        let unsettled = windows().map(Window::outstanding).sum();
        self.progress.unsettled(unsettled, windows().filter_map(Window::oldest), self.now);
    }

    pub(super) fn wake_at(&self, settle_at: Option<Instant>) -> Option<Instant> {
        let flush_at = self.bucket.due().filter(|_| self.has_room());
        let retry_at = self.retries.until().filter(|until| *until > self.now && !self.bucket.is_empty());
        [flush_at, settle_at, retry_at].into_iter().flatten().min()
    }

    /// From now on no bulk starts but the partial one, and that only if its turn is now.
    pub(super) fn drain(&mut self) {
        if self.has_room() && !self.bucket.is_empty() {
            self.now = Instant::now();
            self.start_bulk();
        }
        self.bucket.clear();
        self.draining = true;
        // At once: what still runs may take until the shutdown gives it up.
        self.settle(Window::flush);
    }

    pub(super) fn is_drained(&self) -> bool {
        self.draining && self.runs.is_empty() && self.lanes.iter().all(|lane| lane.cancelled)
    }

    /// Settles what has ended and gives everything else back.
    pub(super) fn finish(mut self) -> usize {
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
