//! What the walk takes out of a channel in confirm mode.

use super::*;
use crate::backend::amqp::wire::Confirm;
use amq_protocol::protocol::channel;

fn basic(method: basic::AMQPMethod) -> AMQPFrame {
    AMQPFrame::Method(1, AMQPClass::Basic(method))
}

fn ack(tag: u64, multiple: bool) -> AMQPFrame {
    basic(basic::AMQPMethod::Ack(basic::Ack { delivery_tag: tag, multiple }))
}

fn returned() -> AMQPFrame {
    basic(basic::AMQPMethod::Return(basic::Return {
        reply_code: 312,
        reply_text: "NO_ROUTE".into(),
        exchange: "events".into(),
        routing_key: "nobody".into(),
    }))
}

/// What is taken and what is passed, when the octets come in pieces of this size.
fn walked(frames: &[AMQPFrame], piece: usize) -> (Vec<String>, Vec<u8>) {
    let (to, mut confirms) = mpsc::unbounded_channel();
    let mut walker = Walker::new(FRAME_MAX);
    walker.register(1, Outlet::Confirms(to));
    let (mut input, mut passed) = (BytesMut::new(), Vec::new());
    for piece in octets(frames).chunks(piece) {
        input.extend_from_slice(piece);
        walker.walk(&mut input, &mut passed);
        walker.hand_over();
    }
    let mut taken = Vec::new();
    while let Ok(batch) = confirms.try_recv() {
        taken.extend(batch.iter().map(|confirm| match confirm {
            Confirm::Settled { tag, multiple, nack } => format!("{tag} {multiple} {nack}"),
            Confirm::Returned(returned) => {
                let message = &returned.message;
                let id = message.properties.get().and_then(|properties| properties.message_id.clone());
                let names = message.names.as_deref().unwrap();
                format!("{} {} {} {id:?}", returned.reply, names.exchange, names.routing_key)
            }
            Confirm::Closed { code, reason } => format!("closed {code}: {reason}"),
        }));
    }
    (taken, passed)
}

#[test]
fn acks_nacks_and_returned_messages_come_in_their_order() {
    let nack = basic(basic::AMQPMethod::Nack(basic::Nack { delivery_tag: 4, multiple: true, requeue: true }));
    let body = vec![7; 10_000];
    let properties = BasicProperties::default().with_message_id("m".into());
    let frames = [
        ack(1, false),
        returned(),
        header(1, 10_000, properties),
        AMQPFrame::Body(1, body[..9_000].to_vec()),
        AMQPFrame::Body(1, body[9_000..].to_vec()),
        ack(3, true),
        nack,
        returned(),
        header(1, 0, BasicProperties::default()),
    ];
    for piece in [1, 2, 7, 1 << 20] {
        let (taken, passed) = walked(&frames, piece);
        let came_back = "312 NO_ROUTE events nobody";
        let expected = [
            "1 false false",
            &format!("{came_back} Some(\"m\")"),
            "3 true false",
            "4 true true",
            &format!("{came_back} None"),
        ];
        assert_eq!(taken, expected, "in pieces of {piece}");
        assert!(passed.is_empty());
    }
}

#[test]
fn a_channels_end_is_told_and_is_lapins_too() {
    let close = channel::Close { reply_code: 404, reply_text: "NOT_FOUND".into(), class_id: 60, method_id: 40 };
    let close = AMQPFrame::Method(1, AMQPClass::Channel(channel::AMQPMethod::Close(close)));
    let (taken, passed) = walked(&[returned(), close.clone(), ack(1, false)], 3);
    assert_eq!(taken, ["closed 404: 404 NOT_FOUND"]);
    assert_eq!(passed, octets(&[close, ack(1, false)]), "and what follows is another channel's");
}

#[test]
fn what_has_no_place_in_a_content_is_lapins() {
    let frames = [ack(1, false), returned(), ack(2, false), ack(3, false)];
    let (taken, passed) = walked(&frames, 1 << 20);
    assert_eq!(taken, ["1 false false"]);
    assert_eq!(passed, octets(&frames[2..]));
}

#[test]
fn deliveries_are_not_taken_there_and_acks_not_from_a_consumer() {
    let (taken, passed) = walked(&[deliver(1, 1, "", "a")], 1 << 20);
    assert!(taken.is_empty() && passed == octets(&[deliver(1, 1, "", "a")]));
    let mut bench = Bench::new([1]);
    bench.read(&octets(&[ack(1, false)]));
    assert_eq!(bench.passed, octets(&[ack(1, false)]));
}
