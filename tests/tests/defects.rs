//! The defects of the original (the list "Mend" of its port), each with a test that the original would
//! fail. Defect 14, and what of 7 is about schedules, are in `asyncworker/tests/`, where time is virtual.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::prelude::*;
use asyncworker::{ErrorKind, PublishErrorKind};
use std::time::Duration;
use tests::{
    Broker, Gate, LIMIT, Log, Seen, Worker, amqp_url, ctl, holds, on_both_brokers, unique, until, until_async,
};

on_both_brokers![
    defect_01_a_handler_whose_publish_fails_has_its_bulk_settled,
    defect_02_nothing_of_a_dead_connection_is_handled_beside_its_redelivery,
    defect_03_what_a_dead_connection_delivered_is_settled_once_and_on_the_new_one,
    defect_05_a_body_that_does_not_decode_harms_only_itself,
    defect_06_a_handler_that_hangs_holds_up_no_other_bulk,
    defect_07_shutdown_waits_for_handlers_settles_and_cancels,
    defect_08_nothing_is_consumed_before_the_startup_hooks_have_ended,
    defect_09_a_queue_that_is_deleted_and_declared_again_is_consumed_again,
    defect_10_a_missing_queue_disturbs_no_other,
    defect_12_a_publish_is_confirmed_and_persistent_and_may_be_empty,
    defect_13_a_handler_on_two_routes_serves_both,
];

const SOON: Duration = Duration::from_millis(300);

async fn see(State(seen): State<Seen>, batch: Batch<Message>) {
    seen.batch(&batch);
}

async fn see_and_wait(State(seen): State<Seen>, State(gate): State<Gate>, batch: Batch<Message>) {
    seen.batch(&batch);
    gate.pass().await;
}

async fn defect_01_a_handler_whose_publish_fails_has_its_bulk_settled(broker: Broker) {
    // Returned by one handler, and done by hand in the other.
    async fn returned(State(nowhere): State<String>, _: Batch<Message>) -> Publish {
        Publish::raw("lost").to(nowhere)
    }
    async fn by_hand(State(nowhere): State<String>, publisher: Publisher, _: Batch<Message>) -> Result<(), Failure> {
        publisher.publish(Publish::raw("lost").to(nowhere)).await?;
        Ok(())
    }
    let nowhere = broker.name("nowhere");
    let (one, one_dead) = broker.dead_lettering("one").await;
    let (two, two_dead) = broker.dead_lettering("two").await;
    broker.push(&one, 0..3).await;
    broker.push(&two, 0..3).await;
    let options = || RouteOptions::new().bulk_size(3).on_exception(Action::Reject);
    let app = broker
        .app()
        .state(nowhere)
        .route(Route::amqp([&one]).options(options()).handler(returned))
        .route(Route::amqp([&two]).options(options()).handler(by_hand));
    let app = app.start().await.unwrap();
    broker.until_ready(&one_dead, 3).await;
    broker.until_ready(&two_dead, 3).await;
    app.shutdown().await.unwrap();
    assert_eq!((broker.ready(&one).await, broker.ready(&two).await), (0, 0));
}

async fn defect_02_nothing_of_a_dead_connection_is_handled_beside_its_redelivery(broker: Broker) {
    let queue = broker.queue("q").await;
    broker.push(&queue, 0..10).await;
    let (gate, seen) = (Gate::default(), Seen::default());
    // One bulk runs, and six messages wait in the bucket.
    let options = RouteOptions::new().bulk_size(4).bulk_flush_interval(SOON * 10).prefetch(10).concurrency(1);
    let route = Route::amqp([&queue]).options(options).handler(see_and_wait);
    let app = broker.app().state(gate.clone()).state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(4).await;
    broker.until_ready(&queue, 0).await;

    // What is lost goes back to the queue, and from there to the consumer that comes back.
    broker.disconnect();
    until_async("the consumer is back", LIMIT, || async {
        broker.ready(&queue).await == 0 && broker.unsettled(&queue).await == 10 && reconnected(&broker)
    })
    .await;
    assert_eq!(seen.len(), 4);
    gate.open();
    seen.wait(14).await;
    app.shutdown().await.unwrap();
    for number in 0..10 {
        let expected: &[bool] = if number < 4 { &[false, true] } else { &[true] };
        assert_eq!(seen.times(&number.to_string()), expected, "message {number}: {:?}", seen.bulks());
    }
    assert_eq!((broker.ready(&queue).await, seen.len()), (0, 14));
}

