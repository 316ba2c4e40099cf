//! Delivering, losing, cancelling and closing.

use super::*;
use crate::route::Action;
use crate::topology::Queue;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn what_is_ready_comes_in_one_signal_with_tags_from_one() {
    let broker = Memory::new();
    push_all(&broker, "q", &["a", "b", "c"]);
    let mut client = Client::consume(&open(&broker), "q", 10).await;
    let deliveries = client.deliveries().await;
    assert_eq!(bodies(&deliveries), ["a", "b", "c"]);
    assert_eq!(tags(&deliveries), [1, 2, 3]);
    assert!(deliveries.iter().all(|d| d.names(&client.origin).are(b"", b"q")));
    assert!(deliveries.iter().all(|d| !d.redelivered && d.properties.get().is_none()));
    push_all(&broker, "q", &["d", "e"]);
    assert_eq!(tags(&client.deliveries().await), [4, 5]);
}

#[tokio::test(start_paused = true)]
async fn never_more_is_unsettled_than_the_prefetch() {
    let broker = Memory::new();
    push_all(&broker, "q", &["a", "b", "c", "d", "e"]);
    let mut client = Client::consume(&open(&broker), "q", 2).await;
    assert_eq!(client.bodies().await, ["a", "b"]);
    client.quiet().await;
    assert_eq!((broker.ready("q"), broker.unsettled("q")), (3, 2));
    client.ack(2);
    assert_eq!(client.bodies().await, ["c"]);
    client.ack_up_to(3);
    assert_eq!(client.bodies().await, ["d", "e"]);
    client.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn consumers_share_a_queue_in_turn_also_those_of_several_apps() {
    let broker = Memory::new();
    let mut one = Client::consume(&open(&broker), "q", 10).await;
    let mut two = Client::consume(&open(&broker), "q", 2).await;
    assert_eq!(broker.consumers("q"), 2);
    push_all(&broker, "q", &["a", "b", "c", "d", "e", "f", "g"]);
    let (mut first, mut second) = (one.bodies().await, two.bodies().await);
    if second.len() > first.len() {
        std::mem::swap(&mut first, &mut second);
    }
    // Two is full after two messages; the rest goes to one.
    assert_eq!(second.len(), 2);
    assert_eq!(first.len(), 5);
    assert!(second == ["a", "c"] || second == ["b", "d"], "{second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_leaves_while_messages_are_on_their_way_to_it_loses_none() {
    let broker = Memory::new();
    let one = Client::consume(&open(&broker), "q", 10).await;
    let mut two = Client::consume(&open(&broker), "q", 10).await;
    push_all(&broker, "q", &["a", "b", "c", "d"]);
    one.cancel.cancel();
    one.close.cancel();
    let mut got = two.bodies().await;
    while got.len() < 4 {
        got.extend(two.bodies().await);
    }
    got.sort();
    assert_eq!(got, ["a", "b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_returns_everything_to_its_place_and_consumers_come_back() {
    let broker = Memory::new();
    push_all(&broker, "q", &["a", "b", "c"]);
    let mut client = Client::consume(&open(&broker), "q", 2).await;
    client.deliveries().await;
    let (old, before) = (client.settler.clone().unwrap(), Instant::now());
    broker.disconnect();
    assert_eq!(waiting(&broker, "q"), ["a", "b", "c"]);
    client.lost().await;
    client.opened().await;
    assert_eq!(before.elapsed().as_millis(), 100);
    // A frame of the old epoch means nothing.
    old.settle(&[Frame::Ack { tag: 1, multiple: false }, Frame::Nack { tag: 77 }]);
    let deliveries = client.deliveries().await;
    assert_eq!((bodies(&deliveries), tags(&deliveries)), (vec!["a".into(), "b".into()], vec![1, 2]));
    assert!(deliveries.iter().all(|delivery| delivery.redelivered));
    client.ack_up_to(2);
    assert!(!client.deliveries().await[0].redelivered);
    assert_eq!(broker.settled("q", 2).await, [Action::Ack, Action::Ack]);
    assert_eq!((broker.frames(), broker.channel_errors().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_queue_is_missing_until_it_is_declared_or_pushed_to() {
    let broker = Memory::new();
    push_all(&broker, "q", &["a"]);
    let mut client = Client::consume(&open(&broker), "q", 2).await;
    client.deliveries().await;
    assert!(broker.delete_queue("q"));
    assert!(!broker.delete_queue("q"));
    client.lost().await;
    assert_eq!((broker.ready("q"), broker.unsettled("q"), broker.consumers("q")), (0, 0, 0));
    tokio::time::sleep(Duration::from_secs(60)).await;
    client.quiet().await;
    broker.push("q", "b");
    let before = Instant::now();
    client.opened().await;
    assert!(before.elapsed() <= Duration::from_secs(5));
    let deliveries = client.deliveries().await;
    assert_eq!(bodies(&deliveries), ["b"]);
    assert!(!deliveries[0].redelivered);
    broker.delete_queue("q");
    client.lost().await;
    broker.declare(Queue::new("q").quorum()).unwrap();
    client.opened().await;
    assert_eq!(broker.consumers("q"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_waits_for_its_queue_can_be_cancelled_and_closed_at_once() {
    let broker = Memory::new();
    broker.push("q", "a");
    broker.delete_queue("q");
    let backend = open(&broker);
    let mut client = Client::start(&backend, "q", 2);
    let never_cancelled = Client::start(&backend, "q", 2);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let before = Instant::now();
    client.cancel.cancel();
    client.cancelled().await;
    client.quiet().await;
    client.end().await;
    never_cancelled.end().await;
    assert!(before.elapsed() < Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_consumer_gets_nothing_more_and_can_still_settle() {
    let broker = Memory::new();
    push_all(&broker, "q", &["a", "b"]);
    let mut client = Client::consume(&open(&broker), "q", 2).await;
    client.deliveries().await;
    client.cancel.cancel();
    client.cancelled().await;
    broker.push("q", "c");
    client.ack(1);
    client.quiet().await;
    assert_eq!((broker.ready("q"), broker.unsettled("q"), broker.consumers("q")), (1, 1, 0));
    client.end().await;
    let messages = broker.messages("q");
    assert_eq!(waiting(&broker, "q"), ["b", "c"]);
    assert_eq!((messages[0].redelivered, messages[1].redelivered), (true, false));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_consumer_that_is_disconnected_does_not_come_back() {
    let broker = Memory::new();
    push_all(&broker, "q", &["a"]);
    let mut client = Client::consume(&open(&broker), "q", 2).await;
    client.deliveries().await;
    client.cancel.cancel();
    client.cancelled().await;
    broker.disconnect();
    client.lost().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    client.quiet().await;
    assert_eq!(broker.ready("q"), 1);
    client.end().await;
}

#[tokio::test(start_paused = true)]
async fn cancelled_before_it_opened_a_consumer_says_so_at_once() {
    let broker = Memory::new();
    let (subscription, mut inbox) = subscription("q", 1);
    subscription.cancel.cancel();
    let close = subscription.close.clone();
    let task = open(&broker).consume(subscription);
    assert!(matches!(inbox.recv().await, Some(Signal::Cancelled { lane: 3 })));
    close.cancel();
    task.await.unwrap();
    assert!(inbox.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn messages_of_an_aborted_consumer_go_back() {
    let broker = Memory::new();
    push_all(&broker, "q", &["a"]);
    let mut client = Client::consume(&open(&broker), "q", 2).await;
    client.deliveries().await;
    client.task.abort();
    assert!((&mut client.task).await.unwrap_err().is_cancelled());
    assert_eq!((broker.ready("q"), broker.consumers("q")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_queue_deleted_under_a_consumer_that_drains_takes_its_settlements_with_it() {
    let broker = Memory::new();
    push_all(&broker, "q", &["a", "b"]);
    let mut client = Client::consume(&open(&broker), "q", 2).await;
    client.deliveries().await;
    client.cancel.cancel();
    client.cancelled().await;
    broker.delete_queue("q");
    broker.push("q", "new");
    client.ack(1);
    client.requeue(2);
    client.quiet().await;
    assert_eq!(waiting(&broker, "q"), ["new"]);
    assert!(broker.channel_errors().is_empty());
    client.end().await;
    assert_eq!(waiting(&broker, "q"), ["new"]);
}

#[tokio::test(start_paused = true)]
async fn an_auto_delete_queue_goes_with_its_last_consumer_and_is_declared_again_by_its_app() {
    let broker = Memory::new();
    let backend = open(&broker);
    backend.declare("/".into(), vec![crate::topology::Thing::Queue(Queue::new("q").auto_delete())]).await.unwrap();
    let mut client = Client::consume(&backend, "q", 2).await;
    broker.push("q", "a");
    client.deliveries().await;
    broker.disconnect();
    client.lost().await;
    client.opened().await;
    assert_eq!((broker.consumers("q"), broker.ready("q")), (1, 0));
    client.end().await;
    assert_eq!(broker.consumers("q"), 0);
    assert!(!broker.delete_queue("q"));
}

#[test]
fn a_broker_outlives_the_runtime_of_its_consumers() {
    let broker = Memory::new();
    broker.push("q", "a");
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let deliveries = runtime.block_on(async { Client::consume(&open(&broker), "q", 1).await.bodies().await });
        assert_eq!(deliveries, ["a"]);
        drop(runtime);
        assert_eq!(broker.ready("q"), 1);
    }
}
