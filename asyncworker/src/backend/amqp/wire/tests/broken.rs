//! What no broker should send.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// A content header with this property list.
fn raw_header(channel: u16, length: u64, list: &[u8]) -> Vec<u8> {
    let payload = [&[0, 60, 0, 0][..], &length.to_be_bytes(), list].concat();
    raw(2, channel, &payload)
}

fn raw(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap();
    [&[kind][..], &channel.to_be_bytes(), &size.to_be_bytes(), payload, &[0xCE]].concat()
}

/// `basic.deliver` with these names.
fn raw_deliver(channel: u16, tag: u64, exchange: &[u8], routing_key: &[u8]) -> Vec<u8> {
    let mut payload = vec![0, 60, 0, 60, 1, b'c'];
    payload.extend(tag.to_be_bytes());
    payload.push(0);
    for name in [exchange, routing_key] {
        payload.push(u8::try_from(name.len()).unwrap());
        payload.extend(name);
    }
    raw(1, channel, &payload)
}

#[test]
fn a_message_that_cannot_be_read_is_malformed_and_its_neighbours_are_not() {
    let deep = {
        let mut entries = Vec::new();
        for _ in 0..40 {
            let size = u32::try_from(entries.len()).unwrap().to_be_bytes();
            entries = [&b"\x01nF"[..], &size, &entries].concat();
        }
        let size = u32::try_from(entries.len()).unwrap().to_be_bytes();
        [&[0x20, 0][..], &size, &entries].concat()
    };
    let lists: [&[u8]; 6] =
        [&deep, b"\x80\0\x02\xff\xfe", b"\x20\0\0\0\0\x03\x01\xffV", b"\x20\0\xff\xff\xff\xff", b"", b"\0\0\0"];
    for list in lists {
        let mut bench = Bench::new([1]);
        bench.read(&octets(&delivery(1, 1, &[b"before"])));
        bench.read(&octets([&deliver(1, 2, "", "orders")]));
        bench.read(&raw_header(1, 6, list));
        bench.read(&octets([&AMQPFrame::Body(1, b"broken".to_vec())]));
        bench.read(&octets(&delivery(1, 3, &[b"after"])));
        let taken = bench.taken(1);
        let malformed: Vec<_> = taken.iter().map(|delivery| (delivery.tag, delivery.malformed.is_some())).collect();
        assert_eq!(malformed, [(1, false), (2, true), (3, false)]);
        assert!(taken[1].properties.get().is_none());
        assert!(bench.passed.is_empty(), "lapin sees nothing of it");
    }
}

#[test]
fn names_that_are_not_utf_8_are_malformed() {
    for (exchange, routing_key) in [(&b"\xff"[..], &b"key"[..]), (b"", b"\xc3\x28")] {
        let mut bench = Bench::new([1]);
        bench.read(&raw_deliver(1, 1, exchange, routing_key));
        bench.read(&raw_header(1, 0, b"\0\0"));
        bench.read(&octets(&delivery(1, 2, &[])));
        let taken = bench.taken(1);
        assert!(taken[0].malformed.is_some() && taken[1].malformed.is_none());
    }
}

#[test]
fn from_a_frame_that_is_none_everything_is_lapins() {
    let mut no_end = octets(&delivery(1, 2, &[b"body"]));
    no_end[20 + 7] ^= 1;
    let mut first = octets([&deliver(1, 2, "", "orders")]);
    *first.last_mut().unwrap() = 0;
    let too_large = [&[3, 0, 1][..], &(FRAME_MAX as u32 - 7).to_be_bytes(), &[0; 100]].concat();
    let order: [&[AMQPFrame]; 5] = [
        // A delivery within a delivery; a content header twice; a body without one; too much body; another method.
        &[deliver(1, 2, "", "a"), deliver(1, 3, "", "b")],
        &[deliver(1, 2, "", "a"), header(1, 4, BasicProperties::default()), header(1, 4, BasicProperties::default())],
        &[deliver(1, 2, "", "a"), AMQPFrame::Body(1, vec![1])],
        &[deliver(1, 2, "", "a"), header(1, 2, BasicProperties::default()), AMQPFrame::Body(1, vec![1; 3])],
        &[deliver(1, 2, "", "a"), AMQPFrame::Method(1, AMQPClass::Basic(basic::AMQPMethod::QosOk(basic::QosOk {})))],
    ];
    let kinds = [vec![9, 0, 1, 0, 0, 0, 0, 0xCE], b"AMQP\0\0\x09\x01".to_vec()];
    let broken = [first, too_large].into_iter().chain(kinds).map(|octets| (Vec::new(), octets));
    let ordered = order.map(|frames| {
        let (last, before) = frames.split_last().unwrap();
        (octets(before), octets([last]))
    });
    for (before, broken) in broken.chain(ordered) {
        let mut bench = Bench::new([1]);
        bench.read(&octets(&delivery(1, 1, &[b"whole"])));
        bench.read(&before);
        let after = octets(&delivery(1, 9, &[b"after"]));
        bench.read(&[&broken[..], &after].concat());
        bench.read(&after);
        assert_eq!(bench.tags(1), [1], "{broken:?}");
        assert_eq!(bench.passed, [&broken[..], &after, &after].concat(), "{broken:?}");
        assert!(!bench.walker.is_taking());
    }
}