/// Of RabbitMQ: a second connection was made.
fn reconnected(broker: &Broker) -> bool {
    broker.is_memory() || broker.relay().accepted() >= 2
}

async fn defect_03_what_a_dead_connection_delivered_is_settled_once_and_on_the_new_one(broker: Broker) {
    async fn handler(State(seen): State<Seen>, State(gate): State<Gate>, message: Message<u32>) -> Result<(), Failure> {
        seen.message(&message);
        gate.pass().await;
        // Of the old connection an ack, a reject, a requeue and a failure: none may reach the new one.
        match message.body()? % 4 {
            _ if message.redelivered() => {}
            1 => message.reject(),
            2 => message.requeue(),
            3 => return Err(Failure::new("it fails on purpose")),
            _ => {}
        }
        Ok(())
    }
    let (queue, dead) = broker.dead_lettering("q").await;
    broker.push(&queue, 0..8).await;
    let (gate, seen) = (Gate::default(), Seen::default());
    let options = RouteOptions::new().prefetch(8).on_exception(Action::Reject);
    let route = Route::amqp([&queue]).options(options).handler(handler);
    let app = broker.app().state(gate.clone()).state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(8).await;
    broker.disconnect();
    // They run a second time beside the first run, which has not ended.
    seen.wait(16).await;
    gate.open();
    broker.until_ready(&queue, 0).await;
    app.shutdown().await.unwrap();
    assert_eq!((broker.ready(&queue).await, broker.ready(&dead).await, seen.len()), (0, 0, 16));
    if !broker.is_memory() {
        assert_eq!(broker.relay().accepted(), 2, "the broker had a reason to close the second connection");
    }
}

#[tokio::test]
async fn defect_04_sizes_of_zero_are_refused_at_start() {
    let refused = [
        (RouteOptions::new().bulk_size(0), "bulk_size"),
        (RouteOptions::new().prefetch(0), "prefetch"),
        (RouteOptions::new().concurrency(0), "concurrency"),
    ];
    for (options, option) in refused {
        let route = Route::amqp(["orders"]).name("index").options(options).handler(async |_: Batch<Message>| ());
        let error = App::new().connect(Memory::new()).route(route).start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let text = error.to_string();
        assert!(text.contains("`index`") && text.contains(&format!("{option} is 0")), "{text}");
    }
    let route = || Route::amqp(["orders"]).handler(async |_: Batch<Message>| ());
    for app in [App::new().connect(Memory::new().prefetch(0)), App::new().connect(Amqp::new("localhost").prefetch(0))] {
        let error = app.route(route()).start().await.unwrap_err();
        assert!(error.kind() == ErrorKind::Configuration && error.to_string().contains("prefetch"), "{error}");
    }
}

async fn defect_05_a_body_that_does_not_decode_harms_only_itself(broker: Broker) {
    async fn handler(State(seen): State<Seen>, batch: Batch<Message<u32>>) {
        seen.batch(&batch);
        for message in &batch {
            let _ = message.body();
        }
    }
    async fn hasty(State(seen): State<Seen>, batch: Batch<Message<u32>>) -> Result<(), Failure> {
        seen.batch(&batch);
        for message in &batch {
            message.body()?;
        }
        Ok(())
    }
    let (queue, dead) = broker.dead_lettering("q").await;
    let (hasty_queue, hasty_dead) = broker.dead_lettering("hasty").await;
    let bodies = ["0", "{", "2", "\"three\"", "4"];
    broker.push(&queue, bodies).await;
    broker.push(&hasty_queue, bodies).await;
    let seen = Seen::default();
    let options = || RouteOptions::new().bulk_size(5).bulk_flush_interval(LIMIT * 100);
    let app = broker
        .app()
        .state(seen.clone())
        .route(Route::amqp([&queue]).options(options()).handler(handler))
        // Here the failure is the handler's own; even so the broken one is never requeued.
        .route(Route::amqp([&hasty_queue]).options(options().on_exception(Action::Ack)).handler(hasty));
    let app = app.start().await.unwrap();
    broker.until_ready(&dead, 2).await;
    broker.until_ready(&hasty_dead, 1).await;
    app.shutdown().await.unwrap();
    assert_eq!((broker.ready(&queue).await, broker.ready(&hasty_queue).await, seen.len()), (0, 0, 10));
    // Not a byte of it is lost.
    assert_eq!(broker.take_bodies(&dead).await, ["{", "\"three\""]);
    assert_eq!(broker.take_bodies(&hasty_dead).await, ["{"]);
}

