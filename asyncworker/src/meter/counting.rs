//! Meters that count.

use super::{Counter, Gauge, Histogram, HttpMeter, Sheet};
use crate::message::Entry;
use crate::publish::{PublishError, PublishErrorKind};
use crate::route::{Action, Protocol};
use crate::schedule;
use crate::worker::Progress;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Times, in milliseconds, are counted by these bounds where nobody says otherwise.
pub(crate) const MILLISECONDS: [f64; 7] = [10.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 5_000.0];

/// Messages a bulk: what its sizes are counted by.
const SIZES: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0];

/// The actions by the place of their counters.
pub(crate) const ACTIONS: [Action; 3] = [Action::Ack, Action::Reject, Action::Requeue];

/// All meters of an app.
#[derive(Debug)]
pub(crate) struct Meters {
    milliseconds: Arc<[f64]>,
    http: HttpMeter,
    counted: Mutex<Counted>,
}

/// What an app counts, in the order it was mounted and connected.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counted {
    pub(crate) routes: Vec<Arc<RouteCounts>>,
    pub(crate) connections: Vec<Arc<ConnectionCounts>>,
    /// They count for themselves.
    pub(crate) schedules: Vec<(Arc<str>, Arc<schedule::Tally>)>,
}

impl Default for Meters {
    fn default() -> Self {
        Self::new(MILLISECONDS.into())
    }
}

impl Meters {
    /// Times are counted by these bounds, in milliseconds.
    pub(crate) fn new(milliseconds: Arc<[f64]>) -> Self {
        Self { http: HttpMeter::new(&milliseconds), milliseconds, counted: Mutex::default() }
    }

    /// The meter of a route with these queues, in the order of its lanes.
    pub(crate) fn route(
        &self,
        name: &Arc<str>,
        protocol: Protocol,
        queues: &[Arc<str>],
        progress: &Arc<Progress>,
    ) -> RouteMeter {
        let counts = Arc::new(RouteCounts {
            name: Arc::clone(name),
            protocol,
            progress: Arc::clone(progress),
            filled: Counter::default(),
            flushed: Counter::default(),
            failed: Counter::default(),
            frames: Counter::default(),
            handled: Histogram::new(&self.milliseconds),
            waited: Histogram::new(&self.milliseconds),
            sizes: Histogram::new(&SIZES.into()),
            queues: queues.iter().map(QueueCounts::of).collect(),
        });
        self.with(|counted| counted.routes.push(Arc::clone(&counts)));
        RouteMeter(counts)
    }

    /// The meter of a connection; one without a name is the only one of its protocol. It counts, and is not
    /// [shown](Self::shows) yet.
    pub(crate) fn connection(&self, name: Option<&str>) -> ConnectionMeter {
        let counts = Arc::new(ConnectionCounts {
            name: name.unwrap_or("default").into(),
            active: Gauge::default(),
            reconnects: Counter::default(),
            published: OUTCOMES.map(|outcome| (outcome, Histogram::new(&self.milliseconds))),
        });
        ConnectionMeter(counts)
    }

    /// Shows what a connection counts.
    pub(crate) fn shows(&self, meter: &ConnectionMeter) {
        self.with(|counted| counted.connections.push(Arc::clone(&meter.0)));
    }

    /// Shows what a schedule counts.
    pub(crate) fn schedule(&self, name: &Arc<str>, tally: &Arc<schedule::Tally>) {
        self.with(|counted| counted.schedules.push((Arc::clone(name), Arc::clone(tally))));
    }

    pub(crate) fn http(&self) -> &HttpMeter {
        &self.http
    }

    pub(crate) fn counted(&self) -> Counted {
        self.with(|counted| counted.clone())
    }

