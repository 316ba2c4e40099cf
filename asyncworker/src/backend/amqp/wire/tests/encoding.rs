//! What we send, read by amq-protocol.

use super::properties::{any_properties, expected};
use super::*;
use crate::backend::amqp::wire::{publish, settlement};
use crate::message::Headers;
use crate::publish::Publish;
use crate::worker::Frame;
use amq_protocol::frame::parse_frame;
use proptest::prelude::*;

fn parsed(mut octets: &[u8]) -> Vec<AMQPFrame> {
    let mut frames = Vec::new();
    while !octets.is_empty() {
        let (rest, frame) = parse_frame(octets).expect("a whole frame");
        frames.push(frame);
        octets = rest;
    }
    frames
}

fn method(frame: &AMQPFrame) -> &basic::AMQPMethod {
    match frame {
        AMQPFrame::Method(7, AMQPClass::Basic(method)) => method,
        frame => panic!("{frame:?}"),
    }
}

#[test]
fn settlements_are_what_they_say() {
    let mut out = Vec::new();
    let tags = [1, u64::MAX];
    for tag in tags {
        settlement(&Frame::Ack { tag, multiple: false }, 7, &mut out);
        settlement(&Frame::Ack { tag, multiple: true }, 7, &mut out);
        settlement(&Frame::Reject { tag, requeue: false }, 7, &mut out);
        settlement(&Frame::Reject { tag, requeue: true }, 7, &mut out);
        settlement(&Frame::Nack { tag }, 7, &mut out);
    }
    let expected: Vec<_> = tags
        .into_iter()
        .flat_map(|tag| {
            [
                basic::AMQPMethod::Ack(basic::Ack { delivery_tag: tag, multiple: false }),
                basic::AMQPMethod::Ack(basic::Ack { delivery_tag: tag, multiple: true }),
                basic::AMQPMethod::Reject(basic::Reject { delivery_tag: tag, requeue: false }),
                basic::AMQPMethod::Reject(basic::Reject { delivery_tag: tag, requeue: true }),
                basic::AMQPMethod::Nack(basic::Nack { delivery_tag: tag, multiple: true, requeue: true }),
            ]
        })
        .collect();
    let frames = parsed(&out);
    assert_eq!(frames.iter().map(method).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_publish_is_read_as_it_was_meant(
        properties in any_properties(),
        exchange in ".{0,40}",
        routing_key in ".{0,40}",
        mandatory: bool,
        length in prop_oneof![Just(0usize), 1..200usize, 4_080..4_100usize, 10_000..20_000usize],
    ) {
        let body: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
        let message = Publish::raw(body.clone())
            .exchange(&*exchange)
            .routing_key(&*routing_key)
            .properties(properties.clone())
            .mandatory(mandatory);
        let mut out = b"before".to_vec();
        publish(&message, 7, 4096, &mut out).unwrap();
        let frames = parsed(&out[6..]);
        let named = basic::Publish { exchange: exchange.into(), routing_key: routing_key.into(), mandatory, immediate: false };
        prop_assert_eq!(method(&frames[0]), &basic::AMQPMethod::Publish(named));
        let AMQPFrame::Header(7, header) = &frames[1] else { panic!("{:?}", frames[1]) };
        prop_assert_eq!(header.body_size, length as u64);
        prop_assert_eq!(expected(&header.properties), properties);
        let mut received = Vec::new();
        for frame in &frames[2..] {
            let AMQPFrame::Body(7, part) = frame else { panic!("{frame:?}") };
            prop_assert!(part.len() + 8 <= 4096);
            received.extend_from_slice(part);
        }
        prop_assert_eq!(received, body);
    }
}

#[test]
fn what_cannot_be_sent_is_said_and_leaves_nothing_behind() {
    let long = "ü".repeat(200);
    let mut inner = Headers::new();
    inner.insert(long.clone(), true.into());
    let cases = [
        (Publish::raw("").to(&*long), "longer than 255 bytes"),
        (Publish::raw("").message_id(&*long), "longer than 255 bytes"),
        (Publish::raw("").header("x", inner), "longer than 255 bytes"),
        (Publish::raw("").header("x", "y".repeat(5_000)), "4096 at most"),
    ];
    for (message, expected) in cases {
        let mut out = b"before".to_vec();
        let error = publish(&message, 7, 4096, &mut out).unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert_eq!(out, b"before");
    }
}
