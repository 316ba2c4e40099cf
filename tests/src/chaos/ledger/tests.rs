//! The books on runs that never were: logs written by hand, and a wire that is made up.

use super::Ledger;
use crate::relay::{Said, Watch};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

/// A ledger, its two logs, and the relay of its worker.
struct Made {
    folder: PathBuf,
    ledger: Ledger,
    relay: Box<dyn Watch>,
    worker: File,
}

impl Made {
    /// With these ids attempted and confirmed, and the queue consumed.
    fn with(ids: std::ops::RangeInclusive<u64>) -> Self {
        let folder = std::env::temp_dir().join(crate::unique("asyncworker-ledger"));
        std::fs::create_dir_all(&folder).unwrap();
        let log = |name: &str| folder.join(name);
        let ledger = Ledger::new("q", 3, &log("worker"), &log("publisher"));
        let append = |name: &str| File::options().append(true).open(log(name)).unwrap();
        for id in ids {
            writeln!(append("publisher"), "A {id} 1\nC {id} 1").unwrap();
        }
        let made = Self { relay: Box::new(ledger.of_worker(0)), worker: append("worker"), folder, ledger };
        made.consume(0);
        made
    }

    fn consume(&self, connection: usize) {
        self.relay.said(connection, 1, Said::Consume { queue: "q".to_owned() });
    }

    fn deliver(&self, connection: usize, tag: u64, id: u64) {
        self.relay.said(connection, 1, Said::Delivered { tag, start: Some(id.to_be_bytes()) });
    }

    fn ack(&self, tag: u64, multiple: bool) {
        self.relay.said(0, 1, Said::Settled { tag, multiple, requeue: false });
    }

    fn log(&mut self, line: &str) {
        writeln!(self.worker, "{line}").unwrap();
    }

    fn run(&mut self, id: u64, run: u64, redelivered: u8) {
        self.log(&format!("S {id} {run} {redelivered} 0"));
        self.log(&format!("E {id} {run} a 0"));
    }

    fn early(&self) -> u64 {
        self.ledger.read().counts().early.count
    }

    fn late(&self) -> u64 {
        self.ledger.read().counts().late.count
    }

