//! One behaviour each.

use super::*;
use amq_protocol::protocol::{channel, connection};

fn close(of: u16) -> AMQPFrame {
    let close = channel::Close { reply_code: 404, reply_text: "NOT_FOUND".into(), class_id: 0, method_id: 0 };
    AMQPFrame::Method(of, AMQPClass::Channel(channel::AMQPMethod::Close(close)))
}

#[test]
fn a_delivery_is_taken_with_all_that_belongs_to_it() {
    let mut bench = Bench::new([1]);
    let mut frames = vec![deliver(1, 2, "events", "order.paid")];
    frames.push(header(1, 4, BasicProperties::default().with_priority(3).with_message_id("m".into())));
    frames.push(AMQPFrame::Body(1, b"body".to_vec()));
    bench.read(&octets(&frames));
    let taken = bench.taken(1);
    let [taken] = &taken[..] else { panic!("{taken:?}") };
    let origin = &taken.origin;
    assert_eq!((origin.lane, origin.epoch, taken.tag, taken.redelivered), (1, 7, 2, true));
    assert_eq!((&*origin.queue, taken.published()), ("queue 1", ("events", "order.paid")));
    assert_eq!((&taken.body[..], taken.malformed), (&b"body"[..], None));
    let properties = taken.properties.get().unwrap();
    assert_eq!((properties.priority, properties.message_id.as_deref()), (Some(3), Some("m")));
    assert!(bench.passed.is_empty());
}

#[test]
fn a_read_is_one_batch_a_channel() {
    let mut bench = Bench::new([1, 2]);
    let frames: Vec<_> = (1..=50).flat_map(|tag| delivery(1 + tag as u16 % 2, tag, &[b"body"])).collect();
    bench.read(&octets(&frames));
    for (_, inbox) in &mut bench.inboxes {
        assert!(matches!(inbox.try_recv(), Ok(Signal::Deliveries { deliveries, .. }) if deliveries.len() == 25));
        assert!(inbox.try_recv().is_err());
    }
}

#[test]
fn names_that_stay_the_same_are_the_same_allocation() {
    let mut bench = Bench::new([1]);
    let frames: Vec<_> = (1..=3).flat_map(|tag| delivery(1, tag, &[])).collect();
    bench.read(&octets(&frames));
    let taken = bench.taken(1);
    assert!(taken.iter().all(|one| one.names.is_none() && one.published() == taken[0].published()));
}

