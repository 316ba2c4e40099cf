//! Services as others see them: how a process ends whose service has failed for good, and what probes are told.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::prelude::*;
use asyncworker::{Service, ServiceContext, ServiceState, Supervised};
use std::sync::Arc;
use std::time::Duration;
use tests::{Http as Client, LIMIT, Worker, until, until_async};
use tokio::sync::Notify;

#[tokio::test]
async fn a_service_past_its_restart_limit_ends_the_process_in_order_and_with_an_error_that_names_it() {
    let mut worker = Worker::start(env!("CARGO_BIN_EXE_worker"), ["service", "amqp://127.0.0.1", "none"], &[]);
    let status = worker.end(LIMIT).await;
    let printed = worker.printed();
    assert_eq!(status.code(), Some(1), "{printed}");
    assert_eq!(printed.matches("breaking runs").count(), 3, "{printed}");
    assert!(printed.contains("Error: service `breaking` failed past its restart limit of 2"), "{printed}");
    assert!(printed.contains("caused by: it panicked: a panic on purpose"), "{printed}");
    let last = [printed.find("lasting ends"), printed.find("shutdown hook"), printed.find("Error: service")];
    assert!(last.is_sorted() && last[0].is_some(), "{printed}");
}

#[tokio::test]
async fn services_stop_at_sigterm() {
    let mut worker = Worker::start(env!("CARGO_BIN_EXE_worker"), ["service-lasting", "amqp://127.0.0.1", "none"], &[]);
    worker.until_printed("service ready").await;
    worker.signal("TERM").await;
    assert_eq!(worker.end(LIMIT).await.code(), Some(0), "{}", worker.printed());
    assert!(worker.printed().contains("lasting ends"), "{}", worker.printed());
}

/// Is ready when it may be, and fails when it is to.
#[derive(Clone, Default)]
struct Gated {
    may_be_ready: Arc<Notify>,
    fails: Arc<Notify>,
}

#[asyncworker::async_trait]
impl Service for Gated {
    async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
        tokio::select! {
            () = context.told_to_stop() => return Ok(()),
            () = self.may_be_ready.notified() => context.ready(),
        }
        tokio::select! {
            () = context.told_to_stop() => Ok(()),
            () = self.fails.notified() => Err(Failure::new("it fails on purpose")),
        }
    }
}

#[tokio::test]
async fn readyz_is_503_while_a_service_restarts_and_200_when_it_is_ready_again() {
    let (gated, pause) = (Gated::default(), Duration::from_millis(1));
    gated.may_be_ready.notify_one();
    let service = Supervised::new(gated.clone()).name("gated").backoff(pause, pause);
    let app = App::new().http(Http::bind("127.0.0.1:0")).service(service).start().await.unwrap();
    let address = app.http_address().unwrap();
    let readyz = async || Client::connect(address).await.get("/readyz").await;
    assert_eq!(readyz().await.status, 200);

    gated.fails.notify_one();
    until_async("it is not ready", LIMIT, || async { readyz().await.status == 503 }).await;
    let state = || app.status().services[0].state;
    until("it runs again", LIMIT, || state() == ServiceState::Starting).await;
    let answer = readyz().await;
    assert_eq!(answer.status, 503, "a run that is not ready yet is no better");
    assert!(answer.body.contains(r#""waiting_for":["gated"]"#), "{}", answer.body);

    gated.may_be_ready.notify_one();
    until_async("it is ready", LIMIT, || async { readyz().await.status == 200 }).await;
    assert_eq!(app.status().services[0].restarts, 1);
    app.shutdown().await.unwrap();
}
