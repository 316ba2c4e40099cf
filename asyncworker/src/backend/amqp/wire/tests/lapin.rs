//! What is relied on in lapin, against a broker of a few lines.

use super::*;
use crate::backend::amqp::wire::{Sender, Stream, Wire, runtime, settlement, split};
use crate::worker::Frame;
use ::lapin::options::{BasicCancelOptions, BasicConsumeOptions, ConfirmSelectOptions};
use ::lapin::tcp::AsyncTcpStream;
use ::lapin::types::FieldTable;
use ::lapin::uri::AMQPUri;
use ::lapin::{Channel, Connection, ConnectionProperties, Consumer};
use amq_protocol::frame::parse_frame;
use amq_protocol::protocol::{channel, confirm, connection};
use async_compat::Compat;
use futures_util::StreamExt;
use std::sync::Mutex;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};

/// The broker's end of a connection.
pub(super) struct Broker<S = DuplexStream> {
    pub(super) socket: S,
    pub(super) input: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Broker<S> {
    pub(super) async fn send(&mut self, frames: &[AMQPFrame]) {
        self.socket.write_all(&octets(frames)).await.unwrap();
    }

    async fn connection(&mut self, method: connection::AMQPMethod) {
        self.send(&[AMQPFrame::Method(0, AMQPClass::Connection(method))]).await;
    }

    async fn basic(&mut self, method: basic::AMQPMethod) {
        self.send(&[AMQPFrame::Method(1, AMQPClass::Basic(method))]).await;
    }

    /// The next frame that is no heartbeat.
    pub(super) async fn receive(&mut self) -> AMQPFrame {
        let received = tokio::time::timeout(LIMIT, self.next_frame()).await;
        received.expect("a frame in time").expect("the connection has not ended")
    }

    /// The next frame that is no heartbeat, however long it takes, until the connection ends.
    async fn next_frame(&mut self) -> Option<AMQPFrame> {
        loop {
            let parsed = parse_frame(&self.input[..]).ok().map(|(rest, frame)| (self.input.len() - rest.len(), frame));
            match parsed {
                Some((length, frame)) => {
                    self.input.drain(..length);
                    if !matches!(frame, AMQPFrame::Heartbeat) {
                        return Some(frame);
                    }
                }
                None if self.socket.read_buf(&mut self.input).await.unwrap() == 0 => return None,
                None => {}
            }
        }
    }

    async fn basic_method(&mut self) -> basic::AMQPMethod {
        match self.receive().await {
            AMQPFrame::Method(1, AMQPClass::Basic(method)) => method,
            frame => panic!("{frame:?}"),
        }
    }

    pub(super) async fn accept(&mut self, heartbeat: u16) {
        assert!(matches!(self.receive().await, AMQPFrame::ProtocolHeader(_)));
        self.connection(connection::AMQPMethod::Start(connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: FieldTable::default(),
            mechanisms: "PLAIN".into(),
            locales: "en_US".into(),
        }))
        .await;
        self.receive().await;
        let tune = connection::Tune { channel_max: 10, frame_max: FRAME_MAX as u32, heartbeat };
        self.connection(connection::AMQPMethod::Tune(tune)).await;
        self.receive().await;
        self.receive().await;
        self.connection(connection::AMQPMethod::OpenOk(connection::OpenOk {})).await;
    }

    /// Answers, as any broker does, until something comes that each has an answer of its own to, or the connection ends.
    pub(super) async fn serve(&mut self) -> Option<(u16, AMQPClass)> {
        loop {
            let AMQPFrame::Method(channel, asked) = self.next_frame().await? else { panic!("no method") };
            let Some(answer) = answer(&asked) else { return Some((channel, asked)) };
            self.send(&[AMQPFrame::Method(channel, answer)]).await;
        }
    }
}

fn answer(asked: &AMQPClass) -> Option<AMQPClass> {
    Some(match asked {
        AMQPClass::Connection(connection::AMQPMethod::Close(_)) => {
            AMQPClass::Connection(connection::AMQPMethod::CloseOk(connection::CloseOk {}))
        }
        AMQPClass::Channel(channel::AMQPMethod::Open(_)) => {
            AMQPClass::Channel(channel::AMQPMethod::OpenOk(channel::OpenOk {}))
        }
        AMQPClass::Channel(channel::AMQPMethod::Close(_)) => {
            AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {}))
        }
        AMQPClass::Confirm(_) => AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(confirm::SelectOk {})),
        AMQPClass::Basic(basic::AMQPMethod::Qos(_)) => AMQPClass::Basic(basic::AMQPMethod::QosOk(basic::QosOk {})),
        AMQPClass::Basic(basic::AMQPMethod::Cancel(asked)) => {
            let answer = basic::CancelOk { consumer_tag: asked.consumer_tag.clone() };
            AMQPClass::Basic(basic::AMQPMethod::CancelOk(answer))
        }
        _ => return None,
    })
}