#[test]
fn names_that_change_within_a_batch_are_each_deliverys_own_and_the_next_batch_begins_with_its_first() {
    let mut bench = Bench::new([1]);
    let named =
        |tag, routing_key: &str| [deliver(1, tag, "events", routing_key), header(1, 0, BasicProperties::default())];
    let read = |bench: &mut Bench, keys: [(u64, &str); 4]| {
        let frames: Vec<_> = keys.into_iter().flat_map(|(tag, key)| named(tag, key)).collect();
        bench.read(&octets(&frames));
        let taken = bench.taken(1);
        assert!(
            taken.iter().zip(keys).all(|(taken, (tag, key))| taken.tag == tag && taken.published() == ("events", key))
        );
        taken.iter().map(|taken| taken.names.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(read(&mut bench, [(1, "a"), (2, "b"), (3, "b"), (4, "a")]), [false, true, true, false]);
    assert_eq!(read(&mut bench, [(5, "b"), (6, "a"), (7, "b"), (8, "")]), [false, true, false, true]);
}

#[test]
fn bodies_of_one_large_frame_are_not_copied_and_small_ones_leave_the_chunk_alone() {
    let mut bench = Bench::new([1]);
    let [large, small] = [vec![7; 60_000], vec![7; 120]];
    for (body, is_slice) in [(large, true), (small, false)] {
        bench.input.extend_from_slice(&octets(&delivery(1, 1, &[&body])));
        let chunk = bench.input.as_ptr_range();
        bench.read(&[]);
        let taken = bench.taken(1).remove(0).body.clone();
        assert_eq!(taken, body);
        assert_eq!(chunk.contains(&taken.as_ptr()), is_slice);
    }
}

#[test]
fn a_large_body_is_taken_while_its_frame_comes() {
    let mut bench = Bench::new([1]);
    let sent = octets(&delivery(1, 1, &[&[7; 60_000], &[8; 40_000]]));
    for (read, part) in sent.chunks(20_000).enumerate() {
        bench.read(part);
        assert_eq!(bench.input.len(), 0, "read {read}");
    }
    assert_eq!(bench.taken(1)[0].body, [&[7; 60_000][..], &[8; 40_000]].concat());
    assert!(bench.passed.is_empty());
}

#[test]
fn the_rest_of_a_large_body_is_read_to_its_place() {
    let mut bench = Bench::new([1]);
    let sent = octets(&delivery(1, 1, &[&[7; 60_000]]));
    bench.read(&sent[..30_000]);
    let mut came = &sent[30_000..];
    while let Some(mut body) = bench.walker.next(1_000) {
        let part = came.split_off(..5_000.min(body.remaining_mut())).unwrap();
        body.put_slice(part);
        bench.walker.filled(part.len());
    }
    assert!(came.len() <= 1_001, "{}", came.len());
    bench.read(came);
    assert_eq!(bench.taken(1)[0].body, vec![7; 60_000]);
}

#[test]
fn within_the_frame_of_a_large_body_its_channel_may_become_anothers() {
    let mut bench = Bench::new([1]);
    let [body, next] = [octets(&delivery(1, 1, &[&[7; 60_000]])), octets(&delivery(1, 2, &[b"next"]))];
    bench.read(&body[..30_000]);
    bench.register(1);
    bench.read(&[&body[30_000..], &next].concat());
    assert_eq!(bench.passed, body[body.len() - 60_008..]);
    assert_eq!(bench.tags(1), [2]);
}

#[test]
fn contents_that_are_no_deliveries_pass() {
    let mut bench = Bench::new([1]);
    let returned = basic::Return {
        reply_code: 312,
        reply_text: "NO_ROUTE".into(),
        exchange: "".into(),
        routing_key: "nowhere".into(),
    };
    let got = basic::GetOk {
        delivery_tag: 9,
        redelivered: false,
        exchange: "".into(),
        routing_key: "".into(),
        message_count: 0,
    };
    let mut frames = Vec::new();
    for method in [basic::AMQPMethod::Return(returned), basic::AMQPMethod::GetOk(got)] {
        frames.push(AMQPFrame::Method(1, AMQPClass::Basic(method)));
        frames.push(header(1, 3, BasicProperties::default()));
        frames.push(AMQPFrame::Body(1, b"abc".to_vec()));
    }
    let mut sent = frames.clone();
    sent.extend(delivery(1, 5, &[b"taken"]));
    bench.read(&octets(&sent));
    assert_eq!(bench.passed, octets(&frames));
    assert_eq!(bench.tags(1), [5]);
}

#[test]
fn a_channel_that_closes_in_mid_content_hands_over_no_part_and_is_lapins_from_then_on() {
    for parts in 1..4 {
        let mut bench = Bench::new([1, 2]);
        let mut whole = delivery(1, 1, &[b"whole"]);
        let part: Vec<_> = delivery(1, 2, &[b"pa", b"rt"]).into_iter().take(parts).collect();
        let after = delivery(1, 1, &[b"of another channel of that number"]);
        whole.extend(part);
        whole.push(close(1));
        whole.extend(after.clone());
        whole.extend(delivery(2, 1, &[b"untouched"]));
        bench.read(&octets(&whole));
        assert_eq!(bench.tags(1), [1]);
        assert_eq!(bench.tags(2), [1]);
        assert_eq!(bench.passed, [octets([&close(1)]), octets(&after)].concat());
    }
}

#[test]
fn a_number_that_is_registered_again_has_the_new_outlet() {
    let mut bench = Bench::new([1]);
    bench.read(&octets([&close(1)]));
    bench.register(1);
    bench.read(&octets(&delivery(1, 1, &[b"new"])));
    assert!(taken(&mut bench.inboxes[0].1).is_empty());
    assert_eq!(taken(&mut bench.inboxes[1].1).len(), 1);
}

#[test]
fn a_connection_that_closes_in_mid_content_hands_over_no_part() {
    let mut bench = Bench::new([1]);
    let close = connection::Close { reply_code: 320, reply_text: "FORCED".into(), class_id: 0, method_id: 0 };
    let close = AMQPFrame::Method(0, AMQPClass::Connection(connection::AMQPMethod::Close(close)));
    let mut frames = delivery(1, 1, &[b"pa", b"rt"]);
    frames.pop();
    bench.read(&octets(frames.iter().chain([&close])));
    assert!(bench.tags(1).is_empty());
    assert_eq!(bench.passed, octets([&close]));
}

#[test]
fn a_body_over_the_limit_is_not_kept_and_its_neighbours_are_whole() {
    for piece in [1, 7, 1 << 20] {
        let mut bench = Bench::new([]);
        bench.register_limited(1, 10);
        let large = vec![0; 100_000];
        let frames = [
            delivery(1, 1, &[&[1; 10]]),
            delivery(1, 2, &[&[2; 11]]),
            delivery(1, 3, &[&large, &large, &[3]]),
            delivery(1, 4, &[&[4; 5], &[4; 5]]),
            delivery(1, 5, &[]),
        ];
        bench.read_cut(&octets(frames.iter().flatten()), &[piece]);
        let taken = bench.taken(1);
        let seen: Vec<_> = taken.iter().map(|taken| (taken.tag, taken.body.len(), taken.malformed.is_some())).collect();
        assert_eq!(seen, [(1, 10, false), (2, 0, true), (3, 0, true), (4, 10, false), (5, 0, false)]);
        assert!(bench.passed.is_empty());
    }
}

#[test]
fn a_body_that_is_not_kept_may_not_be_longer_than_its_header_says() {
    let mut bench = Bench::new([]);
    bench.register_limited(1, 10);
    let frames = [deliver(1, 1, "", "a"), header(1, 20, BasicProperties::default()), AMQPFrame::Body(1, vec![0; 21])];
    bench.read(&octets(&frames));
    assert!(bench.tags(1).is_empty());
    assert_eq!(bench.passed, octets(&frames[2..]));
}
