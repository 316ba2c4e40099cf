//! What a worker does, the same on both brokers. What the original did wrong is in `defects.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::prelude::*;
use asyncworker::{Bulk, HeaderValue, Next, Outcome, PublishErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tests::{Broker, Envelope, Gate, LIMIT, Log, Seen, holds, on_both_brokers, until};

on_both_brokers![
    a_bulk_is_in_the_order_of_its_queue,
    a_bulk_is_full_by_size,
    a_bulk_is_flushed_by_time,
    a_bulk_is_never_larger_than_the_prefetch,
    a_mark_wins_over_the_default_and_the_last_mark_over_the_others,
    a_mark_holds_when_the_handler_fails,
    what_succeeds_is_acked_unless_the_route_says_otherwise,
    what_fails_comes_again_unless_the_route_says_otherwise,
    what_does_not_decode_is_rejected_unless_the_route_says_otherwise,
    a_failure_may_bring_its_own_action,
    a_panic_is_an_exception,
    a_timeout_is_an_exception,
    a_handler_may_return_the_action,
    a_body_is_decoded_before_the_handler_runs,
    what_a_handler_returns_is_published,
    what_is_rejected_goes_to_the_dead_letter_queue,
    a_body_over_the_limit_of_its_route_is_rejected_alone,
    what_is_requeued_comes_back_redelivered_to_its_place,
    the_prefetch_is_never_exceeded,
    the_queues_of_a_route_share_one_bucket,
    a_concurrency_of_one_keeps_the_order,
    bulks_run_side_by_side_up_to_the_concurrency,
    a_handler_sees_headers_and_properties,
    a_publish_to_an_unknown_exchange_is_refused_alone,
    an_unroutable_message_that_is_not_mandatory_is_no_error,
    layers_go_around_the_handler_outermost_first,
    a_layer_may_keep_the_handler_from_running,
    a_partial_bulk_is_handed_over_at_shutdown,
    what_waits_behind_a_running_bulk_is_given_back_at_shutdown,
    an_app_that_is_dropped_gives_everything_back,
    what_comes_again_after_a_loss_is_marked_redelivered,
    a_route_consumes_from_its_virtual_host,
    a_route_is_ready_while_the_broker_has_its_consumer,
];

const SOON: Duration = Duration::from_millis(300);

async fn see(State(seen): State<Seen>, batch: Batch<Message>) {
    seen.batch(&batch);
}

/// Waits at the gate after it has seen its bulk.
async fn see_and_wait(State(seen): State<Seen>, State(gate): State<Gate>, batch: Batch<Message>) {
    seen.batch(&batch);
    gate.pass().await;
}

/// Bulks that are full by size: the clock has no part in it.
fn bulks_of(size: usize) -> RouteOptions {
    RouteOptions::new().bulk_size(size).bulk_flush_interval(LIMIT * 100)
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

async fn a_bulk_is_in_the_order_of_its_queue(broker: Broker) {
    let queue = broker.queue("q").await;
    broker.push(&queue, 0..100).await;
    let seen = Seen::default();
    let route = Route::amqp([&queue]).options(bulks_of(100)).handler(see);
    let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(100).await;
    assert_eq!(seen.bulks(), [numbers(0..100)]);
    app.shutdown().await.unwrap();
    assert_eq!(broker.ready(&queue).await, 0);
}

async fn a_bulk_is_full_by_size(broker: Broker) {
    let queue = broker.queue("q").await;
    broker.push(&queue, 0..40).await;
    let seen = Seen::default();
    let route = Route::amqp([&queue]).options(bulks_of(10)).handler(see);
    let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(40).await;
    assert_eq!(seen.sizes(), [10; 4]);
    app.shutdown().await.unwrap();
    assert_eq!(broker.ready(&queue).await, 0);
}

async fn a_bulk_is_flushed_by_time(broker: Broker) {
    let queue = broker.queue("q").await;
    broker.push(&queue, 0..250).await;
    let seen = Seen::default();
    // Longer than a broker that is busy takes to send what fills one.
    let options = bulks_of(100).bulk_flush_interval(SOON * 10);
    let route = Route::amqp([&queue]).options(options).handler(see);
    let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(250).await;
    assert_eq!(seen.sizes(), [100, 100, 50]);
    app.shutdown().await.unwrap();
    assert_eq!(broker.ready(&queue).await, 0);
}

async fn a_bulk_is_never_larger_than_the_prefetch(broker: Broker) {
    let queue = broker.queue("q").await;
    broker.push(&queue, 0..512).await;
    let seen = Seen::default();
    // Full with what the prefetch allows.
    let options = bulks_of(1000).prefetch(256);
    let app = broker.app().state(seen.clone()).route(Route::amqp([&queue]).options(options).handler(see));
    let app = app.start().await.unwrap();
    seen.wait(512).await;
    assert_eq!(seen.sizes(), [256, 256]);
    app.shutdown().await.unwrap();
    assert_eq!(broker.ready(&queue).await, 0);
}

/// Marks each message by its body: the verbs one after the other. What comes again is accepted.
fn mark(batch: &Batch<Message<String>>) {
    for message in batch {
        if message.redelivered() {
            message.accept();
            continue;
        }
        for verb in message.body().unwrap().split_whitespace() {
            match verb {
                "accept" => message.accept(),
                "reject" => message.reject(),
                "requeue" => message.requeue(),
                _ => {}
            }
        }
    }
}

const MARKS: [&str; 6] =
    [r#""accept""#, r#""reject""#, r#""requeue""#, r#""reject accept""#, r#""requeue reject""#, r#""accept requeue""#];

async fn a_mark_wins_over_the_default_and_the_last_mark_over_the_others(broker: Broker) {
    async fn handler(State(seen): State<Seen>, batch: Batch<Message<String>>) {
        mark(&batch);
        seen.batch(&batch);
    }
    let (queue, dead) = broker.dead_lettering("q").await;
    broker.push(&queue, MARKS).await;
    broker.push(&queue, [r#""none""#]).await;
    let seen = Seen::default();
    // What comes again fills none.
    let options = bulks_of(7).bulk_flush_interval(SOON).on_success(Action::Reject);
    let route = Route::amqp([&queue]).options(options).handler(handler);
    let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(9).await;
    app.shutdown().await.unwrap();
    assert_eq!(broker.ready(&queue).await, 0);
    assert_eq!(broker.take_bodies(&dead).await, [r#""reject""#, r#""requeue reject""#, r#""none""#]);
    assert_eq!(seen.times(r#""requeue""#), [false, true]);
    assert_eq!(seen.times(r#""accept requeue""#), [false, true]);
    assert_eq!(seen.len(), 9);
}

async fn a_mark_holds_when_the_handler_fails(broker: Broker) {
    async fn handler(State(seen): State<Seen>, batch: Batch<Message<String>>) -> Result<(), Failure> {
        mark(&batch);
        seen.batch(&batch);
        Err(Failure::new("it fails on purpose"))
    }
    let (queue, dead) = broker.dead_lettering("q").await;
    broker.push(&queue, MARKS).await;
    broker.push(&queue, [r#""none""#]).await;
    let seen = Seen::default();
    let options = bulks_of(7).bulk_flush_interval(SOON).on_exception(Action::Reject);
    let route = Route::amqp([&queue]).options(options).handler(handler);
    let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(9).await;
    app.shutdown().await.unwrap();
    assert_eq!(broker.ready(&queue).await, 0);
    assert_eq!(broker.take_bodies(&dead).await, [r#""reject""#, r#""requeue reject""#, r#""none""#]);
    assert_eq!(seen.len(), 9);
}

/// Runs one route over one message that is to be seen so many times, and gives how many of it are in the
/// dead-letter queue at the end.
async fn fate(broker: &Broker, options: RouteOptions, body: &str, handler: Handler, times: usize) -> usize {
    let (queue, dead) = broker.dead_lettering("fate").await;
    broker.push(&queue, [body]).await;
    let seen = Seen::default();
    let route = Route::amqp([&queue]).options(options);
    let route = match handler {
        Handler::Succeeds => route.handler(async |State(seen): State<Seen>, message: Message| again(&seen, &message)),
        Handler::Fails => route.handler(async |State(seen): State<Seen>, message: Message| {
            again(&seen, &message);
            Err::<(), _>(Failure::new("it fails on purpose"))
        }),
        Handler::Decodes => route.handler(async |State(seen): State<Seen>, message: Message| {
            again(&seen, &message);
            let _ = message.body();
        }),
    };
    let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(times).await;
    app.shutdown().await.unwrap();
    assert_eq!(seen.times(body), [false, true][..times]);
    assert_eq!(broker.ready(&queue).await, 0);
    broker.take(&dead).await.len()
}

enum Handler {
    Succeeds,
    Fails,
    Decodes,
}

/// What comes again is accepted.
fn again(seen: &Seen, message: &Message) {
    seen.message(message);
    if message.redelivered() {
        message.accept();
    }
}

async fn what_succeeds_is_acked_unless_the_route_says_otherwise(broker: Broker) {
    let options = RouteOptions::new;
    assert_eq!(fate(&broker, options(), "1", Handler::Succeeds, 1).await, 0);
    assert_eq!(fate(&broker, options().on_success(Action::Reject), "1", Handler::Succeeds, 1).await, 1);
    assert_eq!(fate(&broker, options().on_success(Action::Requeue), "1", Handler::Succeeds, 2).await, 0);
}

async fn what_fails_comes_again_unless_the_route_says_otherwise(broker: Broker) {
    let options = RouteOptions::new;
    assert_eq!(fate(&broker, options(), "1", Handler::Fails, 2).await, 0);
    assert_eq!(fate(&broker, options().on_exception(Action::Reject), "1", Handler::Fails, 1).await, 1);
    assert_eq!(fate(&broker, options().on_exception(Action::Ack), "1", Handler::Fails, 1).await, 0);
}

async fn what_does_not_decode_is_rejected_unless_the_route_says_otherwise(broker: Broker) {
    let options = RouteOptions::new;
    assert_eq!(fate(&broker, options(), "{", Handler::Decodes, 1).await, 1);
    assert_eq!(fate(&broker, options().on_decode_error(Action::Ack), "{", Handler::Decodes, 1).await, 0);
    assert_eq!(fate(&broker, options().on_decode_error(Action::Requeue), "{", Handler::Decodes, 2).await, 0);
    // Whoever does not ask for the body is not told.
    assert_eq!(fate(&broker, options(), "{", Handler::Succeeds, 1).await, 0);
}

async fn a_failure_may_bring_its_own_action(broker: Broker) {
    async fn handler(State(seen): State<Seen>, message: Message<String>) -> Result<(), Failure> {
        seen.message(&message);
        match message.body()?.as_str() {
            "accept" => Err(Failure::accept("done all the same")),
            "requeue" if !message.redelivered() => Err(Failure::requeue("once more")),
            "requeue" => Ok(()),
            _ => Err(Failure::new("as the route says")),
        }
    }
    let (queue, dead) = broker.dead_lettering("q").await;
    broker.push(&queue, [r#""accept""#, r#""requeue""#, r#""none""#]).await;
    let seen = Seen::default();
    let route = Route::amqp([&queue]).options(RouteOptions::new().on_exception(Action::Reject)).handler(handler);
    let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(4).await;
    app.shutdown().await.unwrap();
    assert_eq!(broker.ready(&queue).await, 0);
    assert_eq!(broker.take_bodies(&dead).await, [r#""none""#]);
    assert_eq!(seen.times(r#""requeue""#), [false, true]);
}

async fn a_panic_is_an_exception(broker: Broker) {
    async fn handler(State(seen): State<Seen>, message: Message<u32>) {
        seen.message(&message);
        assert!(*message.body().unwrap() != 1, "a panic on purpose");
    }
    let (queue, dead) = broker.dead_lettering("q").await;
    broker.push(&queue, 0..3).await;
    let seen = Seen::default();
    let route = Route::amqp([&queue]).options(RouteOptions::new().on_exception(Action::Reject)).handler(handler);
    let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(3).await;
    app.shutdown().await.unwrap();
    assert_eq!(broker.ready(&queue).await, 0);
    assert_eq!(broker.take_bodies(&dead).await, ["1"]);
}

async fn a_timeout_is_an_exception(broker: Broker) {
    async fn handler(State(seen): State<Seen>, message: Message<u32>) {
        seen.message(&message);
        if *message.body().unwrap() == 1 {
            std::future::pending::<()>().await;
        }
    }
    let (queue, dead) = broker.dead_lettering("q").await;
    broker.push(&queue, 0..3).await;
    let seen = Seen::default();
    let options = RouteOptions::new().on_exception(Action::Reject).timeout(SOON);
    let route = Route::amqp([&queue]).options(options).handler(handler);
    let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
    broker.until_ready(&dead, 1).await;
    app.shutdown().await.unwrap();
    assert_eq!((broker.ready(&queue).await, seen.len()), (0, 3));
    assert_eq!(broker.take_bodies(&dead).await, ["1"]);
}

async fn a_handler_may_return_the_action(broker: Broker) {
    async fn handler(State(seen): State<Seen>, message: Message<u32>) -> Action {
        seen.message(&message);
        match message.body() {
            Ok(1) => Action::Reject,
            Ok(2) if !message.redelivered() => Action::Requeue,
            _ => Action::Ack,
        }
    }
    let (queue, dead) = broker.dead_lettering("q").await;
    broker.push(&queue, 0..3).await;
    let seen = Seen::default();
    let route = Route::amqp([&queue]).handler(handler);
    let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(4).await;
    app.shutdown().await.unwrap();
    assert_eq!(broker.ready(&queue).await, 0);
    assert_eq!(broker.take_bodies(&dead).await, ["1"]);
    assert_eq!(seen.times("2"), [false, true]);
}

async fn a_body_is_decoded_before_the_handler_runs(broker: Broker) {
    async fn handler(State(log): State<Log<u32>>, Body(number): Body<u32>) {
        log.push(number);
    }
    let (queue, dead) = broker.dead_lettering("q").await;
    broker.push(&queue, ["1", "{", "2"]).await;
    let log = Log::<u32>::default();
    let route = Route::amqp([&queue]).options(RouteOptions::new().concurrency(1)).handler(handler);
    let app = broker.app().state(log.clone()).route(route).start().await.unwrap();
    until("two bodies", LIMIT, || log.len() == 2).await;
    app.shutdown().await.unwrap();
    assert_eq!(log.all(), [1, 2]);
    assert_eq!(broker.ready(&queue).await, 0);
    assert_eq!(broker.take_bodies(&dead).await, ["{"]);
}

async fn what_a_handler_returns_is_published(broker: Broker) {
    async fn handler(State(out): State<String>, Body(number): Body<u32>) -> Result<Vec<Publish>, Failure> {
        let publish = |number: u32| Ok(Publish::json(&number)?.to(&out).header("x-kind", "receipt"));
        (0..number).map(publish).collect()
    }
    let queue = broker.queue("q").await;
    let out = broker.queue("out").await;
    broker.push(&queue, [0, 3]).await;
    let route = Route::amqp([&queue]).handler(handler);
    let app = broker.app().state(out.clone()).route(route).start().await.unwrap();
    broker.until_ready(&out, 3).await;
    app.shutdown().await.unwrap();
    assert_eq!(broker.ready(&queue).await, 0);
    let taken = broker.take(&out).await;
    assert_eq!(taken.iter().map(|taken| taken.body.as_str()).collect::<Vec<_>>(), ["0", "1", "2"]);
    assert_eq!(taken[0].headers, [("x-kind".to_owned(), "receipt".to_owned())]);
    assert_eq!(taken[0].content_type.as_deref(), Some("application/json"));
}

async fn what_is_rejected_goes_to_the_dead_letter_queue(broker: Broker) {
    async fn handler(batch: Batch<Message>) {
        batch.iter().for_each(Message::reject);
    }
    let (queue, dead) = broker.dead_lettering("q").await;
    broker.push(&queue, 0..5).await;
    let app = broker.app().route(Route::amqp([&queue]).options(bulks_of(5)).handler(handler)).start().await.unwrap();
    broker.until_ready(&dead, 5).await;
    app.shutdown().await.unwrap();
    let taken = broker.take(&dead).await;
    assert_eq!(taken.iter().map(|taken| taken.body.clone()).collect::<Vec<_>>(), numbers(0..5));
    let death = taken[0].death.clone().unwrap();
    assert_eq!((death.queue, death.reason.as_str(), death.count), (queue, "rejected", 1));
}

async fn what_is_requeued_comes_back_redelivered_to_its_place(broker: Broker) {
    async fn handler(State(seen): State<Seen>, message: Message<u32>) {
        seen.message(&message);
        if *message.body().unwrap() == 1 && !message.redelivered() {
            message.requeue();
        }
    }
    let queue = broker.queue("q").await;
    broker.push(&queue, 0..5).await;
    let seen = Seen::default();
    let route = Route::amqp([&queue]).options(RouteOptions::new().prefetch(1)).handler(handler);
    let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(6).await;
    app.shutdown().await.unwrap();
    assert_eq!(seen.bodies(), ["0", "1", "1", "2", "3", "4"]);
    assert_eq!(seen.times("1"), [false, true]);
    assert_eq!(seen.times("2"), [false]);
    assert_eq!(broker.ready(&queue).await, 0);
}

async fn the_prefetch_is_never_exceeded(broker: Broker) {
    #[derive(Clone, Default)]
    struct Running(Arc<AtomicUsize>, Arc<AtomicUsize>);
    async fn handler(State(gate): State<Gate>, State(running): State<Running>, _: Message) {
        let now = running.0.fetch_add(1, Ordering::SeqCst) + 1;
        running.1.fetch_max(now, Ordering::SeqCst);
        gate.pass().await;
        running.0.fetch_sub(1, Ordering::SeqCst);
    }
    let queue = broker.queue("q").await;
    broker.push(&queue, 0..50).await;
    let (gate, running) = (Gate::default(), Running::default());
    let route = Route::amqp([&queue]).options(RouteOptions::new().prefetch(7)).handler(handler);
    let app = broker.app().state(gate.clone()).state(running.clone()).route(route).start().await.unwrap();
    until("as many handlers as the prefetch allows", LIMIT, || running.0.load(Ordering::SeqCst) == 7).await;
    assert_eq!((broker.ready(&queue).await, broker.unsettled(&queue).await), (43, 7));
    gate.let_pass(3);
    broker.until_ready(&queue, 40).await;
    until("three more handlers", LIMIT, || running.0.load(Ordering::SeqCst) == 7).await;
    gate.open();
    broker.until_ready(&queue, 0).await;
    app.shutdown().await.unwrap();
    assert_eq!((broker.ready(&queue).await, running.1.load(Ordering::SeqCst)), (0, 7));
}

async fn the_queues_of_a_route_share_one_bucket(broker: Broker) {
    let (one, two) = (broker.queue("one").await, broker.queue("two").await);
    broker.push(&one, 0..3).await;
    broker.push(&two, 10..13).await;
    let seen = Seen::default();
    let route = Route::amqp([&one, &two]).options(bulks_of(6)).handler(see);
    let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(6).await;
    assert_eq!(seen.sizes(), [6]);
    let of = |queue: &str| -> Vec<_> {
        seen.all().into_iter().filter(|sight| sight.queue == queue).map(|sight| sight.body).collect()
    };
    assert_eq!((of(&one), of(&two)), (numbers(0..3), numbers(10..13)));
    app.shutdown().await.unwrap();
    assert_eq!((broker.ready(&one).await, broker.ready(&two).await), (0, 0));
}

async fn a_concurrency_of_one_keeps_the_order(broker: Broker) {
    async fn handler(State(log): State<Log<String>>, State(seen): State<Seen>, batch: Batch<Message<u64>>) {
        seen.batch(&batch);
        log.push("start".into());
        // The later the shorter: side by side they would overtake each other.
        let pause = 10_u64.saturating_sub(*batch[0].body().unwrap() / 4);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        log.push("end".into());
    }
    let queue = broker.queue("q").await;
    broker.push(&queue, 0..40).await;
    let (log, seen) = (Log::<String>::default(), Seen::default());
    let route = Route::amqp([&queue]).options(bulks_of(4).concurrency(1)).handler(handler);
    let app = broker.app().state(log.clone()).state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(40).await;
    app.shutdown().await.unwrap();
    assert_eq!(seen.bodies(), numbers(0..40));
    assert_eq!(log.all(), ["start", "end"].repeat(10));
}

async fn bulks_run_side_by_side_up_to_the_concurrency(broker: Broker) {
    let queue = broker.queue("q").await;
    broker.push(&queue, 0..20).await;
    let (gate, seen) = (Gate::default(), Seen::default());
    let route = Route::amqp([&queue]).options(bulks_of(2).concurrency(3)).handler(see_and_wait);
    let app = broker.app().state(gate.clone()).state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(6).await;
    holds("three bulks and no more", SOON, || seen.len() == 6).await;
    gate.open();
    seen.wait(20).await;
    app.shutdown().await.unwrap();
    assert_eq!((broker.ready(&queue).await, seen.len()), (0, 20));
}

async fn a_handler_sees_headers_and_properties(broker: Broker) {
    async fn handler(
        State(log): State<Log<(Headers, Properties, String)>>,
        headers: Headers,
        properties: Properties,
        message: Message,
    ) {
        assert_eq!(&properties, message.properties());
        assert_eq!(&headers, message.headers());
        log.push((headers, properties, format!("{}|{}", message.exchange(), message.routing_key())));
    }
    let queue = broker.queue("q").await;
    let envelope = Envelope {
        body: "1".into(),
        headers: vec![("x-kind", "receipt"), ("x-ü", "ß")],
        correlation_id: "c-7",
        content_type: "application/json",
    };
    broker.push_envelope(&queue, envelope).await;
    let log = Log::<(Headers, Properties, String)>::default();
    let app = broker.app().state(log.clone()).route(Route::amqp([&queue]).handler(handler)).start().await.unwrap();
    until("it was handled", LIMIT, || log.len() == 1).await;
    app.shutdown().await.unwrap();
    let (headers, properties, place) = log.all().remove(0);
    let text = |text: &str| HeaderValue::Text(text.into());
    assert_eq!(headers, Headers::from([("x-kind".into(), text("receipt")), ("x-ü".into(), text("ß"))]));
    assert_eq!(properties.correlation_id.as_deref(), Some("c-7"));
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(properties.delivery_mode, Some(2));
    assert_eq!(properties.message_id, None);
    assert_eq!(place, format!("|{queue}"));
}

async fn a_publish_to_an_unknown_exchange_is_refused_alone(broker: Broker) {
    let queue = broker.queue("q").await;
    let app = broker.app().start().await.unwrap();
    let publisher = app.publisher();
    let good = (0..20).map(|number| publisher.publish(Publish::raw(number.to_string()).to(&queue)));
    let nowhere = broker.name("no-such-exchange");
    let bad = publisher.publish(Publish::raw("lost").exchange(&nowhere).routing_key("x"));
    let (good, bad) = futures_util::join!(futures_util::future::join_all(good), bad);
    let error = bad.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Refused);
    assert!(error.to_string().contains(&nowhere), "{error}");
    assert!(good.iter().all(Result::is_ok), "{good:?}");
    publisher.publish(Publish::raw("last").to(&queue)).await.unwrap();
    app.shutdown().await.unwrap();
    let mut taken = broker.take_bodies(&queue).await;
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), 21);
}

async fn an_unroutable_message_that_is_not_mandatory_is_no_error(broker: Broker) {
    let nowhere = broker.name("no-such-queue");
    let app = broker.app().start().await.unwrap();
    app.publisher().publish(Publish::raw("1").to(&nowhere).mandatory(false)).await.unwrap();
    let error = app.publisher().publish(Publish::raw("1").to(&nowhere)).await.unwrap_err();
    assert!(error.is_unroutable() && error.to_string().contains(&nowhere), "{error}");
    app.shutdown().await.unwrap();
}

struct Around {
    name: &'static str,
    log: Log<String>,
}

#[asyncworker::async_trait]
impl Layer for Around {
    async fn call(&self, bulk: Bulk, next: Next) -> Result<Outcome, Failure> {
        self.log.push(format!("{} before {} of {}", self.name, bulk.len(), bulk.route()));
        let outcome = next.run(bulk).await;
        self.log.push(format!("{} after, ok: {}", self.name, outcome.is_ok()));
        outcome
    }
}

async fn layers_go_around_the_handler_outermost_first(broker: Broker) {
    async fn handler(State(log): State<Log<String>>, batch: Batch<Message>) -> Result<(), Failure> {
        log.push("handler".into());
        batch.iter().for_each(Message::accept);
        Err(Failure::new("it fails on purpose"))
    }
    let queue = broker.queue("q").await;
    broker.push(&queue, 0..2).await;
    let log = Log::<String>::default();
    let layer = |name| Around { name, log: log.clone() };
    let route =
        Route::amqp([&queue]).name("layered").options(bulks_of(2)).layer(layer("c")).layer(layer("d")).handler(handler);
    let app = broker.app().layer(layer("a")).layer(layer("b")).state(log.clone()).route(route).start().await.unwrap();
    until("the outermost layer has ended", LIMIT, || log.len() == 9).await;
    app.shutdown().await.unwrap();
    let before = ["a", "b", "c", "d"].map(|name| format!("{name} before 2 of layered"));
    let after = ["d", "c", "b", "a"].map(|name| format!("{name} after, ok: false"));
    assert_eq!(log.all(), [&before[..], &["handler".to_owned()], &after[..]].concat());
    assert_eq!(broker.ready(&queue).await, 0);
}

async fn a_layer_may_keep_the_handler_from_running(broker: Broker) {
    struct Refuse;
    #[asyncworker::async_trait]
    impl Layer for Refuse {
        async fn call(&self, _: Bulk, _: Next) -> Result<Outcome, Failure> {
            Err(Failure::reject("the layer says no"))
        }
    }
    let (queue, dead) = broker.dead_lettering("q").await;
    broker.push(&queue, 0..2).await;
    let seen = Seen::default();
    let route = Route::amqp([&queue]).options(bulks_of(2)).layer(Refuse).handler(see);
    let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
    broker.until_ready(&dead, 2).await;
    app.shutdown().await.unwrap();
    assert_eq!((broker.ready(&queue).await, seen.len()), (0, 0));
}

async fn a_partial_bulk_is_handed_over_at_shutdown(broker: Broker) {
    let queue = broker.queue("q").await;
    broker.push(&queue, 0..3).await;
    let seen = Seen::default();
    let route = Route::amqp([&queue]).options(bulks_of(10)).handler(see);
    let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
    broker.until_ready(&queue, 0).await;
    holds("the bulk waits to fill", SOON, || seen.is_empty()).await;
    app.shutdown().await.unwrap();
    assert_eq!(seen.bulks(), [numbers(0..3)]);
    assert_eq!(broker.ready(&queue).await, 0);
}

async fn what_waits_behind_a_running_bulk_is_given_back_at_shutdown(broker: Broker) {
    let queue = broker.queue("q").await;
    broker.push(&queue, 0..10).await;
    let (gate, seen) = (Gate::default(), Seen::default());
    let route = Route::amqp([&queue]).options(bulks_of(4).concurrency(1)).handler(see_and_wait);
    let app = broker.app().state(gate.clone()).state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(4).await;
    broker.until_ready(&queue, 0).await;
    let shutdown = tokio::spawn(app.shutdown());
    holds("the handler that runs is waited for", SOON, || !shutdown.is_finished()).await;
    gate.open();
    shutdown.await.unwrap().unwrap();
    assert_eq!(seen.bulks(), [numbers(0..4)]);
    broker.until_ready(&queue, 6).await;
    let back = broker.take(&queue).await;
    assert_eq!(back.iter().map(|taken| taken.body.clone()).collect::<Vec<_>>(), numbers(4..10));
}

async fn an_app_that_is_dropped_gives_everything_back(broker: Broker) {
    let queue = broker.queue("q").await;
    broker.push(&queue, 0..10).await;
    let (gate, seen) = (Gate::default(), Seen::default());
    let options = bulks_of(4).concurrency(1);
    let route = Route::amqp([&queue]).options(options).handler(see_and_wait);
    let app = broker.app().state(gate.clone()).state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(4).await;
    drop(app);
    broker.until_ready(&queue, 10).await;
    gate.open();
    holds("nobody consumes", SOON, || seen.len() == 4).await;
    assert_eq!(broker.take_bodies(&queue).await, numbers(0..10));
}

async fn what_comes_again_after_a_loss_is_marked_redelivered(broker: Broker) {
    let queue = broker.queue("q").await;
    broker.push(&queue, 0..10).await;
    let (gate, seen) = (Gate::default(), Seen::default());
    let route = Route::amqp([&queue]).options(RouteOptions::new().prefetch(5)).handler(see_and_wait);
    let app = broker.app().state(gate.clone()).state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(5).await;
    broker.disconnect();
    seen.wait(10).await;
    gate.open();
    seen.wait(15).await;
    app.shutdown().await.unwrap();
    for number in 0..10 {
        let expected: &[bool] = if number < 5 { &[false, true] } else { &[false] };
        assert_eq!(seen.times(&number.to_string()), expected, "message {number}");
    }
    assert_eq!((broker.ready(&queue).await, seen.len()), (0, 15));
}

async fn a_route_consumes_from_its_virtual_host(broker: Broker) {
    let vhost = broker.name("vhost");
    let there = broker.in_new_vhost(&vhost).await;
    let queue = broker.queue("q").await;
    there.declare(&queue).await;
    broker.push(&queue, ["1"]).await;
    there.push(&queue, ["2"]).await;
    let seen = Seen::default();
    let app = broker
        .app()
        .state(seen.clone())
        .route(Route::amqp([&queue]).name("there").vhost(&vhost).handler(see))
        .start()
        .await
        .unwrap();
    seen.wait(1).await;
    // A publish that names the virtual host goes there too.
    app.publisher().publish(Publish::raw("3").to(&queue).vhost(&vhost)).await.unwrap();
    seen.wait(2).await;
    app.shutdown().await.unwrap();
    assert_eq!(seen.bodies(), ["2", "3"]);
    assert_eq!((broker.ready(&queue).await, there.ready(&queue).await), (1, 0));
    there.clean_vhost(&vhost).await;
}

async fn a_body_over_the_limit_of_its_route_is_rejected_alone(broker: Broker) {
    let (queue, dead) = broker.dead_lettering("q").await;
    let sizes = [1_000, 1_001, 100_000, 999, 300_000, 10];
    broker.push(&queue, sizes.map(|size| "x".repeat(size))).await;
    let seen = Seen::default();
    let route = Route::amqp([&queue]).options(RouteOptions::new().max_body_size(1_000)).handler(
        async |State(seen): State<Seen>, message: Message| {
            again(&seen, &message);
        },
    );
    let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(3).await;
    broker.until_ready(&dead, 3).await;
    app.shutdown().await.unwrap();
    assert_eq!((seen.len(), broker.ready(&queue).await), (3, 0));
    // Whole: nobody has cut them.
    let mut dead: Vec<usize> = broker.take_bodies(&dead).await.iter().map(String::len).collect();
    dead.sort_unstable();
    assert_eq!(dead, [1_001, 100_000, 300_000]);
}

async fn a_route_is_ready_while_the_broker_has_its_consumer(broker: Broker) {
    let queues = [broker.queue("first").await, broker.queue("second").await];
    let gate = Gate::default();
    let (seen, route) = (Seen::default(), Route::amqp(&queues).name("route").handler(see_and_wait));
    let app = broker.app().state(seen.clone()).state(gate.clone()).route(route).start().await.unwrap();
    let consuming = || app.status().routes[0].queues.iter().map(|queue| queue.consuming).collect::<Vec<_>>();
    until("both are consumed", LIMIT, || app.status().is_ready()).await;

    broker.delete(&queues[1]).await;
    until("the route knows of the deleted queue", LIMIT, || consuming() == [true, false]).await;
    assert!(!app.status().is_ready());
    broker.declare(&queues[1]).await;
    until("it is consumed again", LIMIT, || app.status().is_ready()).await;

    broker.push(&queues[1], 0..2).await;
    seen.wait(2).await;
    let route = app.status().routes.remove(0);
    assert_eq!((route.unsettled, route.settled), (2, 0));
    let waited = route.oldest_unsettled.unwrap();
    until("they grow older", LIMIT, || app.status().routes[0].stalled_for().is_some_and(|age| age > waited)).await;
    gate.open();
    until("they are settled", LIMIT, || app.status().routes[0].settled == 2).await;
    assert_eq!(app.status().routes[0].oldest_unsettled, None);
    app.shutdown().await.unwrap();
}