async fn connected(heartbeat: u16) -> (Connection, Broker, Wire) {
    let (socket, broker) = duplex(1 << 20);
    let mut broker = Broker { socket: broker, input: Vec::new() };
    let wire = Wire::new(FRAME_MAX as u32);
    let (socket, below) = (Mutex::new(Some(socket)), wire.clone());
    let connect = async move |_: AMQPUri, _| {
        let (read, write) = split(socket.lock().unwrap().take().expect("one attempt"));
        Ok(AsyncTcpStream::Plain(Compat::new(Stream::new(read, write, below.clone()))))
    };
    let connecting = Connection::connector(AMQPUri::default(), runtime(), connect, ConnectionProperties::default());
    let (connection, ()) = tokio::join!(connecting, broker.accept(heartbeat));
    (connection.unwrap(), broker, wire)
}

async fn opened(connection: &Connection, broker: &mut Broker) -> Channel {
    let (channel, ()) = tokio::join!(connection.create_channel(), async {
        broker.receive().await;
        let ok = channel::AMQPMethod::OpenOk(channel::OpenOk {});
        broker.send(&[AMQPFrame::Method(1, AMQPClass::Channel(ok))]).await;
    });
    channel.unwrap()
}

/// A channel with a consumer; the broker delivers this before it says that it does.
async fn consuming(connection: &Connection, broker: &mut Broker, early: &[AMQPFrame]) -> (Channel, Consumer) {
    let channel = opened(connection, broker).await;
    let consume =
        channel.basic_consume("orders".into(), "c".into(), BasicConsumeOptions::default(), FieldTable::default());
    let (consumer, ()) = tokio::join!(consume, async {
        broker.receive().await;
        broker.send(early).await;
        broker.basic(basic::AMQPMethod::ConsumeOk(basic::ConsumeOk { consumer_tag: "c".into() })).await;
    });
    (channel, consumer.unwrap())
}

struct Bench {
    connection: Connection,
    broker: Broker,
    channel: Channel,
    consumer: Consumer,
    sender: Sender,
    inbox: mpsc::UnboundedReceiver<Signal>,
}

async fn bench(heartbeat: u16) -> Bench {
    let (connection, mut broker, wire) = connected(heartbeat).await;
    let (outlet, inbox) = outlet(1);
    let sender = wire.register(1, outlet);
    let (channel, consumer) = consuming(&connection, &mut broker, &delivery(1, 1, &[b"early"])).await;
    Bench { connection, broker, channel, consumer, sender, inbox }
}

async fn next(inbox: &mut mpsc::UnboundedReceiver<Signal>) -> Vec<Taken> {
    Taken::all_of(tokio::time::timeout(LIMIT, inbox.recv()).await.unwrap().unwrap())
}

/// The stream's next item; nothing, when it does not end or give one soon.
async fn soon(consumer: &mut Consumer) -> Option<Option<::lapin::Result<::lapin::message::Delivery>>> {
    tokio::time::timeout(Duration::from_millis(200), consumer.next()).await.ok()
}

/// lapin has a thread of its own, which may tell a consumer first.
async fn until_lost(connection: &Connection) {
    let lost = async {
        while connection.status().connected() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, lost).await.expect("the connection is lost");
}

#[tokio::test]
async fn a_consumers_stream_gives_no_deliveries_and_ends_when_the_broker_cancels() {
    let mut bench = bench(0).await;
    assert_eq!(next(&mut bench.inbox).await[0].body, "early");
    bench.broker.send(&delivery(1, 2, &[b"later"])).await;
    assert_eq!(next(&mut bench.inbox).await[0].body, "later");
    assert!(soon(&mut bench.consumer).await.is_none());
    let cancel = basic::Cancel { consumer_tag: "c".into(), nowait: true };
    bench.broker.basic(basic::AMQPMethod::Cancel(cancel)).await;
    let ended = tokio::time::timeout(LIMIT, bench.consumer.next()).await.unwrap();
    assert!(ended.is_none(), "{ended:?}");
    assert!(bench.connection.status().connected() && bench.channel.status().connected());
}

