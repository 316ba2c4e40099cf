//! Dead-lettering: where a message goes that a queue gives up, and what it says of its death.

use super::broker::State;
use super::message::{Content, Stored};
use super::queue::{Queue, QueueId};
use crate::message::{HeaderValue, Headers, Properties};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Why a message died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Rejected,
    Expired,
    MaxLength,
    DeliveryLimit,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLength => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

impl State {
    /// Publishes a message to its queue's dead-letter exchange; without one it is gone, and so it is
    /// where the exchange does not exist or leads nowhere.
    pub(super) fn dead_letter(&mut self, id: QueueId, stored: Stored, reason: Reason) {
        let queue = &self.queues[id];
        let Some(exchange) = &queue.policy.dead_letter_exchange else { return };
        let properties = dead(queue, &stored.content, reason);
        let Content { routing_key, body, .. } = stored.content;
        let routing_key = queue.policy.dead_letter_routing_key.clone().unwrap_or(routing_key);
        let Some(queues) = self.route(&queue.vhost, exchange, &routing_key, &properties.headers) else { return };
        let cycle = |id: &QueueId| reason != Reason::Rejected && is_cycle(&properties.headers, &self.queues[*id].name);
        let queues: Vec<_> = queues.into_iter().filter(|id| !cycle(id)).collect();
        let content =
            Content { exchange: exchange.as_str().into(), routing_key, properties: Some(Arc::new(properties)), body };
        for id in queues {
            self.put(id, content.clone());
        }
    }
}

/// The properties with this death noted: first in `x-death`, its count raised where it died so before.
fn dead(queue: &Queue, content: &Content, reason: Reason) -> Properties {
    let mut properties = content.properties.as_deref().cloned().unwrap_or_default();
    let mut deaths = match properties.headers.remove("x-death") {
        Some(HeaderValue::List(deaths)) => deaths,
        _ => Vec::new(),
    };
    let earlier = deaths
        .iter()
        .position(|death| field(death, "queue") == Some(&*queue.name) && field(death, "reason") == Some(reason.name()));
    // The time to live must not kill it again in the next queue.
    let expiration = properties.expiration.take();
    let mut death = match earlier.map(|place| deaths.remove(place)) {
        Some(HeaderValue::Table(death)) => death,
        _ => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let mut death = Headers::from([
                ("reason".into(), reason.name().into()),
                ("queue".into(), (&*queue.name).into()),
                ("time".into(), HeaderValue::Timestamp(now)),
                ("exchange".into(), (&*content.exchange).into()),
                ("routing-keys".into(), HeaderValue::List(vec![(&*content.routing_key).into()])),
            ]);
            if let Some(expiration) = expiration {
                death.insert("original-expiration".into(), expiration.into());
            }
            death
        }
    };
    let count = death.get("count").and_then(HeaderValue::as_i64).unwrap_or(0);
    death.insert("count".into(), count.saturating_add(1).into());
    deaths.insert(0, death.into());
    let headers = &mut properties.headers;
    if !headers.contains_key("x-first-death-reason") {
        headers.insert("x-first-death-reason".into(), reason.name().into());
        headers.insert("x-first-death-queue".into(), (&*queue.name).into());
        headers.insert("x-first-death-exchange".into(), (&*content.exchange).into());
    }
    headers.insert("x-death".into(), deaths.into());
    properties
}

/// Whether the message was in this queue before and has come back with no rejection on the way: such a
/// message would go round for ever.
fn is_cycle(headers: &Headers, queue: &str) -> bool {
    let Some(HeaderValue::List(deaths)) = headers.get("x-death") else { return false };
    match deaths.iter().position(|death| field(death, "queue") == Some(queue)) {
        None => false,
        Some(place) => deaths[..=place].iter().all(|death| field(death, "reason") != Some("rejected")),
    }
}

fn field<'death>(death: &'death HeaderValue, name: &str) -> Option<&'death str> {
    match death {
        HeaderValue::Table(death) => death.get(name).and_then(HeaderValue::as_str),
        _ => None,
    }
}
