//! Declaring, publishing, and limits of queues.

use super::*;
use crate::error::ErrorKind;
use crate::message::HeaderValue;
use crate::publish::{Publish, PublishErrorKind};
use crate::topology::{Binding, Declaration, Exchange, Queue};

fn refusal(broker: &Memory, thing: impl Into<Declaration>) -> String {
    let error = broker.declare(thing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Topology);
    error.to_string()
}

#[test]
fn what_exists_may_be_declared_again_and_must_not_differ() {
    let broker = Memory::new();
    broker.declare(Queue::new("orders")).unwrap();
    broker.declare(Queue::new("orders")).unwrap();
    broker.declare(Queue::new("orders").argument("x-queue-type", "classic")).unwrap();
    let text = refusal(&broker, Queue::new("orders").quorum());
    assert!(
        text.ends_with(
            "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'orders' in vhost '/': received 'quorum' but current is 'classic'"
        ),
        "{text}"
    );
    let text = refusal(&broker, Queue::new("orders").transient());
    assert!(
        text.contains(
            "inequivalent arg 'durable' for queue 'orders' in vhost '/': received 'false' but current is 'true'"
        ),
        "{text}"
    );
    let text = refusal(&broker, Queue::new("orders").argument("x-max-length", 5));
    assert!(text.contains("received the value '5' of type 'long' but current is none"), "{text}");
    // What RabbitMQ does not compare.
    broker.declare(Queue::new("orders").argument("x-kind", 5).delivery_limit(5)).unwrap();
    assert!(refusal(&broker, Queue::new("orders").exclusive()).contains("RESOURCE_LOCKED"));

    broker.declare(Exchange::topic("logs")).unwrap();
    broker.declare(Exchange::topic("logs")).unwrap();
    let text = refusal(&broker, Exchange::fanout("logs"));
    assert!(
        text.contains(
            "inequivalent arg 'type' for exchange 'logs' in vhost '/': received 'fanout' but current is 'topic'"
        ),
        "{text}"
    );
    // Another virtual host is another world.
    broker.declare(Exchange::fanout("logs").vhost("other")).unwrap();
}

#[test]
fn what_no_broker_would_make_is_refused() {
    let broker = Memory::new();
    for (declaration, words) in [
        (
            Declaration::from(Queue::new("q").quorum().transient()),
            "invalid property 'non-durable' for queue 'q' in vhost '/'",
        ),
        (Queue::new("q").argument("x-max-length", "ten").into(), "\"expected integer, got longstr\""),
        (Queue::new("q").argument("x-message-ttl", -1).into(), "invalid arg 'x-message-ttl'"),
        (Queue::new("amq.q").into(), "ACCESS_REFUSED"),
        (Queue::new("").into(), "names"),
        (Exchange::new("e", "odd").into(), "unknown exchange type 'odd'"),
        (Exchange::direct("").into(), "ACCESS_REFUSED"),
        (Exchange::direct("amq.e").into(), "ACCESS_REFUSED"),
        (Binding::new("amq.fanout", "", "q").into(), "NOT_FOUND - no queue 'q' in vhost '/'"),
    ] {
        let text = refusal(&broker, declaration);
        assert!(text.contains(words), "{text}");
    }
    broker.push("q", "");
    assert!(refusal(&broker, Binding::new("e", "", "q")).contains("NOT_FOUND - no exchange 'e' in vhost '/'"));
}

#[test]
fn a_queue_that_came_by_a_push_is_what_it_is_first_declared() {
    let broker = Memory::new();
    broker.push("q", "a");
    broker.declare(Queue::new("q").quorum()).unwrap();
    assert_eq!(broker.ready("q"), 1);
    refusal(&broker, Queue::new("q"));
}

#[test]
fn a_dead_letter_queue_is_declared_too_unless_it_exists() {
    let broker = Memory::new();
    broker.declare(Queue::new("q").quorum().dead_letter("q.dead")).unwrap();
    broker.declare(Queue::new("q.dead").quorum()).unwrap();
    broker.declare(Queue::new("r.dead").transient()).unwrap();
    broker.declare(Queue::new("r").dead_letter("r.dead")).unwrap();
    broker.declare(Queue::new("r.dead").transient()).unwrap();
}

/// What a publish to this exchange reaches.
async fn reached(broker: &Memory, exchange: &str, routing_key: &str) -> Vec<&'static str> {
    let publish = Publish::raw("m").exchange(exchange).routing_key(routing_key).header("kind", "pdf").mandatory(false);
    open(broker).publish("/".into(), publish).await.unwrap();
    ["a", "b"].into_iter().filter(|queue| broker.purge(queue) == 1).collect()
}

