//! What follows when a run of a service ends.

use super::{LIMIT, Notes, SECOND, Script, script, serve, status, until};
use asyncworker::prelude::*;
use asyncworker::{ErrorKind, Restart, Running, ServiceContext, ServiceState, Supervised};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

/// How the run of a test's service ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Ok,
    Err,
    Panic,
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Is ready at once, and ends this way when it is poked.
fn pokable(
    notes: &Notes,
    poke: &Arc<Notify>,
    end: End,
) -> Script<impl Fn(ServiceContext) -> Run + Send + Sync + 'static> {
    let (poke, to) = (Arc::clone(poke), notes.clone());
    script("it", notes, move |context: ServiceContext| -> Run {
        let (poke, notes) = (Arc::clone(&poke), to.clone());
        Box::pin(async move {
            notes.note("run");
            context.ready();
            tokio::select! {
                () = context.told_to_stop() => return Ok(()),
                () = poke.notified() => {}
            }
            match end {
                End::Ok => Ok(()),
                End::Err => Err(Failure::new("connection reset")),
                End::Panic => panic!("index out of bounds"),
            }
        })
    })
}

type Run = std::pin::Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// An app with this service, poked once it was ready, and what it was a minute later: its state, its runs and its last
/// error.
async fn poked(restart: Restart, end: End) -> (ServiceState, usize, Option<String>) {
    let (notes, poke) = (Notes::default(), Arc::new(Notify::new()));
    let service = Supervised::new(pokable(&notes, &poke, end)).name("it").restart(restart);
    let app = App::new().service(service).start().await.unwrap();
    poke.notify_one();
    sleep(seconds(60)).await;
    let it = status(&app, "it");
    let runs = notes.take().len();
    assert_eq!(it.restarts as usize, runs - 1);
    assert_eq!(app.status().is_ready(), it.state != ServiceState::Failed);
    app.shutdown().await.unwrap();
    assert_eq!(notes.all(), ["it stopped"]);
    (it.state, runs, it.last_error)
}

