//! What the engine and a consumer say to each other: the one tells what happens, the other settles.

use super::Frame;
use crate::message::{Delivery, Origin};
use std::sync::Arc;
use tokio::time::Instant;

/// What a consumer tells the engine.
pub(crate) enum Signal {
    /// A channel is open and consumes. Deliveries of its epoch follow.
    Opened { lane: usize, epoch: u64, settler: Arc<dyn Settler> },
    /// Deliveries, as many as were ready, and what they have in common; never more unsettled ones than the prefetch.
    /// They came then: the engine may be busy for a while before it takes them.
    Deliveries { at: Instant, origin: Arc<Origin>, deliveries: Vec<Delivery> },
    /// The channel is gone, and with it every tag of its epoch: those messages come again.
    Lost { lane: usize, epoch: u64 },
    /// Whether it consumes has changed within its epoch: what it has delivered is still its own to settle.
    #[cfg(feature = "sse")]
    Consumes { lane: usize, consumes: bool },
    /// As it was told, the consumer consumes no more; no delivery follows.
    Cancelled { lane: usize },
}

impl Signal {
    /// Deliveries that come now.
    pub(crate) fn deliveries(origin: Arc<Origin>, deliveries: Vec<Delivery>) -> Self {
        Self::Deliveries { at: Instant::now(), origin, deliveries }
    }
}

/// Sends the frames that settle deliveries of one epoch. It only puts them on their way, in order, and
/// never waits; when the channel is gone they are dropped, and [`Signal::Lost`] tells why.
pub(crate) trait Settler: Send + Sync {
    fn settle(&self, frames: &[Frame]);
}
