//! Apps whose broker answers as no real one can be made to.

use super::lapin::Broker;
use super::*;
use crate::{Amqp, App, Message, Route, Running, State};
use amq_protocol::protocol::queue;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Accepts connections, and gives each to this.
async fn listen<Served>(serve: impl Fn(Broker<TcpStream>) -> Served + Send + 'static) -> (Amqp, JoinHandle<()>)
where
    Served: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listening = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let mut broker = Broker { socket, input: Vec::new() };
            broker.accept(0).await;
            tokio::spawn(serve(broker));
        }
    });
    (Amqp::from_uri(&format!("amqp://guest:guest@{address}")).unwrap(), listening)
}

fn consume_ok(channel: u16, asked: basic::Consume) -> AMQPFrame {
    let answer = basic::ConsumeOk { consumer_tag: asked.consumer_tag };
    AMQPFrame::Method(channel, AMQPClass::Basic(basic::AMQPMethod::ConsumeOk(answer)))
}

/// What a test, its handler and its broker wait for.
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

/// Who asks to consume is given a message at once, and an answer when the test wants it.
async fn answer_late(mut broker: Broker<TcpStream>, steps: Steps, settled: mpsc::UnboundedSender<basic::AMQPMethod>) {
    while let Some((channel, asked)) = broker.serve().await {
        match asked {
            AMQPClass::Basic(basic::AMQPMethod::Consume(asked)) => {
                broker.send(&delivery(channel, 1, &[b"1"])).await;
                steps.may_answer.notified().await;
                broker.send(&[consume_ok(channel, asked)]).await;
            }
            AMQPClass::Basic(settles) => settled.send(settles).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

/// A message may be there, and handled, before the answer to who has asked for it. Its handler has its say
/// nevertheless.
#[tokio::test]
async fn what_came_before_the_answer_to_basic_consume_is_settled_by_a_shutdown() {
    let steps = Steps::default();
    let (settled, mut frames) = mpsc::unbounded_channel();
    let of_broker = steps.clone();
    let (amqp, listening) = listen(move |broker| answer_late(broker, of_broker.clone(), settled.clone())).await;
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
    listening.abort();
    let ack = basic::AMQPMethod::Ack(basic::Ack { delivery_tag: 1, multiple: false });
    assert_eq!(frames.try_recv().ok(), Some(ack));
}

/// What a broker sees of a consumer.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Consume,
    Settled(u64),
    /// It was asked how many messages wait.
    Asked,
}

/// Each consumer is given one message, and then none of those that wait: so many.
async fn keep_back(mut broker: Broker<TcpStream>, waiting: u32, seen: mpsc::UnboundedSender<Seen>) {
    while let Some((channel, asked)) = broker.serve().await {
        let saw = match asked {
            AMQPClass::Basic(basic::AMQPMethod::Consume(asked)) => {
                broker.send(&[consume_ok(channel, asked)]).await;
                broker.send(&delivery(channel, 1, &[b"1"])).await;
                Seen::Consume
            }
            AMQPClass::Basic(basic::AMQPMethod::Ack(ack)) => Seen::Settled(ack.delivery_tag),
            AMQPClass::Queue(queue::AMQPMethod::Declare(asked)) => {
                assert!(asked.passive, "{asked:?}");
                let answer = queue::DeclareOk { queue: asked.queue, message_count: waiting, consumer_count: 1 };
                let answer = AMQPClass::Queue(queue::AMQPMethod::DeclareOk(answer));
                broker.send(&[AMQPFrame::Method(channel, answer)]).await;
                Seen::Asked
            }
            other => panic!("{other:?}"),
        };
        let _ = seen.send(saw);
    }
}

/// An app whose consumers look often whether they starve, with a broker that keeps so many messages back.
async fn kept_back(waiting: u32) -> (Running, mpsc::UnboundedReceiver<Seen>, JoinHandle<()>) {
    let (seen, sees) = mpsc::unbounded_channel();
    let (amqp, listening) = listen(move |broker| keep_back(broker, waiting, seen.clone())).await;
    let soon = Duration::from_millis(10);
    let amqp = amqp.look_every(soon).backoff(soon, soon);
    let route = Route::amqp(["orders"]).handler(async |_: Message| {});
    (App::new().connect(amqp).route(route).start().await.unwrap(), sees, listening)
}

async fn expect(sees: &mut mpsc::UnboundedReceiver<Seen>, expected: impl IntoIterator<Item = Seen>) {
    for expected in expected {
        let saw = tokio::time::timeout(Duration::from_secs(10), sees.recv()).await;
        assert_eq!(saw.expect("something happens in time"), Some(expected));
    }
}

#[tokio::test]
async fn a_consumer_that_starves_is_given_another_channel() {
    let (app, mut sees, listening) = kept_back(5).await;
    for _ in 0..3 {
        expect(&mut sees, [Seen::Consume, Seen::Settled(1), Seen::Asked, Seen::Asked]).await;
    }
    app.shutdown().await.unwrap();
    listening.abort();
}

#[tokio::test]
async fn a_consumer_that_rests_while_nothing_waits_keeps_its_channel() {
    let (app, mut sees, listening) = kept_back(0).await;
    expect(&mut sees, [Seen::Consume, Seen::Settled(1), Seen::Asked, Seen::Asked, Seen::Asked]).await;
    app.shutdown().await.unwrap();
    listening.abort();
}
