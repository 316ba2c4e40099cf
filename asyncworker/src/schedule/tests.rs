use super::clock::Ticks;
use super::{Schedule, Scheduler};
use crate::handler::{Failure, Scope, State};
use crate::publish::Publisher;
use crate::state::StateMap;
use crate::worker::Stop;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep};
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);

/// When runs began, counted from the start.
#[derive(Clone)]
struct Began(Instant, Arc<Mutex<Vec<Duration>>>);

impl Began {
    fn new() -> Self {
        Self(Instant::now(), Arc::default())
    }

    fn now(&self) -> usize {
        let mut began = self.1.lock().unwrap();
        began.push(self.0.elapsed());
        began.len()
    }

    fn seconds(&self) -> Vec<f64> {
        self.1.lock().unwrap().iter().map(Duration::as_secs_f64).collect()
    }
}

struct Running {
    scheduler: JoinHandle<usize>,
    tally: Arc<super::Tally>,
    stop: Stop,
}

fn start(schedule: Schedule, began: &Began) -> Running {
    let mut state = StateMap::default();
    state.insert(began.clone());
    let publisher = Publisher::new(Vec::new().into());
    let name = schedule.label().into();
    let scope = Scope { state: &state, protocol: None, publisher: publisher.clone() };
    let planned = schedule.plan(&scope).unwrap();
    let stop = Stop { drain: CancellationToken::new(), abandon: CancellationToken::new() };
    let scheduler = Scheduler::new(name, planned, publisher, stop.clone());
    let tally = scheduler.tally();
    Running { scheduler: tokio::spawn(scheduler.run()), tally, stop }
}

impl Running {
    async fn drained(self) -> usize {
        self.stop.drain.cancel();
        self.scheduler.await.unwrap()
    }
}

async fn begin(State(began): State<Began>) {
    began.now();
}

#[tokio::test(start_paused = true)]
async fn the_first_run_is_at_once_and_the_others_are_at_the_interval_from_it() {
    async fn slow(State(began): State<Began>) {
        began.now();
        sleep(SECOND / 2).await;
    }
    let began = Began::new();
    let running = start(Schedule::every(SECOND).handler(slow), &began);
    sleep(3 * SECOND + SECOND / 4).await;
    assert_eq!(running.drained().await, 0);
    assert_eq!(began.seconds(), [0.0, 1.0, 2.0, 3.0]);
}

#[tokio::test(start_paused = true)]
async fn ticks_that_were_missed_are_left_out() {
    let began = Began::new();
    let running = start(Schedule::every(SECOND).handler(begin), &began);
    sleep(SECOND / 2).await;
    // The process stood still.
    advance(4 * SECOND).await;
    sleep(SECOND).await;
    running.drained().await;
    assert_eq!(began.seconds(), [0.0, 4.5, 5.0]);
}

