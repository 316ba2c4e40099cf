//! Tasks tied to real websockets: seen and commanded over them, and ended with them, however they end.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::http::{Http as Settings, WebSocket};
use asyncworker::prelude::*;
use asyncworker::{ErrorKind, Running, TaskOutcome, TaskState};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tests::{LIMIT, Socket, until};

#[derive(Clone, serde::Serialize)]
struct Page {
    page: u32,
}

/// Whether the thread of a blocking task has ended.
type Ended = Arc<AtomicBool>;

/// Reports a page each millisecond, without an end.
async fn import(run: TaskRun<Page>) {
    for page in 1.. {
        tokio::time::sleep(Duration::from_millis(1)).await;
        run.progress(Page { page });
    }
}

/// As long as it takes to count, on a thread; where it ends is noted.
fn count(run: TaskRun<u64>) -> Result<(), Failure> {
    let ended = run.state::<Ended>()?;
    for number in 0.. {
        if run.check().is_err() {
            break;
        }
        run.progress(number);
        std::thread::yield_now();
    }
    ended.store(true, Ordering::Release);
    Ok(())
}

/// Does not mind being told to stop.
async fn stubborn(_: TaskRun<()>) {
    std::future::pending().await
}

async fn start() -> (Running, SocketAddr, Ended) {
    let ended = Ended::default();
    let app = App::new().http(Settings::bind("127.0.0.1:0")).state(Arc::clone(&ended));
    let app = app.shutdown_timeout(Duration::from_secs(4)).mount([
        Endpoint::ws("/import", async |socket: WebSocket, tasks: Tasks| {
            tasks.serve(socket, || Task::new("import", import)).await;
        }),
        Endpoint::ws("/count", async |socket: WebSocket, tasks: Tasks| {
            tasks.serve(socket, || Task::blocking("count", count)).await;
        }),
        Endpoint::ws("/stubborn", async |socket: WebSocket, tasks: Tasks| {
            tasks.serve(socket, || Task::new("stubborn", stubborn).stop_timeout(LIMIT)).await;
        }),
    ]);
    let running = app.start().await.unwrap();
    let address = running.http_address().expect("it is bound");
    (running, address, ended)
}

/// Reads until the run does this, and its progress is there if it is `running`.
async fn hears(client: &mut Socket, state: &str) -> Value {
    loop {
        let heard = client.json().await;
        if heard["state"] == state && !(state == "running" && heard["progress"].is_null()) {
            return heard;
        }
    }
}

async fn until_cancelled(running: &Running, name: &str) {
    let tasks = running.tasks();
    let cancelled = TaskState::Ended(TaskOutcome::Cancelled);
    until("it is cancelled", LIMIT, || tasks.status(name).is_some_and(|status| status.state == cancelled)).await;
}

#[tokio::test]
async fn a_page_sees_its_task_stops_and_restarts_it_and_ends_it_by_closing() {
    let (running, address, _) = start().await;
    let mut client = Socket::connect(address, "/import").await;
    let first = hears(&mut client, "running").await;
    assert_eq!((&first["name"], &first["kind"]), (&"import".into(), &"async".into()));
    assert!(first["progress"]["page"].as_u64() > Some(0), "{first}");
    client.send("stop").await;
    let ended = hears(&mut client, "ended").await;
    assert_eq!((&ended["run"], &ended["outcome"]), (&first["run"], &"cancelled".into()));
    client.send("restart").await;
    let second = hears(&mut client, "running").await;
    assert!(second["run"].as_u64() > first["run"].as_u64());
    assert_eq!(running.tasks().status("import").unwrap().state, TaskState::Running);

    client.0.close(None).await.unwrap();
    while client.next().await.is_some() {}
    until_cancelled(&running, "import").await;
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_without_a_close_ends_its_task() {
    let (running, address, _) = start().await;
    let mut client = Socket::connect(address, "/import").await;
    hears(&mut client, "running").await;
    drop(client);
    until_cancelled(&running, "import").await;
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_blocking_task_is_told_to_stop_by_its_token_when_its_websocket_closes() {
    let (running, address, ended) = start().await;
    let mut client = Socket::connect(address, "/count").await;
    let run = hears(&mut client, "running").await;
    assert_eq!(run["kind"], "blocking");
    assert!(!ended.load(Ordering::Acquire));
    drop(client);
    until("its thread has ended", LIMIT, || ended.load(Ordering::Acquire)).await;
    until_cancelled(&running, "count").await;
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_second_page_is_refused_the_task_of_the_first_and_takes_its_place_when_it_restarts() {
    let (running, address, _) = start().await;
    let mut first = Socket::connect(address, "/import").await;
    let run = hears(&mut first, "running").await["run"].clone();
    let mut second = Socket::connect(address, "/import").await;
    assert_eq!(second.json().await["error"], format!("the task `import` runs already (run {run})"));
    second.send("restart").await;
    let taken = hears(&mut second, "running").await["run"].clone();
    assert_eq!(hears(&mut first, "ended").await["run"], run);
    first.0.close(None).await.unwrap();
    while first.next().await.is_some() {}
    let page = |status: &Value| status["progress"]["page"].as_u64();
    let before = serde_json::to_value(running.tasks().status("import").unwrap()).unwrap();
    let after = loop {
        let heard = hears(&mut second, "running").await;
        if page(&heard) > page(&before) {
            break heard;
        }
    };
    assert_eq!(after["run"], taken, "the end of the first is no matter of the second");
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_shutdown_closes_the_websocket_and_ends_its_task() {
    let (running, address, _) = start().await;
    let mut client = Socket::connect(address, "/import").await;
    hears(&mut client, "running").await;
    let tasks = running.tasks();
    let stopping = tokio::spawn(running.shutdown());
    assert_eq!((client.closed_at_last_with().await, client.next().await), (1001, None));
    stopping.await.unwrap().unwrap();
    assert_eq!(tasks.status("import").unwrap().state, TaskState::Ended(TaskOutcome::Cancelled));
}

#[tokio::test]
async fn a_tied_task_that_does_not_stop_is_named_by_the_shutdown() {
    let (running, address, _) = start().await;
    let mut client = Socket::connect(address, "/stubborn").await;
    let run = client.json().await;
    drop(client);
    let error = running.shutdown().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shutdown);
    let named = format!("the task `stubborn` (run {}) did not end in time", run["run"]);
    assert!(error.to_string().contains(&named), "{error}");
}
