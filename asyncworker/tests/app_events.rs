//! Events inside an app: who is told, who is waited for, and what becomes of failures.

#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::prelude::*;
use asyncworker::{ErrorKind, QueueService, Running, Service, ServiceContext, TaskOutcome};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[derive(Debug, Clone, PartialEq)]
struct OrderPlaced(u64);

#[derive(Debug, Clone)]
struct BillSent(u64);

/// What handlers have noted, in the order they did.
type Notes = Arc<Mutex<Vec<String>>>;

fn note(notes: &Notes, what: impl Into<String>) {
    notes.lock().unwrap().push(what.into());
}

fn noted(notes: &Notes) -> Vec<String> {
    notes.lock().unwrap().clone()
}

async fn bill(OrderPlaced(id): OrderPlaced, notes: State<Notes>) -> Result<(), Failure> {
    sleep(Duration::from_secs(2)).await;
    note(&notes, format!("bill {id}"));
    Ok(())
}

async fn greet(OrderPlaced(id): OrderPlaced, notes: State<Notes>) {
    sleep(Duration::from_secs(1)).await;
    note(&notes, format!("greet {id}"));
}

async fn refuse(_: OrderPlaced) -> Result<(), Failure> {
    Err(Failure::new("no credit"))
}

async fn panic(_: OrderPlaced) {
    panic!("a panic on purpose");
}

async fn start(app: App) -> (Running, Notes) {
    let notes = Notes::default();
    let app = app.state(Arc::clone(&notes)).shutdown_timeout(Duration::from_secs(4)).start().await.unwrap();
    (app, notes)
}

