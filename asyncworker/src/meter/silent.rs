//! The same meters where nobody counts.

#![allow(clippy::unused_self, reason = "they have nothing to look at")]

use crate::message::Entry;
use crate::publish::PublishError;
use crate::route::{Action, Protocol};
use crate::schedule;
use crate::worker::Progress;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Meters {}

impl Meters {
    pub(crate) fn route(
        &self,
        _name: &Arc<str>,
        _protocol: Protocol,
        _queues: &[Arc<str>],
        _progress: &Arc<Progress>,
    ) -> RouteMeter {
        RouteMeter {}
    }

    pub(crate) fn connection(&self, _name: Option<&str>) -> ConnectionMeter {
        ConnectionMeter {}
    }

    pub(crate) fn shows(&self, _meter: &ConnectionMeter) {}

    pub(crate) fn schedule(&self, _name: &Arc<str>, _tally: &Arc<schedule::Tally>) {}
}

#[derive(Debug, Clone)]
pub(crate) struct RouteMeter {}

impl RouteMeter {
    pub(crate) fn counts(&self) -> LoopCounts {
        LoopCounts {}
    }

    pub(crate) fn tell(&self, _counts: &mut LoopCounts) {}

    pub(crate) fn handled_since(&self, _began: Began) {}

    pub(crate) fn failed(&self) {}

    pub(crate) fn settled(&self, _lane: usize, _frames: usize, _tally: &mut Tally) {}
}

#[derive(Debug)]
pub(crate) struct LoopCounts {}

impl LoopCounts {
    pub(crate) fn waited(&mut self, _now: Instant, _came: impl Iterator<Item = (Instant, usize)>) {}

    pub(crate) fn starts(&mut self, _messages: usize, _most: usize) {}

    pub(crate) fn handled(&mut self, _time: Duration) {}
}

#[derive(Debug, Default)]
pub(crate) struct Tally {}

impl Tally {
    pub(crate) fn concluded(&mut self, _entry: &Entry, _action: Action) {}

    pub(crate) fn unread(&mut self) {}
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Began {}

impl Began {
    pub(crate) fn now() -> Self {
        Self {}
    }

    pub(crate) fn at(_moment: Option<Instant>) -> Self {
        Self {}
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ConnectionMeter {}

impl ConnectionMeter {
    pub(crate) fn connected(&self, _again: bool) -> Connected {
        Connected {}
    }

    pub(crate) fn published(&self, _began: Began, _result: &Result<(), PublishError>) {}
}

#[derive(Debug)]
pub(crate) struct Connected {}