    fn with<R>(&self, with: impl FnOnce(&mut Counted) -> R) -> R {
        with(&mut self.counted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a route counts.
#[derive(Debug)]
pub(crate) struct RouteCounts {
    pub(crate) name: Arc<str>,
    pub(crate) protocol: Protocol,
    pub(crate) progress: Arc<Progress>,
    /// Bulks that were full when they were handed over, and the others.
    pub(crate) filled: Counter,
    pub(crate) flushed: Counter,
    /// Bulks whose handler failed.
    pub(crate) failed: Counter,
    /// Frames that settle messages.
    pub(crate) frames: Counter,
    /// How long bulks were handled, in milliseconds.
    pub(crate) handled: Histogram,
    /// How long messages waited for their handler, in milliseconds.
    pub(crate) waited: Histogram,
    /// Messages a bulk.
    pub(crate) sizes: Histogram,
    /// In the order of the route's lanes.
    pub(crate) queues: Box<[QueueCounts]>,
}

/// What a route counts of one of its queues.
#[derive(Debug)]
pub(crate) struct QueueCounts {
    pub(crate) name: Arc<str>,
    /// Messages that were settled, by action in the order of [`ACTIONS`].
    pub(crate) processed: [Counter; 3],
    /// Of these, the ones whose body did not decode.
    pub(crate) undecodable: Counter,
    /// Of these, the ones that were rejected before any handler saw them.
    pub(crate) unread: Counter,
}

impl QueueCounts {
    fn of(queue: &Arc<str>) -> Self {
        Self {
            name: Arc::clone(queue),
            processed: Default::default(),
            undecodable: Counter::default(),
            unread: Counter::default(),
        }
    }
}

/// Where a route counts. A clone is the same meter.
#[derive(Debug, Clone)]
pub(crate) struct RouteMeter(Arc<RouteCounts>);

impl RouteMeter {
    /// For what the route's loop counts.
    pub(crate) fn counts(&self) -> LoopCounts {
        let RouteCounts { waited, handled, sizes, .. } = &*self.0;
        LoopCounts {
            told: true,
            filled: 0,
            flushed: 0,
            waited: Sheet::of(waited),
            handled: Sheet::of(handled),
            sizes: Sheet::of(sizes),
        }
    }

    /// Tells what the loop has counted since it last told.
    pub(crate) fn tell(&self, counts: &mut LoopCounts) {
        if std::mem::replace(&mut counts.told, true) {
            return;
        }
        self.0.filled.add(std::mem::take(&mut counts.filled));
        self.0.flushed.add(std::mem::take(&mut counts.flushed));
        self.0.waited.take(&mut counts.waited);
        self.0.handled.take(&mut counts.handled);
        self.0.sizes.take(&mut counts.sizes);
    }

    /// A bulk was handled since then.
    pub(crate) fn handled_since(&self, began: Began) {
        self.0.handled.observe(milliseconds(began.0.elapsed()), 1);
    }

    /// A bulk's handler failed.
    pub(crate) fn failed(&self) {
        self.0.failed.add(1);
    }

    /// So many frames went to the broker, and what they settle is this.
    pub(crate) fn settled(&self, lane: usize, frames: usize, tally: &mut Tally) {
        self.0.frames.add(frames as u64);
        let Some(queue) = self.0.queues.get(lane) else { return };
        let Tally { processed, undecodable, unread } = std::mem::take(tally);
        for (counter, number) in queue.processed.iter().zip(processed).filter(|(_, number)| *number > 0) {
            counter.add(number);
        }
        if undecodable > 0 {
            queue.undecodable.add(undecodable);
        }
        if unread > 0 {
            queue.unread.add(unread);
        }
    }
}

/// What a route's loop counts a bulk: added up here and told once a pass.
#[derive(Debug)]
pub(crate) struct LoopCounts {
    told: bool,
    filled: u64,
    flushed: u64,
    waited: Sheet,
    handled: Sheet,
    sizes: Sheet,
}

impl LoopCounts {
    /// Messages that came then, and so many each time, have waited for the handler that starts now.
    pub(crate) fn waited(&mut self, now: Instant, came: impl Iterator<Item = (Instant, usize)>) {
        for (at, messages) in came {
            self.waited.observe(milliseconds(now - at), messages as u64);
        }
    }

    /// A bulk starts, of as many messages as it may have or of fewer.
    pub(crate) fn starts(&mut self, messages: usize, most: usize) {
        self.told = false;
        let bulks = if messages < most { &mut self.flushed } else { &mut self.filled };
        *bulks += 1;
        #[allow(clippy::cast_precision_loss, reason = "a bulk has at most 65,535 messages a queue")]
        self.sizes.observe(messages as f64, 1);
    }

    /// A bulk was handled.
    pub(crate) fn handled(&mut self, time: Duration) {
        self.handled.observe(milliseconds(time), 1);
    }
}

/// What has ended on a lane and is not settled yet: added up here and told once a settlement.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    processed: [u64; 3],
    undecodable: u64,
    unread: u64,
}

impl Tally {
    /// A message's handler has ended.
    pub(crate) fn concluded(&mut self, entry: &Entry, action: Action) {
        self.processed[place(action)] += 1;
        self.undecodable += u64::from(entry.undecodable());
    }

    /// A message is rejected, and no handler sees it.
    pub(crate) fn unread(&mut self) {
        self.processed[place(Action::Reject)] += 1;
        self.unread += 1;
    }
}

/// The place of an action in [`ACTIONS`].
fn place(action: Action) -> usize {
    match action {
        Action::Ack => 0,
        Action::Reject => 1,
        Action::Requeue => 2,
    }
}

/// When something began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Began(Instant);

impl Began {
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    /// At this moment, or now.
    pub(crate) fn at(moment: Option<Instant>) -> Self {
        Self(moment.unwrap_or_else(Instant::now))
    }
}

/// How a publish ended, as its label says it.
const OUTCOMES: [&str; 6] = ["confirmed", "unroutable", "refused", "deadline", "closed", "invalid"];

/// What a connection to a broker counts.
#[derive(Debug)]
pub(crate) struct ConnectionCounts {
    pub(crate) name: Arc<str>,
    /// Connections that are open: to each virtual host, one that consumes and one that publishes.
    pub(crate) active: Gauge,
    /// Connections that were made again.
    pub(crate) reconnects: Counter,
    /// How long publishes took to their confirm, in milliseconds, by how they ended.
    pub(crate) published: [(&'static str, Histogram); 6],
}

/// Where a connection counts. A clone is the same meter.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionMeter(Arc<ConnectionCounts>);

impl ConnectionMeter {
    /// A connection is open, until what is given back is dropped; again, if it was there before.
    pub(crate) fn connected(&self, again: bool) -> Connected {
        self.0.active.add(1);
        self.0.reconnects.add(again.into());
        Connected(self.clone())
    }

    /// A publish has ended.
    pub(crate) fn published(&self, began: Began, result: &Result<(), PublishError>) {
        let place = match result.as_ref().map_err(PublishError::kind) {
            Ok(()) => 0,
            Err(PublishErrorKind::Unroutable) => 1,
            Err(PublishErrorKind::Refused) => 2,
            Err(PublishErrorKind::Deadline) => 3,
            Err(PublishErrorKind::Closed) => 4,
            Err(PublishErrorKind::Invalid) => 5,
        };
        self.0.published[place].1.observe(milliseconds(began.0.elapsed()), 1);
    }
}

/// A connection that is open and counted.
#[derive(Debug)]
pub(crate) struct Connected(ConnectionMeter);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.0.active.add(-1);
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
