//! Which deliveries are outstanding, by RabbitMQ's rules for tags.

use std::collections::VecDeque;

/// The deliveries of one channel that the client has not settled.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The tag of the front of `open`.
    first: u64,
    open: VecDeque<bool>,
    outstanding: u64,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self { first: 1, open: VecDeque::new(), outstanding: 0 }
    }

    /// The next tag.
    pub(super) fn next(&self) -> u64 {
        self.first + self.open.len() as u64
    }

    pub(super) fn outstanding(&self) -> u64 {
        self.outstanding
    }

    pub(super) fn deliver(&mut self, messages: u64) {
        self.open.extend((0..messages).map(|_| true));
        self.outstanding += messages;
    }

    /// Settles a tag, or all up to it. Gives how many; `None` where the tag is not outstanding, which closes a channel.
    pub(super) fn settle(&mut self, tag: u64, multiple: bool) -> Option<u64> {
        let place = usize::try_from(tag.checked_sub(self.first)?).ok()?;
        if !*self.open.get(place)? {
            return None;
        }
        let settled = if multiple {
            let settled = self.open.drain(..=place).filter(|open| *open).count() as u64;
            self.first = tag + 1;
            settled
        } else {
            *self.open.get_mut(place)? = false;
            1
        };
        while self.open.front() == Some(&false) {
            self.open.pop_front();
            self.first += 1;
        }
        self.outstanding -= settled;
        Some(settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multiple_ack_settles_what_is_open_up_to_its_tag() {
        let mut ledger = Ledger::new();
        ledger.deliver(5);
        assert_eq!(ledger.settle(2, false), Some(1));
        assert_eq!(ledger.settle(4, true), Some(3));
        assert_eq!((ledger.outstanding(), ledger.next()), (1, 6));
    }

    #[test]
    fn a_tag_is_settled_once() {
        let mut ledger = Ledger::new();
        ledger.deliver(3);
        assert_eq!(ledger.settle(1, false), Some(1));
        assert_eq!(ledger.settle(1, false), None);
        assert_eq!(ledger.settle(1, true), None);
        assert_eq!(ledger.settle(4, false), None);
        assert_eq!(ledger.settle(0, true), None);
    }
}