#[tokio::test(start_paused = true)]
async fn ticks_are_skipped_and_counted_while_as_many_run_as_may() {
    async fn long_at_first(State(began): State<Began>) {
        if began.now() <= 2 {
            sleep(4 * SECOND + SECOND / 2).await;
        }
    }
    let began = Began::new();
    let running = start(Schedule::every(SECOND).max_concurrency(2).handler(long_at_first), &began);
    sleep(SECOND + SECOND / 2).await;
    assert_eq!((running.tally.running.load(Relaxed), running.tally.skipped.load(Relaxed)), (2, 0));
    sleep(5 * SECOND).await;
    assert_eq!(running.tally.skipped.load(Relaxed), 3);
    running.drained().await;
    assert_eq!(began.seconds(), [0.0, 1.0, 5.0, 6.0]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_fails_panics_or_takes_too_long_is_counted_and_the_next_one_comes() {
    async fn fails(State(began): State<Began>) -> Result<(), Failure> {
        match began.now() {
            1 => Err(Failure::new("no disk")),
            2 => panic!("on purpose"),
            3 => std::future::pending().await,
            _ => Ok(()),
        }
    }
    let began = Began::new();
    let running = start(Schedule::every(SECOND).timeout(SECOND / 2).handler(fails), &began);
    sleep(4 * SECOND + SECOND / 2).await;
    assert_eq!((running.tally.runs.load(Relaxed), running.tally.failures.load(Relaxed)), (5, 3));
    running.drained().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_published_is_a_failure() {
    async fn publishes(State(began): State<Began>) -> crate::Publish {
        began.now();
        crate::Publish::raw("1").to("q")
    }
    let began = Began::new();
    let running = start(Schedule::every(SECOND).handler(publishes), &began);
    sleep(SECOND / 2).await;
    assert_eq!(running.tally.failures.load(Relaxed), 1);
    running.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_runs_and_begins_none() {
    async fn slow(State(began): State<Began>) {
        began.now();
        sleep(5 * SECOND).await;
    }
    let began = Began::new();
    let running = start(Schedule::every(SECOND).max_concurrency(10).handler(slow), &began);
    sleep(SECOND + SECOND / 2).await;
    assert_eq!(running.drained().await, 0);
    assert_eq!(began.seconds(), [0.0, 1.0]);
    assert_eq!(began.0.elapsed(), 6 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_not_held_up_by_the_time_until_the_next_run() {
    let began = Began::new();
    let running = start(Schedule::every(3600 * SECOND).handler(begin), &began);
    sleep(SECOND).await;
    running.drained().await;
    assert_eq!(began.0.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn what_is_abandoned_is_counted_and_dropped() {
    async fn hangs(State(began): State<Began>) {
        struct Dropped(Began);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.now();
            }
        }
        let _dropped = Dropped(began);
        std::future::pending::<()>().await;
    }
    let began = Began::new();
    let running = start(Schedule::every(SECOND).max_concurrency(2).handler(hangs), &began);
    sleep(2 * SECOND).await;
    running.stop.drain.cancel();
    running.stop.abandon.cancel();
    assert_eq!(running.scheduler.await.unwrap(), 2);
    sleep(SECOND).await;
    assert_eq!(began.seconds(), [2.0, 2.0]);
}

#[tokio::test(start_paused = true)]
async fn jitter_delays_all_runs_but_the_first_and_shifts_none() {
    let began = Began::new();
    let running = start(Schedule::every(SECOND).jitter(SECOND / 2).handler(begin), &began);
    sleep(100 * SECOND + SECOND * 3 / 4).await;
    running.drained().await;
    let seconds = began.seconds();
    assert_eq!((seconds[0], seconds.len()), (0.0, 101));
    for (place, second) in seconds.iter().enumerate() {
        let late = second - place as f64;
        assert!((0.0..=0.5).contains(&late), "run {place} at {second}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_interval_that_no_clock_counts_to_runs_once() {
    let began = Began::new();
    let running = start(Schedule::every(Duration::MAX).handler(begin), &began);
    sleep(3600 * SECOND).await;
    running.drained().await;
    assert_eq!(began.seconds(), [0.0]);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_tick_that_is_dropped_loses_none() {
    let start = Instant::now();
    let mut ticks = Ticks::every(SECOND, Duration::ZERO);
    ticks.next().await;
    assert!(tokio::time::timeout(SECOND / 2, ticks.next()).await.is_err());
    ticks.next().await;
    assert_eq!(start.elapsed(), SECOND);
}

#[cfg(feature = "cron")]
mod cron {
    use super::SECOND;
    use crate::schedule::cron::Times;
    use jiff::{SignedDuration, Timestamp};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use tokio::time::Instant;

    /// A wall clock that goes on with the clock of the test, and can be put.
    #[derive(Clone)]
    struct Wall(Arc<Mutex<(Timestamp, Instant)>>);

    impl Wall {
        fn at(time: &str) -> Self {
            Self(Arc::new(Mutex::new((time.parse().unwrap(), Instant::now()))))
        }

        fn now(&self) -> Timestamp {
            let (base, since) = *self.0.lock().unwrap();
            base + since.elapsed()
        }

        fn put(&self, by: SignedDuration) {
            self.0.lock().unwrap().0 += by;
        }

        fn times(&self, pattern: &str, timezone: &str) -> Times {
            let wall = self.clone();
            Times::by(pattern, timezone, move || wall.now()).unwrap()
        }

        /// The next times, by the wall clock.
        async fn next(&self, times: &mut Times, count: usize) -> Vec<String> {
            let mut ticks = Vec::new();
            for _ in 0..count {
                times.next(Duration::ZERO).await;
                ticks.push(self.now().to_string());
            }
            ticks
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_schedule_runs_at_the_times_of_its_zone() {
        let wall = Wall::at("2026-11-27T01:59:59.5Z");
        let mut times = wall.times("0 3 * * 1-5", "Europe/Berlin");
        // From a Friday to a Monday.
        assert_eq!(wall.next(&mut times, 2).await, ["2026-11-27T02:00:00Z", "2026-11-30T02:00:00Z"]);
    }

    #[tokio::test(start_paused = true)]
    async fn six_fields_begin_with_the_second() {
        let wall = Wall::at("2026-11-27T00:00:00Z");
        let mut times = wall.times("*/20 * * * * *", "UTC");
        assert_eq!(
            wall.next(&mut times, 3).await,
            ["2026-11-27T00:00:20Z", "2026-11-27T00:00:40Z", "2026-11-27T00:01:00Z"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_a_change_of_the_clock_leaves_out_runs_after_the_gap() {
        let wall = Wall::at("2026-03-28T12:00:00Z");
        let mut times = wall.times("30 2 * * *", "Europe/Berlin");
        // On the 29th, 2 o'clock was 3 o'clock: 1 o'clock UTC.
        assert_eq!(wall.next(&mut times, 2).await, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_a_change_of_the_clock_repeats_runs_once() {
        let wall = Wall::at("2026-10-24T12:00:00Z");
        let mut times = wall.times("30 2 * * *", "Europe/Berlin");
        assert_eq!(wall.next(&mut times, 2).await, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_put_forward_over_times_runs_one_late() {
        let wall = Wall::at("2026-11-27T00:30:00Z");
        let mut times = wall.times("0 * * * *", "UTC");
        assert!(tokio::time::timeout(10 * SECOND, times.next(Duration::ZERO)).await.is_err());
        wall.put(SignedDuration::from_hours(5));
        let start = Instant::now();
        times.next(Duration::ZERO).await;
        assert!(start.elapsed() <= 30 * SECOND, "{:?}", start.elapsed());
        assert_eq!(wall.next(&mut times, 1).await, ["2026-11-27T06:00:00Z"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_put_back_a_little_repeats_nothing() {
        let wall = Wall::at("2026-11-27T00:30:00Z");
        let mut times = wall.times("0 * * * *", "UTC");
        assert_eq!(wall.next(&mut times, 1).await, ["2026-11-27T01:00:00Z"]);
        wall.put(SignedDuration::from_mins(-10));
        assert_eq!(wall.next(&mut times, 1).await, ["2026-11-27T02:00:00Z"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_years_ahead_is_believed_when_it_is_corrected() {
        let wall = Wall::at("2036-11-27T00:30:00Z");
        let mut times = wall.times("0 * * * *", "UTC");
        assert!(tokio::time::timeout(10 * SECOND, times.next(Duration::ZERO)).await.is_err());
        wall.put(-SignedDuration::from_hours(10 * 365 * 24));
        let start = Instant::now();
        times.next(Duration::ZERO).await;
        assert!(start.elapsed() <= 3600 * SECOND, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_is_on_top_of_the_time_and_shifts_none() {
        let wall = Wall::at("2026-11-27T00:30:00Z");
        let mut times = wall.times("0 * * * *", "UTC");
        for expected in ["2026-11-27T01:00:07Z", "2026-11-27T02:00:07Z"] {
            times.next(7 * SECOND).await;
            assert_eq!(wall.now().to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_cron_expression_or_time_zone_is_refused_with_its_text() {
        let refused = |pattern, zone| Times::new(pattern, zone).err().unwrap_or_else(|| panic!("{pattern} in {zone}"));
        for pattern in ["", "0 3 * *", "61 * * * *", "0 3 * * MOON", "0 3 * * * * 2027", "@sometimes"] {
            let why = refused(pattern, "UTC");
            assert!(why.contains(&format!("`{pattern}` is not a cron expression")), "{why}");
        }
        assert!(refused("0 0 30 2 *", "UTC").contains("no time that ever comes"));
        assert!(refused("0 3 * * *", "Europe/Bielefeld").contains("no time zone `Europe/Bielefeld`"));
    }
}
