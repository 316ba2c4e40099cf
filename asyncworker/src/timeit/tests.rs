use super::{Timeit, TimeitOutcome, TimeitReport};
use crate::handler::Failure;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

const MS: Duration = Duration::from_millis(1);

/// A root, and what it reports.
fn root() -> (Timeit, mpsc::UnboundedReceiver<TimeitReport>) {
    let (reports, reported) = mpsc::unbounded_channel();
    let callback = move |report| {
        let reports = reports.clone();
        async move { reports.send(report).unwrap() }
    };
    (Timeit::new("root", callback), reported)
}

fn transactions(report: &TimeitReport) -> Vec<(&str, Duration)> {
    report.transactions.iter().collect()
}

#[tokio::test(start_paused = true)]
async fn nested_transactions_are_in_one_report_of_the_root_the_inner_ones_first() {
    let (timeit, mut reported) = root();
    let length = timeit
        .run(async {
            let length = timeit
                .child("outer")
                .run(async {
                    sleep(MS).await;
                    timeit.child("inner").run(async { sleep(2 * MS).await }).await;
                    [1, 2, 3].len()
                })
                .await;
            sleep(4 * MS).await;
            length
        })
        .await;
    assert_eq!(length, 3);
    let report = reported.try_recv().unwrap();
    assert_eq!(transactions(&report), [("inner", 2 * MS), ("outer", 3 * MS), ("root", 7 * MS)]);
    assert_eq!((&*report.name, report.outcome), ("root", TimeitOutcome::Completed));
    assert!(report.duplicates.is_empty() && reported.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn transactions_side_by_side_are_in_the_order_they_end() {
    let (timeit, mut reported) = root();
    let (slow, quick) = (timeit.child("slow"), timeit.child("quick"));
    timeit.run(async { tokio::join!(slow.run(sleep(2 * MS)), quick.run(sleep(MS))) }).await;
    let report = reported.try_recv().unwrap();
    assert_eq!(transactions(&report), [("quick", MS), ("slow", 2 * MS), ("root", 2 * MS)]);
    assert_eq!(report.transactions.get("slow"), Some(2 * MS));
    assert_eq!(report.transactions.get("none"), None);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_reported_with_its_text_and_given_on() {
    let (timeit, mut reported) = root();
    let given: Result<(), Failure> =
        timeit.try_run(async { timeit.child("part").try_run(async { Err(Failure::reject("no stock")) }).await }).await;
    let failure = given.unwrap_err();
    assert_eq!((failure.to_string(), failure.action()), ("no stock".into(), Some(crate::Action::Reject)));
    let report = reported.try_recv().unwrap();
    assert_eq!(report.outcome, TimeitOutcome::Failed("no stock".into()));
    assert_eq!(report.transactions.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn run_gives_an_err_on_and_does_not_look_into_it() {
    let (timeit, mut reported) = root();
    assert_eq!(timeit.run(async { Err::<(), _>(7) }).await, Err(7));
    assert_eq!(reported.try_recv().unwrap().outcome, TimeitOutcome::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_reported_once_and_goes_on() {
    let (timeit, mut reported) = root();
    let panicking = tokio::spawn(async move {
        timeit.run(async { timeit.child("part").run(async { panic!("no stock") }).await }).await
    });
    let panic = panicking.await.unwrap_err().into_panic();
    assert_eq!(crate::error::panic_message(&*panic), "no stock");
    let report = reported.recv().await.unwrap();
    assert_eq!(report.outcome, TimeitOutcome::Panicked("no stock".into()));
    assert_eq!(report.transactions.len(), 2);
    assert!(reported.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_is_reported_as_cancelled_with_what_it_took() {
    let (timeit, mut reported) = root();
    let run = timeit.run(async { timeit.child("part").run(std::future::pending::<()>()).await });
    assert!(timeout(5 * MS, run).await.is_err());
    let report = reported.recv().await.unwrap();
    assert_eq!(report.outcome, TimeitOutcome::Cancelled);
    assert_eq!(transactions(&report), [("part", 5 * MS), ("root", 5 * MS)]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_never_polled_is_in_no_report() {
    let (timeit, mut reported) = root();
    drop(timeit.run(async {}));
    timeit.run(async {}).await;
    assert_eq!(reported.try_recv().unwrap().outcome, TimeitOutcome::Completed);
    assert!(reported.try_recv().is_err());
}

#[test]
fn a_run_that_is_dropped_without_a_runtime_panics_not() {
    let (timeit, mut reported) = root();
    let mut run = Box::pin(timeit.run(std::future::pending::<()>()));
    assert!(run.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending());
    drop(run);
    assert!(reported.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_callback_under_way_when_the_run_is_dropped_comes_to_its_end() {
    let (ended, mut end) = mpsc::unbounded_channel();
    let timeit = Timeit::new("root", move |report: TimeitReport| {
        let ended = ended.clone();
        async move {
            sleep(10 * MS).await;
            ended.send(report.outcome).unwrap();
        }
    });
    assert!(timeout(5 * MS, timeit.run(async {})).await.is_err());
    assert_eq!(end.recv().await, Some(TimeitOutcome::Completed));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_taken_is_told_and_its_time_kept() {
    let (timeit, mut reported) = root();
    timeit
        .run(async {
            timeit.child("part").run(sleep(MS)).await;
            timeit.child("part").run(sleep(2 * MS)).await;
        })
        .await;
    let report = reported.try_recv().unwrap();
    assert_eq!(transactions(&report), [("part", MS), ("root", 3 * MS)]);
    assert_eq!(report.duplicates, [("part".into(), 2 * MS)]);
}

#[tokio::test(start_paused = true)]
async fn a_root_that_runs_within_itself_is_a_name_that_is_taken() {
    let (timeit, mut reported) = root();
    timeit
        .run(async {
            timeit.run(sleep(MS)).await;
            sleep(MS).await;
        })
        .await;
    let report = reported.try_recv().unwrap();
    assert_eq!(transactions(&report), [("root", MS)]);
    assert_eq!(report.duplicates, [("root".into(), 2 * MS)]);
    assert!(reported.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn defect_14_a_timeit_runs_again() {
    let (timeit, mut reported) = root();
    for run in 1..=3 {
        timeit.run(timeit.child("part").run(sleep(run * MS))).await;
        let report = reported.try_recv().unwrap();
        assert_eq!(transactions(&report), [("part", run * MS), ("root", run * MS)]);
        assert!(report.duplicates.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_outlives_its_run_is_in_no_report() {
    let (timeit, mut reported) = root();
    let late = timeit.child("late");
    let mut tasks = tokio::task::JoinSet::new();
    timeit
        .run(async {
            tasks.spawn(async move { late.run(sleep(5 * MS)).await });
            sleep(MS).await;
        })
        .await;
    assert_eq!(transactions(&reported.try_recv().unwrap()), [("root", MS)]);
    timeit.run(tasks.join_all()).await;
    assert_eq!(transactions(&reported.try_recv().unwrap()), [("root", 4 * MS)]);
    timeit.child("early").run(async {}).await;
    timeit.run(async {}).await;
    assert_eq!(transactions(&reported.try_recv().unwrap()), [("root", Duration::ZERO)]);
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_fails_or_panics_disturbs_nothing() {
    let calls = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&calls);
    let timeit = Timeit::new("root", move |_| {
        let call = {
            let mut calls = counted.lock().unwrap();
            *calls += 1;
            *calls
        };
        assert!(call != 1, "before its future is made");
        async move {
            assert!(call != 2, "within its future");
            Err::<(), _>(Failure::new("no disk"))
        }
    });
    for run in 1..=3 {
        assert_eq!(timeit.run(async { run }).await, run);
    }
    assert_eq!(*calls.lock().unwrap(), 3);
}
