//! The broker: virtual hosts, queues and channels behind one lock, and the ways of a message into a queue.

use super::channel::Channel;
use super::dead_letter::Reason;
use super::exchange::Exchange;
use super::message::{Content, Stored};
use super::queue::{Overflow, Queue, QueueId};
use crate::message::{Headers, Properties};
use crate::publish::{Place, Publish, PublishError, PublishErrorKind};
use crate::topology;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What the handles, backends, consumers and settlers of a `Memory` share.
#[derive(Default)]
pub(super) struct Broker {
    state: Mutex<State>,
    /// Told when something that an inspection may wait for has happened.
    pub(super) changed: Notify,
}

impl Broker {
    /// Does a piece of work with the broker's state, and what follows from it: what has expired goes
    /// first, what the work made die is dead-lettered after it.
    pub(super) fn with<R>(self: &Arc<Self>, work: impl FnOnce(&mut State) -> R) -> R {
        let (result, changed, timer) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.expire();
            let result = work(&mut state);
            state.bury();
            (result, std::mem::take(&mut state.changed), state.timer_to_set())
        };
        if changed {
            self.changed.notify_waiters();
        }
        if let Some((at, runtime)) = timer {
            self.expire_at(at, &runtime);
        }
        result
    }

    /// Lets expire what does by then, without holding the broker in memory for it.
    fn expire_at(self: &Arc<Self>, at: Instant, runtime: &Handle) {
        let broker = Arc::downgrade(self);
        runtime.spawn(async move {
            tokio::time::sleep_until(at).await;
            if let Some(broker) = broker.upgrade() {
                // A plain function: a closure here would be a type of its own for each caller of `with`.
                broker.with(nothing);
            }
        });
    }
}

fn nothing(_: &mut State) {}

#[derive(Default)]
pub(super) struct State {
    pub(super) vhosts: HashMap<String, Vhost>,
    pub(super) queues: Vec<Queue>,
    /// Open channels by their epoch.
    pub(super) channels: HashMap<u64, Channel>,
    /// Frames that settled something, or tried to.
    pub(super) frames: u64,
    /// Why channels were closed over a mistake of the client.
    pub(super) channel_errors: Vec<String>,
    /// What has left its queue without being accepted, and is to be dead-lettered.
    pub(super) dying: VecDeque<(QueueId, Stored, Reason)>,
    /// When queues have a message that expires then.
    pub(super) expiries: BTreeSet<(Instant, QueueId)>,
    /// Whether those who wait for something are to be told.
    pub(super) changed: bool,
    /// Kept from one settlement to the next, to save its allocation.
    pub(super) claimed: Vec<Stored>,
    timer: Option<Instant>,
    message_ids: u64,
    default_exchange: Arc<str>,
}

pub(super) struct Vhost {
    pub(super) name: Arc<str>,
    pub(super) queues: HashMap<String, QueueId>,
    pub(super) exchanges: HashMap<String, Exchange>,
}

impl Vhost {
    fn new(name: &str) -> Self {
        let predeclared = [
            ("direct", "direct"),
            ("fanout", "fanout"),
            ("topic", "topic"),
            ("headers", "headers"),
            ("match", "headers"),
        ];
        let exchanges = predeclared.into_iter().filter_map(|(name, kind)| {
            let name = format!("amq.{name}");
            Exchange::new(topology::Exchange::new(name.clone(), kind)).map(|exchange| (name, exchange))
        });
        Self { name: name.into(), queues: HashMap::new(), exchanges: exchanges.collect() }
    }
}

impl State {
    /// The virtual host of this name; it exists from its first use.
    pub(super) fn vhost(&mut self, name: &str) -> &mut Vhost {
        self.vhosts.entry(name.to_owned()).or_insert_with(|| Vhost::new(name))
    }

    /// A queue that exists.
    pub(super) fn find(&self, vhost: &str, queue: &str) -> Option<QueueId> {
        self.find_any(vhost, queue).filter(|id| self.queues[*id].exists)
    }

    /// A queue that exists or did.
    pub(super) fn find_any(&self, vhost: &str, queue: &str) -> Option<QueueId> {
        self.vhosts.get(vhost)?.queues.get(queue).copied()
    }

    /// The queue of this name, which comes into being where it does not exist.
    pub(super) fn queue(&mut self, vhost: &str, queue: &str) -> QueueId {
        if let Some(id) = self.find_any(vhost, queue) {
            self.queues[id].exists = true;
            return id;
        }
        let id = self.queues.len();
        let vhost = self.vhost(vhost);
        vhost.queues.insert(queue.to_owned(), id);
        let queue = Queue::new(&vhost.name, queue);
        self.queues.push(queue);
        id
    }

