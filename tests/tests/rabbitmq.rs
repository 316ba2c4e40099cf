//! What only a real RabbitMQ shows.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::prelude::*;
use asyncworker::{ErrorKind, PublishErrorKind};
use futures_util::future::join_all;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests::{
    Broker, Client, Events, LIMIT, Log, Relay, Seen, Worker, amqp_url, broker_address, close_connections_of, ctl,
    holds, own_host, unique, until, until_async, url_to,
};
use tokio::net::TcpListener;

const SOON: Duration = Duration::from_millis(300);
const WORKER: &str = env!("CARGO_BIN_EXE_worker");

async fn see(State(seen): State<Seen>, batch: Batch<Message>) {
    seen.batch(&batch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_messages_with_marks_come_out_exactly() {
    #[derive(Clone, Default)]
    struct Once(Arc<Mutex<HashSet<u32>>>);
    async fn handler(
        State(seen): State<Seen>,
        State(once): State<Once>,
        batch: Batch<Message<u32>>,
    ) -> Result<(), Failure> {
        seen.batch(&batch);
        for message in &batch {
            let number = *message.body()?;
            if number % 11 == 0 && once.0.lock().unwrap().insert(number) {
                message.requeue();
            }
            if number % 7 == 0 {
                message.reject();
            }
        }
        Ok(())
    }
    let broker = Broker::rabbitmq("thousand").await;
    let (queue, dead) = broker.dead_lettering("q").await;
    broker.push(&queue, 1..=1_000).await;
    let seen = Seen::default();
    let options = RouteOptions::new().bulk_size(50).bulk_flush_interval(SOON);
    let route = Route::amqp([&queue]).options(options).handler(handler);
    let app = broker.app().state(seen.clone()).state(Once::default()).route(route).start().await.unwrap();
    let rejected: Vec<String> = (1..=1_000).filter(|number| number % 7 == 0).map(|number| number.to_string()).collect();
    let requeued: HashSet<String> =
        (1..=1_000).filter(|number| number % 11 == 0 && number % 7 != 0).map(|number| number.to_string()).collect();
    assert_eq!((rejected.len(), requeued.len()), (142, 78));
    seen.wait(1_078).await;
    broker.until_ready(&dead, 142).await;
    // Nothing is on its way any more: as the broker itself counts, with the app still there.
    until_async("all is settled", LIMIT, || async { broker.unsettled(&queue).await == 0 }).await;
    assert_eq!((broker.ready(&queue).await, broker.unsettled(&dead).await), (0, 0));
    app.shutdown().await.unwrap();
    assert_eq!((broker.ready(&queue).await, seen.len()), (0, 1_078));
    assert!(seen.sizes().iter().all(|size| *size <= 50));
    for number in 1..=1_000 {
        let number = number.to_string();
        let expected: &[bool] = if requeued.contains(&number) { &[false, true] } else { &[false] };
        assert_eq!(seen.times(&number), expected, "message {number}");
    }
    let taken = broker.take(&dead).await;
    let mut bodies: Vec<String> = taken.iter().map(|taken| taken.body.clone()).collect();
    bodies.sort_by_key(|body| body.parse::<u32>().unwrap());
    assert_eq!(bodies, rejected);
    assert!(
        taken
            .iter()
            .all(|taken| taken.death.as_ref().is_some_and(|death| death.reason == "rejected" && death.queue == queue))
    );
    broker.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_queue_is_reported_once_and_consumed_when_it_appears() {
    let events = Events::listen();
    let broker = Broker::rabbitmq("missing").await;
    let (sibling, other) = (broker.queue("sibling").await, broker.queue("other").await);
    let missing = broker.missing_queue("q");
    let seen = Seen::default();
    let app = broker
        .app()
        .state(seen.clone())
        .route(Route::amqp([&missing, &sibling]).handler(see))
        .route(Route::amqp([&other]).handler(see))
        .start()
        .await
        .unwrap();
    let attempts = || events.lines(&["the queue is not consumed", &missing]);
    let mut round = 0;
    // While it is tried several times the others go on.
    while attempts().len() < 4 {
        round += 1;
        assert!(round < 2_000, "{:?}", attempts());
        broker.push(&sibling, [round]).await;
        broker.push(&other, [round]).await;
        seen.wait(2 * round).await;
    }
    let reports: Vec<String> = attempts().into_iter().filter(|line| line.contains("WARN")).collect();
    assert!(reports.len() == 1 && reports[0].contains("NOT_FOUND"), "{reports:?}");
    assert!(seen.all().iter().all(|sight| !sight.redelivered));
    assert_eq!((seen.len(), broker.relay().accepted()), (2 * round, 1));
    broker.declare(&missing).await;
    broker.push(&missing, ["found"]).await;
    // The longest pause is 500 ms, and half of it more; it is not the default of 30 s.
    until("it is consumed", LIMIT / 2, || seen.len() == 2 * round + 1).await;
    app.shutdown().await.unwrap();
    broker.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_queue_is_reported_and_the_connection_stays() {
    let events = Events::listen();
    let broker = Broker::rabbitmq("deleted").await;
    let (queue, other) = (broker.queue("q").await, broker.queue("other").await);
    let seen = Seen::default();
    let route = Route::amqp([&queue, &other]).handler(see);
    let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
    until_async("it is consumed", LIMIT, || async { broker.client().consumers(&queue).await == 1 }).await;
    ctl(&["delete_queue", &queue]).await;
    until("it is reported", LIMIT, || !events.lines(&["WARN", "cancelled the consumer", &queue]).is_empty()).await;
    broker.push(&other, [1]).await;
    seen.wait(1).await;
    broker.declare(&queue).await;
    broker.push(&queue, [2]).await;
    seen.wait(2).await;
    assert_eq!(broker.relay().accepted(), 1);
    app.shutdown().await.unwrap();
    broker.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_app_declares_is_there_before_it_consumes() {
    let broker = Broker::rabbitmq("declares").await;
    let (queue, dead) = (broker.missing_queue("q"), broker.missing_queue("dead"));
    let exchange = broker.name("exchange");
    let app = broker
        .app()
        .declare(Queue::new(&queue).quorum().dead_letter(&dead))
        .declare(Exchange::topic(&exchange))
        .declare(Binding::new(&exchange, "order.#", &queue))
        .route(Route::amqp([&queue]).handler(async |message: Message| message.reject()))
        .start()
        .await
        .unwrap();
    let publish = Publish::raw("1").exchange(&exchange).routing_key("order.new");
    app.publisher().publish(publish).await.unwrap();
    broker.until_ready(&dead, 1).await;
    let listed = ctl(&["list_queues", "-q", "name", "type", "durable"]).await;
    for name in [&queue, &dead] {
        assert!(listed.lines().any(|line| line == format!("{name}\tquorum\ttrue")), "{listed}");
    }
    // Nothing of it is news to the next start.
    let again =
        broker.app().declare(Queue::new(&queue).quorum().dead_letter(&dead)).declare(Exchange::topic(&exchange));
    again.start().await.unwrap().shutdown().await.unwrap();
    app.shutdown().await.unwrap();
    let taken = broker.take(&dead).await;
    assert_eq!(taken[0].death.as_ref().map(|death| death.queue.as_str()), Some(queue.as_str()));
    broker.client().delete_exchange(&exchange).await;
    broker.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declaration_that_does_not_fit_is_a_start_up_error_that_names_the_argument() {
    let broker = Broker::rabbitmq("mismatch").await;
    let queue = broker.queue("q").await;
    broker.push(&queue, [1]).await;
    let seen = Seen::default();
    let app = broker.app().state(seen.clone()).declare(Queue::new(&queue).quorum());
    let error = app.route(Route::amqp([&queue]).handler(see)).start().await.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Topology);
    assert!(text.contains(&queue) && text.contains("x-queue-type"), "{text}");
    assert_eq!((broker.ready(&queue).await, seen.len()), (1, 0));
    broker.clean().await;
}

/// An app on this connection handles one message.
async fn works(test: &str, amqp: Amqp) {
    let client = Client::connect().await;
    let queue = unique(test);
    client.declare(&queue, &[]).await;
    client.publish(&queue, ["1"]).await;
    let seen = Seen::default();
    let amqp = amqp.backoff(Duration::from_millis(50), SOON);
    let app = App::new().connect(amqp).state(seen.clone()).route(Route::amqp([&queue]).handler(see));
    let app = app.start().await.unwrap();
    seen.wait(1).await;
    app.shutdown().await.unwrap();
    client.delete(&queue).await;
    client.close().await;
}

#[tokio::test]
async fn uris_name_the_default_virtual_host_in_three_ways() {
    for rest in ["", "/", "/%2f"] {
        works("uri", Amqp::from_uri(&url_to(&broker_address(), rest)).unwrap()).await;
    }
}

#[tokio::test]
async fn an_ipv6_address_with_a_port_is_connected_to() {
    let relay = Relay::between("[::1]:0", &broker_address()).await;
    assert!(relay.url().contains("@[::1]:"), "{}", relay.url());
    works("ipv6", Amqp::from_uri(&relay.url()).unwrap()).await;
    assert_eq!(relay.accepted(), 1);
}

#[tokio::test]
async fn the_next_host_is_tried_when_the_first_is_dead() {
    let dead = url_to(&format!("{}:5672", own_host()), "");
    works("hosts", Amqp::from_uris([dead, url_to("no-such-host.invalid:5672", ""), amqp_url()]).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_tried_again_and_told_each_time() {
    let canary = "canary-of-the-password";
    let failures = Log::<(String, u64)>::default();
    let log = failures.clone();
    let amqp = Amqp::from_uri(&format!("amqp://guest:{canary}@{}", broker_address()))
        .unwrap()
        .backoff(Duration::from_millis(10), Duration::from_millis(20))
        .on_connection_failure(move |error, failures| {
            assert_eq!(error.kind(), ErrorKind::Connection);
            log.push((format!("{error} {error:?}"), failures));
        });
    let app =
        App::new().connect(amqp).route(Route::amqp(["nothing"]).handler(async |_: Message| ())).start().await.unwrap();
    until("three attempts", LIMIT, || failures.len() >= 3).await;
    app.shutdown().await.unwrap();
    for (attempt, (error, count)) in failures.all().into_iter().enumerate() {
        assert_eq!(count, attempt as u64 + 1);
        assert!(error.contains("ACCESS_REFUSED") && error.contains(&broker_address()), "{error}");
        assert!(!error.contains(canary), "{error}");
    }
}

#[tokio::test]
async fn no_password_is_in_anything_that_a_worker_prints() {
    let canary = "c4n4ry-0f-th3-p4ssw0rd";
    let url = format!("amqp://guest:{canary}@{}", broker_address());
    let mut worker = Worker::start(
        WORKER,
        ["leak", &url, "nothing"],
        &[("ASYNCWORKER_LOGLEVEL", "trace"), ("RUST_BACKTRACE", "full")],
    );
    worker.until_printed("failure 3").await;
    worker.signal("TERM").await;
    assert_eq!(worker.end(LIMIT).await.code(), Some(0));
    let printed = worker.printed();
    for part in ["leaky", "panicked", "nothing", "failure 3", "ACCESS_REFUSED"] {
        assert!(printed.contains(part), "no {part} in {printed}");
    }
    let leaks: Vec<&str> = printed.lines().filter(|line| line.contains(canary)).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_and_leaks_no_threads() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url_to(&silent.local_addr().unwrap().to_string(), "");
    let keeps = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = silent.accept().await {
            connections.push(connection);
        }
    });
    let mut worker = Worker::start(WORKER, ["silence", &url, "nothing"], &[]);
    worker.until_printed("failure 5:").await;
    let before = worker.threads();
    worker.until_printed("failure 25:").await;
    let after = worker.threads();
    assert!(after <= before + 2, "{before} threads, and {after} after 20 attempts more");
    assert!(worker.printed().contains("did not open the connection within 200ms"), "{}", worker.printed());
    worker.signal("TERM").await;
    assert_eq!(worker.end(LIMIT).await.code(), Some(0));
    keeps.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_down_at_start_is_waited_for() {
    let broker = Broker::rabbitmq("late").await;
    let queue = broker.queue("q").await;
    broker.push(&queue, [1]).await;
    broker.relay().refuse(true);
    let seen = Seen::default();
    let app = broker.app().state(seen.clone()).route(Route::amqp([&queue]).handler(see)).start().await.unwrap();
    until("three attempts", LIMIT, || broker.relay().accepted() >= 3).await;
    broker.relay().refuse(false);
    seen.wait(1).await;
    app.shutdown().await.unwrap();
    broker.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_waits_for_a_lost_connection() {
    let broker = Broker::rabbitmq("waits").await;
    let queue = broker.queue("q").await;
    let app = broker.app().start().await.unwrap();
    let publisher = app.publisher();
    publisher.publish(Publish::raw("0").to(&queue)).await.unwrap();
    broker.relay().refuse(true);
    broker.relay().cut();
    let to = queue.clone();
    let publish = tokio::spawn(async move { publisher.publish(Publish::raw("1").to(to)).await });
    holds("it waits", SOON, || !publish.is_finished()).await;
    broker.relay().refuse(false);
    publish.await.unwrap().unwrap();
    app.shutdown().await.unwrap();
    assert_eq!(broker.take_bodies(&queue).await, ["0", "1"]);
    broker.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_an_operator_closes_lose_nothing() {
    async fn handler(State(seen): State<Seen>, State(out): State<String>, message: Message) -> Publish {
        seen.message(&message);
        Publish::raw(message.raw().clone()).to(out)
    }
    let broker = Broker::rabbitmq("operator").await;
    let (queue, out) = (broker.queue("q").await, broker.queue("out").await);
    let seen = Seen::default();
    let app =
        broker.app().name(&queue).state(seen.clone()).state(out.clone()).route(Route::amqp([&queue]).handler(handler));
    let app = app.start().await.unwrap();
    let mut pushed = 0;
    for _ in 0..2 {
        broker.push(&queue, pushed..pushed + 2_000).await;
        pushed += 2_000;
        // One that consumes, and one that publishes.
        until("both work", LIMIT, || seen.len() > pushed - 2_000).await;
        assert!(close_connections_of(&queue).await >= 1);
    }
    let mut bodies = HashSet::new();
    until_async("all are published", LIMIT, || async { broker.ready(&out).await >= pushed }).await;
    until_async("all are settled", LIMIT, || async {
        broker.ready(&queue).await == 0 && broker.unsettled(&queue).await == 0
    })
    .await;
    app.shutdown().await.unwrap();
    bodies.extend(broker.take_bodies(&out).await);
    assert_eq!((bodies.len(), broker.ready(&queue).await), (pushed, 0));
    broker.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_unroutable_message_has_its_own_error_among_many_in_flight() {
    let broker = Broker::rabbitmq("unroutable").await;
    let queue = broker.queue("q").await;
    let app = broker.app().start().await.unwrap();
    let publisher = app.publisher();
    let mut routable = 0;
    for round in 0..5 {
        let publishes = (0..500).map(|number| {
            let good = (number * 7 + round) % 3 != 0;
            let to = if good { queue.clone() } else { format!("{queue}.nowhere.{}", number % 10) };
            let publish = publisher.publish(Publish::raw(format!("{round}-{number}")).to(&to));
            async move { (good, to, publish.await) }
        });
        for (good, to, published) in join_all(publishes).await {
            match published {
                Ok(()) => assert!(good, "a message to {to} was said to be published"),
                Err(error) => {
                    assert!(!good, "a message that could be routed: {error}");
                    assert_eq!(error.kind(), PublishErrorKind::Unroutable);
                    assert!(error.to_string().contains(&format!("`{to}`")), "{error} for {to}");
                }
            }
            routable += usize::from(good);
        }
        assert_eq!(broker.ready(&queue).await, routable);
    }
    app.shutdown().await.unwrap();
    broker.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_say_who_they_are() {
    let broker = Broker::rabbitmq("tags").await;
    let queue = broker.queue("q").await;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
    let route = Route::amqp([&queue])
        .name("index-orders")
        .options(RouteOptions::new().prefetch(17))
        .handler(async |_: Message| ());
    let app = broker.app().name("shop").route(route).start().await.unwrap();
    until_async("it is consumed", LIMIT, || async { broker.client().consumers(&queue).await == 1 }).await;
    let listed = ctl(&["list_consumers", "-q", "queue_name", "consumer_tag", "prefetch_count", "ack_required"]).await;
    let ours = listed.lines().find(|line| line.starts_with(&queue)).expect("a consumer");
    // The tool has an order of columns of its own.
    let columns: Vec<&str> = ours.split('\t').collect();
    let tag = columns.iter().find(|column| column.contains("index-orders")).expect("a tag that names the route");
    assert!(tag.contains("shop") && tag.contains(&host), "{tag}");
    assert!(columns.contains(&"17") && columns.contains(&"true"), "{ours}");
    app.shutdown().await.unwrap();
    broker.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_many_frames_comes_through_in_both_directions() {
    let broker = Broker::rabbitmq("large").await;
    let (queue, out) = (broker.queue("q").await, broker.queue("out").await);
    let body = "0123456789abcdef".repeat(200_000);
    broker.push(&queue, [&body]).await;
    let to = out.clone();
    let forward = Route::amqp([&queue]).handler(move |message: Message| {
        let to = to.clone();
        async move { Publish::raw(message.raw().clone()).to(to) }
    });
    let app = broker.app().route(forward).start().await.unwrap();
    broker.until_ready(&out, 1).await;
    app.shutdown().await.unwrap();
    assert!(broker.take_bodies(&out).await == [body]);
    broker.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_queue_counts_deliveries_and_gives_up_at_its_limit() {
    async fn handler(State(counts): State<Log<Option<u64>>>, message: Message) {
        counts.push(message.delivery_count());
        message.requeue();
    }
    let broker = Broker::rabbitmq("quorum").await;
    let (queue, dead) = (broker.missing_queue("q"), broker.missing_queue("dead"));
    let counts = Log::<Option<u64>>::default();
    let app = broker
        .app()
        .state(counts.clone())
        .declare(Queue::new(&queue).quorum().delivery_limit(2).dead_letter(&dead))
        .route(Route::amqp([&queue]).handler(handler))
        .start()
        .await
        .unwrap();
    app.publisher().publish(Publish::raw("poison").to(&queue)).await.unwrap();
    broker.until_ready(&dead, 1).await;
    app.shutdown().await.unwrap();
    assert_eq!(counts.all().into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>(), [0, 1, 2]);
    let death = broker.take(&dead).await.remove(0).death.unwrap();
    assert_eq!(death.reason, "delivery_limit");
    broker.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_virtual_host_that_appears_later_is_consumed() {
    let broker = Broker::rabbitmq("later").await;
    let vhost = unique("later");
    let failures = Log::<String>::default();
    let log = failures.clone();
    let seen = Seen::default();
    let amqp = broker.amqp().on_connection_failure(move |error, _| log.push(format!("{error:?}")));
    let app = App::new().connect(amqp).state(seen.clone()).route(Route::amqp(["q"]).vhost(&vhost).handler(see));
    let app = app.start().await.unwrap();
    until("two attempts", LIMIT, || failures.len() >= 2).await;
    assert!(failures.all()[0].contains(&vhost), "{:?}", failures.all());
    let there = broker.in_new_vhost(&vhost).await;
    there.declare("q").await;
    there.push("q", [1]).await;
    seen.wait(1).await;
    app.shutdown().await.unwrap();
    there.clean_vhost(&vhost).await;
    broker.clean().await;
}
