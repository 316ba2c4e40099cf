//! The books kept from what the relays see.

use super::{Books, Channel, SETTLED};
use crate::relay::{Said, Start, Watch};
use std::sync::{Arc, Mutex};

/// Of a relay of the worker's, and what its connections are counted from.
pub(super) struct OfWorker(pub(super) Arc<Mutex<Books>>, pub(super) usize);

impl Watch for OfWorker {
    fn said(&self, connection: usize, channel: u16, said: Said) {
        let mut books = self.0.lock().unwrap();
        let at = (self.1 + connection, channel);
        match said {
            Said::Consume { queue } if queue == books.queue => {
                books.lose(at);
                books.channels.insert(at, Channel::default());
                books.epochs += 1;
                books.first_delivery = None;
            }
            Said::Delivered { tag, start } => books.delivered(at, tag, start),
            Said::Settled { tag, multiple, requeue } => books.settled(at, tag, multiple, requeue),
            Said::ChannelEnds => books.lose(at),
            Said::Consume { .. } | Said::Published { .. } => {}
        }
    }

    fn ended(&self, connection: usize) {
        let mut books = self.0.lock().unwrap();
        let connection = self.1 + connection;
        let of: Vec<_> = books.channels.keys().filter(|(of, _)| *of == connection).copied().collect();
        of.into_iter().for_each(|at| books.lose(at));
    }
}

pub(super) struct OfPublisher(pub(super) Arc<Mutex<Books>>);

impl Watch for OfPublisher {
    fn said(&self, _: usize, _: u16, said: Said) {
        if let Said::Published { start: Some(start) } = said {
            let id = u64::from_be_bytes(start);
            let mut books = self.0.lock().unwrap();
            let sent = {
                let Some(entry) = books.entry(id) else { return };
                entry.sent = entry.sent.saturating_add(1);
                entry.sent
            };
            books.counts.sent_twice += u64::from(sent == 2);
        }
    }

    fn ended(&self, _: usize) {}
}

impl Books {
    fn delivered(&mut self, at: (usize, u16), tag: u64, start: Option<Start>) {
        if !self.channels.contains_key(&at) {
            return;
        }
        self.read_handled();
        if self.first_delivery.is_none() {
            self.first_delivery = Some((self.line, self.starts));
        }
        self.delivered += 1;
        let id = start.map_or(u64::MAX, u64::from_be_bytes);
        let line = self.line;
        let Some(channel) = self.channels.get_mut(&at) else { return };
        channel.delivered += 1;
        channel.unsettled.push_back((tag, id));
        let unsettled = channel.unsettled.len();
        if unsettled > self.prefetch {
            self.counts.over_prefetch.add(format!("{unsettled} unsettled at once"));
        }
        let outstanding = self.outstanding.entry(id).or_default();
        if outstanding.deliveries == 0 {
            outstanding.since = line + 1;
        }
        outstanding.deliveries += 1;
    }

    fn settled(&mut self, at: (usize, u16), tag: u64, multiple: bool, requeue: bool) {
        if !self.channels.contains_key(&at) {
            return;
        }
        self.read_handled();
        let Some(channel) = self.channels.get_mut(&at) else { return };
        let ids: Vec<u64> = if multiple {
            let covered = channel.unsettled.partition_point(|(unsettled, _)| *unsettled <= tag);
            channel.unsettled.drain(..covered).map(|(_, id)| id).collect()
        } else {
            let found = channel.unsettled.binary_search_by_key(&tag, |(unsettled, _)| *unsettled).ok();
            found.and_then(|at| channel.unsettled.remove(at)).map(|(_, id)| id).into_iter().collect()
        };
        for id in ids {
            self.counts.settled += 1;
            let Some(outstanding) = self.outstanding.get_mut(&id) else { continue };
            let ended = outstanding.ended > 0;
            outstanding.deliveries -= 1;
            outstanding.ended = outstanding.ended.saturating_sub(1);
            if outstanding.deliveries == 0 {
                self.outstanding.remove(&id);
            }
            if !requeue && let Some(entry) = self.entry(id) {
                entry.flags |= SETTLED;
            }
            // What goes back to its queue may go unhandled.
            if !ended && !requeue && self.is_id(id) {
                let line = self.line;
                self.counts.early.add(format!("{id} at line {line}"));
            }
        }
    }

    fn is_id(&self, id: u64) -> bool {
        usize::try_from(id).is_ok_and(|id| id > 0 && id < self.entries.len())
    }

    fn lose(&mut self, at: (usize, u16)) {
        let Some(channel) = self.channels.remove(&at) else { return };
        for (_, id) in channel.unsettled {
            if let Some(outstanding) = self.outstanding.get_mut(&id) {
                outstanding.deliveries -= 1;
                outstanding.ended = outstanding.ended.min(outstanding.deliveries);
                if outstanding.deliveries == 0 {
                    self.outstanding.remove(&id);
                }
            }
        }
        if let Some(strike) = self.strikes.last_mut().filter(|strike| strike.over.is_none()) {
            strike.lost_channels += 1;
        }
    }
}