async fn defect_06_a_handler_that_hangs_holds_up_no_other_bulk(broker: Broker) {
    async fn handler(State(seen): State<Seen>, batch: Batch<Message<u32>>) {
        seen.batch(&batch);
        if batch.iter().any(|message| message.body().is_ok_and(|body| *body == 0) && !message.redelivered()) {
            std::future::pending::<()>().await;
        }
    }
    let queue = broker.queue("q").await;
    broker.push(&queue, 0..3).await;
    let seen = Seen::default();
    // Far from full: what starts is started by the clock, which leaves a busy broker the time to send three.
    let options = RouteOptions::new().bulk_size(100).bulk_flush_interval(SOON * 4).timeout(SOON * 30);
    let route = Route::amqp([&queue]).options(options).handler(handler);
    let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
    seen.wait(3).await;
    broker.push(&queue, 10..13).await;
    seen.wait(6).await;
    assert_eq!(seen.sizes(), [3, 3]);
    // And the hanging one has its timeout: its messages come again.
    seen.wait(9).await;
    app.shutdown().await.unwrap();
    assert_eq!(seen.bulks(), [["0", "1", "2"], ["10", "11", "12"], ["0", "1", "2"]]);
    assert_eq!(broker.ready(&queue).await, 0);
}

async fn defect_07_shutdown_waits_for_handlers_settles_and_cancels(broker: Broker) {
    let queue = broker.queue("q").await;
    broker.push(&queue, 0..4).await;
    let (gate, seen) = (Gate::default(), Seen::default());
    let options = RouteOptions::new().bulk_size(2).prefetch(4);
    let route = Route::amqp([&queue]).options(options).handler(see_and_wait);
    let ends = Log::<&'static str>::default();
    let hook = |name: &'static str| {
        let ends = ends.clone();
        async move || {
            ends.push(name);
        }
    };
    let (one, two) = (hook("first"), hook("last"));
    let app = broker
        .app()
        .state(gate.clone())
        .state(seen.clone())
        .route(route)
        .on_shutdown(|_| async move {
            one().await;
            Ok(())
        })
        .on_shutdown(|_| async move { Err(Failure::new("this hook fails on purpose")) })
        .on_shutdown(|_| async move {
            two().await;
            Ok(())
        })
        .start()
        .await
        .unwrap();
    seen.wait(4).await;
    let shutdown = tokio::spawn(app.shutdown());
    holds("handlers are waited for, and hooks come after them", SOON, || !shutdown.is_finished() && ends.is_empty())
        .await;
    // Nobody consumes any more.
    broker.push(&queue, 4..8).await;
    gate.open();
    let error = shutdown.await.unwrap().unwrap_err();
    assert!(error.kind() == ErrorKind::Shutdown && error.to_string().contains("on purpose"), "{error}");
    assert_eq!(ends.all(), ["last", "first"]);
    assert_eq!(seen.len(), 4);
    assert_eq!(broker.take_bodies(&queue).await, ["4", "5", "6", "7"]);
}