#[tokio::test(start_paused = true)]
async fn each_handler_of_an_event_is_told_side_by_side_and_waited_for() {
    let (app, notes) = start(App::new().on(bill).on(greet)).await;
    let begin = Instant::now();
    app.emitter().emit(OrderPlaced(7)).await.unwrap();
    assert_eq!((noted(&notes), begin.elapsed().as_secs()), (vec!["greet 7".into(), "bill 7".into()], 2));
    app.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_fails_or_panics_is_named_and_concerns_no_other() {
    let (app, notes) = start(App::new().on(refuse).on(panic).on(greet)).await;
    let error = app.emitter().emit(OrderPlaced(7)).await.unwrap_err();
    assert_eq!(noted(&notes), ["greet 7"]);
    let failures: Vec<_> = error.failures().map(|(handler, failure)| format!("{handler}: {failure}")).collect();
    assert!(failures[0].ends_with("::refuse: no credit"), "{failures:?}");
    assert!(failures[1].ends_with("::panic: it panicked: a panic on purpose"), "{failures:?}");
    assert_eq!(failures.len(), 2);
    let told = error.to_string();
    assert!(told.contains("OrderPlaced") && told.contains("no credit") && told.contains("on purpose"), "{told}");
    app.emitter().emit(OrderPlaced(8)).await.unwrap_err();
    assert_eq!(noted(&notes), ["greet 7", "greet 8"]);
    app.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_detached_handler_is_waited_for_by_the_shutdown_and_by_nobody_else() {
    let (app, notes) = start(App::new().on(greet).on_detached(bill).on_detached(refuse)).await;
    app.emitter().emit(OrderPlaced(7)).await.unwrap();
    assert_eq!(noted(&notes), ["greet 7"]);
    app.emitter().emit_detached(OrderPlaced(8));
    assert_eq!(noted(&notes), ["greet 7"]);
    app.shutdown().await.unwrap();
    assert_eq!(noted(&notes), ["greet 7", "bill 7", "greet 8", "bill 8"]);
}

#[tokio::test(start_paused = true)]
async fn a_detached_handler_that_does_not_end_is_told_at_shutdown() {
    struct Dropped(Notes);
    impl Drop for Dropped {
        fn drop(&mut self) {
            note(&self.0, "dropped");
        }
    }
    async fn hang(_: OrderPlaced, State(notes): State<Notes>) {
        let _dropped = Dropped(notes);
        std::future::pending().await
    }
    let (app, notes) = start(App::new().on_detached(hang)).await;
    app.emitter().emit(OrderPlaced(7)).await.unwrap();
    let error = app.shutdown().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shutdown);
    assert!(error.to_string().contains("1 handlers of events did not end in time"), "{error}");
    tokio::task::yield_now().await;
    assert_eq!(noted(&notes), ["dropped"]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_no_handler_wants_is_no_error() {
    let (app, notes) = start(App::new().on(greet)).await;
    app.emitter().emit(BillSent(7)).await.unwrap();
    app.emitter().emit_detached(BillSent(7));
    assert!(noted(&notes).is_empty());
    app.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_of_messages_tells_and_a_handler_of_events_tells_on_and_publishes() {
    async fn place(emitter: Emitter, Body(id): Body<u64>) -> Result<(), Failure> {
        Ok(emitter.emit(OrderPlaced(id)).await?)
    }
    async fn send(order: OrderPlaced, emitter: Emitter, publisher: Publisher) -> Result<(), Failure> {
        publisher.publish(Publish::json(&order.0)?.to("bills")).await?;
        Ok(emitter.emit(BillSent(order.0)).await?)
    }
    let broker = Memory::new();
    broker.declare(Queue::new("bills")).unwrap();
    let route = Route::amqp(["orders"]).options(RouteOptions::new().on_exception(Action::Reject)).handler(place);
    let app = App::new().connect(broker.clone()).route(route).on(send).on(
        async |BillSent(id): BillSent, notes: State<Notes>| match id {
            0 => Err(Failure::new("no such bill")),
            id => {
                note(&notes, format!("sent {id}"));
                Ok(())
            }
        },
    );
    let (app, notes) = start(app).await;
    broker.push("orders", "7");
    broker.push("orders", "0");
    let mut settled = broker.settled("orders", 2).await;
    settled.sort_by_key(|action| *action == Action::Reject);
    assert_eq!(settled, [Action::Ack, Action::Reject], "what a handler of an event fails over is told to who emits it");
    assert_eq!(noted(&notes), ["sent 7"]);
    app.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn hooks_emit_events() {
    let app = App::new().on(greet).on_startup(|context| async move {
        context.emitter().emit(OrderPlaced(1)).await?;
        Ok(())
    });
    let app = app.on_shutdown(|context| async move {
        context.emitter().emit(OrderPlaced(2)).await?;
        Ok(())
    });
    let (app, notes) = start(app).await;
    assert_eq!(noted(&notes), ["greet 1"]);
    app.shutdown().await.unwrap();
    assert_eq!(noted(&notes), ["greet 1", "greet 2"]);
}

#[tokio::test(start_paused = true)]
async fn services_and_tasks_tell_and_what_fails_is_told_to_them() {
    struct Shop;
    #[asyncworker::async_trait]
    impl Service for Shop {
        async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
            context.emitter().emit(OrderPlaced(1)).await?;
            context.ready();
            context.told_to_stop().await;
            Ok(())
        }
    }
    let (app, notes) = start(App::new().on(greet).service(Shop)).await;
    assert_eq!(noted(&notes), ["greet 1"]);
    let import = Task::new("import", async |run: TaskRun<()>| run.emitter().emit(OrderPlaced(2)).await);
    assert_eq!(app.tasks().start(import).unwrap().outcome().await, TaskOutcome::Completed);
    assert_eq!(noted(&notes), ["greet 1", "greet 2"]);
    app.shutdown().await.unwrap();

    let (app, _) = start(App::new().on(refuse)).await;
    let import = Task::new("import", async |run: TaskRun<()>| run.emitter().emit(OrderPlaced(2)).await);
    let outcome = app.tasks().start(import).unwrap().outcome().await;
    assert!(matches!(&outcome, TaskOutcome::Failed(why) if why.ends_with("no credit")), "{outcome:?}");
    app.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_of_messages_tells_a_service_that_it_does_not_know() {
    async fn place(emitter: Emitter, Body(id): Body<u64>) -> Result<(), Failure> {
        Ok(emitter.emit(OrderPlaced(id)).await?)
    }
    // What knows both.
    async fn mail(OrderPlaced(id): OrderPlaced, mails: State<Arc<QueueService<String>>>) -> Result<(), Failure> {
        Ok(mails.put(format!("mail {id}")).await?)
    }
    async fn send(mail: String, notes: State<Notes>) {
        note(&notes, mail);
    }
    let broker = Memory::new();
    let app = App::new().connect(broker.clone()).route(Route::amqp(["orders"]).handler(place)).on(mail);
    let (app, notes) = start(app.service(QueueService::new(10, send))).await;
    broker.push("orders", "7");
    assert_eq!(broker.settled("orders", 1).await, [Action::Ack]);
    app.shutdown().await.unwrap();
    assert_eq!(noted(&notes), ["mail 7"]);
}

#[tokio::test(start_paused = true)]
async fn one_function_handles_several_events_that_are_named_where_it_is_added() {
    async fn log<E: std::fmt::Debug>(event: E, notes: State<Notes>) {
        note(&notes, format!("{event:?}"));
    }
    let (app, notes) = start(App::new().on::<OrderPlaced, _>(log).on::<BillSent, _>(log)).await;
    app.emitter().emit(OrderPlaced(7)).await.unwrap();
    app.emitter().emit(BillSent(8)).await.unwrap();
    assert_eq!(noted(&notes), ["OrderPlaced(7)", "BillSent(8)"]);
    app.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_a_handler_of_an_event_cannot_have_is_refused_at_start() {
    async fn message(_: OrderPlaced, _: Message) {}
    let error = App::new().on(bill).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let told = error.to_string();
    assert!(told.contains("::bill`") && told.contains("OrderPlaced") && told.contains("Mutex"), "{told}");

    let error = App::new().on(message).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let told = error.to_string();
    assert!(told.contains("::message`") && told.contains("Message") && told.contains("made of messages"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn handlers_that_take_the_emitter_do_not_outlive_their_app() {
    async fn tell_on(OrderPlaced(id): OrderPlaced, emitter: Emitter, _: State<Notes>) -> Result<(), Failure> {
        Ok(emitter.emit(BillSent(id)).await?)
    }
    let (app, notes) = start(App::new().on(tell_on)).await;
    app.emitter().emit(OrderPlaced(7)).await.unwrap();
    app.shutdown().await.unwrap();
    assert_eq!(Arc::strong_count(&notes), 1);
}

#[tokio::test(start_paused = true)]
async fn the_emitter_of_another_app_is_no_state() {
    let (other, _) = start(App::new()).await;
    let error = App::new().state(other.emitter()).start().await.map(drop).unwrap_err();
    assert_eq!(error.to_string(), "the app was given `Emitter` as a state, and it has its own");
    other.shutdown().await.unwrap();
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn a_handler_of_a_request_tells() {
    use asyncworker::http::{Endpoint, Http, Path};
    async fn place(Path(id): Path<u64>, emitter: Emitter) -> Result<(), Failure> {
        Ok(emitter.emit(OrderPlaced(id)).await?)
    }
    let (app, notes) =
        start(App::new().http(Http::unbound()).mount([Endpoint::post("/orders/{id}", place)]).on(greet)).await;
    assert!(app.http_client().post("/orders/7").send().await.status().is_success());
    assert_eq!(noted(&notes), ["greet 7"]);
    app.shutdown().await.unwrap();
}