    /// Publishes through an exchange.
    pub(super) fn publish(&mut self, vhost: &str, publish: Publish) -> Result<(), PublishError> {
        let Publish { exchange, routing_key, body, mut properties, mandatory, .. } = publish;
        let place = Place { exchange, routing_key };
        let refused = |why: String| {
            PublishError::new(PublishErrorKind::Refused, format!("the broker refused the message {place}: {why}"))
        };
        if let Some(expiration) = &properties.expiration
            && expiration.parse::<u64>().is_err()
        {
            return Err(refused(format!("PRECONDITION_FAILED - invalid expiration '{expiration}': no_integer")));
        }
        if !self.vhosts.contains_key(vhost) {
            self.vhost(vhost);
        }
        let Some(queues) = self.route(vhost, &place.exchange, &place.routing_key, &properties.headers) else {
            return Err(refused(format!("NOT_FOUND - no exchange '{}' in vhost '{vhost}'", place.exchange)));
        };
        let [first, others @ ..] = &*queues else {
            return if mandatory { Err(PublishError::unroutable(&place, "312 NO_ROUTE")) } else { Ok(()) };
        };
        if mandatory && properties.message_id.is_none() {
            self.message_ids += 1;
            properties.message_id = Some(format!("memory-{}", self.message_ids));
        }
        let content = if place.exchange.is_empty() {
            self.direct(*first, properties, body)
        } else {
            Content {
                exchange: place.exchange.as_str().into(),
                routing_key: place.routing_key.as_str().into(),
                properties: Content::keep(properties),
                body,
            }
        };
        let mut taken = true;
        for queue in others {
            taken &= self.put(*queue, content.clone());
        }
        taken &= self.put(*first, content);
        if taken { Ok(()) } else { Err(refused("a queue is full (basic.nack)".into())) }
    }

    /// What reaches a queue by way of the default exchange.
    pub(super) fn direct(&self, queue: QueueId, properties: Properties, body: bytes::Bytes) -> Content {
        Content {
            exchange: Arc::clone(&self.default_exchange),
            routing_key: Arc::clone(&self.queues[queue].name),
            properties: Content::keep(properties),
            body,
        }
    }

    /// The queues a message goes to; None where there is no such exchange.
    pub(super) fn route(
        &self,
        vhost: &str,
        exchange: &str,
        routing_key: &str,
        headers: &Headers,
    ) -> Option<Vec<QueueId>> {
        if exchange.is_empty() {
            return Some(self.find(vhost, routing_key).into_iter().collect());
        }
        let exchanges = &self.vhosts.get(vhost)?.exchanges;
        let mut queues = Vec::new();
        let mut seen = vec![exchange];
        let mut current = exchanges.get(exchange)?;
        loop {
            current.route(routing_key, headers, &mut queues);
            match current.alternate() {
                Some(next) if queues.is_empty() && !seen.contains(&next) => {
                    seen.push(next);
                    match exchanges.get(next) {
                        Some(exchange) => current = exchange,
                        None => return Some(queues),
                    }
                }
                _ => return Some(queues),
            }
        }
    }

    /// Puts a message into a queue. False when the queue is full and refuses it.
    pub(super) fn put(&mut self, id: QueueId, content: Content) -> bool {
        let queue = &self.queues[id];
        let (longest, overflow) = (queue.policy.max_length.unwrap_or(usize::MAX), queue.policy.overflow);
        if queue.ready() >= longest && overflow != Overflow::DropHead {
            // What a consumer can take at once does not fill the queue.
            self.dispatch(id, None);
            if self.queues[id].ready() >= longest {
                if overflow == Overflow::RejectPublishDeadLetter {
                    let stored = Stored { place: 0, content, expires: None, returns: 0, redelivered: false };
                    self.dying.push_back((id, stored, Reason::MaxLength));
                }
                return false;
            }
        }
        let expires = self.expiry(id, &content);
        self.queues[id].push(content, expires);
        if self.queues[id].ready() > longest {
            self.dispatch(id, None);
            let queue = &mut self.queues[id];
            while queue.ready() > longest
                && let Some(stored) = queue.pop()
            {
                self.dying.push_back((id, stored, Reason::MaxLength));
            }
        }
        self.wake(id);
        true
    }

    /// When a message that goes into this queue now expires: by its own or the queue's time to live,
    /// whichever is shorter.
    fn expiry(&mut self, id: QueueId, content: &Content) -> Option<Instant> {
        let own = content.properties.as_ref().and_then(|properties| properties.expiration.as_ref()?.parse().ok());
        let ttl = [own.map(Duration::from_millis), self.queues[id].policy.ttl].into_iter().flatten().min()?;
        // A time beyond what the clock can count never comes.
        let expires = Instant::now().checked_add(ttl)?;
        self.expiries.insert((expires, id));
        Some(expires)
    }

    /// Puts a message back to its place.
    pub(super) fn give_back(&mut self, id: QueueId, stored: Stored) {
        if let Some(expires) = stored.expires {
            self.expiries.insert((expires, id));
        }
        self.queues[id].give_back(stored);
    }

    /// Takes expired messages out of their queues: from the head only, as RabbitMQ does.
    fn expire(&mut self) {
        if self.expiries.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some((at, id)) = self.expiries.first().copied()
            && at <= now
        {
            self.expiries.pop_first();
            let queue = &mut self.queues[id];
            while queue.head().and_then(|head| head.expires).is_some_and(|expires| expires <= now)
                && let Some(stored) = queue.pop()
            {
                self.dying.push_back((id, stored, Reason::Expired));
            }
        }
        self.bury();
    }

    /// Dead-letters what is dying. A message that dies of it in turn joins the end.
    fn bury(&mut self) {
        while let Some((id, stored, reason)) = self.dying.pop_front() {
            self.changed = true;
            self.dead_letter(id, stored, reason);
        }
    }

    /// When to look for expired messages next, unless a timer is set for it; and the runtime for that.
    fn timer_to_set(&mut self) -> Option<(Instant, Handle)> {
        let (next, _) = *self.expiries.first()?;
        if self.timer.is_some_and(|timer| timer <= next && timer > Instant::now()) {
            return None;
        }
        // Outside of a runtime nobody could wait; whoever comes next from inside sets the timer.
        let runtime = Handle::try_current().ok()?;
        self.timer = Some(next);
        Some((next, runtime))
    }
}
