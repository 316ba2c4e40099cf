//! The bucket against a list that is searched from its beginning.

pub use super::window::fuzzing::window;

use super::bucket::Bucket;
use crate::fuzzing::Choices;
use crate::message::{Delivery, Origin};
use std::time::Duration;
use tokio::time::Instant;

/// What waits, as lane and tag, with the moment it came.
type Model = Vec<(Instant, (usize, u64))>;

/// The next bulk, by either way to take it where it is one message.
fn take(bucket: &mut Bucket, size: usize) -> Vec<(usize, u64)> {
    if size == 1 {
        return bucket.take_one().map(|(origin, delivery)| (origin.lane, delivery.tag)).into_iter().collect();
    }
    bucket.take().map(|(origin, delivery)| (origin.lane, delivery.tag)).collect()
}

/// Reads the octets as what happens to a bucket, and compares it with the model after each step.
pub fn bucket(octets: &[u8]) {
    let mut choices = Choices(octets);
    let size = 1 + usize::from(choices.octet() % 16);
    let interval = match choices.octet() {
        u8::MAX => Duration::MAX,
        millis => Duration::from_millis(millis.into()),
    };
    let mut bucket = Bucket::new(size, interval);
    let mut model = Model::new();
    let mut now = Instant::now();
    let mut last = 0;
    while !choices.is_empty() {
        let choice = choices.octet();
        let argument = usize::from(choice >> 3);
        match choice % 8 {
            0..=2 => {
                let lane = argument % 3;
                let came: Vec<_> = (last + 1..).take(argument).map(|tag| (lane, tag)).collect();
                last += came.len() as u64;
                let deliveries = came.iter().map(|&(_, tag)| Delivery { tag, ..Delivery::default() });
                bucket.put(now, Origin { lane, ..Origin::default() }.into(), deliveries.collect());
                model.extend(came.into_iter().map(|came| (now, came)));
            }
            3 => now += Duration::from_millis(choices.octet().into()),
            4 | 5 => {
                let bulk: Vec<_> = take(&mut bucket, size);
                let expected: Vec<_> = model.drain(..size.min(model.len())).map(|(_, came)| came).collect();
                assert_eq!(bulk, expected);
            }
            6 => {
                bucket.forget(argument % 3);
                model.retain(|(_, (lane, _))| *lane != argument % 3);
            }
            _ => {
                bucket.clear();
                model.clear();
            }
        }
        let due = model.first().filter(|_| interval != Duration::MAX).map(|(came, _)| *came + interval);
        assert_eq!(bucket.due(), due);
        assert_eq!(bucket.is_empty(), model.is_empty());
        assert_eq!(bucket.is_ready(now), model.len() >= size || due.is_some_and(|due| due <= now));
    }
    // All that is left, in bulks.
    while !model.is_empty() {
        assert_eq!(take(&mut bucket, size).len(), model.drain(..size.min(model.len())).count());
    }
    assert!(bucket.is_empty());
}
