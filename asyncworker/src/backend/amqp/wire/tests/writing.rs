//! What goes to the socket, from lapin and past it.

use super::*;
use crate::backend::amqp::wire::{Sender, Stream, Wire, frame::A_HEARTBEAT, settlement, split};
use crate::worker::Frame;
use amq_protocol::protocol::{channel, connection};
use futures_util::FutureExt;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const PROTOCOL: &[u8] = b"AMQP\0\0\x09\x01";

/// lapin's stream, what sends on channel 1, and the broker's end of a socket that holds so many octets.
async fn connected(room: usize) -> (Stream, Sender, DuplexStream) {
    let (socket, broker) = duplex(room);
    let wire = Wire::new(FRAME_MAX as u32);
    let sender = wire.register(1, outlet(1).0);
    let (read, write) = split(socket);
    let mut stream = Stream::new(read, write, wire);
    stream.write_all(PROTOCOL).await.unwrap();
    (stream, sender, broker)
}

fn ack(sender: &Sender, tag: u64) -> bool {
    sender.send(|out| settlement(&Frame::Ack { tag, multiple: false }, 1, out)).is_some()
}

fn acked(tag: u64) -> Vec<u8> {
    let ack = basic::AMQPMethod::Ack(basic::Ack { delivery_tag: tag, multiple: false });
    octets([&AMQPFrame::Method(1, AMQPClass::Basic(ack))])
}

async fn received(broker: &mut DuplexStream, length: usize) -> Vec<u8> {
    let mut received = vec![0; length];
    tokio::time::timeout(LIMIT, broker.read_exact(&mut received)).await.expect("octets in time").unwrap();
    received
}

fn of_lapin(channel: u16) -> Vec<u8> {
    octets([&AMQPFrame::Method(channel, AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {})))])
}

#[tokio::test]
async fn a_frame_of_ours_never_gets_into_one_of_lapins() {
    let frame = of_lapin(2);
    for cut in 1..frame.len() {
        let (mut stream, sender, mut broker) = connected(1 << 16).await;
        stream.write_all(&frame[..cut]).await.unwrap();
        assert!(ack(&sender, 1));
        stream.write_all(&frame[cut..]).await.unwrap();
        assert!(ack(&sender, 2));
        let expected = [PROTOCOL, &acked(1), &frame, &acked(2)].concat();
        assert_eq!(received(&mut broker, expected.len()).await, expected, "cut at {cut}");
    }
}

#[tokio::test]
async fn what_the_socket_does_not_take_waits_and_keeps_its_order() {
    let (mut stream, sender, mut broker) = connected(16).await;
    let mut expected = PROTOCOL.to_vec();
    for tag in 1..=2_000 {
        assert!(ack(&sender, tag));
        expected.extend(acked(tag));
        if tag % 100 == 0 {
            stream.write_all(&of_lapin(2)).await.unwrap();
            expected.extend(of_lapin(2));
        }
    }
    assert_eq!(received(&mut broker, expected.len()).await, expected);
}

/// On a runtime of one thread, which blocks.
#[tokio::test]
async fn while_the_runtime_is_blocked_both_sides_get_heartbeats() {
    let (mut stream, _sender, mut broker) = connected(1 << 16).await;
    let tune = connection::TuneOk { channel_max: 10, frame_max: FRAME_MAX as u32, heartbeat: 1 };
    let tune = octets([&AMQPFrame::Method(0, AMQPClass::Connection(connection::AMQPMethod::TuneOk(tune)))]);
    stream.write_all(&tune).await.unwrap();
    received(&mut broker, PROTOCOL.len() + tune.len()).await;
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(received(&mut broker, 16).await, [A_HEARTBEAT; 2].concat(), "to the broker");
    let mut lapins = [0; 8];
    let read = tokio::time::timeout(LIMIT, stream.read_exact(&mut lapins));
    read.await.expect("a heartbeat that is there").unwrap();
    assert_eq!(lapins, A_HEARTBEAT, "to lapin");
    // And to lapin no more once it runs: a broker that is silent must be noticed. On a busy machine a turn may come late.
    let longest = async {
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            let turn = Instant::now();
            tokio::time::sleep(Duration::from_millis(20)).await;
            longest = longest.max(turn.elapsed());
        }
        longest
    };
    let silent = tokio::time::timeout(Duration::from_secs(2), stream.read_exact(&mut lapins));
    let (silent, longest) = tokio::join!(silent, longest);
    assert!(silent.is_err() || longest > Duration::from_millis(400), "{silent:?}, and a turn after {longest:?}");
    drop(stream);
    let mut rest = Vec::new();
    tokio::time::timeout(LIMIT, broker.read_to_end(&mut rest)).await.expect("an end").unwrap();
}

