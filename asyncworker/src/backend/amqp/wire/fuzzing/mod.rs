//! The reader against a naive one that has all octets before it, and lapin's own parser as oracle.

mod model;
pub(super) mod oracle;
mod script;

pub use oracle::properties;

use super::Outlet;
use super::walk::Walker;
use crate::message::{Delivery, Origin, Origins};
use crate::worker::Signal;
use bytes::{BufMut, BytesMut};
use model::Model;
use script::Script;
use std::ops::Deref;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What may be reserved ahead for one body, whatever size it claims to have.
const AHEAD: usize = 1024 * 1024;

/// Body frames from here on are taken in parts, and what is left of them is read to its place.
const IN_PARTS: usize = 8;
const LEAST: usize = 4;

/// Reads the octets as what a broker sends, where reads end, and when channels are registered. After each
/// read the reader has done exactly what the model has.
pub fn reader(octets: &[u8]) {
    let script = Script::of(octets);
    let mut walker = Walker::new(script.frame_max).in_parts_from(IN_PARTS);
    let mut model = Model::new(&script.octets, script.frame_max);
    let mut inboxes = Vec::new();
    let (mut input, mut passed) = (BytesMut::new(), Vec::new());
    let mut at = 0;
    for (until, channel) in script.reads {
        let mut came = &script.octets[at..until];
        // As the reading task does it.
        while let Some(mut body) = walker.next(LEAST).filter(|_| !came.is_empty()) {
            let length = body.remaining_mut().min(came.len());
            let (now, then) = came.split_at(length);
            body.put_slice(now);
            came = then;
            walker.filled(length);
        }
        input.extend_from_slice(came);
        at = until;
        let missing = walker.walk(&mut input, &mut passed);
        walker.hand_over();
        model.read(until);
        assert!(passed == model.passed, "what passed differs");
        assert!([walker.begun(), input.to_vec()].concat() == model.rest(until), "what waits differs");
        assert!(model.may_miss(until).contains(&missing), "{missing} octets are not what it misses");
        assert!(walker.reserved() <= AHEAD * inboxes.len() + 2 * until, "{} octets", walker.reserved());
        passed.clear();
        model.passed.clear();
        if let Some(channel) = channel {
            let (inbox, deliveries) = mpsc::unbounded_channel();
            let epoch = inboxes.len() as u64;
            let origins = Origins::new(channel.into(), epoch, "queue".into());
            let outlet = Outlet::Deliveries { origins, max_body: usize::MAX, inbox };
            walker.register(channel, outlet);
            model.register(channel);
            inboxes.push(deliveries);
        }
        for (inbox, expected) in inboxes.iter_mut().zip(&mut model.taken) {
            let taken = taken(inbox);
            assert_eq!(taken.len(), expected.len());
            taken.iter().zip(expected.drain(..)).for_each(|(taken, expected)| expected.check(taken));
        }
    }
}

/// A delivery as it was handed over.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) origin: Arc<Origin>,
    delivery: Delivery,
}

impl Taken {
    pub(super) fn all_of(signal: Signal) -> Vec<Self> {
        let Signal::Deliveries { origin, deliveries, .. } = signal else { panic!("a reader gives deliveries only") };
        assert!(!deliveries.is_empty());
        deliveries.into_iter().map(|delivery| Self { origin: Arc::clone(&origin), delivery }).collect()
    }

    /// Its exchange and its routing key.
    pub(super) fn published(&self) -> (&str, &str) {
        let names = self.names(&self.origin);
        (&names.exchange, &names.routing_key)
    }
}

impl Deref for Taken {
    type Target = Delivery;

    fn deref(&self) -> &Delivery {
        &self.delivery
    }
}

/// All that was handed over.
pub(super) fn taken(inbox: &mut mpsc::UnboundedReceiver<Signal>) -> Vec<Taken> {
    std::iter::from_fn(|| inbox.try_recv().ok()).flat_map(Taken::all_of).collect()
}
