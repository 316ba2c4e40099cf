//! What frames do, and what tests can ask about it.

use super::*;
use crate::message::{HeaderValue, Headers, Properties};
use crate::publish::Publish;
use crate::route::Action;
use crate::topology::Queue;

#[tokio::test(start_paused = true)]
async fn a_requeued_message_returns_to_its_place_and_is_redelivered() {
    let broker = Memory::new();
    push_all(&broker, "q", &["a", "b", "c", "d"]);
    let mut client = Client::consume(&open(&broker), "q", 3).await;
    client.deliveries().await;
    client.cancel.cancel();
    client.cancelled().await;
    client.requeue(3);
    client.requeue(1);
    assert_eq!(waiting(&broker, "q"), ["a", "c", "d"]);
    assert_eq!(broker.messages("q").iter().map(|message| message.redelivered).collect::<Vec<_>>(), [true, true, false]);
    client.ack(2);
    client.end().await;
    let mut next = Client::consume(&open(&broker), "q", 2).await;
    let deliveries = next.deliveries().await;
    assert_eq!(bodies(&deliveries), ["a", "c"]);
    assert!(deliveries.iter().all(|delivery| delivery.redelivered && delivery.properties.get().is_none()));
    next.ack_up_to(2);
    next.reject(3);
    // By message, and for each as it went.
    let expected = [Action::Requeue, Action::Ack, Action::Ack, Action::Requeue, Action::Ack, Action::Reject];
    assert_eq!(broker.settled("q", 6).await, expected[..5]);
}