#[tokio::test]
async fn a_consumers_stream_ends_after_cancel_ok_and_all_deliveries_before_it_are_there() {
    let Bench { mut broker, channel, mut consumer, mut inbox, connection, .. } = bench(0).await;
    let (cancelled, ()) = tokio::join!(channel.basic_cancel("c".into(), BasicCancelOptions::default()), async {
        assert!(matches!(broker.basic_method().await, basic::AMQPMethod::Cancel(_)));
        broker.send(&delivery(1, 2, &[b"last"])).await;
        broker.basic(basic::AMQPMethod::CancelOk(basic::CancelOk { consumer_tag: "c".into() })).await;
    });
    cancelled.unwrap();
    assert!(tokio::time::timeout(LIMIT, consumer.next()).await.unwrap().is_none());
    assert_eq!(taken(&mut inbox).iter().map(|delivery| delivery.tag).collect::<Vec<_>>(), [1, 2]);
    drop(connection);
}

#[tokio::test]
async fn a_consumers_stream_ends_with_its_channel() {
    let mut bench = bench(0).await;
    let close = channel::Close { reply_code: 406, reply_text: "timed out".into(), class_id: 0, method_id: 0 };
    let close = channel::AMQPMethod::Close(close);
    bench.broker.send(&[AMQPFrame::Method(1, AMQPClass::Channel(close))]).await;
    let ended = tokio::time::timeout(LIMIT, bench.consumer.next()).await.unwrap();
    assert!(matches!(ended, None | Some(Err(_))), "{ended:?}");
    assert!(bench.connection.status().connected());
}

fn settle(sender: &Sender, frame: Frame) {
    sender.send(|out| settlement(&frame, sender.channel(), out)).expect("the channel is open");
}

#[tokio::test]
async fn settlements_go_between_what_lapin_sends_though_it_never_saw_the_deliveries() {
    let mut bench = bench(0).await;
    for tag in 1..=100 {
        settle(&bench.sender, Frame::Ack { tag: tag * 4, multiple: true });
        settle(&bench.sender, Frame::Reject { tag: tag * 4 + 1, requeue: false });
        settle(&bench.sender, Frame::Nack { tag: tag * 4 + 2 });
    }
    for tag in 1..=100 {
        let ack = basic::Ack { delivery_tag: tag * 4, multiple: true };
        let reject = basic::Reject { delivery_tag: tag * 4 + 1, requeue: false };
        let nack = basic::Nack { delivery_tag: tag * 4 + 2, multiple: true, requeue: true };
        assert_eq!(bench.broker.basic_method().await, basic::AMQPMethod::Ack(ack));
        assert_eq!(bench.broker.basic_method().await, basic::AMQPMethod::Reject(reject));
        assert_eq!(bench.broker.basic_method().await, basic::AMQPMethod::Nack(nack));
    }
    // What lapin sends afterwards comes afterwards.
    let cancelling = bench.channel.basic_cancel("c".into(), BasicCancelOptions::default());
    settle(&bench.sender, Frame::Ack { tag: 500, multiple: false });
    let (_, first) = tokio::join!(tokio::time::timeout(LIMIT, cancelling), async {
        let (first, second) = (bench.broker.basic_method().await, bench.broker.basic_method().await);
        bench.broker.basic(basic::AMQPMethod::CancelOk(basic::CancelOk { consumer_tag: "c".into() })).await;
        (first, second)
    });
    assert!(matches!(first, (basic::AMQPMethod::Ack(_), basic::AMQPMethod::Cancel(_))), "{first:?}");
}

#[tokio::test]
async fn lapin_ends_its_channel_by_a_frame_and_nothing_follows_it() {
    let mut bench = bench(0).await;
    let close = channel::Close { reply_code: 406, reply_text: "timed out".into(), class_id: 0, method_id: 0 };
    bench.broker.send(&[AMQPFrame::Method(1, AMQPClass::Channel(channel::AMQPMethod::Close(close)))]).await;
    let ended = bench.broker.receive().await;
    let is_end = |frame| matches!(frame, &AMQPFrame::Method(1, AMQPClass::Channel(channel::AMQPMethod::CloseOk(_))));
    assert!(is_end(&ended), "{ended:?}");
    assert!(bench.sender.send(|_| ()).is_none());
}

