//! What services are found as, and by whom.

use super::{LIMIT, Notes, script, serve};
use asyncworker::prelude::*;
use asyncworker::{QueueService, Service, ServiceContext, Supervised, TaskOutcome};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

trait MessageSender: Send + Sync {
    fn send(&self, text: &str);
}

struct Smtp(Notes);

impl MessageSender for Smtp {
    fn send(&self, text: &str) {
        self.0.note(text);
    }
}

#[asyncworker::async_trait]
impl Service for Smtp {
    async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
        serve(context).await
    }
}

type Sender = Arc<dyn MessageSender>;

#[derive(Clone)]
struct Greeted;

#[tokio::test(start_paused = true)]
async fn a_service_is_found_by_its_type_and_by_a_trait_from_handlers_hooks_and_services() {
    async fn by_type(_: Message, smtp: State<Arc<Smtp>>, emitter: Emitter) -> Result<(), Failure> {
        smtp.send("handler");
        Ok(emitter.emit(Greeted).await?)
    }
    async fn by_trait(_: Greeted, State(sender): State<Sender>) {
        sender.send("event");
    }
    let (broker, notes) = (Memory::new(), Notes::default());
    let newsletter = script("newsletter", &notes, async |context: ServiceContext| {
        context.state::<Sender>()?.send("service");
        assert!(context.state::<u8>().unwrap_err().to_string().contains("`u8`"));
        serve(context).await
    });
    let app = App::new()
        .connect(broker.clone())
        // Added after what looks for it, and found all the same.
        .route(Route::amqp(["people"]).handler(by_type))
        .on(by_trait)
        .on_startup(|context| async move {
            context.state::<Sender>().unwrap().send("startup");
            Ok(())
        })
        .on_shutdown(|context| async move {
            context.state::<Arc<Smtp>>().unwrap().send("shutdown");
            Ok(())
        })
        .service(Supervised::new(newsletter).depends_on::<Sender>().name("newsletter"))
        .service(Supervised::new(Smtp(notes.clone())).provides::<Sender>(|smtp| smtp));
    let app = app.start().await.unwrap();
    broker.push("people", "null");
    assert_eq!(broker.settled("people", 1).await, [Action::Ack]);
    app.shutdown().await.unwrap();
    assert_eq!(notes.all(), ["startup", "service", "handler", "event", "newsletter stopped", "shutdown"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_finds_a_service_and_a_service_finds_the_tasks() {
    let notes = Notes::default();
    let starts = script("starts", &notes, async |context: ServiceContext| {
        context.tasks().start(Task::new("newsletter", async |run: TaskRun<()>| {
            run.state::<Sender>()?.send("task");
            let sender = run.state::<Arc<Smtp>>()?;
            tokio::task::spawn_blocking(move || sender.send("thread of a task")).await?;
            Err::<(), _>(run.state::<u8>().unwrap_err())
        }))?;
        serve(context).await
    });
    let app = App::new()
        .service(Supervised::new(Smtp(notes.clone())).provides::<Sender>(|smtp| smtp))
        .service(Supervised::new(starts).name("starts"));
    let app = app.start().await.unwrap();
    let outcome = app.tasks().attach::<()>("newsletter").unwrap().outcome().await;
    let told = "the app has no state and no service of the type `u8`";
    assert_eq!(outcome, TaskOutcome::Failed(told.into()));
    app.shutdown().await.unwrap();
    assert_eq!(notes.all(), ["task", "thread of a task", "starts stopped"]);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_and_the_handler_of_a_queue_find_a_service() {
    async fn tick(State(queue): State<Arc<QueueService<&'static str>>>) -> Result<(), Failure> {
        Ok(queue.put("item").await?)
    }
    async fn handle(item: &'static str, State(sender): State<Sender>) {
        sender.send(item);
    }
    let notes = Notes::default();
    let app = App::new()
        .mount([Schedule::every(LIMIT).handler(tick)])
        .service(QueueService::new(1, handle))
        .service(Supervised::new(Smtp(notes.clone())).provides::<Sender>(|smtp| smtp));
    let app = app.start().await.unwrap();
    timeout(LIMIT / 2, async {
        while notes.all().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    app.shutdown().await.unwrap();
    assert_eq!(notes.all(), ["item"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_private_is_found_only_as_what_it_provides() {
    let private = || Supervised::new(Smtp(Notes::default())).private();
    let app = App::new()
        .service(private().name("a"))
        .service(private().name("b").provides::<Sender>(|smtp| smtp))
        .on_startup(|context| async move {
            assert!(context.state::<Arc<Smtp>>().is_none() && context.state::<Sender>().is_some());
            Ok(())
        });
    app.start().await.unwrap().shutdown().await.unwrap();
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn a_handler_of_a_request_finds_a_service() {
    use asyncworker::http::{Endpoint, Http};
    async fn greet(State(sender): State<Sender>) -> &'static str {
        sender.send("request");
        "sent"
    }
    let notes = Notes::default();
    let app = App::new()
        .http(Http::unbound())
        .mount([Endpoint::post("/greetings", greet)])
        .service(Supervised::new(Smtp(notes.clone())).provides::<Sender>(|smtp| smtp));
    let app = app.start().await.unwrap();
    assert_eq!(app.http_client().post("/greetings").send().await.text(), "sent");
    app.shutdown().await.unwrap();
    assert_eq!(notes.all(), ["request"]);
}