    fn lost(&self) -> u64 {
        self.ledger.read().missing().0.count
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn an_ack_behind_the_end_of_its_handler_is_in_order() {
    let mut made = Made::with(1..=2);
    made.deliver(0, 1, 1);
    made.deliver(0, 2, 2);
    made.run(1, 1, 0);
    made.run(2, 2, 0);
    made.ack(2, true);
    assert_eq!((made.early(), made.lost(), made.ledger.read().counts().settled), (0, 0, 2));
}

#[test]
fn an_ack_before_the_end_of_its_handler_is_early_also_among_others() {
    let mut made = Made::with(1..=2);
    made.deliver(0, 1, 1);
    made.deliver(0, 2, 2);
    made.log("S 1 1 0 0");
    made.run(2, 2, 0);
    made.ack(2, true);
    made.log("E 1 1 a 0");
    assert_eq!(made.early(), 1);
}

#[test]
fn the_end_of_an_earlier_run_does_not_excuse_an_early_ack() {
    let mut made = Made::with(1..=1);
    made.deliver(0, 1, 1);
    made.log("S 1 1 0 0");
    made.relay.ended(0);
    made.consume(0);
    made.deliver(0, 1, 1);
    made.log("E 1 1 a 0");
    made.ack(1, false);
    assert_eq!(made.early(), 1);
}

#[test]
fn what_goes_back_to_its_queue_may_go_unhandled() {
    let made = Made::with(1..=1);
    made.deliver(0, 1, 1);
    made.relay.said(0, 1, Said::Settled { tag: 1, multiple: true, requeue: true });
    assert_eq!(made.early(), 0);
}

#[test]
fn a_run_that_a_fault_overlapped_may_be_repeated_and_is_counted_for_it() {
    let mut made = Made::with(1..=1);
    made.log("S 1 1 0 0");
    let fault = made.ledger.read().onset();
    made.log("E 1 1 a 0");
    made.consume(1);
    made.deliver(1, 1, 1);
    made.run(1, 2, 1);
    made.ledger.read().over(fault, Some(1));
    let strike = made.ledger.read().strike(fault).clone();
    assert_eq!((made.late(), strike.duplicates, strike.running), (0, 1, 1));
}

#[test]
fn a_run_that_no_fault_overlapped_may_not() {
    let mut made = Made::with(1..=3);
    // Ended before the fault.
    made.run(1, 1, 0);
    let fault = made.ledger.read().onset();
    made.run(1, 2, 1);
    assert_eq!(made.late(), 1);
    // Begun on the channel that came after it.
    made.consume(1);
    made.deliver(1, 1, 2);
    made.run(2, 3, 0);
    made.ledger.read().over(fault, Some(1));
    made.run(2, 4, 1);
    assert_eq!(made.late(), 2);
    // Repeated as if it were new.
    let _ = made.ledger.read().onset();
    made.log("S 3 5 0 0");
    made.run(3, 6, 0);
    assert_eq!((made.late(), made.ledger.read().counts().untold.count), (2, 1));
}

#[test]
fn what_the_broker_gives_again_though_it_was_settled_is_told_apart() {
    let mut made = Made::with(1..=1);
    made.deliver(0, 1, 1);
    made.run(1, 1, 0);
    made.ack(1, false);
    made.deliver(0, 2, 1);
    made.run(1, 2, 1);
    assert_eq!((made.late(), made.ledger.read().counts().given_again.count), (0, 1));
    // Not settled, it is left; settled, it has come back.
    assert!(made.ledger.read().found(1, false));
    made.ack(2, false);
    assert!(!made.ledger.read().found(1, false));
    assert_eq!(made.ledger.read().counts().given_again.count, 2);
}

#[test]
fn a_message_that_a_handler_put_back_is_lost_unless_it_is_found_or_handled() {
    let mut made = Made::with(1..=3);
    for id in 1..=3 {
        made.log(&format!("S {id} {id} 0 0"));
        made.log(&format!("E {id} {id} q 0"));
    }
    assert_eq!(made.lost(), 3);
    made.ledger.read().found(1, false);
    made.run(2, 7, 1);
    assert_eq!((made.lost(), made.late(), made.ledger.read().counts().wanted_again), (1, 0, 1));
}

#[test]
fn a_line_that_the_end_of_a_process_has_torn_is_no_run() {
    let mut made = Made::with(1..=1);
    for torn in ["S 1", "E 1 7"] {
        made.worker.write_all(torn.as_bytes()).unwrap();
        made.log("\nW 1 1");
    }
    made.run(1, 8, 0);
    let books = made.ledger.read();
    assert_eq!((books.counts().runs, books.counts().accepted), (1, 1));
}

#[test]
fn what_was_rejected_has_to_be_among_the_dead_letters() {
    let mut made = Made::with(1..=1);
    made.log("S 1 1 0 0");
    made.log("E 1 1 r 0");
    let missing = |made: &Made| made.ledger.read().missing().1.count;
    assert_eq!((made.lost(), missing(&made)), (0, 1));
    made.ledger.read().found(1, true);
    assert_eq!(missing(&made), 0);
}

#[test]
fn a_message_that_nobody_attempted_and_one_in_part_are_told() {
    let mut made = Made::with(1..=1);
    made.run(2, 1, 0);
    made.log("X 1");
    let books = made.ledger.read();
    assert_eq!((books.counts().unexpected.count, books.counts().partial.count), (1, 1));
}

#[test]
fn more_in_flight_than_the_prefetch_is_told() {
    let made = Made::with(1..=4);
    for id in 1..=4 {
        made.deliver(0, id, id);
    }
    assert_eq!(made.ledger.read().counts().over_prefetch.count, 1);
}
