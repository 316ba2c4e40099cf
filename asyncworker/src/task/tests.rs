//! Tasks in virtual time, blocking ones in real time, and races by a seed that is printed.

use super::*;
use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(30);

const SECOND: Duration = Duration::from_secs(1);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("in time")
}

/// Reports 1, 2, 3, .. once a second, without an end.
fn counting(name: &str) -> Task<u32> {
    Task::new(name, async |run: TaskRun<u32>| {
        for step in 1.. {
            sleep(SECOND).await;
            run.progress(step);
        }
    })
}

fn endless(name: &str) -> Task<()> {
    Task::new(name, async |_: TaskRun<()>| pending::<()>().await)
}

/// Goes on until it is told to stop, whatever it is told about that.
fn blocking_until_stopped(name: &str) -> Task<u32> {
    Task::blocking(name, |run: TaskRun<u32>| {
        for step in 0.. {
            run.check()?;
            run.progress(step);
            std::thread::yield_now();
        }
        Ok::<_, Stopped>(())
    })
}

#[tokio::test(start_paused = true)]
async fn a_task_completes_and_its_last_progress_stays() {
    let tasks = Tasks::new();
    let task = tasks.start(Task::new("import", async |run: TaskRun<&'static str>| run.progress("all"))).unwrap();
    assert_eq!(task.outcome().await, TaskOutcome::Completed);
    assert_eq!(task.progress(), Some("all"));
    assert!(!task.request_stop(), "it has ended");
    assert_eq!(task.stop().await, TaskOutcome::Completed);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_a_failure_and_a_panic_is_told_in_its_words() {
    let tasks = Tasks::new();
    let failing = tasks.start(Task::new("failing", async |_: TaskRun<()>| Err::<(), _>(Failure::new("no disk"))));
    assert_eq!(failing.unwrap().outcome().await, TaskOutcome::Failed("no disk".into()));
    let panics = tasks.start(Task::new("panics", async |_: TaskRun<()>| -> () { panic!("no {}", "sense") }));
    assert_eq!(panics.unwrap().outcome().await, TaskOutcome::Panicked("no sense".into()));
    let early = Task::new("early", |_: TaskRun<()>| if true { panic!("at once") } else { pending::<()>() });
    assert_eq!(tasks.start(early).unwrap().outcome().await, TaskOutcome::Panicked("at once".into()));
}

#[tokio::test]
async fn a_blocking_task_ends_in_the_same_ways() {
    let tasks = Tasks::new();
    let outcome = async |task: Task<u32>| soon(tasks.start(task).unwrap().outcome()).await;
    assert_eq!(outcome(Task::blocking("completes", |run| run.progress(1))).await, TaskOutcome::Completed);
    let failing = Task::blocking("fails", |_| Err::<(), _>(Failure::new("no disk")));
    assert_eq!(outcome(failing).await, TaskOutcome::Failed("no disk".into()));
    assert_eq!(
        outcome(Task::blocking("panics", |_| -> () { panic!("ouch") })).await,
        TaskOutcome::Panicked("ouch".into())
    );
    let stopped = tasks.start(blocking_until_stopped("stops")).unwrap();
    assert_eq!(soon(stopped.stop()).await, TaskOutcome::Cancelled);
}

#[tokio::test]
async fn a_blocking_task_may_block_on_the_runtime_and_have_a_name_that_no_thread_can_have() {
    let tasks = Tasks::new();
    let task = Task::blocking("a\0b", |run: TaskRun<String>| {
        let name = std::thread::current().name().map(str::to_owned);
        run.progress(Handle::current().block_on(async { name.unwrap_or_default() }));
    });
    let task = tasks.start(task).unwrap();
    assert_eq!(soon(task.outcome()).await, TaskOutcome::Completed);
    assert_eq!(task.progress().as_deref(), Some("ab"));
}

#[tokio::test(start_paused = true)]
async fn a_second_start_is_refused_while_the_first_runs() {
    let tasks = Tasks::new();
    let first = tasks.start(counting("import")).unwrap();
    let refused = tasks.start(counting("import")).unwrap_err();
    assert!(matches!(&refused, TaskError::Running { run, stopping: false, .. } if *run == first.id()), "{refused}");
    assert_eq!(refused.to_string(), format!("the task `import` runs already (run {})", first.id()));
    first.request_stop();
    let refused = tasks.start(counting("import")).unwrap_err();
    assert!(matches!(refused, TaskError::Running { stopping: true, .. }), "{refused}");
    first.outcome().await;
    let second = tasks.start(counting("import")).unwrap();
    assert!(second.id() > first.id());
}

#[tokio::test(start_paused = true)]
async fn who_joins_gets_the_run_that_there_is() {
    let tasks = Tasks::new();
    let first = tasks.start_or_join(counting("import")).unwrap();
    let mut second = tasks.start_or_join(counting("import")).unwrap();
    assert_eq!(first.id(), second.id());
    assert_eq!(second.next_progress().await, Some(1));
    let other = tasks.start_or_join(endless("import")).unwrap_err();
    assert_eq!(other.to_string(), "the task `import` reports `u32`, not `()`");
    first.request_stop();
    let stopping = tasks.start_or_join(counting("import")).unwrap_err();
    assert!(matches!(stopping, TaskError::Running { stopping: true, .. }), "{stopping}");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_task_is_dropped_at_its_await_and_reports_no_more() {
    let tasks = Tasks::new();
    let mut task = tasks.start(counting("import")).unwrap();
    assert_eq!(task.next_progress().await, Some(1));
    assert_eq!(tasks.stop("import").await.unwrap(), TaskOutcome::Cancelled);
    sleep(10 * SECOND).await;
    assert_eq!(task.progress(), Some(1));
    assert_eq!(task.next_progress().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_stop_timeout_lets_a_task_tidy_up_and_bounds_it() {
    let tasks = Tasks::new();
    let tidy = Task::new("tidy", async |run: TaskRun<&'static str>| {
        run.stopping().await;
        sleep(SECOND).await;
        run.progress("tidied up");
    });
    let tidy = tasks.start(tidy.stop_timeout(2 * SECOND)).unwrap();
    assert_eq!(tidy.stop().await, TaskOutcome::Cancelled);
    assert_eq!(tidy.progress(), Some("tidied up"));

    let slow = tasks.start(endless("slow").stop_timeout(2 * SECOND)).unwrap();
    let told = Instant::now();
    assert_eq!(slow.stop().await, TaskOutcome::Cancelled);
    assert_eq!(told.elapsed(), 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn what_a_task_says_of_its_stop_is_cancelled_unless_it_fails() {
    let tasks = Tasks::new();
    let checks = Task::new("checks", async |run: TaskRun<()>| {
        run.stopping().await;
        run.check()
    });
    assert_eq!(tasks.start(checks.stop_timeout(SECOND)).unwrap().stop().await, TaskOutcome::Cancelled);
    let fails = Task::new("fails", async |run: TaskRun<()>| {
        run.stopping().await;
        Err::<(), _>(Failure::new("cannot tidy up"))
    });
    let failed = tasks.start(fails.stop_timeout(SECOND)).unwrap().stop().await;
    assert_eq!(failed, TaskOutcome::Failed("cannot tidy up".into()));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_task_comes_after_what_it_held_is_gone() {
    struct Holds(Arc<AtomicBool>);
    impl Drop for Holds {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let tasks = Tasks::new();
    let gone = Arc::new(AtomicBool::new(false));
    let holds = Holds(Arc::clone(&gone));
    let task = tasks.start(Task::new("holds", async move |_: TaskRun<()>| {
        let _held = &holds;
        pending::<()>().await;
    }));
    task.unwrap().stop().await;
    assert!(gone.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_drop_ends_the_task_and_frees_its_name() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("while dropped");
        }
    }
    let tasks = Tasks::new();
    let bomb = Bomb;
    let task = tasks.start(Task::new("bomb", async move |_: TaskRun<()>| {
        let _held = &bomb;
        pending::<()>().await;
    }));
    assert_eq!(task.unwrap().stop().await, TaskOutcome::Panicked("while dropped".into()));
    assert!(tasks.start(endless("bomb")).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_restart_waits_for_the_end_of_the_old_run() {
    let tasks = Tasks::new();
    let fresh = tasks.restart(endless("import").stop_timeout(SECOND)).await.unwrap();
    let asked = Instant::now();
    let newer = tasks.restart(endless("import")).await.unwrap();
    assert_eq!(asked.elapsed(), SECOND);
    assert_eq!(fresh.outcome().await, TaskOutcome::Cancelled);
    assert_eq!(newer.status().state, TaskState::Running);
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_an_old_run_leaves_the_new_one_alone() {
    let tasks = Tasks::new();
    let (give, taken) = mpsc::channel();
    let old = tasks.start(Task::new("import", async move |run: TaskRun<u32>| give.send(run).unwrap())).unwrap();
    let tie = old.stop_on_drop();
    old.outcome().await;
    let stale = taken.recv().unwrap();
    let new = tasks.start(counting("import")).unwrap();
    stale.progress(99);
    drop(tie);
    assert!(!old.request_stop());
    assert_eq!((old.progress(), new.progress()), (None, None));
    assert_eq!(new.status().state, TaskState::Running);
    assert!(!stale.is_stopping());
}

#[tokio::test(start_paused = true)]
async fn any_number_watch_and_each_sees_the_latest_and_the_last() {
    let tasks = Tasks::new();
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let task = Task::new("import", async move |run: TaskRun<u32>| {
        (1..=500).for_each(|step| run.progress(step));
        gate.notified().await;
        (501..=1_000).for_each(|step| run.progress(step));
    });
    let mut watching: Vec<_> = vec![tasks.start(task).unwrap()];
    for _ in 0..10 {
        watching.push(tasks.attach("import").unwrap());
    }
    for task in &mut watching {
        assert_eq!(task.next_progress().await, Some(500));
    }
    go.notify_one();
    watching[0].outcome().await;
    for task in &mut watching {
        assert_eq!(task.next_progress().await, Some(1_000));
        assert_eq!(task.next_progress().await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_finds_the_run_and_after_its_end_too() {
    let tasks = Tasks::new();
    drop(tasks.start(counting("import")).unwrap());
    sleep(SECOND * 5 / 2).await;
    let mut again = tasks.attach::<u32>("import").unwrap();
    assert_eq!(again.next_progress().await, Some(2));
    again.stop().await;
    let mut later = tasks.attach::<u32>("import").unwrap();
    assert_eq!(later.next_progress().await, Some(2));
    assert_eq!(later.next_progress().await, None);
    assert_eq!(later.outcome().await, TaskOutcome::Cancelled);
    assert!(matches!(tasks.attach::<String>("import"), Err(TaskError::OtherProgress { .. })));
    assert!(matches!(tasks.attach::<u32>("export"), Err(TaskError::Unknown { .. })));
    assert!(matches!(tasks.stop("export").await, Err(TaskError::Unknown { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_task_of_no_app_has_no_state_no_connection_and_nobody_to_tell() {
    let task = Task::new("import", async |run: TaskRun<()>| {
        assert!(run.state::<u8>().unwrap_err().to_string().contains("`u8`"));
        run.emitter().emit(7_u8).await?;
        run.publisher().publish(crate::Publish::raw("body").to("queue")).await?;
        Ok::<_, Failure>(())
    });
    let outcome = Tasks::new().start(task).unwrap().outcome().await;
    assert!(
        matches!(&outcome, TaskOutcome::Failed(why) if why.contains("has no connection to publish over")),
        "{outcome:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_tied_task_stops_with_what_it_is_tied_to() {
    let tasks = Tasks::new();
    let task = tasks.start(endless("tied")).unwrap();
    let tie = task.stop_on_drop();
    sleep(SECOND).await;
    assert_eq!(task.status().state, TaskState::Running);
    drop(tie);
    assert_eq!(task.outcome().await, TaskOutcome::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_status_is_json_that_a_page_can_show() {
    #[derive(Clone, Serialize)]
    struct Files {
        done: u32,
    }
    let tasks = Tasks::new();
    let task = tasks.start(Task::new("import", async |run: TaskRun<Files>| {
        run.progress(Files { done: 7 });
        sleep(SECOND).await;
        Err::<(), _>(Failure::new("no disk"))
    }));
    let id = task.unwrap().id();
    sleep(SECOND / 2).await;
    let json = serde_json::to_value(tasks.status("import").unwrap()).unwrap();
    let expected = serde_json::json!({
        "name": "import", "run": id, "kind": "async", "state": "running", "progress": { "done": 7 }, "age": 0.5
    });
    assert_eq!(json, expected);
    tasks.attach::<Files>("import").unwrap().outcome().await;
    let json = serde_json::to_value(tasks.status("import").unwrap()).unwrap();
    assert_eq!(
        (&json["state"], &json["outcome"], &json["reason"]),
        (&"ended".into(), &"failed".into(), &"no disk".into())
    );
    assert_eq!(serde_json::from_value::<RunId>(json["run"].clone()).unwrap(), id);
    assert_eq!(id.to_string().parse::<RunId>().unwrap(), id);
}

#[tokio::test(start_paused = true)]
async fn progress_that_is_no_json_is_null_in_the_status_and_whole_in_the_handle() {
    let tasks = Tasks::new();
    let odd = BTreeMap::from([((1, 2), 3)]);
    let reported = odd.clone();
    let task = tasks.start(Task::new("odd", async move |run: TaskRun<_>| run.progress(reported))).unwrap();
    task.outcome().await;
    assert_eq!(task.status().progress, serde_json::Value::Null);
    assert_eq!(task.progress(), Some(odd));
}

#[tokio::test(start_paused = true)]
async fn all_tasks_are_listed_by_age_and_their_changes_watched() {
    let tasks = Tasks::new();
    let names = |list: Option<Vec<TaskStatus>>| {
        let list = list.expect("the app runs");
        list.into_iter().map(|status| (status.name, status.progress)).collect::<Vec<_>>()
    };
    let mut watch = tasks.watch();
    assert_eq!(names(watch.next().await), []);
    let b = tasks.start(counting("b")).unwrap();
    let _a = tasks.start(endless("a")).unwrap();
    let null = serde_json::Value::Null;
    assert_eq!(names(watch.next().await), [("b".into(), null.clone()), ("a".into(), null.clone())]);
    assert_eq!(names(watch.next().await), [("b".into(), 1.into()), ("a".into(), null.clone())]);
    b.stop().await;
    let list = watch.next().await.unwrap();
    assert_eq!(list[0].state, TaskState::Ended(TaskOutcome::Cancelled));
    assert_eq!(list[1].state, TaskState::Running);
}

#[tokio::test(start_paused = true)]
async fn who_watches_all_is_told_the_ends_at_a_shutdown_and_then_no_more() {
    let tasks = Tasks::new();
    let _task = tasks.start(endless("import")).unwrap();
    let mut watch = tasks.watch();
    let watching = tokio::spawn(async move {
        let mut last = None;
        while let Some(list) = watch.next().await {
            last = Some(list);
        }
        last
    });
    tokio::task::yield_now().await;
    tasks.close();
    assert_eq!(tasks.stopped(Instant::now() + SECOND).await, Vec::<String>::new());
    let last = soon(watching).await.unwrap().expect("it was told");
    assert_eq!(last[0].state, TaskState::Ended(TaskOutcome::Cancelled));
    assert_eq!(soon(tasks.watch().next()).await.map(|list| list.len()), Some(1), "who comes late sees them once");
}

#[tokio::test(start_paused = true)]
async fn the_oldest_that_have_ended_are_forgotten_and_none_that_runs() {
    let tasks = Tasks::new();
    let oldest = tasks.start(endless("oldest")).unwrap();
    for number in 0..KEPT + 10 {
        let task = tasks.start(Task::new(format!("task {number}"), async |_: TaskRun<()>| {})).unwrap();
        task.outcome().await;
    }
    let list = tasks.list();
    assert_eq!(list.len(), KEPT);
    assert_eq!(list[0].run, oldest.id());
    assert_eq!(list[1].name, "task 11");
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_once_tasks_are_closed_and_stragglers_are_named() {
    let tasks = Tasks::new();
    let quick = tasks.start(endless("quick")).unwrap();
    let slow = tasks.start(endless("slow").stop_timeout(60 * SECOND)).unwrap();
    tasks.close();
    assert!(matches!(tasks.start(endless("late")), Err(TaskError::Closed { .. })));
    assert!(matches!(tasks.restart(endless("slow")).await, Err(TaskError::Closed { .. })));
    let stragglers = tasks.stopped(Instant::now() + SECOND).await;
    assert_eq!(stragglers, [format!("the task `slow` (run {}) did not end in time", slow.id())]);
    assert_eq!(quick.outcome().await, TaskOutcome::Cancelled);
    assert_eq!(soon(slow.outcome()).await, TaskOutcome::Cancelled, "it is dropped all the same");
}

#[tokio::test]
async fn a_thread_that_does_not_stop_is_named() {
    let tasks = Tasks::new();
    let (end, ended) = mpsc::channel::<()>();
    let task = tasks
        .start(Task::blocking("deaf", move |_: TaskRun<()>| {
            let _ = ended.recv();
        }))
        .unwrap();
    tasks.close();
    let stragglers = tasks.stopped(Instant::now()).await;
    assert_eq!(stragglers, [format!("the task `deaf` (run {}) did not end in time", task.id())]);
    drop(end);
    assert_eq!(soon(task.outcome()).await, TaskOutcome::Cancelled);
}

#[test]
fn a_task_ends_with_its_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let task = runtime.block_on(async { Tasks::new().start(endless("import")).unwrap() });
    drop(runtime);
    assert_eq!(task.status().state, TaskState::Ended(TaskOutcome::Cancelled));
}

/// What runs of one task do: never two at a time.
#[derive(Default)]
struct Alone {
    at_work: AtomicUsize,
    runs: AtomicUsize,
}

struct AtWork(Arc<Alone>);

impl AtWork {
    fn enter(alone: &Arc<Alone>) -> Self {
        assert_eq!(alone.at_work.fetch_add(1, Ordering::SeqCst), 0, "two runs of a name at a time");
        alone.runs.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(alone))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::SeqCst);
    }
}

fn alone(alone: &Arc<Alone>, kind: u32) -> Task<u32> {
    let alone = Arc::clone(alone);
    match kind {
        0 => Task::blocking("one", move |run: TaskRun<u32>| {
            let _here = AtWork::enter(&alone);
            while !run.is_stopping() {
                run.progress(0);
                std::thread::yield_now();
            }
        }),
        1 => Task::new("one", async move |run: TaskRun<u32>| {
            let _here = AtWork::enter(&alone);
            run.progress(1);
            tokio::task::yield_now().await;
        }),
        _ => Task::new("one", async move |run: TaskRun<u32>| -> () {
            let _here = AtWork::enter(&alone);
            loop {
                run.progress(2);
                tokio::task::yield_now().await;
            }
        }),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_starts_and_stops_race_one_run_is_left_and_no_two_at_a_time() {
    let seed: u64 = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("SEED={seed}");
    let tasks = Tasks::new();
    let shared = Arc::new(Alone::default());
    let mut racing = Vec::new();
    for racer in 0..8 {
        let (tasks, shared) = (tasks.clone(), Arc::clone(&shared));
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(racer));
        racing.push(tokio::spawn(async move {
            for _ in 0..300 {
                let (action, kind) = (random.u32(..6), random.u32(..3));
                let task = alone(&shared, kind);
                match action {
                    0 => drop(tasks.start(task)),
                    1 => drop(tasks.start_or_join(task)),
                    2 => drop(tasks.restart(task).await),
                    3 => drop(tasks.stop("one").await),
                    4 => drop(tasks.start(task).map(|task| task.stop_on_drop())),
                    _ => tokio::task::yield_now().await,
                }
            }
        }));
    }
    for racer in racing {
        timeout(2 * LIMIT, racer).await.expect("in time").expect("no panic");
    }
    // Start, stop, start.
    let _ = tasks.start_or_join(alone(&shared, 2));
    soon(tasks.stop("one")).await.unwrap();
    let last = tasks.start(alone(&shared, 2)).expect("a start after a stop");
    assert_eq!(soon(async { tasks.attach::<u32>("one").unwrap().next_progress().await }).await, Some(2));
    assert_eq!(shared.at_work.load(Ordering::SeqCst), 1, "of {} runs", shared.runs.load(Ordering::SeqCst));
    assert_eq!(tasks.list().len(), 1);
    assert_eq!(soon(last.stop()).await, TaskOutcome::Cancelled);
    assert_eq!(shared.at_work.load(Ordering::SeqCst), 0);
}