#[tokio::test(start_paused = true)]
async fn the_restart_policy_says_after_which_ends_a_service_runs_again() {
    let told = |text: &str| Some(text.to_owned());
    let (err, panic) = (|| told("connection reset"), || told("it panicked: index out of bounds"));
    let unasked = || told("it ended without being told to");
    assert_eq!(poked(Restart::Always, End::Ok).await, (ServiceState::Ready, 2, unasked()));
    assert_eq!(poked(Restart::Always, End::Err).await, (ServiceState::Ready, 2, err()));
    assert_eq!(poked(Restart::Always, End::Panic).await, (ServiceState::Ready, 2, panic()));
    assert_eq!(poked(Restart::OnFailure, End::Ok).await, (ServiceState::Ended, 1, None));
    assert_eq!(poked(Restart::OnFailure, End::Err).await, (ServiceState::Ready, 2, err()));
    assert_eq!(poked(Restart::OnFailure, End::Panic).await, (ServiceState::Ready, 2, panic()));
    assert_eq!(poked(Restart::Never, End::Ok).await, (ServiceState::Ended, 1, None));
    assert_eq!(poked(Restart::Never, End::Err).await, (ServiceState::Failed, 1, err()));
    assert_eq!(poked(Restart::Never, End::Panic).await, (ServiceState::Failed, 1, panic()));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_never_restarted_and_fails_before_it_is_ready_fails_the_start() {
    let notes = Notes::default();
    let fails = script("it", &notes, async |_: ServiceContext| Err(Failure::new("no licence")));
    let error =
        App::new().service(Supervised::new(fails).name("it").restart(Restart::Never)).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Service);
    let told = format!("{error:?}");
    assert!(told.contains("service `it` failed") && told.contains("no licence"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_done_before_it_says_ready_counts_as_ready() {
    let notes = Notes::default();
    let done = script("it", &notes, async |_: ServiceContext| Ok(()));
    let app = App::new().service(Supervised::new(done).name("it").restart(Restart::OnFailure)).start().await.unwrap();
    assert_eq!(status(&app, "it").state, ServiceState::Ended);
    assert!(app.status().is_ready());
    app.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_restart_waits_for_its_pause_which_doubles_and_the_status_says_so() {
    let (notes, poke) = (Notes::default(), Arc::new(Notify::new()));
    let service = Supervised::new(pokable(&notes, &poke, End::Panic)).name("it");
    let app = App::new().service(service.backoff(SECOND, seconds(3))).start().await.unwrap();
    for (restart, pause) in [(1, 1.0), (2, 2.0), (3, 3.0), (4, 3.0)] {
        poke.notify_one();
        let it = until(&app, "it", ServiceState::Restarting).await;
        assert_eq!((it.restarts, it.last_error.as_deref()), (restart - 1, Some("it panicked: index out of bounds")));
        assert!(!app.status().is_ready());
        let begin = Instant::now();
        let it = until(&app, "it", ServiceState::Ready).await;
        let paused = begin.elapsed().as_secs_f64();
        assert_eq!(it.restarts, restart);
        assert!((pause - 0.02..=pause * 1.5 + 0.02).contains(&paused), "restart {restart} after {paused} s");
    }
    assert!(app.status().is_ready());
    app.shutdown().await.unwrap();
}

/// Pokes the service so many times, with this long between.
async fn poke_all(app: &Running, poke: &Notify, times: usize, pause: Duration) {
    for _ in 0..times {
        sleep(pause).await;
        until(app, "it", ServiceState::Ready).await;
        poke.notify_one();
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_past_its_restart_limit_is_given_up_and_the_app_says_so() {
    let (notes, poke) = (Notes::default(), Arc::new(Notify::new()));
    let quick = Duration::from_millis(1);
    let service = Supervised::new(pokable(&notes, &poke, End::Err)).name("it").backoff(quick, quick);
    let app = App::new().service(service.intensity(2, seconds(10))).start().await.unwrap();

    // As often as it likes, as long as it is not within the period.
    poke_all(&app, &poke, 10, seconds(6)).await;
    until(&app, "it", ServiceState::Ready).await;
    assert!(timeout(seconds(60), app.failed()).await.is_err());

    poke_all(&app, &poke, 3, SECOND).await;
    let error = timeout(LIMIT, app.failed()).await.unwrap();
    let it = status(&app, "it");
    assert_eq!((it.state, it.restarts, it.last_error.as_deref()), (ServiceState::Failed, 12, Some("connection reset")));
    assert!(!app.status().is_ready());
    let told = format!("{error:?}");
    assert!(told.contains("service `it` failed past its restart limit of 2 within 10s"), "{told}");
    assert!(told.contains("connection reset"), "{told}");
    notes.take();
    let error = app.shutdown().await.unwrap_err();
    assert_eq!((error.kind(), notes.all()), (ErrorKind::Service, vec!["it stopped".to_owned()]));
    assert!(error.to_string().contains("`it`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_concerns_no_other() {
    let (notes, poke) = (Notes::default(), Arc::new(Notify::new()));
    let app = App::new()
        .service(Supervised::new(pokable(&notes, &poke, End::Panic)).name("it"))
        .service(Supervised::new(script("other", &notes, serve)).name("other"));
    let app = app.start().await.unwrap();
    poke_all(&app, &poke, 3, SECOND).await;
    until(&app, "it", ServiceState::Ready).await;
    assert_eq!((status(&app, "it").restarts, status(&app, "other").restarts), (3, 0));
    assert_eq!(status(&app, "other").state, ServiceState::Ready);
    app.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_service_in_its_pause_stops_at_once() {
    let (notes, poke) = (Notes::default(), Arc::new(Notify::new()));
    let service = Supervised::new(pokable(&notes, &poke, End::Err)).name("it").backoff(seconds(3600), seconds(3600));
    let app = App::new().service(service).start().await.unwrap();
    poke.notify_one();
    until(&app, "it", ServiceState::Restarting).await;
    let begin = Instant::now();
    app.shutdown().await.unwrap();
    assert!(begin.elapsed() < SECOND);
    assert_eq!(notes.all(), ["run", "it stopped"]);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_run_left_behind_says_nothing_of_the_present_one() {
    let notes = Notes::default();
    let to = notes.clone();
    let service = script("it", &notes, move |context: ServiceContext| {
        to.note("run");
        let is_first = to.all().len() == 1;
        async move {
            if !is_first {
                sleep(seconds(20)).await;
                return serve(context).await;
            }
            context.ready();
            let left = context.clone();
            tokio::spawn(async move {
                sleep(seconds(10)).await;
                left.ready();
                sleep(seconds(20)).await;
                left.not_ready();
            });
            sleep(SECOND).await;
            Err(Failure::new("connection reset"))
        }
    });
    let start = Instant::now();
    let app = App::new().service(Supervised::new(service).name("it").backoff(SECOND, SECOND)).start().await.unwrap();
    tokio::time::sleep_until(start + seconds(15)).await;
    assert_eq!(status(&app, "it").state, ServiceState::Starting);
    tokio::time::sleep_until(start + seconds(40)).await;
    assert_eq!(status(&app, "it").state, ServiceState::Ready);
    app.shutdown().await.unwrap();
}
