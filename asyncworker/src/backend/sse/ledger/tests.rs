//! What is settled in which order, and what the stream is resumed after.

use super::{Ledger, MOST_OTHERS};
use crate::backend::sse::parser::Event;
use crate::message::Delivery;
use crate::worker::Frame;
use std::time::Duration;
use tokio::time::Instant;

fn event(id: &str, data: &'static str) -> Event {
    Event { name: "message".into(), id: id.into(), numbered: !id.is_empty(), data: data.into(), too_large: false }
}

/// A ledger that has taken events with these ids.
fn ledger(ids: &[&str]) -> Ledger {
    let mut ledger = Ledger::new(100, "".into());
    for id in ids {
        ledger.take(event(id, "x"));
    }
    ledger
}

fn ack(tag: u64) -> Frame {
    Frame::Ack { tag, multiple: false }
}

fn requeue(tag: u64) -> Frame {
    Frame::Reject { tag, requeue: true }
}

fn tags(deliveries: &[Delivery]) -> Vec<(u64, bool)> {
    deliveries.iter().map(|delivery| (delivery.tag, delivery.redelivered)).collect()
}

#[test]
fn the_stream_is_resumed_after_the_settled_prefix_and_nothing_behind_it() {
    let mut ledger = ledger(&["1", "2", "3", "4"]);
    let now = Instant::now();
    ledger.settle(&[ack(2), Frame::Reject { tag: 3, requeue: false }], now);
    assert_eq!(&**ledger.resume(), "");
    ledger.settle(&[ack(1)], now);
    assert_eq!(&**ledger.resume(), "3");
    ledger.settle(&[Frame::Nack { tag: 4 }], now);
    assert_eq!(&**ledger.resume(), "3");
}

#[test]
fn an_ack_of_many_settles_all_before_it_that_are_delivered() {
    let mut ledger = ledger(&["1", "2", "3", "4"]);
    let now = Instant::now();
    ledger.settle(&[requeue(1), Frame::Ack { tag: 3, multiple: true }], now);
    assert_eq!(&**ledger.resume(), "");
    assert_eq!(tags(&ledger.due(now + Duration::from_secs(1))), [(5, true)]);
    ledger.settle(&[Frame::Ack { tag: 5, multiple: true }], now);
    assert_eq!(&**ledger.resume(), "4");
}

#[test]
fn a_requeued_event_comes_again_after_a_pause_that_doubles() {
    let mut ledger = ledger(&["1", "2"]);
    let mut now = Instant::now();
    let mut tag = 1;
    let mut pauses = Vec::new();
    for _ in 0..10 {
        ledger.settle(&[requeue(tag)], now);
        assert!(ledger.due(now).is_empty());
        let due = ledger.next_due().unwrap();
        pauses.push((due - now).as_millis());
        now = due;
        let [delivery] = &ledger.due(now)[..] else { panic!("one is due") };
        assert!(delivery.redelivered);
        tag = delivery.tag;
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000]);
    assert_eq!(ledger.next_due(), None);
    ledger.settle(&[ack(2), ack(tag)], now);
    assert_eq!(&**ledger.resume(), "2");
}

#[test]
fn no_more_are_held_than_it_may_hold_and_settled_ones_behind_an_unsettled_one_count() {
    let mut ledger = Ledger::new(3, "".into());
    for id in ["1", "2", "3"] {
        assert!(ledger.has_room());
        ledger.take(event(id, "x"));
    }
    ledger.settle(&[ack(2), ack(3)], Instant::now());
    assert!(!ledger.has_room());
    ledger.settle(&[ack(1)], Instant::now());
    assert!(ledger.has_room());
    assert_eq!(&**ledger.resume(), "3");
}

#[test]
fn an_id_without_an_event_counts_when_all_before_it_is_settled() {
    let mut ledger = ledger(&[]);
    ledger.id("1".into());
    assert_eq!(&**ledger.resume(), "1");
    ledger.take(event("2", "x"));
    ledger.id("3".into());
    assert_eq!(&**ledger.resume(), "1");
    ledger.settle(&[ack(1)], Instant::now());
    assert_eq!(&**ledger.resume(), "3");
}

#[test]
fn a_frame_of_an_unknown_tag_settles_nothing() {
    let mut ledger = ledger(&["1"]);
    ledger.settle(&[ack(7), requeue(7), ack(0), Frame::Ack { tag: 0, multiple: true }], Instant::now());
    assert_eq!((&**ledger.resume(), ledger.next_due()), ("", None));
}

#[test]
fn an_event_over_the_largest_is_refused_unread_and_resumed_after() {
    let mut ledger = ledger(&[]);
    let delivery = ledger.take(Event { too_large: true, ..event("1", "") });
    assert!(delivery.malformed.is_some());
    ledger.settle(&[Frame::Reject { tag: delivery.tag, requeue: false }], Instant::now());
    assert_eq!(&**ledger.resume(), "1");
}

#[test]
fn what_is_held_is_known_when_it_comes_again() {
    let mut repeats = ledger(&["1", "2", "3"]).repeats();
    assert!(!repeats.contain(&event("", "welcome")));
    assert!(repeats.contain(&event("1", "x")));
    // What the server leaves out does not come.
    assert!(repeats.contain(&event("3", "x")));
    assert!(repeats.is_over());
    assert!(!repeats.contain(&event("3", "x")));
}

#[test]
fn what_only_looks_alike_is_new() {
    let mut repeats = ledger(&["1", ""]).repeats();
    assert!(!repeats.contain(&event("1", "y")));
    assert!(!repeats.contain(&event("", "x")), "nothing tells whether it is the same");
}

#[test]
fn a_server_that_does_not_resume_is_known_by_the_many_others_that_come() {
    let mut repeats = ledger(&["1", "2"]).repeats();
    for _ in 0..=MOST_OTHERS {
        assert!(!repeats.is_over());
        assert!(!repeats.contain(&event("9", "x")));
    }
    assert!(repeats.is_over());
}
