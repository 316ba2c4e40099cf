//! The task between a socket and lapin's stream.

use super::*;
use crate::backend::amqp::wire::{Stream, Wire, frame::A_HEARTBEAT, split};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// lapin's stream and the broker's end of its socket, with channel 1 registered.
fn connected() -> (Stream, DuplexStream, mpsc::UnboundedReceiver<Signal>) {
    let (socket, broker) = duplex(1 << 16);
    let wire = Wire::new(FRAME_MAX as u32);
    let (outlet, inbox) = outlet(1);
    wire.register(1, outlet);
    let (read, write) = split(socket);
    (Stream::new(read, write, wire), broker, inbox)
}

async fn next(inbox: &mut mpsc::UnboundedReceiver<Signal>) -> Vec<Taken> {
    Taken::all_of(tokio::time::timeout(LIMIT, inbox.recv()).await.unwrap().unwrap())
}

#[tokio::test]
async fn deliveries_go_to_the_inbox_and_the_rest_to_lapin() {
    let (mut stream, mut broker, mut inbox) = connected();
    let flow = AMQPFrame::Heartbeat;
    let sent = [octets([&flow]), octets(&delivery(1, 1, &[b"body"])), octets([&flow])].concat();
    broker.write_all(&sent).await.unwrap();
    assert_eq!(next(&mut inbox).await[0].body, "body");
    let mut passed = [0; 16];
    stream.read_exact(&mut passed).await.unwrap();
    assert_eq!(passed[..], [A_HEARTBEAT; 2].concat());
}

#[tokio::test]
async fn bodies_of_all_sizes_arrive_unharmed() {
    let (_stream, mut broker, mut inbox) = connected();
    let bodies: Vec<Vec<u8>> = [0, 1, 120, 1024, 1025, 8191, 8192, 10_000, 65_536, 131_064, 131_065, 5_000_000]
        .map(|length| (0..length).map(|place| (place % 251) as u8).collect())
        .into();
    let sent: Vec<u8> = (1..)
        .zip(&bodies)
        .flat_map(|(tag, body)| octets(&delivery(1, tag, &body.chunks(FRAME_MAX - 8).collect::<Vec<_>>())))
        .collect();
    let writing = tokio::spawn(async move { broker.write_all(&sent).await.map(|()| broker) });
    let mut taken = Vec::new();
    while taken.len() < bodies.len() {
        taken.extend(next(&mut inbox).await);
    }
    writing.await.unwrap().unwrap();
    assert!(taken.iter().zip(&bodies).all(|(delivery, body)| delivery.body == body));
}

#[tokio::test]
async fn the_end_of_the_stream_comes_after_all_that_was_whole() {
    let (mut stream, mut broker, mut inbox) = connected();
    let part = octets(&delivery(1, 2, &[b"part"]));
    let sent = [octets(&delivery(1, 1, &[b"whole"])), A_HEARTBEAT.into(), part[..part.len() - 1].into()].concat();
    broker.write_all(&sent).await.unwrap();
    drop(broker);
    let mut passed = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut passed)).await.unwrap().unwrap();
    assert_eq!(passed, A_HEARTBEAT);
    assert_eq!(taken(&mut inbox).len(), 1);
}

/// A socket that gives this and then fails.
fn failing(first: &'static [u8]) -> super::super::Read {
    struct Failing(&'static [u8]);
    impl tokio::io::AsyncRead for Failing {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            into: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            if self.0.is_empty() {
                return std::task::Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            into.put_slice(std::mem::take(&mut self.0));
            std::task::Poll::Ready(Ok(()))
        }
    }
    Box::new(Failing(first))
}

#[tokio::test]
async fn an_error_comes_after_all_that_was_whole() {
    let mut stream = Stream::new(failing(&A_HEARTBEAT), Box::new(tokio::io::sink()), Wire::new(FRAME_MAX as u32));
    let mut passed = Vec::new();
    let ended = tokio::time::timeout(LIMIT, stream.read_to_end(&mut passed)).await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(passed, A_HEARTBEAT);
}

#[tokio::test]
async fn lapin_hears_of_a_connection_that_gives_deliveries_only() {
    let start = std::time::Instant::now();
    let (mut stream, mut broker, mut inbox) = connected();
    let flowing = tokio::spawn(async move {
        for tag in 1.. {
            if broker.write_all(&octets(&delivery(1, tag, &[b"body"]))).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let mut heartbeats = [0; 3 * 8];
    tokio::time::timeout(LIMIT, stream.read_exact(&mut heartbeats)).await.unwrap().unwrap();
    assert_eq!(heartbeats[..], [A_HEARTBEAT; 3].concat());
    assert!(start.elapsed() >= Duration::from_millis(1500), "and of nothing more than that");
    assert!(!taken(&mut inbox).is_empty());
    drop(stream);
    tokio::time::timeout(LIMIT, flowing).await.expect("without its stream the task lets go of the socket").unwrap();
}

#[tokio::test]
async fn lapin_hears_nothing_of_a_connection_that_gives_nothing() {
    let (mut stream, broker, _inbox) = connected();
    let silence = tokio::time::timeout(Duration::from_millis(1200), stream.read_u8()).await;
    assert!(silence.is_err());
    drop(broker);
}

#[tokio::test]
async fn a_lapin_that_reads_nothing_stops_the_reading() {
    let (mut stream, mut broker, _inbox) = connected();
    let frame = octets([&AMQPFrame::Body(9, vec![7; 100_000])]);
    let all = frame.repeat(40);
    let sent = all.clone();
    let writing = tokio::spawn(async move { broker.write_all(&sent).await.map(|()| broker) });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!writing.is_finished(), "4 MB wait for it");
    let mut passed = vec![0; all.len()];
    tokio::time::timeout(LIMIT, stream.read_exact(&mut passed)).await.unwrap().unwrap();
    assert!(passed == all);
    writing.await.unwrap().unwrap();
}
