//! The books kept from the logs of publisher and worker.

use super::{ACCEPTED, ATTEMPTED, Books, CONFIRMED, Entry, REJECTED, SETTLED};
use std::time::Instant;

impl Books {
    pub(super) fn read_published(&mut self) {
        let length = self.publisher.length();
        let lines = self.publisher.read_to(length).expect("read the publisher's log");
        for line in lines.lines() {
            let mut words = line.split(' ');
            let what = words.next();
            let id = words.next().and_then(|id| id.parse().ok());
            let (Some(what), Some(id)) = (what, id) else { panic!("the publisher's log says {line:?}") };
            let Some(entry) = self.entry(id) else { panic!("the publisher's log says {line:?}") };
            let flags = entry.flags;
            match what {
                "A" => {
                    entry.flags |= ATTEMPTED;
                    self.counts.attempted += u64::from(flags & ATTEMPTED == 0);
                }
                "C" => {
                    entry.flags |= CONFIRMED;
                    self.counts.confirmed += u64::from(flags & CONFIRMED == 0);
                }
                "N" => self.counts.nacked += 1,
                "R" => self.counts.returned += 1,
                "U" => self.counts.unknown += 1,
                _ => panic!("the publisher's log says {line:?}"),
            }
        }
    }

    pub(super) fn read_handled(&mut self) {
        self.read_handled_to(self.worker.length());
    }

    fn read_handled_to(&mut self, length: u64) {
        let lines = self.worker.read_to(length).expect("read the worker's log");
        for line in lines.lines() {
            if let Some(torn) = self.torn.take()
                && !line.starts_with("W ")
            {
                panic!("the worker's log says {torn:?}");
            }
            if line.is_empty() {
                continue;
            }
            self.line += 1;
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["S", id, run, redelivered, _] => self.started(number(id), number(run), redelivered == "1"),
                ["E", id, run, outcome, _] => self.ended(number(id), number(run), outcome.as_bytes()[0]),
                ["P", name, what] => *self.probes.entry(format!("{name} {what}")).or_default() += 1,
                ["X", id] => self.counts.partial.add(format!("a body of {id} that is not whole")),
                // What an earlier life had under way has ended with it.
                ["W", _, _] => self.runs.clear(),
                // A process that ends at once may leave a part of what it wrote last. That handler had neither begun its
                // work nor ended.
                _ => self.torn = Some(line.to_owned()),
            }
        }
    }

    fn started(&mut self, id: u64, run: u64, redelivered: bool) {
        // The attempt was logged before the message was sent.
        self.starts += 1;
        self.counts.runs += 1;
        self.runs.insert(run, self.line);
        let line = self.line;
        let Some(entry) = self.entry(id) else {
            return self.counts.unexpected.add(format!("{id}, which cannot be an id"));
        };
        let before = *entry;
        entry.start = line;
        entry.end = 0;
        entry.run = run as u32;
        entry.flags &= !SETTLED;
        entry.runs = before.runs.saturating_add(1);
        if before.flags & ATTEMPTED == 0 {
            self.read_published();
            if self.entry(id).is_some_and(|entry| entry.flags & ATTEMPTED == 0) {
                self.counts.unexpected.add(format!("{id}, which was not attempted"));
            }
        }
        if before.runs == 0 {
            return;
        }
        if before.end != 0 && matches!(before.outcome, b'q' | b'f' | b'p') {
            self.counts.wanted_again += 1;
        } else if before.sent > 1 {
            self.counts.runs_of_sent_twice += 1;
        } else {
            self.came_again(id, before, redelivered);
        }
    }

    fn came_again(&mut self, id: u64, before: Entry, redelivered: bool) {
        let end = if before.end == 0 { self.line } else { before.end };
        let struck = self
            .strikes
            .iter_mut()
            .rev()
            .take_while(|strike| strike.over.is_none_or(|over| over >= before.start))
            .find(|strike| strike.onset <= end);
        match struck {
            Some(strike) => strike.duplicates += 1,
            None => {
                let (start, end, outcome) = (before.start, before.end, char::from(before.outcome.max(b' ')));
                let line = self.line;
                let what = format!(
                    "{id}: started at line {start}, ended at line {end} as {outcome}, and again at line {line}"
                );
                let settled = before.flags & SETTLED != 0;
                if settled { &mut self.counts.given_again } else { &mut self.counts.late }.add(what);
            }
        }
        if !redelivered {
            self.counts.untold.add(format!("{id} at line {}", self.line));
        }
    }

    fn ended(&mut self, id: u64, run: u64, outcome: u8) {
        let Some(start) = self.runs.remove(&run) else { return };
        let line = self.line;
        if let Some(outstanding) = self.outstanding.get_mut(&id).filter(|outstanding| outstanding.since <= start) {
            outstanding.ended = (outstanding.ended + 1).min(outstanding.deliveries);
        }
        let Some(entry) = self.entry(id) else { return };
        if entry.run == run as u32 {
            (entry.end, entry.outcome) = (line, outcome);
        }
        let flags = entry.flags;
        match outcome {
            b'a' => {
                entry.flags |= ACCEPTED;
                self.counts.accepted += u64::from(flags & ACCEPTED == 0);
                self.last_accepted = start;
                let now = Instant::now();
                if let Some(last) = self.last_handled.replace(now) {
                    self.longest_gap = self.longest_gap.max(now - last);
                }
            }
            b'r' => {
                entry.flags |= REJECTED;
                self.counts.rejected += u64::from(flags & REJECTED == 0);
            }
            _ => {}
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("a log says {text:?} for a number"))
}