async fn defect_08_nothing_is_consumed_before_the_startup_hooks_have_ended(broker: Broker) {
    let queue = broker.queue("q").await;
    broker.push(&queue, 0..3).await;
    let (gate, seen, ran) = (Gate::default(), Seen::default(), Log::<u32>::default());
    let waits = |number: u32| {
        let (gate, ran) = (gate.clone(), ran.clone());
        move |_| async move {
            gate.pass().await;
            ran.push(number);
            Ok(())
        }
    };
    let app = broker.app().state(seen.clone()).route(Route::amqp([&queue]).handler(see));
    let app = tokio::spawn(app.on_startup(waits(1)).on_startup(waits(2)).start());
    gate.let_pass(1);
    until("the first hook has ended", LIMIT, || ran.len() == 1).await;
    holds("nothing is consumed", SOON, || seen.is_empty()).await;
    assert_eq!(broker.ready(&queue).await, 3);
    gate.let_pass(1);
    let app = app.await.unwrap().unwrap();
    seen.wait(3).await;
    assert_eq!(ran.all(), [1, 2]);
    app.shutdown().await.unwrap();

    // A hook that fails is a start-up error, and nothing was consumed.
    broker.push(&queue, [3]).await;
    let app = broker.app().state(seen.clone()).route(Route::amqp([&queue]).handler(see));
    let error = app.on_startup(|_| async { Err(Failure::new("no licence")) }).start().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Startup && format!("{error:?}").contains("no licence"), "{error:?}");
    assert_eq!((broker.ready(&queue).await, seen.len()), (1, 3));
}

async fn defect_09_a_queue_that_is_deleted_and_declared_again_is_consumed_again(broker: Broker) {
    let queue = broker.queue("q").await;
    broker.push(&queue, ["before"]).await;
    let seen = Seen::default();
    let app = broker.app().state(seen.clone()).route(Route::amqp([&queue]).handler(see)).start().await.unwrap();
    seen.wait(1).await;
    for round in 0..2 {
        broker.delete(&queue).await;
        broker.declare(&queue).await;
        broker.push(&queue, [format!("after {round}")]).await;
        seen.wait(2 + round).await;
    }
    app.shutdown().await.unwrap();
    assert_eq!(seen.bodies(), ["before", "after 0", "after 1"]);
    assert_eq!(broker.ready(&queue).await, 0);
}

async fn defect_10_a_missing_queue_disturbs_no_other(broker: Broker) {
    let (sibling, other) = (broker.queue("sibling").await, broker.queue("other").await);
    let missing = broker.queue("missing").await;
    // A queue that never was would come into being in memory.
    broker.delete(&missing).await;
    let seen = Seen::default();
    let app = broker
        .app()
        .state(seen.clone())
        .route(Route::amqp([&missing, &sibling]).handler(see))
        .route(Route::amqp([&other]).handler(see))
        .start()
        .await
        .unwrap();
    // Over some of the attempts to consume the missing one.
    let mut expected = 0;
    for round in 0..20 {
        broker.push(&sibling, [format!("sibling {round}")]).await;
        broker.push(&other, [format!("other {round}")]).await;
        expected += 2;
        seen.wait(expected).await;
        holds("nothing comes twice", Duration::from_millis(50), || seen.len() == expected).await;
    }
    if !broker.is_memory() {
        assert_eq!(broker.relay().accepted(), 1, "the connection was lost over a missing queue");
    }
    broker.declare(&missing).await;
    broker.push(&missing, ["found"]).await;
    seen.wait(expected + 1).await;
    app.shutdown().await.unwrap();
    assert_eq!(seen.times("found"), [false]);
    assert!(seen.all().iter().all(|sight| !sight.redelivered));
}

