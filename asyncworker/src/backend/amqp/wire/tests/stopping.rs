//! An app that is told to stop while its broker has not answered all that it was asked.

use super::lapin::Broker;
use super::*;
use crate::{Amqp, App, Message, Route, State};
use amq_protocol::protocol::{channel, confirm, connection};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What the test, the handler and the broker wait for.
#[derive(Clone, Default)]
struct Steps {
    begun: Arc<Notify>,
    may_end: Arc<Notify>,
    may_answer: Arc<Notify>,
}

async fn handler(State(steps): State<Steps>, _: Message) {
    steps.begun.notify_one();
    steps.may_end.notified().await;
}

/// One connection. Who asks to consume is given a message at once, and an answer when the test wants it.
async fn serve(socket: TcpStream, steps: Steps, settled: mpsc::UnboundedSender<basic::AMQPMethod>) {
    let mut broker = Broker { socket, input: Vec::new() };
    broker.accept(0).await;
    loop {
        let AMQPFrame::Method(channel, class) = broker.receive().await else { panic!("a frame that is no method") };
        let answer = match class {
            AMQPClass::Channel(channel::AMQPMethod::Open(_)) => {
                AMQPClass::Channel(channel::AMQPMethod::OpenOk(channel::OpenOk {}))
            }
            AMQPClass::Channel(channel::AMQPMethod::Close(_)) => {
                AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {}))
            }
            AMQPClass::Confirm(_) => AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(confirm::SelectOk {})),
            AMQPClass::Basic(basic::AMQPMethod::Qos(_)) => AMQPClass::Basic(basic::AMQPMethod::QosOk(basic::QosOk {})),
            AMQPClass::Basic(basic::AMQPMethod::Consume(asked)) => {
                broker.send(&delivery(channel, 1, &[b"1"])).await;
                steps.may_answer.notified().await;
                let answer = basic::ConsumeOk { consumer_tag: asked.consumer_tag };
                AMQPClass::Basic(basic::AMQPMethod::ConsumeOk(answer))
            }
            AMQPClass::Basic(basic::AMQPMethod::Cancel(asked)) => {
                let answer = basic::CancelOk { consumer_tag: asked.consumer_tag };
                AMQPClass::Basic(basic::AMQPMethod::CancelOk(answer))
            }
            AMQPClass::Basic(settles) => {
                let _ = settled.send(settles);
                continue;
            }
            AMQPClass::Connection(connection::AMQPMethod::Close(_)) => {
                let answer = AMQPClass::Connection(connection::AMQPMethod::CloseOk(connection::CloseOk {}));
                return broker.send(&[AMQPFrame::Method(0, answer)]).await;
            }
            other => panic!("{other:?}"),
        };
        broker.send(&[AMQPFrame::Method(channel, answer)]).await;
    }
}

/// A message may be there, and handled, before the answer to who has asked for it. Its handler has its say
/// nevertheless.
#[tokio::test]
async fn what_came_before_the_answer_to_basic_consume_is_settled_by_a_shutdown() {
    let steps = Steps::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (settled, mut frames) = mpsc::unbounded_channel();
    let connections = steps.clone();
    let serving = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(socket, connections.clone(), settled.clone()));
        }
    });
    let amqp = Amqp::from_uri(&format!("amqp://guest:guest@{address}")).unwrap();
    let route = Route::amqp(["orders"]).handler(handler);
    let app = App::new().connect(amqp).state(steps.clone()).route(route).start().await.unwrap();
    steps.begun.notified().await;
    let stopping = tokio::spawn(app.shutdown());
    // One thread runs all: the consumer hears of it meanwhile, and would let go of its channel if it were to.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    steps.may_end.notify_one();
    steps.may_answer.notify_one();
    stopping.await.unwrap().unwrap();
    serving.abort();
    let ack = basic::AMQPMethod::Ack(basic::Ack { delivery_tag: 1, multiple: false });
    assert_eq!(frames.try_recv().ok(), Some(ack));
}