#[tokio::test(start_paused = true)]
async fn multiple_settles_what_is_outstanding_up_to_the_tag() {
    let broker = Memory::new();
    push_all(&broker, "q", &["a", "b", "c", "d", "e"]);
    let mut client = Client::consume(&open(&broker), "q", 5).await;
    client.deliveries().await;
    client.cancel.cancel();
    client.cancelled().await;
    client.reject(2);
    client.ack_up_to(3);
    assert_eq!(broker.settled("q", 3).await, [Action::Ack, Action::Reject, Action::Ack]);
    client.settle(&[Frame::Nack { tag: 5 }]);
    assert_eq!(waiting(&broker, "q"), ["d", "e"]);
    assert!(broker.messages("q").iter().all(|message| message.redelivered));
    // What is given back is no settlement.
    assert_eq!(broker.settled("q", 3).await.len(), 3);
    assert_eq!((broker.frames(), broker.unsettled("q")), (3, 0));
    // 0 is all there are, be it none.
    client.ack_up_to(0);
    assert!(broker.channel_errors().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_is_not_outstanding_closes_the_channel() {
    for frame in [
        Frame::Ack { tag: 1, multiple: false },
        Frame::Ack { tag: 1, multiple: true },
        Frame::Ack { tag: 3, multiple: true },
        Frame::Ack { tag: 0, multiple: false },
        Frame::Reject { tag: 1, requeue: true },
        Frame::Nack { tag: 9 },
    ] {
        let broker = Memory::new();
        push_all(&broker, "q", &["a", "b"]);
        let mut client = Client::consume(&open(&broker), "q", 2).await;
        client.deliveries().await;
        client.ack(1);
        // The frames behind the bad one are lost with the channel.
        client.settle(&[frame, Frame::Ack { tag: 2, multiple: false }]);
        client.lost().await;
        let error = &broker.channel_errors()[0];
        assert!(error.starts_with("PRECONDITION_FAILED - unknown delivery tag"), "{error}");
        assert_eq!(broker.settled("q", 1).await, [Action::Ack]);
        client.opened().await;
        let deliveries = client.deliveries().await;
        assert_eq!(bodies(&deliveries), ["b"]);
        assert!(deliveries[0].redelivered);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejected_message_without_a_dead_letter_exchange_is_gone() {
    let broker = Memory::new();
    push_all(&broker, "q", &["a"]);
    let mut client = Client::consume(&open(&broker), "q", 1).await;
    client.deliveries().await;
    client.reject(1);
    assert!(broker.empty("q").await);
    assert_eq!(broker.settled("q", 1).await, [Action::Reject]);
}

fn death(message: &super::super::MemoryMessage, place: usize) -> Headers {
    match message.properties.headers.get("x-death") {
        Some(HeaderValue::List(deaths)) => match &deaths[place] {
            HeaderValue::Table(death) => death.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejected_message_goes_to_the_dead_letter_queue_and_says_why() {
    let broker = Memory::new();
    broker.declare(Queue::new("q").dead_letter("q.dead")).unwrap();
    broker.push_message("q", Publish::raw("a").header("x-kind", "order").expiration(Duration::from_secs(600)));
    let mut client = Client::consume(&open(&broker), "q", 1).await;
    client.deliveries().await;
    client.reject(1);
    let message = &broker.messages("q.dead")[0];
    assert_eq!((&*message.exchange, &*message.routing_key, message.redelivered), ("", "q.dead", false));
    assert_eq!(&*message.body, b"a");
    let headers = &message.properties.headers;
    for (name, value) in [
        ("x-kind", "order"),
        ("x-first-death-reason", "rejected"),
        ("x-first-death-queue", "q"),
        ("x-first-death-exchange", ""),
    ] {
        assert_eq!(headers.get(name).and_then(HeaderValue::as_str), Some(value), "{name}");
    }
    assert_eq!(message.properties.expiration, None);
    let mut death = death(message, 0);
    assert!(matches!(death.remove("time"), Some(HeaderValue::Timestamp(1_600_000_000..))));
    let expected = Headers::from([
        ("count".into(), 1.into()),
        ("reason".into(), "rejected".into()),
        ("queue".into(), "q".into()),
        ("exchange".into(), "".into()),
        ("routing-keys".into(), vec!["q".into()].into()),
        ("original-expiration".into(), "600000".into()),
    ]);
    assert_eq!(death, expected);
}

#[tokio::test(start_paused = true)]
async fn a_message_retried_by_way_of_a_queue_with_a_time_to_live_counts_its_deaths() {
    let broker = Memory::new();
    let to_work = Queue::new("retry").dead_letter_exchange("").argument("x-dead-letter-routing-key", "work");
    broker.declare(to_work.argument("x-message-ttl", 5000)).unwrap();
    broker.declare(Queue::new("work").dead_letter("retry")).unwrap();
    broker.push("work", "a");
    let mut client = Client::consume(&open(&broker), "work", 1).await;
    let started = tokio::time::Instant::now();
    for round in 0..3 {
        let delivery = client.deliveries().await.remove(0);
        assert_eq!(started.elapsed().as_secs(), 5 * round);
        assert!(!delivery.redelivered);
        client.reject(delivery.tag);
    }
    let message = &broker.messages("retry")[0];
    assert_eq!(death(message, 0).get("queue"), Some(&"work".into()));
    assert_eq!(death(message, 0).get("count"), Some(&3.into()));
    assert_eq!(death(message, 1).get("reason"), Some(&"expired".into()));
    assert_eq!(death(message, 1).get("count"), Some(&2.into()));
    assert_eq!(message.properties.headers.get("x-first-death-queue"), Some(&"work".into()));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_would_go_round_for_ever_is_dropped() {
    let broker = Memory::new();
    let itself = Queue::new("q").dead_letter_exchange("").argument("x-dead-letter-routing-key", "q");
    broker.declare(itself.argument("x-message-ttl", 10)).unwrap();
    broker.push("q", "a");
    assert!(broker.empty("q").await);
}

#[tokio::test(start_paused = true)]
async fn quorum_queues_count_what_comes_back_and_give_up_at_the_limit() {
    let broker = Memory::new();
    broker.declare(Queue::new("q").quorum().delivery_limit(2).dead_letter("q.dead")).unwrap();
    broker.push("q", "a");
    let mut client = Client::consume(&open(&broker), "q", 1).await;
    let count = |delivery: &Delivery| {
        delivery.properties.get().and_then(|properties| properties.headers.get("x-delivery-count")?.as_i64())
    };
    let first = client.deliveries().await;
    assert_eq!((count(&first[0]), first[0].redelivered), (None, false));
    client.requeue(1);
    let second = client.deliveries().await;
    assert_eq!((count(&second[0]), second[0].redelivered), (Some(1), true));
    // What a drain gives back is no attempt.
    client.settle(&[Frame::Nack { tag: 2 }]);
    let third = client.deliveries().await;
    assert_eq!((count(&third[0]), third[0].redelivered), (Some(1), true));
    broker.disconnect();
    client.lost().await;
    client.opened().await;
    assert_eq!(count(&client.deliveries().await[0]), Some(2));
    assert_eq!(broker.ready("q.dead"), 0);
    client.requeue(1);
    assert!(broker.empty("q").await);
    let dead = broker.messages("q.dead");
    assert_eq!(death(&dead[0], 0).get("reason"), Some(&"delivery_limit".into()));
    assert_eq!(broker.settled("q", 2).await, [Action::Requeue, Action::Requeue]);
}

#[tokio::test(start_paused = true)]
async fn inspections_wait_longer_than_a_partial_bulk_and_then_tell_what_there_is() {
    let broker = Memory::new();
    let before = tokio::time::Instant::now();
    assert!(broker.settled("q", 1).await.is_empty());
    assert_eq!(before.elapsed().as_secs(), 90);
    broker.push("q", "a");
    assert!(!broker.empty("q").await);
    assert_eq!(before.elapsed().as_secs(), 180);
    assert_eq!(broker.settled("q", 0).await, []);
    assert!(broker.empty("other").await);
}

#[tokio::test(start_paused = true)]
async fn a_push_gives_no_properties_and_push_message_those_it_was_given() {
    let broker = Memory::new();
    broker.push("q", "a");
    broker.push_message("q", Publish::raw("b").exchange("ignored").message_id("7"));
    let messages = broker.messages("q");
    assert_eq!(messages[0].properties, Properties::default());
    assert_eq!(messages[1].properties.message_id.as_deref(), Some("7"));
    assert_eq!((&*messages[1].exchange, &*messages[1].routing_key), ("", "q"));
    assert_eq!(broker.purge("q"), 2);
    assert!(broker.empty("q").await);
}

#[tokio::test(start_paused = true)]
async fn virtual_hosts_are_apart() {
    let broker = Memory::new();
    let fluentd = broker.in_vhost("fluentd");
    fluentd.push("q", "a");
    broker.push_message("r", Publish::raw("b").vhost("fluentd"));
    assert_eq!((broker.ready("q"), fluentd.ready("q"), fluentd.ready("r")), (0, 1, 1));
    fluentd.declare(Queue::new("s")).unwrap();
    assert!(!broker.delete_queue("s") && fluentd.delete_queue("s"));
    assert_eq!(open(&fluentd).default_vhost(), "fluentd");
    assert_eq!((open(&broker).default_vhost(), open(&broker).default_prefetch()), ("/", 128));
    assert_eq!(open(&broker.clone().prefetch(7)).default_prefetch(), 7);
}

/// Not a benchmark: it fails only when a message costs what no broker in memory should, on whatever machine.
#[tokio::test]
async fn hundreds_of_thousands_of_messages_are_no_matter() {
    const MESSAGES: u64 = 300_000;
    let broker = Memory::new();
    let before = std::time::Instant::now();
    for _ in 0..MESSAGES {
        broker.push("q", "a");
    }
    let mut client = Client::consume(&open(&broker), "q", 256).await;
    let mut last = 0;
    while last < MESSAGES {
        last = client.deliveries().await.pop().unwrap().tag;
        client.ack_up_to(last);
    }
    assert_eq!(broker.settled("q", 300_000).await.len(), 300_000);
    let elapsed = before.elapsed();
    assert!(elapsed < Duration::from_secs(120), "{elapsed:?}");
}