#[tokio::test(start_paused = true)]
async fn exchanges_route_by_their_type() {
    let broker = Memory::new();
    for queue in ["a", "b"] {
        broker.declare(Queue::new(queue)).unwrap();
    }
    let pdf = |binding: Binding, kind: &str| binding.argument("kind", kind);
    for (exchange, to_a, to_b) in [
        (Exchange::direct("direct"), Binding::new("direct", "x", "a"), Binding::new("direct", "y", "b")),
        (Exchange::fanout("fanout"), Binding::new("fanout", "x", "a"), Binding::new("fanout", "y", "b")),
        (Exchange::topic("topic"), Binding::new("topic", "x.#", "a"), Binding::new("topic", "*", "b")),
        (
            Exchange::new("headers", "headers"),
            pdf(Binding::new("headers", "", "a"), "pdf"),
            pdf(Binding::new("headers", "", "b"), "doc"),
        ),
    ] {
        broker.declare(exchange).unwrap();
        broker.declare(to_a.clone()).unwrap();
        broker.declare(to_a).unwrap();
        broker.declare(to_b).unwrap();
    }
    assert_eq!(reached(&broker, "direct", "x").await, ["a"]);
    assert_eq!(reached(&broker, "fanout", "z").await, ["a", "b"]);
    assert_eq!(reached(&broker, "topic", "x").await, ["a", "b"]);
    assert_eq!(reached(&broker, "topic", "x.y").await, ["a"]);
    assert_eq!(reached(&broker, "headers", "").await, ["a"]);
    assert_eq!(reached(&broker, "", "b").await, ["b"]);
    // Bindings go with their queue.
    broker.delete_queue("a");
    broker.declare(Queue::new("a")).unwrap();
    assert_eq!(reached(&broker, "fanout", "").await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn what_reaches_no_queue_is_an_error_where_it_is_mandatory() {
    let broker = Memory::new();
    let backend = open(&broker);
    let error = backend.publish("/".into(), Publish::raw("m").to("nowhere")).await.unwrap_err();
    assert!(error.is_unroutable() && error.to_string().contains("312 NO_ROUTE"), "{error}");
    backend.publish("/".into(), Publish::raw("m").to("nowhere").mandatory(false)).await.unwrap();
    let error = backend.publish("v".into(), Publish::raw("m").exchange("x").mandatory(false)).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Refused);
    assert!(error.to_string().ends_with("NOT_FOUND - no exchange 'x' in vhost 'v'"), "{error}");

    broker.declare(Exchange::direct("x").argument("alternate-exchange", "rest")).unwrap();
    broker.declare(Exchange::fanout("rest")).unwrap();
    broker.declare(Queue::new("rest")).unwrap();
    broker.declare(Binding::new("rest", "", "rest")).unwrap();
    backend.publish("/".into(), Publish::raw("m").exchange("x").routing_key("k")).await.unwrap();
    let message = &broker.messages("rest")[0];
    assert_eq!((&*message.exchange, &*message.routing_key), ("x", "k"));
    assert!(message.properties.message_id.is_some(), "a mandatory message is given an id");
}

#[tokio::test(start_paused = true)]
async fn a_closed_backend_publishes_nothing_and_another_one_does() {
    let broker = Memory::new();
    broker.declare(Queue::new("q")).unwrap();
    let (closed, next) = (open(&broker), open(&broker));
    closed.close().await;
    let error = closed.publish("/".into(), Publish::raw("m").to("q")).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Closed);
    next.publish("/".into(), Publish::raw("m").to("q")).await.unwrap();
    broker.publish(Publish::raw("m").to("q")).unwrap();
    assert_eq!(broker.ready("q"), 2);
}

#[tokio::test(start_paused = true)]
async fn messages_expire_at_the_head_of_their_queue() {
    let broker = Memory::new();
    broker.declare(Queue::new("q").dead_letter("dead")).unwrap();
    let short = |body| Publish::raw(body).expiration(Duration::from_secs(1));
    broker.push_message("q", short("a"));
    broker.push("q", "stays");
    broker.push_message("q", short("b"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(waiting(&broker, "q"), ["stays", "b"]);
    assert_eq!(waiting(&broker, "dead"), ["a"]);
    let mut client = Client::consume(&open(&broker), "q", 1).await;
    // Once it is at the head, it goes, and is never delivered.
    assert_eq!(client.bodies().await, ["stays"]);
    assert_eq!(waiting(&broker, "dead"), ["a", "b"]);
    client.ack(1);
    client.quiet().await;
    let error = broker.publish(Publish { properties: expiring("soon"), ..Publish::raw("c").to("q") }).unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Refused);
}

fn expiring(expiration: &str) -> crate::message::Properties {
    crate::message::Properties { expiration: Some(expiration.into()), ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_gives_up_its_head_or_refuses_as_declared() {
    let broker = Memory::new();
    let full = |name: &str| Queue::new(name).argument("x-max-length", 2);
    broker.declare(full("head").dead_letter("dead")).unwrap();
    push_all(&broker, "head", &["a", "b", "c"]);
    assert_eq!((waiting(&broker, "head"), waiting(&broker, "dead")), (vec!["b".into(), "c".into()], vec!["a".into()]));
    let died = broker.messages("dead")[0].properties.headers.get("x-first-death-reason").cloned();
    assert_eq!(died.as_ref().and_then(HeaderValue::as_str), Some("maxlen"));

    broker.declare(full("refusing").argument("x-overflow", "reject-publish")).unwrap();
    push_all(&broker, "refusing", &["a", "b"]);
    let error = broker.publish(Publish::raw("c").to("refusing")).unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Refused);
    assert_eq!(broker.ready("refusing"), 2);
    // What a consumer has taken does not count.
    let mut client = Client::consume(&open(&broker), "refusing", 10).await;
    assert_eq!(client.bodies().await, ["a", "b"]);
    for body in ["c", "d", "e", "f"] {
        broker.publish(Publish::raw(body).to("refusing")).unwrap();
    }
    assert_eq!(client.bodies().await, ["c", "d", "e", "f"]);
}
