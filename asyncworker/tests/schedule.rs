//! Schedules in an app: what they start with, what they may take and return, and how they end.

#![cfg(all(feature = "macros", feature = "memory"))]
#![allow(clippy::unwrap_used, missing_docs)]

use asyncworker as app;
use asyncworker::prelude::*;
use asyncworker::{Bulk, ErrorKind, Extract, Scope};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

#[app::run_every("1s", max_concurrency = 1)]
async fn tick(State(count): State<Arc<AtomicU64>>) {
    count.fetch_add(1, Relaxed);
}

#[app::run_every("1h", name = "hourly")]
async fn announce(State(count): State<Arc<AtomicU64>>, publisher: Publisher) -> Result<Publish, Failure> {
    publisher.publish(Publish::raw("by hand").to("announcements")).await?;
    Ok(Publish::json(&count.fetch_add(1, Relaxed))?.to("announcements"))
}

fn mistake(started: Result<app::Running, app::Error>) -> String {
    let error = started.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    error.to_string()
}

#[tokio::test(start_paused = true)]
async fn an_app_of_schedules_alone_needs_no_broker() {
    let count = Arc::new(AtomicU64::new(0));
    let running = App::new().state(Arc::clone(&count)).mount(routes![tick]).start().await.unwrap();
    sleep(2 * SECOND + SECOND / 2).await;
    assert_eq!(count.load(Relaxed), 3);
    let status = running.status();
    assert_eq!((status.schedules[0].name.as_str(), status.schedules[0].runs), ("tick", 3));
    assert!(status.is_ready() && status.routes.is_empty());
    running.shutdown().await.unwrap();
    sleep(5 * SECOND).await;
    assert_eq!(count.load(Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn what_a_run_returns_is_published() {
    let broker = Memory::new();
    let app =
        App::new().connect(broker.clone()).declare(Queue::new("announcements")).state(Arc::new(AtomicU64::new(7)));
    let running = app.mount(routes![announce]).start().await.unwrap();
    sleep(SECOND).await;
    assert_eq!(running.status().schedules[0].failures, 0);
    running.shutdown().await.unwrap();
    let bodies: Vec<_> = broker.messages("announcements").into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, ["by hand", "7"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_before_the_startup_hooks_have_ended() {
    let count = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&count);
    let app = App::new().state(Arc::clone(&count)).mount(routes![tick]).on_startup(|_| async move {
        sleep(5 * SECOND).await;
        assert_eq!(seen.load(Relaxed), 0);
        Ok(())
    });
    app.start().await.unwrap().shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn defect_07_a_schedule_of_an_hour_does_not_hold_the_exit_up() {
    let start = Instant::now();
    let broker = Memory::new();
    let app = App::new().connect(broker).declare(Queue::new("announcements")).state(Arc::new(AtomicU64::new(0)));
    let running = app.mount(routes![announce]).start().await.unwrap();
    sleep(SECOND).await;
    running.shutdown().await.unwrap();
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_a_run_and_lets_it_publish() {
    async fn slow(publisher: Publisher) -> Result<Publish, Failure> {
        sleep(3 * SECOND).await;
        publisher.publish(Publish::raw("in time").to("announcements")).await?;
        Ok(Publish::raw("at its end").to("announcements"))
    }
    let broker = Memory::new();
    let app = App::new().connect(broker.clone()).declare(Queue::new("announcements"));
    let running = app.mount([Schedule::every(60 * SECOND).handler(slow)]).start().await.unwrap();
    sleep(SECOND).await;
    running.shutdown().await.unwrap();
    assert_eq!(broker.messages("announcements").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_does_not_end_is_given_up_at_the_time_limit_and_told() {
    async fn hangs() {
        std::future::pending().await
    }
    let start = Instant::now();
    let app = App::new().shutdown_timeout(4 * SECOND).mount([Schedule::every(SECOND).handler(hangs)]);
    let running = app.start().await.unwrap();
    sleep(SECOND).await;
    let error = running.shutdown().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shutdown);
    assert_eq!(start.elapsed(), 4 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_apps_layers_are_not_around_a_run() {
    struct Fails;

    #[app::async_trait]
    impl Layer for Fails {
        async fn call(&self, _: Bulk, _: app::Next) -> Result<app::Outcome, Failure> {
            Err(Failure::new("a layer was called"))
        }
    }

    let count = Arc::new(AtomicU64::new(0));
    let app = App::new().state(Arc::clone(&count)).layer(Fails).mount(routes![tick]);
    let running = app.start().await.unwrap();
    sleep(SECOND / 2).await;
    running.shutdown().await.unwrap();
    assert_eq!(count.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_extractor_of_ones_own_sees_an_empty_bulk_of_the_schedules_name() {
    struct Whose(String, usize);

    impl Extract for Whose {
        type Resolved = ();

        fn resolve(_: &Scope<'_>) -> Result<(), String> {
            Ok(())
        }

        fn extract((): &(), bulk: &Bulk) -> Result<Self, Failure> {
            Ok(Self(bulk.route().to_owned(), bulk.len()))
        }
    }

    type Seen = Arc<Mutex<Vec<(String, usize)>>>;
    async fn see(State(seen): State<Seen>, Whose(name, messages): Whose) {
        seen.lock().unwrap().push((name, messages));
    }
    let seen = Seen::default();
    let schedule = Schedule::every(SECOND).name("mine").handler(see);
    let running = App::new().state(Arc::clone(&seen)).mount([schedule]).start().await.unwrap();
    sleep(SECOND / 2).await;
    running.shutdown().await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [("mine".to_owned(), 0)]);
}

#[tokio::test]
async fn what_is_wrong_with_a_schedule_is_told_at_start_with_its_name() {
    async fn takes_messages(_: Batch<Message>) {}
    async fn takes_a_message(_: Message) {}
    async fn nothing() {}
    async fn start(schedule: Schedule) -> String {
        mistake(App::new().mount([schedule.name("s")]).start().await)
    }
    let every = || Schedule::every(SECOND);
    for (schedule, told) in [
        (Schedule::every(Duration::ZERO).handler(nothing), "its interval must be longer than zero"),
        (every().max_concurrency(0).handler(nothing), "max_concurrency must be at least 1"),
        (every().timeout(Duration::ZERO).handler(nothing), "its timeout must be longer than zero"),
        (every().jitter(SECOND).handler(nothing), "its jitter of 1s must be shorter than its interval of 1s"),
        (every(), "it has no handler"),
        (every().handler(takes_messages), "its handler takes messages"),
        (every().handler(takes_a_message), "its handler takes messages"),
        (every().handler(tick), "AtomicU64"),
    ] {
        let message = start(schedule).await;
        assert!(message.starts_with("schedule `s`: ") && message.contains(told), "{message}");
    }
    let twice = mistake(App::new().mount([every().handler(nothing), every().handler(nothing)]).start().await);
    assert!(twice.contains("two schedules are named `every 1s`"), "{twice}");
}

#[cfg(feature = "cron")]
#[tokio::test]
async fn what_is_wrong_with_a_cron_expression_is_told_at_start() {
    #[app::cron("0 3 * * 1-5", timezone = "Europe/Bielefeld")]
    async fn nightly() {}

    #[app::cron("0 25 * * *")]
    async fn never() {}

    let zone = mistake(App::new().mount(routes![nightly]).start().await);
    assert!(zone.starts_with("schedule `nightly`: there is no time zone `Europe/Bielefeld`"), "{zone}");
    let pattern = mistake(App::new().mount(routes![never]).start().await);
    assert!(pattern.starts_with("schedule `never`: `0 25 * * *` is not a cron expression"), "{pattern}");
    let interval = Schedule::every(SECOND).timezone("UTC").name("s").handler(|| async {});
    let interval = mistake(App::new().mount([interval]).start().await);
    assert_eq!(interval, "schedule `s`: an interval has no time zone");
}

#[cfg(feature = "cron")]
#[tokio::test(start_paused = true)]
async fn a_cron_schedule_holds_the_exit_up_by_nothing() {
    #[app::cron("0 0 1 1 *")]
    async fn new_year() {}

    let start = Instant::now();
    let running = App::new().mount(routes![new_year]).start().await.unwrap();
    sleep(SECOND).await;
    running.shutdown().await.unwrap();
    assert_eq!(start.elapsed(), SECOND);
}
