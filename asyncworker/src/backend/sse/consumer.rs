//! A consumer of one path, kept: one stream after the other.
//!
//! Its epoch never ends while it consumes: an event that was read is here, whatever becomes of the stream it came by. A
//! lost stream is resumed after the last event of the settled prefix, and what the server then sends again is known by
//! the ledger. So a cut loses nothing and repeats nothing, also where a server knows nothing of resuming.

use super::client::{Client, Refusal, describe};
use super::ids::EventIds;
use super::ledger::{Ledger, Repeats};
use super::parser::{Item, Parser};
use crate::backend::Subscription;
use crate::backend::report::Attempts;
use crate::error::{BoxError, Error, ErrorKind, one_line};
use crate::message::{Delivery, Origin};
use crate::worker::{Frame, Settler, Signal};
use reqwest::{Response, Url};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

/// The one epoch of a consumer.
const EPOCH: u64 = 1;

pub(super) struct Consumer {
    client: Client,
    url: Url,
    subscription: Subscription,
    /// Of all its deliveries.
    origin: Arc<Origin>,
}

/// The ledger, and word of each change.
struct Shared {
    ledger: Mutex<Ledger>,
    changed: watch::Sender<()>,
}

impl Shared {
    fn with<R>(&self, with: impl FnOnce(&mut Ledger) -> R) -> R {
        with(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn resume(&self) -> Arc<str> {
        self.with(|ledger| Arc::clone(ledger.resume()))
    }
}

impl Settler for Shared {
    fn settle(&self, frames: &[Frame]) {
        self.with(|ledger| ledger.settle(frames, Instant::now()));
        self.changed.send_replace(());
    }
}

/// A stream that is read.
struct Stream {
    response: Response,
    parser: Parser,
    repeats: Repeats,
    /// Events that came by it, repeats included.
    events: u64,
    /// What the server asked for as the reconnection time.
    retry: Option<Duration>,
}

/// Why a stream is over.
enum Cut {
    /// The server ended it.
    Ended,
    /// The network did, or nothing came for too long.
    Lost(BoxError),
}

impl Consumer {
    pub(super) fn new(client: Client, url: Url, subscription: Subscription) -> Self {
        let Subscription { lane, queue, .. } = &subscription;
        let origin = Origin { lane: *lane, epoch: EPOCH, queue: Arc::clone(queue), ..Origin::default() };
        Self { client, url, subscription, origin: Arc::new(origin) }
    }

    /// Consumes until it is told to cancel, and settles until it is told to close.
    pub(super) async fn run(self) {
        let Subscription { lane, cancel, close, .. } = self.subscription.clone();
        let first = tokio::select! {
            id = self.first_id() => Some(id),
            () = cancel.cancelled() => None,
        };
        let Some(id) = first else {
            return self.subscription.tell(Signal::Cancelled { lane });
        };
        let ledger = Ledger::new(self.subscription.prefetch.into(), Arc::clone(&id));
        let shared = Arc::new(Shared { ledger: Mutex::new(ledger), changed: watch::Sender::new(()) });
        // A task of its own, because a save that is dropped halfway might overtake the next one.
        let saver = self.client.config.ids.clone().map(|ids| {
            let saver = Saver { ids, shared: Arc::clone(&shared), saved: id, close: close.clone() };
            let route = Arc::clone(&self.subscription.route);
            AbortOnDropHandle::new(tokio::spawn(saver.run(route, self.url.to_string()).in_current_span()))
        });
        tokio::select! {
            _ = async { tokio::join!(self.feed(&shared), self.deliver_again(&shared)) } => {}
            () = cancel.cancelled() => {}
        }
        self.subscription.tell(Signal::Cancelled { lane });
        close.cancelled().await;
        if let Some(saver) = saver {
            let _ = saver.await;
        }
    }

    /// What the first stream is resumed after. It is asked for until it is told: to begin without could lose events.
    async fn first_id(&self) -> Arc<str> {
        let config = &self.client.config;
        let mut attempts = Attempts::new(config.backoff);
        let kept = loop {
            let Some(ids) = &config.ids else { break None };
            match ids.load(&self.subscription.route, self.url.as_str()).await {
                Ok(kept) => break kept,
                Err(error) => {
                    tell(&mut attempts, &error.to_string(), "the path is not consumed: its last id is unknown")
                }
            }
            sleep(attempts.pause()).await;
        };
        kept.or_else(|| config.last_event_id.clone()).unwrap_or_default().into()
    }

    /// Reads one stream after the other, until the server wants no more.
    async fn feed(&self, shared: &Arc<Shared>) {
        let config = &self.client.config;
        let lane = self.subscription.lane;
        let mut attempts = Attempts::new(config.backoff);
        let mut opened = false;
        loop {
            let (resume, repeats) = shared.with(|ledger| (Arc::clone(ledger.resume()), ledger.repeats()));
            let mut asked = Duration::ZERO;
            let failed = match self.client.open(&self.url, &resume).await {
                Ok(response) => {
                    tracing::info!(failures = attempts.failures(), after = &*resume, "consuming");
                    let signal = match std::mem::replace(&mut opened, true) {
                        false => Signal::Opened { lane, epoch: EPOCH, settler: Arc::clone(shared) as _ },
                        true => Signal::Consumes { lane, consumes: true },
                    };
                    self.subscription.tell(signal);
                    let parser = Parser::new(self.largest(), resume);
                    let mut stream = Stream { response, parser, repeats, events: 0, retry: None };
                    let start = Instant::now();
                    let cut = self.read(&mut stream, shared).await;
                    self.subscription.tell(Signal::Consumes { lane, consumes: false });
                    attempts.worked_for(start.elapsed());
                    if let Some(retry) = stream.retry {
                        attempts.begin_at(retry);
                    }
                    if stream.events > 0 {
                        attempts.soon();
                    }
                    match cut {
                        // As servers do that answer once and end.
                        Cut::Ended if stream.events > 0 => {
                            tracing::debug!(events = stream.events, "the server ended the stream; asking again");
                            None
                        }
                        Cut::Ended => Some("the server ended the stream without an event".into()),
                        Cut::Lost(cause) => Some(cause),
                    }
                }
                Err(Refusal::ForNow(cause, after)) => {
                    asked = after.unwrap_or_default();
                    Some(cause)
                }
                Err(Refusal::NoContent) => {
                    tracing::info!(
                        "the server has nothing more to say (204 No Content); the path is not consumed any more"
                    );
                    return;
                }
                Err(Refusal::Final(cause)) => {
                    tracing::error!(
                        error = cause,
                        "the path is not consumed any more, because the server refuses it for good"
                    );
                    return self.tell_hook(cause.into(), attempts.failed("").0);
                }
            };
            if let Some(cause) = failed {
                tell(&mut attempts, &one_line(&*cause), "the path is not consumed; trying again");
                self.tell_hook(cause, attempts.failures());
            }
            // Not before the server wants it.
            sleep(asked + attempts.pause()).await;
        }
    }

    fn tell_hook(&self, cause: BoxError, failures: u64) {
        if let Some(hook) = &self.client.config.on_connection_failure {
            let what = format!("the events of `{}` are not consumed", self.subscription.queue);
            hook(&Error::new(ErrorKind::Connection, what).because(cause), failures);
        }
    }

    /// The largest event of the connection, or of the route where that is less.
    fn largest(&self) -> usize {
        self.client.config.largest_event.min(self.subscription.max_body)
    }

    /// Reads a stream to its end, no further than there is room in the ledger.
    async fn read(&self, stream: &mut Stream, shared: &Shared) -> Cut {
        loop {
            room(shared).await;
            let chunk = stream.response.chunk();
            let read = match self.client.config.idle_timeout {
                None => chunk.await,
                Some(limit) => match timeout(limit, chunk).await {
                    Ok(read) => read,
                    Err(_) => return Cut::Lost(format!("nothing came within {limit:?}").into()),
                },
            };
            let chunk = match read {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Cut::Ended,
                Err(error) => return Cut::Lost(describe(error)),
            };
            let mut rest = &chunk[..];
            while !self.take(stream, &mut rest, shared) {
                room(shared).await;
            }
        }
    }

    /// Hands on what can be read, in one go. Whether that was all of it: if not, the ledger is full.
    fn take(&self, stream: &mut Stream, rest: &mut &[u8], shared: &Shared) -> bool {
        let mut deliveries = Vec::new();
        let all = shared.with(|ledger| {
            while ledger.has_room() {
                match stream.parser.next(rest) {
                    None => return true,
                    Some(Item::Retry(time)) => stream.retry = Some(time),
                    // What was before the repeats is of the past.
                    Some(Item::Id(id)) if stream.repeats.is_over() => ledger.id(id),
                    Some(Item::Id(_)) => {}
                    Some(Item::Event(event)) => {
                        stream.events += 1;
                        if !stream.repeats.contain(&event) {
                            deliveries.push(ledger.take(event));
                        }
                    }
                }
            }
            rest.is_empty()
        });
        self.deliver(deliveries);
        all
    }

    fn deliver(&self, deliveries: Vec<Delivery>) {
        if !deliveries.is_empty() {
            self.subscription.tell(Signal::deliveries(Arc::clone(&self.origin), deliveries));
        }
    }

    /// Delivers what was requeued when its pause is over.
    async fn deliver_again(&self, shared: &Shared) {
        let mut changed = shared.changed.subscribe();
        loop {
            let (due, next) = shared.with(|ledger| (ledger.due(Instant::now()), ledger.next_due()));
            self.deliver(due);
            let pause = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = changed.changed() => {}
                () = pause => {}
            }
        }
    }
}

/// Waits until the ledger has room.
async fn room(shared: &Shared) {
    let mut changed = shared.changed.subscribe();
    while !shared.with(|ledger| ledger.has_room()) {
        let _ = changed.changed().await;
    }
}

/// Tells a cause when it is news.
fn tell(attempts: &mut Attempts, error: &str, what: &str) {
    let (failures, news) = attempts.failed(error);
    if news {
        tracing::warn!(error, failures, "{what}");
    } else {
        tracing::debug!(error, failures, "{what}");
    }
}

/// Keeps the id that a stream is to be resumed after.
struct Saver {
    ids: Arc<dyn EventIds>,
    shared: Arc<Shared>,
    saved: Arc<str>,
    close: CancellationToken,
}

impl Saver {
    async fn run(mut self, route: Arc<str>, url: String) {
        let mut changed = self.shared.changed.subscribe();
        let mut attempts = Attempts::new((Duration::from_secs(1), Duration::from_secs(30)));
        loop {
            let last = self.close.is_cancelled();
            let id = self.shared.resume();
            if id != self.saved {
                match self.ids.save(&route, &url, &id).await {
                    Ok(()) => {
                        attempts.worked_for(Duration::MAX);
                        self.saved = id;
                    }
                    Err(error) => {
                        tell(
                            &mut attempts,
                            &error.to_string(),
                            "the last id is not saved; after a restart its events come again",
                        );
                        tokio::select! {
                            () = sleep(attempts.pause()) => {}
                            () = self.close.cancelled() => {}
                        }
                    }
                }
                // What has changed meanwhile goes with the next.
                if !last {
                    continue;
                }
            }
            if last {
                return;
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = self.close.cancelled() => {}
            }
        }
    }
}
