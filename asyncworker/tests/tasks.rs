//! Long tasks in the life of an app.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, missing_docs)]

use asyncworker::prelude::*;
use asyncworker::{ErrorKind, TaskError, TaskOutcome, TaskState};
use std::future::pending;
use std::time::Duration;

async fn endless(_: TaskRun<()>) {
    pending().await
}

/// A handler that starts a task a message.
async fn start(tasks: Tasks, Body(name): Body<String>) -> Result<(), Failure> {
    tasks.start(Task::new(name, endless))?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_handler_and_hooks_have_the_tasks_of_the_app() {
    let broker = Memory::new();
    let app = App::new()
        .connect(broker.clone())
        .route(Route::amqp(["jobs"]).handler(start).options(RouteOptions::new().on_exception(Action::Reject)));
    let app = app.on_startup(async |context| {
        context.tasks().start(Task::new("from the hook", endless))?;
        Ok(())
    });
    let running = app.start().await.unwrap();
    broker.push("jobs", r#""from the handler""#);
    broker.push("jobs", r#""from the hook""#);
    assert_eq!(broker.settled("jobs", 2).await, [Action::Ack, Action::Reject], "it runs already");
    let list = running.tasks().list();
    let names: Vec<_> = list.iter().map(|status| status.name.as_str()).collect();
    assert_eq!(names, ["from the hook", "from the handler"]);
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_stops_the_tasks_before_its_hooks_run() {
    let app = App::new().on_shutdown(async |context| {
        let state = context.tasks().status("import").map(|status| status.state);
        assert_eq!(state, Some(TaskState::Ended(TaskOutcome::Cancelled)));
        let late = context.tasks().start(Task::new("late", endless));
        assert!(matches!(late, Err(TaskError::Closed { .. })), "{late:?}");
        Ok(())
    });
    let running = app.start().await.unwrap();
    let task = running.tasks().start(Task::new("import", endless)).unwrap();
    running.shutdown().await.unwrap();
    assert_eq!(task.outcome().await, TaskOutcome::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_waits_for_its_task_does_not_hold_up_the_shutdown() {
    async fn wait(tasks: Tasks, _: Message) -> Result<Action, Failure> {
        let task = tasks.start(Task::new("import", endless))?;
        Ok(if task.outcome().await == TaskOutcome::Completed { Action::Ack } else { Action::Requeue })
    }
    let broker = Memory::new();
    let running = App::new().connect(broker.clone()).route(Route::amqp(["jobs"]).handler(wait)).start().await.unwrap();
    broker.push("jobs", "1");
    let mut watch = running.tasks().watch();
    while watch.next().await.unwrap().is_empty() {}
    let asked = tokio::time::Instant::now();
    running.shutdown().await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(broker.settled("jobs", 1).await, [Action::Requeue]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_outlives_the_shutdown_is_named_by_its_error() {
    let running = App::new().shutdown_timeout(Duration::from_secs(2)).start().await.unwrap();
    let slow = Task::new("slow", endless).stop_timeout(Duration::from_secs(60));
    let task = running.tasks().start(slow).unwrap();
    let error = running.shutdown().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shutdown);
    assert!(error.to_string().contains(&format!("the task `slow` (run {}) did not end in time", task.id())), "{error}");
    assert_eq!(task.outcome().await, TaskOutcome::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn tasks_end_with_an_app_that_is_dropped() {
    let running = App::new().start().await.unwrap();
    let task = running.tasks().start(Task::new("import", endless)).unwrap();
    drop(running);
    assert_eq!(task.outcome().await, TaskOutcome::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_task_publishes_on_the_connection_of_the_app_and_starts_other_tasks() {
    let broker = Memory::new();
    broker.declare(Queue::new("reports")).unwrap();
    let running = App::new().connect(broker.clone()).start().await.unwrap();
    let report = Task::new("report", async |run: TaskRun<()>| {
        run.publisher().publish(Publish::json(&run.name())?.to("reports")).await?;
        run.tasks().start(Task::new("follows", endless))?;
        Ok::<_, Failure>(())
    });
    assert_eq!(running.tasks().start(report).unwrap().outcome().await, TaskOutcome::Completed);
    assert_eq!(broker.ready("reports"), 1);
    assert_eq!(running.tasks().status("follows").unwrap().state, TaskState::Running);
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_state_of_an_app_that_has_ended_is_gone_although_its_tasks_are_kept() {
    let value = std::sync::Arc::new("state");
    let running = App::new().state(std::sync::Arc::clone(&value)).start().await.unwrap();
    let tasks = running.tasks();
    running.shutdown().await.unwrap();
    assert_eq!(std::sync::Arc::strong_count(&value), 1);
    assert!(tasks.list().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_app_refuses_tasks_as_a_state() {
    let error = App::new().state(Tasks::new()).start().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("Tasks"), "{error}");
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn an_endpoint_has_the_tasks_of_the_app() {
    use asyncworker::http::{Json, Path, StatusCode};
    async fn start(tasks: Tasks, Path(name): Path<String>) -> StatusCode {
        match tasks.start(Task::new(name, endless)) {
            Ok(_) => StatusCode::ACCEPTED,
            Err(_) => StatusCode::CONFLICT,
        }
    }
    async fn list(tasks: Tasks) -> Json<Vec<asyncworker::TaskStatus>> {
        Json(tasks.list())
    }
    let app = App::new().http(Http::unbound());
    let app = app.mount([Endpoint::post("/tasks/{name}", start), Endpoint::get("/tasks", list)]);
    let running = app.start().await.unwrap();
    let client = running.http_client();
    assert_eq!(client.post("/tasks/import").send().await.status(), StatusCode::ACCEPTED);
    assert_eq!(client.post("/tasks/import").send().await.status(), StatusCode::CONFLICT);
    let list: serde_json::Value = client.get("/tasks").send().await.json();
    assert_eq!(
        (&list[0]["name"], &list[0]["state"], list.as_array().unwrap().len()),
        (&"import".into(), &"running".into(), 1)
    );
    running.shutdown().await.unwrap();
}
