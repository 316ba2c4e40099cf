//! How a process ends whose service has failed for good.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use tests::{LIMIT, Worker};

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