#[tokio::test]
async fn lapin_and_a_publisher_wait_for_room() {
    let (mut stream, sender, mut broker) = connected(16).await;
    let large = octets([&AMQPFrame::Body(1, vec![0; 100_000])]);
    let mut sent = PROTOCOL.len();
    while !sender.is_full() {
        assert!(sender.send(|out| out.extend_from_slice(&large)).is_some());
        sent += large.len();
    }
    assert!(sender.room().now_or_never().is_none());
    assert!(stream.write(&of_lapin(2)).now_or_never().is_none());
    // A settlement never waits.
    assert!(ack(&sender, 1));
    sent += acked(1).len();
    let last = of_lapin(3);
    let (wrote, (), _) = tokio::time::timeout(LIMIT, async {
        tokio::join!(stream.write_all(&last), sender.room(), received(&mut broker, sent))
    })
    .await
    .expect("room in time");
    wrote.unwrap();
    assert_eq!(received(&mut broker, last.len()).await, last);
}

#[tokio::test]
async fn behind_the_end_of_a_channel_nothing_of_ours_follows() {
    let close = channel::Close { reply_code: 200, reply_text: "OK".into(), class_id: 0, method_id: 0 };
    let ends = [
        (1, AMQPClass::Channel(channel::AMQPMethod::Close(close))),
        (1, AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {}))),
        (0, AMQPClass::Connection(connection::AMQPMethod::CloseOk(connection::CloseOk {}))),
    ];
    for (channel, end) in ends {
        let end = octets([&AMQPFrame::Method(channel, end)]);
        let (mut stream, sender, mut broker) = connected(1 << 16).await;
        assert!(ack(&sender, 1));
        stream.write_all(&end).await.unwrap();
        assert!(!ack(&sender, 2));
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        tokio::time::timeout(LIMIT, broker.read_to_end(&mut all)).await.unwrap().unwrap();
        assert_eq!(all, [PROTOCOL, &acked(1), &end].concat());
    }
}

#[tokio::test]
async fn the_sender_of_a_channel_that_was_closed_says_nothing_on_the_next_of_its_number() {
    let (socket, mut broker) = duplex(1 << 16);
    let wire = Wire::new(FRAME_MAX as u32);
    let (read, write) = split(socket);
    let mut stream = Stream::new(read, write, wire.clone());
    stream.write_all(PROTOCOL).await.unwrap();
    let old = wire.register(1, outlet(1).0);
    let ok = AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {}));
    let end = octets([&AMQPFrame::Method(1, ok)]);
    stream.write_all(&end).await.unwrap();
    let new = wire.register(1, outlet(1).0);
    assert!(!ack(&old, 1));
    assert!(ack(&new, 2));
    let expected = [PROTOCOL, &end, &acked(2)].concat();
    assert_eq!(received(&mut broker, expected.len()).await, expected);
}

#[tokio::test]
async fn when_lapin_lets_go_the_socket_is_closed_and_nobody_waits() {
    let (stream, sender, mut broker) = connected(16).await;
    let large = vec![0; 2 << 20];
    assert!(sender.send(|out| out.extend_from_slice(&large)).is_some());
    let ((), ()) = tokio::time::timeout(LIMIT, async {
        tokio::join!(sender.room(), async {
            tokio::task::yield_now().await;
            drop(stream);
        })
    })
    .await
    .expect("nobody waits");
    assert!(!ack(&sender, 1));
    let mut rest = Vec::new();
    tokio::time::timeout(LIMIT, broker.read_to_end(&mut rest)).await.expect("an end").unwrap();
    assert!(rest.len() < large.len());
}

#[tokio::test]
async fn an_error_of_the_socket_is_told_to_lapin() {
    let (mut stream, sender, broker) = connected(16).await;
    drop(broker);
    while sender.send(|out| out.extend_from_slice(&of_lapin(1))).is_some() {
        tokio::task::yield_now().await;
    }
    let error = stream.write(&of_lapin(2)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}