async fn defect_12_a_publish_is_confirmed_and_persistent_and_may_be_empty(broker: Broker) {
    let queue = broker.queue("q").await;
    let app = broker.app().start().await.unwrap();
    app.publisher().publish(Publish::raw("").to(&queue)).await.unwrap();
    // Confirmed: when the call returns it is there.
    assert_eq!(broker.ready(&queue).await, 1);
    app.publisher().publish(Publish::json(&7).unwrap().to(&queue)).await.unwrap();
    assert_eq!(broker.ready(&queue).await, 2);
    app.shutdown().await.unwrap();
    let taken = broker.take(&queue).await;
    assert_eq!(taken.iter().map(|taken| taken.body.as_str()).collect::<Vec<_>>(), ["", "7"]);
    assert!(taken.iter().all(|taken| taken.delivery_mode == Some(2)));

    // An empty body comes in as well.
    async fn handler(State(log): State<Log<usize>>, message: Message) {
        log.push(message.raw().len());
    }
    let log = Log::<usize>::default();
    let app = broker.app().state(log.clone()).route(Route::amqp([&queue]).handler(handler)).start().await.unwrap();
    app.publisher().publish(Publish::raw("").to(&queue)).await.unwrap();
    until("it was handled", LIMIT, || log.all() == [0]).await;
    app.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_12_a_publish_without_a_broker_fails_by_its_deadline() {
    let broker = Broker::rabbitmq("deadline").await;
    broker.relay().refuse(true);
    let app = broker.app().start().await.unwrap();
    let publish = Publish::raw("late").to("nowhere").deadline(SOON);
    let error = tokio::time::timeout(LIMIT, app.publisher().publish(publish)).await.expect("it hangs").unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Deadline);
    app.shutdown().await.unwrap();
    broker.clean().await;
}

async fn defect_13_a_handler_on_two_routes_serves_both(broker: Broker) {
    let (one, two) = (broker.queue("one").await, broker.queue("two").await);
    broker.push(&one, ["1"]).await;
    broker.push(&two, ["2"]).await;
    let seen = Seen::default();
    let app =
        broker.app().state(seen.clone()).route(Route::amqp([&one]).handler(see)).route(
            Route::amqp([&two]).options(RouteOptions::new().bulk_size(2).bulk_flush_interval(SOON)).handler(see),
        );
    let app = app.start().await.unwrap();
    seen.wait(2).await;
    app.shutdown().await.unwrap();
    let mut bodies = seen.bodies();
    bodies.sort();
    assert_eq!(bodies, ["1", "2"]);
}

mod by_attribute {
    use super::*;
    use asyncworker as app;

    #[app::route("defect13.one")]
    #[app::route("defect13.two", name = "second")]
    async fn twice(State(seen): State<Seen>, batch: Batch<Message>) {
        seen.batch(&batch);
    }

    #[tokio::test(start_paused = true)]
    async fn defect_13_a_handler_with_two_attributes_serves_both() {
        let (broker, seen) = (Memory::new(), Seen::default());
        let app = App::new().connect(broker.clone()).state(seen.clone()).mount(routes![twice]).start().await.unwrap();
        broker.push("defect13.one", "1");
        broker.push("defect13.two", "2");
        seen.wait(2).await;
        app.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn defect_11_the_environment_is_heeded() {
    let broker = Broker::rabbitmq("environment").await;
    let vhost = unique("environment");
    let there = broker.in_new_vhost(&vhost).await;
    let queue = there.queue("q").await;
    there.push(&queue, 0..10).await;
    let environment = [
        ("ASYNCWORKER_FLUSH_TIMEOUT", "2"),
        ("ASYNCWORKER_AMQP_DEFAULT_PREFETCH_COUNT", "7"),
        ("ASYNCWORKER_AMQP_DEFAULT_HEARTBEAT", "17"),
        ("ASYNCWORKER_AMQP_DEFAULT_VHOST", &vhost),
        ("ASYNCWORKER_LOGLEVEL", "debug"),
        ("ASYNCWORKER_LOGFORMAT", "json"),
    ];
    let mut worker = Worker::start(env!("CARGO_BIN_EXE_worker"), ["defaults", &amqp_url(), &queue], &environment);
    worker.until_printed("handled 7").await;
    worker.until_printed("handled 3").await;
    let connections = ctl(&["list_connections", "-q", "vhost", "timeout"]).await;
    assert!(connections.lines().any(|line| line == format!("{vhost}\t17")), "{connections}");
    worker.signal("TERM").await;
    assert_eq!(worker.end(LIMIT).await.code(), Some(0));
    let printed = worker.printed();
    assert!(printed.lines().any(|line| line.starts_with('{') && line.contains("\"level\":\"INFO\"")), "{printed}");
    there.clean_vhost(&vhost).await;
    broker.clean().await;
}
