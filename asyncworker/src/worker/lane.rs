//! A queue of a route, and the settle window of the channel it is consumed by.

use super::window::Window;
use super::{Frame, Settler};
use crate::meter::{RouteMeter, Tally};
use std::sync::Arc;

/// One queue of the route: the window of its channel, while it has one.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) open: Option<Open>,
    pub(super) cancelled: bool,
}

/// A channel that is there, of one epoch.
pub(super) struct Open {
    pub(super) lane: usize,
    pub(super) epoch: u64,
    settler: Arc<dyn Settler>,
    pub(super) window: Window,
    /// What the window has concluded and not settled yet.
    pub(super) tally: Tally,
}

impl Open {
    pub(super) fn new(lane: usize, epoch: u64, settler: Arc<dyn Settler>) -> Self {
        Self { lane, epoch, settler, window: Window::new(), tally: Tally::default() }
    }

    /// Gives how many messages, of those whose handler has ended, this settles.
    pub(super) fn settle(
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