#[test]
fn a_large_body_without_its_end_octet_is_lapins_as_it_came() {
    let mut bench = Bench::new([1]);
    let mut sent = octets(&delivery(1, 1, &[&[7; 60_000]]));
    *sent.last_mut().unwrap() = 0;
    let after = octets(&delivery(1, 2, &[b"after"]));
    for part in [&sent[..], &after].concat().chunks(20_000) {
        bench.read(part);
    }
    assert!(bench.taken(1).is_empty() && !bench.walker.is_taking());
    assert_eq!(bench.passed, [&sent[sent.len() - 60_008..], &after].concat());
}

#[test]
fn a_delivery_whose_method_does_not_add_up_is_lapins() {
    let mut bench = Bench::new([1]);
    let method = raw(1, 1, b"\0\x3c\0\x3c\x01c\0\0\0\0\0\0\0\x01\0\xffx");
    bench.read(&method);
    assert_eq!(bench.passed, method);
}

#[test]
fn a_frame_as_large_as_agreed_is_taken() {
    let mut bench = Bench::new([1]);
    let body = vec![7; FRAME_MAX - 8];
    bench.read(&octets(&delivery(1, 1, &[&body])));
    assert_eq!(bench.taken(1)[0].body, body);
}

/// What a header claims is not reserved, and a frame's beginning asks for what is missing.
#[test]
fn a_part_of_a_frame_waits_for_the_rest() {
    let mut bench = Bench::new([1]);
    let frame = octets([&AMQPFrame::Body(9, vec![7; 100])]);
    for length in 0..frame.len() {
        bench.input.clear();
        bench.input.extend_from_slice(&frame[..length]);
        let missing = bench.walker.walk(&mut bench.input, &mut bench.passed);
        assert!(missing > 0 && missing <= frame.len() - length && bench.passed.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Octets changed at random: nothing panics, what was whole before the first change comes out, and
    /// what is handed over or passed is never more than what came.
    #[test]
    fn changed_octets_harm_nothing_before_them(
        bodies in vec(vec(any::<u8>(), 0..300), 1..8),
        changes in vec((any::<Index>(), any::<u8>()), 0..6),
        cuts in vec(1usize..400, 1..10),
    ) {
        let mut ends = Vec::new();
        let mut sent = Vec::new();
        for (tag, body) in (1..).zip(&bodies) {
            let parts = if body.is_empty() { vec![] } else { vec![&body[..]] };
            sent.extend(octets(&delivery(1 + (tag % 2) as u16, tag, &parts)));
            ends.push((tag, sent.len()));
        }
        let first = changes.iter().map(|(place, _)| place.index(sent.len())).min().unwrap_or(sent.len());
        for (place, octet) in &changes {
            *place.get_mut(&mut sent) = *octet;
        }
        let mut bench = Bench::new([1, 2]);
        bench.read_cut(&sent, &cuts);
        let taken = [bench.taken(1), bench.taken(2)];
        for (tag, _) in ends.iter().filter(|(_, end)| *end <= first) {
            // A tag changed to this one comes on the other channel, or later.
            let whole = taken[(tag % 2) as usize].iter().find(|delivery| delivery.tag == *tag).unwrap();
            prop_assert_eq!(&whole.body, &bodies[*tag as usize - 1]);
        }
        let bodies: usize = taken.iter().flatten().map(|delivery| delivery.body.len()).sum();
        prop_assert!(bodies + bench.passed.len() <= sent.len());
        for delivery in taken.iter().flatten() {
            let _ = delivery.properties.get();
        }
    }

    #[test]
    fn noise_does_not_panic(noise in vec(any::<u8>(), 0..400), kind in 1u8..4) {
        let mut bench = Bench::new([0, 1]);
        let size = u32::try_from(noise.len()).unwrap().to_be_bytes();
        bench.read(&[&[kind, 0, 1][..], &size, &noise, &[0xCE]].concat());
        bench.read(&noise);
    }
}