#[tokio::test]
async fn confirms_of_publishes_that_lapin_never_saw_do_not_reach_it() {
    let (connection, mut broker, wire) = connected(0).await;
    let channel = opened(&connection, &mut broker).await;
    let (outlet, mut confirms) = mpsc::unbounded_channel();
    let sender = wire.register(1, Outlet::Confirms(outlet));
    let (selected, ()) = tokio::join!(channel.confirm_select(ConfirmSelectOptions::default()), async {
        broker.receive().await;
        let ok = AMQPClass::Confirm(amq_protocol::protocol::confirm::AMQPMethod::SelectOk(
            amq_protocol::protocol::confirm::SelectOk {},
        ));
        broker.send(&[AMQPFrame::Method(1, ok)]).await;
    });
    selected.unwrap();
    let message = crate::publish::Publish::raw("body").to("orders");
    sender.send(|out| crate::backend::amqp::wire::publish(&message, 1, FRAME_MAX, out)).unwrap().unwrap();
    assert!(matches!(broker.basic_method().await, basic::AMQPMethod::Publish(publish) if publish.mandatory));
    assert!(matches!(broker.receive().await, AMQPFrame::Header(1, _)));
    assert!(matches!(broker.receive().await, AMQPFrame::Body(1, body) if body == b"body"));
    broker.basic(basic::AMQPMethod::Ack(basic::Ack { delivery_tag: 1, multiple: false })).await;
    let confirms = tokio::time::timeout(LIMIT, confirms.recv()).await.unwrap().unwrap();
    assert!(matches!(confirms[..], [crate::backend::amqp::wire::Confirm::Settled { tag: 1, .. }]), "{confirms:?}");
    // It would close the connection over an ack of what it did not publish.
    let (closed, ()) = tokio::join!(channel.close(200, "OK".into()), async {
        broker.receive().await;
        let ok = channel::AMQPMethod::CloseOk(channel::CloseOk {});
        broker.send(&[AMQPFrame::Method(1, AMQPClass::Channel(ok))]).await;
    });
    closed.unwrap();
    assert!(connection.status().connected());
}

#[tokio::test]
async fn steady_deliveries_keep_a_connection_alive() {
    let mut bench = bench(1).await;
    let start = Instant::now();
    let mut tag = 1;
    // Without a heartbeat of ours lapin would give up after 2 s.
    while start.elapsed() < Duration::from_secs(4) {
        tag += 1;
        bench.broker.send(&delivery(1, tag, &[b"body"])).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(bench.connection.status().connected());
    while !taken(&mut bench.inbox).iter().any(|delivery| delivery.tag == tag) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_connection_that_gives_nothing_is_given_up() {
    let bench = bench(1).await;
    until_lost(&bench.connection).await;
}

#[tokio::test]
async fn heartbeats_beyond_the_brokers_do_no_harm() {
    let mut bench = bench(0).await;
    bench.broker.send(&vec![AMQPFrame::Heartbeat; 1_000]).await;
    bench.broker.send(&delivery(1, 2, &[b"after"])).await;
    while !taken(&mut bench.inbox).iter().any(|delivery| delivery.tag == 2) {
        tokio::task::yield_now().await;
    }
    settle(&bench.sender, Frame::Ack { tag: 2, multiple: false });
    let ack = basic::Ack { delivery_tag: 2, multiple: false };
    assert_eq!(bench.broker.basic_method().await, basic::AMQPMethod::Ack(ack));
    assert!(bench.connection.status().connected());
}

#[tokio::test]
async fn a_delivery_past_the_reader_comes_by_the_consumers_stream() {
    let (connection, mut broker, _wire) = connected(0).await;
    let (_channel, mut consumer) = consuming(&connection, &mut broker, &[]).await;
    broker.send(&delivery(1, 1, &[b"past"])).await;
    let past = tokio::time::timeout(LIMIT, consumer.next()).await.unwrap();
    assert_eq!(past.unwrap().unwrap().data, b"past");
}

#[tokio::test]
async fn lapin_gives_up_the_connection_over_a_frame_that_has_no_place() {
    let mut bench = bench(0).await;
    bench.broker.send(&[deliver(1, 2, "", "a"), AMQPFrame::Body(1, vec![1])]).await;
    let ended = tokio::time::timeout(LIMIT, bench.consumer.next()).await.unwrap();
    assert!(matches!(ended, None | Some(Err(_))), "{ended:?}");
    until_lost(&bench.connection).await;
    // Whatever it sends before.
    let mut sink = tokio::io::sink();
    let end = tokio::io::copy(&mut bench.broker.socket, &mut sink);
    tokio::time::timeout(LIMIT, end).await.expect("it lets go of the socket").unwrap();
}

#[tokio::test]
async fn the_end_of_the_socket_is_the_end_of_the_connection() {
    let Bench { connection, broker, mut consumer, .. } = bench(0).await;
    drop(broker);
    let ended = tokio::time::timeout(LIMIT, consumer.next()).await.unwrap();
    assert!(matches!(ended, None | Some(Err(_))), "{ended:?}");
    until_lost(&connection).await;
}
