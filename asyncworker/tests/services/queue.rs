//! The queue within the process.

use super::{LIMIT, Notes, SECOND, status};
use asyncworker::prelude::*;
use asyncworker::{ErrorKind, PutError, QueueService, Running, ServiceState, Supervised};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Takes a second an item, fails over 13 and panics over 7.
async fn count(item: u64, notes: State<Notes>) -> Result<(), Failure> {
    sleep(SECOND).await;
    match item {
        13 => Err(Failure::new("bad luck")),
        7 => panic!("too much luck"),
        _ => {
            notes.note(item.to_string());
            Ok(())
        }
    }
}

async fn start(queue: QueueService<u64>) -> (Running, Arc<QueueService<u64>>, Notes) {
    let notes = Notes::default();
    let (give, given) = tokio::sync::oneshot::channel();
    let app = App::new().state(notes.clone()).service(Supervised::new(queue).name("numbers")).on_startup(
        |context| async move {
            let queue: Option<Arc<QueueService<u64>>> = context.state();
            give.send(queue).map_err(|_| Failure::new("nobody waits"))
        },
    );
    let app = app.shutdown_timeout(20 * SECOND).start().await.unwrap();
    (app, given.await.unwrap().unwrap(), notes)
}

async fn until_depth(queue: &QueueService<u64>, depth: usize) {
    let waiting = async {
        while queue.depth() != depth {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("the depth stays {}", queue.depth()));
}

#[tokio::test(start_paused = true)]
async fn items_are_handled_in_order_one_at_a_time_and_the_status_has_the_depth() {
    let (app, queue, notes) = start(QueueService::new(10, count)).await;
    for item in 1..=3 {
        queue.put(item).await.unwrap();
    }
    assert_eq!((status(&app, "numbers").depth, notes.all().len()), (Some(3), 0));
    sleep(Duration::from_millis(1500)).await;
    assert_eq!((status(&app, "numbers").depth, notes.all()), (Some(2), vec!["1".to_owned()]));
    until_depth(&queue, 0).await;
    assert_eq!(notes.all(), ["1", "2", "3"]);
    app.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_room_a_put_waits_and_a_try_put_is_refused_with_its_item() {
    let (app, queue, notes) = start(QueueService::new(2, count)).await;
    // One under way, and two that wait.
    queue.put(1).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    queue.try_put(2).unwrap();
    queue.try_put(3).unwrap();
    let refused = queue.try_put(4).unwrap_err();
    assert_eq!(refused, PutError::Full(4));
    assert!(refused.to_string().contains("full") && refused.into_item() == 4);

    let begin = Instant::now();
    queue.put(5).await.unwrap();
    assert!((SECOND / 2..SECOND).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    // A put that is given up is not in it.
    assert!(timeout(SECOND / 10, queue.put(6)).await.is_err());
    until_depth(&queue, 0).await;
    assert_eq!(notes.all(), ["1", "2", "3", "5"]);
    app.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_item_that_fails_or_panics_is_told_and_stops_nothing() {
    let (app, queue, notes) = start(QueueService::new(10, count)).await;
    for item in [1, 13, 2, 7, 3] {
        queue.put(item).await.unwrap();
    }
    until_depth(&queue, 3).await;
    assert_eq!(status(&app, "numbers").last_error.as_deref(), Some("bad luck"));
    until_depth(&queue, 0).await;
    let numbers = status(&app, "numbers");
    assert_eq!((numbers.state, numbers.restarts), (ServiceState::Ready, 0));
    assert_eq!(numbers.last_error.as_deref(), Some("it panicked: too much luck"));
    assert_eq!(notes.all(), ["1", "2", "3"]);
    app.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn items_are_handled_side_by_side_as_far_as_the_concurrency_goes() {
    let (app, queue, notes) = start(QueueService::new(10, count).concurrency(3)).await;
    let begin = Instant::now();
    for item in 20..26 {
        queue.put(item).await.unwrap();
    }
    until_depth(&queue, 0).await;
    assert!((2 * SECOND..3 * SECOND).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    assert_eq!(notes.all().len(), 6);
    app.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_handles_what_is_in_it_and_refuses_more() {
    for concurrency in [1, 3] {
        let (app, queue, notes) = start(QueueService::new(3, count).concurrency(concurrency)).await;
        for item in 1..=3 {
            queue.put(item).await.unwrap();
        }
        sleep(Duration::from_millis(100)).await;
        while queue.try_put(20).is_ok() {}
        let waits = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.put(30).await }
        });
        sleep(Duration::from_millis(100)).await;
        app.shutdown().await.unwrap();
        assert_eq!(waits.await.unwrap(), Err(PutError::Closed(30)));
        assert_eq!(queue.try_put(31), Err(PutError::Closed(31)));
        assert_eq!(queue.put(32).await, Err(PutError::Closed(32)));
        let handled = notes.all();
        let late = handled.iter().filter(|item| *item == "20").count();
        assert!(handled.len() == 3 + late && late == concurrency.min(3), "{handled:?}");
        assert_eq!(queue.depth(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_shutdown_has_no_time_for_is_counted() {
    let (app, queue, notes) = start(QueueService::new(30, count)).await;
    for item in 100..120 {
        queue.put(item).await.unwrap();
    }
    let error = app.shutdown().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shutdown);
    let (told, handled) = (error.to_string(), notes.all().len());
    assert!((9..=10).contains(&handled), "{handled}");
    assert!(told.contains("`numbers` did not stop in time"), "{told}");
    assert!(told.contains(&format!("{} items of its queue were not handled", 20 - handled)), "{told}");
}

#[tokio::test(start_paused = true)]
async fn another_service_may_have_a_queue_within_it() {
    use asyncworker::{Service, ServiceContext};
    struct Counter(QueueService<u64>);
    #[asyncworker::async_trait]
    impl Service for Counter {
        async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
            self.0.run(context).await
        }
    }
    let (broker, notes) = (Memory::new(), Notes::default());
    let app =
        App::new().connect(broker.clone()).state(notes.clone()).service(Counter(QueueService::new(2, count))).route(
            Route::amqp(["numbers"])
                .handler(async |Body(item): Body<u64>, counter: State<Arc<Counter>>| counter.0.0.put(item).await),
        );
    let app = app.start().await.unwrap();
    broker.push("numbers", "1");
    assert_eq!(broker.settled("numbers", 1).await, [Action::Ack]);
    app.shutdown().await.unwrap();
    assert_eq!(notes.all(), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_being_handled_when_a_run_ended_is_handled_by_the_next() {
    use asyncworker::{Service, ServiceContext};
    use tokio::sync::Notify;
    struct Broken(QueueService<u64>, Notify);
    #[asyncworker::async_trait]
    impl Service for Broken {
        async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
            tokio::select! {
                ended = self.0.run(context) => ended,
                () = self.1.notified() => Err(Failure::new("broken on purpose")),
            }
        }

        async fn stop(&self) -> Result<(), Failure> {
            self.0.stop().await
        }
    }
    let (notes, give) = (Notes::default(), Arc::new(std::sync::OnceLock::new()));
    let given = Arc::clone(&give);
    let broken = Supervised::new(Broken(QueueService::new(10, count), Notify::new())).name("broken");
    let app = App::new().state(notes.clone()).service(broken).on_startup(|context| async move {
        let _ = given.set(context.state::<Arc<Broken>>());
        Ok(())
    });
    let app = app.start().await.unwrap();
    let broken = give.get().unwrap().clone().unwrap();
    for item in 1..=3 {
        broken.0.put(item).await.unwrap();
    }
    sleep(SECOND / 2).await;
    broken.1.notify_one();
    sleep(SECOND / 10).await;
    assert_eq!((status(&app, "broken").state, broken.0.depth()), (ServiceState::Restarting, 3));
    until_depth(&broken.0, 0).await;
    assert_eq!((notes.all(), status(&app, "broken").restarts), (vec!["1".into(), "2".into(), "3".into()], 1));
    app.shutdown().await.unwrap();
}

/// Waits until nothing of an app has these.
async fn until_let_go(notes: &Notes) {
    let waiting = async {
        while Arc::strong_count(&notes.0) > 1 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("something of the app is still there"));
}

#[tokio::test(start_paused = true)]
async fn a_queue_whose_handler_takes_it_ends_with_its_app() {
    async fn count_down(item: u64, queue: State<Arc<QueueService<u64>>>, notes: State<Notes>) -> Result<(), Failure> {
        notes.note(item.to_string());
        match item {
            0 => Ok(()),
            13 => std::future::pending().await,
            _ => Ok(queue.put(item - 1).await?),
        }
    }
    let (app, queue, notes) = start(QueueService::new(10, count_down)).await;
    queue.put(2).await.unwrap();
    until_depth(&queue, 0).await;
    assert_eq!(notes.all(), ["2", "1", "0"]);
    drop(queue);
    app.shutdown().await.unwrap();
    until_let_go(&notes).await;

    // One that hangs over the stop.
    let (app, queue, notes) = start(QueueService::new(10, count_down)).await;
    queue.put(13).await.unwrap();
    drop(queue);
    assert!(app.shutdown().await.is_err());
    assert_eq!(notes.all(), ["13"]);
    until_let_go(&notes).await;

    // And one that never ran.
    let notes = Notes::default();
    let app = App::new().state(notes.clone()).service(QueueService::new(10, count_down));
    assert!(app.on_startup(async |_| Err(Failure::new("no"))).start().await.is_err());
    until_let_go(&notes).await;
}
