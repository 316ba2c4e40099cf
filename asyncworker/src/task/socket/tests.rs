//! Tasks tied to a websocket of which only the messages are there, in virtual time.

use super::*;
use crate::{TaskOutcome, TaskRun, TaskStatus};
use futures_util::{sink, stream};
use serde_json::Value;
use std::convert::Infallible;
use std::future::pending;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);

/// The other end of a websocket. Dropped, it closes.
struct Client {
    says: mpsc::UnboundedSender<Message>,
    hears: mpsc::Receiver<Message>,
}

impl Client {
    /// A websocket that holds one message until it is read, and what serves it.
    fn connect<P: Serialize + Clone + Send + Sync + 'static>(
        tasks: &Tasks,
        task: impl FnMut() -> Task<P> + Send + 'static,
    ) -> (Self, JoinHandle<End>) {
        let (says, mut said) = mpsc::unbounded_channel();
        let (tell, hears) = mpsc::channel(1);
        let incoming =
            stream::poll_fn(move |context| said.poll_recv(context).map(|said| said.map(Ok::<_, Infallible>)));
        let outgoing = sink::unfold(tell, |tell, message| async move {
            tell.send(message).await?;
            Ok::<_, mpsc::error::SendError<Message>>(tell)
        });
        let tasks = tasks.clone();
        let serving = tokio::spawn(async move { serve(&tasks, task, incoming, Box::pin(outgoing)).await });
        (Self { says, hears }, serving)
    }

    fn say(&self, command: &str) {
        self.says.send(Message::text(command)).expect("it is served");
    }

    /// The next message that is no ping; `None` when nothing is sent any more.
    async fn hear(&mut self) -> Option<Value> {
        loop {
            match self.hears.recv().await? {
                Message::Text(text) => return Some(serde_json::from_str(&text).expect("JSON")),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn until(&mut self, state: &str) -> Value {
        loop {
            let heard = self.hear().await.expect("it is served");
            assert_eq!(heard["error"], Value::Null, "{heard}");
            if heard["state"] == state {
                return heard;
            }
        }
    }

    /// The error that is the next message but for what is shown of a run.
    async fn refusal(&mut self) -> String {
        loop {
            if let Value::String(error) = &self.hear().await.expect("it is served")["error"] {
                return error.clone();
            }
        }
    }
}

/// Reports 1, 2, 3, .. once a second, up to this; after that it waits for its end.
fn counting(name: &'static str, last: u32) -> impl Fn() -> Task<u32> + Send + 'static {
    move || {
        Task::new(name, async move |run: TaskRun<u32>| {
            for step in 1..=last {
                sleep(SECOND).await;
                run.progress(step);
            }
        })
    }
}

/// Goes on until it is stopped, and then takes two seconds to tidy up.
fn tidy(name: &'static str) -> impl Fn() -> Task<u32> + Send + 'static {
    move || {
        let work = async |run: TaskRun<u32>| {
            run.stopping().await;
            sleep(2 * SECOND).await;
        };
        Task::new(name, work).stop_timeout(10 * SECOND)
    }
}

fn endless(name: &'static str) -> impl Fn() -> Task<u32> + Send + 'static {
    move || Task::new(name, async |_: TaskRun<u32>| pending::<()>().await)
}

fn state(tasks: &Tasks, name: &str) -> TaskState {
    tasks.status(name).expect("it was started").state
}

const CANCELLED: TaskState = TaskState::Ended(TaskOutcome::Cancelled);

/// Waits until a task of this name runs.
async fn until_running(tasks: &Tasks, name: &str) -> TaskStatus {
    let mut watch = tasks.watch();
    loop {
        let found = watch.next().await.expect("tasks").into_iter().find(|status| status.name == name);
        if let Some(status) = found.filter(|status| status.state == TaskState::Running) {
            return status;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_client_sees_the_run_from_its_start_to_its_end() {
    let tasks = Tasks::new();
    let (mut client, _serving) = Client::connect(&tasks, counting("import", 3));
    let mut seen = Vec::new();
    let last = loop {
        let heard = client.hear().await.unwrap();
        seen.push((heard["state"].as_str().unwrap().to_owned(), heard["progress"].as_u64()));
        if heard["state"] == "ended" {
            break heard;
        }
    };
    let running = |progress| ("running".to_owned(), progress);
    assert_eq!(seen, [running(None), running(Some(1)), running(Some(2)), ("ended".into(), Some(3))]);
    assert_eq!((&last["name"], &last["outcome"]), (&"import".into(), &"completed".into()));
    assert_eq!(last["run"], json!(tasks.status("import").unwrap().run));
}

#[tokio::test(start_paused = true)]
async fn what_is_overtaken_is_left_out_and_the_end_is_not() {
    let tasks = Tasks::new();
    let task = || {
        Task::new("import", async |run: TaskRun<u32>| {
            for step in 1..=1_000 {
                sleep(Duration::from_millis(1)).await;
                run.progress(step);
            }
            Err::<(), _>(crate::Failure::new("no disk"))
        })
    };
    let begin = Instant::now();
    let (mut client, _serving) = Client::connect(&tasks, task);
    let mut seen = 0;
    let last = loop {
        seen += 1;
        let heard = client.hear().await.unwrap();
        if heard["state"] == "ended" {
            break heard;
        }
    };
    assert_eq!((&last["progress"], &last["reason"]), (&1_000.into(), &"no disk".into()));
    assert!((20..=22).contains(&seen), "{seen} messages");
    assert_eq!(begin.elapsed(), SECOND, "the end waits for no pause");
}

#[tokio::test(start_paused = true)]
async fn the_client_stops_starts_and_restarts() {
    let tasks = Tasks::new();
    let (mut client, _serving) = Client::connect(&tasks, tidy("import"));
    let first = client.until("running").await;
    client.say("stop");
    assert_eq!(client.until("stopping").await["run"], first["run"]);
    let ended = client.until("ended").await;
    assert_eq!((&ended["run"], &ended["outcome"]), (&first["run"], &"cancelled".into()));

    client.say("start");
    let second = client.until("running").await;
    assert!(second["run"].as_u64() > first["run"].as_u64());
    client.say("restart");
    assert_eq!(client.until("ended").await["run"], second["run"]);
    let third = client.until("running").await;
    assert!(third["run"].as_u64() > second["run"].as_u64());
    // A start of what is stopping waits for its end, too.
    client.say("stop");
    client.say("start");
    assert_eq!(client.until("ended").await["run"], third["run"]);
    assert!(client.until("running").await["run"].as_u64() > third["run"].as_u64());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_is_answered_and_changes_nothing() {
    let tasks = Tasks::new();
    let (mut client, _serving) = Client::connect(&tasks, endless("import"));
    let run = client.until("running").await["run"].clone();
    client.say("start");
    assert_eq!(client.refusal().await, format!("the task `import` runs already (run {run})"));
    client.say(&"ö".repeat(1_000));
    let named = "ö".repeat(QUOTED);
    assert_eq!(
        client.refusal().await,
        format!("there is no command `{named}`; there are `start`, `stop` and `restart`")
    );
    client.says.send(Message::binary(vec![0, 159])).unwrap();
    assert!(client.refusal().await.contains("a command is a text"));
    assert_eq!((state(&tasks, "import"), json!(tasks.list()[0].run)), (TaskState::Running, run));
}

#[tokio::test(start_paused = true)]
async fn a_websocket_that_closes_ends_its_task_and_waits_for_that() {
    let tasks = Tasks::new();
    for (task, seconds) in
        [(Box::new(tidy("import")) as Box<dyn FnMut() -> _ + Send>, 2), (Box::new(endless("import")), 0)]
    {
        let (mut client, serving) = Client::connect(&tasks, task);
        client.until("running").await;
        let begin = Instant::now();
        drop(client);
        serving.await.unwrap();
        assert_eq!((begin.elapsed(), tasks.list().len()), (seconds * SECOND, 1));
        assert!(state(&tasks, "import").is_ended());
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_was_started_elsewhere_is_neither_started_nor_ended_by_a_websocket() {
    let tasks = Tasks::new();
    let elsewhere = tasks.start(endless("import")()).unwrap();
    let (mut client, serving) = Client::connect(&tasks, endless("import"));
    assert_eq!(client.refusal().await, format!("the task `import` runs already (run {})", elsewhere.id()));
    client.say("stop");
    assert_eq!(client.refusal().await, "there is no run of this websocket to stop");
    drop(client);
    serving.await.unwrap();
    assert_eq!(elsewhere.status().state, TaskState::Running);

    let (mut client, _serving) = Client::connect(&tasks, endless("import"));
    client.refusal().await;
    client.say("restart");
    client.until("running").await;
    assert_eq!(elsewhere.outcome().await, TaskOutcome::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_websocket_leaves_a_later_run_of_another_one_alone() {
    let tasks = Tasks::new();
    let (mut first, first_served) = Client::connect(&tasks, endless("import"));
    first.until("running").await;
    let (mut second, _serving) = Client::connect(&tasks, endless("import"));
    second.refusal().await;
    second.say("restart");
    second.until("running").await;
    assert_eq!(first.until("ended").await["outcome"], "cancelled");
    drop(first);
    first_served.await.unwrap();
    assert_eq!(state(&tasks, "import"), TaskState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_loaded_again_waits_for_the_end_of_the_run_before() {
    let tasks = Tasks::new();
    let (mut before, _serving) = Client::connect(&tasks, tidy("import"));
    let old = before.until("running").await;
    drop(before);
    tokio::task::yield_now().await;
    let (mut after, _serving) = Client::connect(&tasks, tidy("import"));
    assert!(after.until("running").await["run"].as_u64() > old["run"].as_u64());
}

#[tokio::test(start_paused = true)]
async fn a_websocket_that_closes_while_a_restart_waits_starts_nothing() {
    let tasks = Tasks::new();
    let (mut client, serving) = Client::connect(&tasks, tidy("import"));
    let run = client.until("running").await["run"].clone();
    client.say("restart");
    client.until("stopping").await;
    drop(client);
    serving.await.unwrap();
    assert_eq!(json!(tasks.status("import").unwrap().run), run);
    assert!(state(&tasks, "import").is_ended());
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_a_restart_waits_leaves_it_at_the_stop() {
    let tasks = Tasks::new();
    let (mut client, _serving) = Client::connect(&tasks, tidy("import"));
    let run = client.until("running").await["run"].clone();
    client.say("restart");
    client.say("stop");
    assert_eq!(client.until("ended").await["run"], run);
    sleep(10 * SECOND).await;
    assert_eq!(json!(tasks.status("import").unwrap().run), run);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping_is_taken_for_gone_and_one_that_does_stays() {
    let tasks = Tasks::new();
    let (mut alive, _serving) = Client::connect(&tasks, endless("alive"));
    let answers = tokio::spawn(async move {
        while let Some(heard) = alive.hears.recv().await {
            if matches!(heard, Message::Ping(_)) {
                alive.says.send(Message::Pong(bytes::Bytes::new())).expect("it is served");
            }
        }
    });
    let (gone, served) = Client::connect(&tasks, endless("gone"));
    let begin = Instant::now();
    assert_eq!(served.await.unwrap(), End::Idle);
    assert_eq!((begin.elapsed(), state(&tasks, "gone")), (IDLE_TIMEOUT, CANCELLED));
    sleep(10 * IDLE_TIMEOUT).await;
    assert_eq!(state(&tasks, "alive"), TaskState::Running);
    answers.abort();
    drop(gone);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_holds_up_neither_its_commands_nor_its_close() {
    let tasks = Tasks::new();
    let (client, served) = Client::connect(&tasks, counting("import", 1_000));
    sleep(10 * SECOND).await;
    client.say("stop");
    sleep(SECOND).await;
    assert_eq!(state(&tasks, "import"), CANCELLED);
    client.say("start");
    until_running(&tasks, "import").await;
    drop(client.says);
    assert_eq!(served.await.unwrap(), End::Closed);
    assert_eq!(state(&tasks, "import"), CANCELLED);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_dropped_ends_its_task() {
    let tasks = Tasks::new();
    let (_client, serving) = Client::connect(&tasks, endless("import"));
    until_running(&tasks, "import").await;
    serving.abort();
    assert_eq!(tasks.attach::<u32>("import").unwrap().outcome().await, TaskOutcome::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_comes_when_the_app_is_stopping_is_told_so() {
    let tasks = Tasks::new();
    tasks.close();
    let (mut client, _serving) = Client::connect(&tasks, endless("import"));
    assert_eq!(client.refusal().await, "the app is stopping: the task `import` is not started");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_run_is_sent_before_the_next_one_though_that_is_there_first() {
    let tasks = Tasks::new();
    let mut shown = Shown { run: None, refused: None };
    let mut watched = None;
    let mut ends = Vec::new();
    for _ in 0..3 {
        let run = tasks.start(endless("import")()).unwrap();
        shown.run = Some((run.clone(), run.stop_on_drop()));
        ends.extend(follow(&mut watched, &shown));
        next_status(&mut watched).await;
        // It has ended, and nobody was told who sends that.
        run.stop().await;
    }
    let ends: Vec<Value> = ends.iter().map(|end| serde_json::from_str(end).unwrap()).collect();
    assert_eq!(ends.iter().map(|end| &end["outcome"]).collect::<Vec<_>>(), ["cancelled", "cancelled"]);
    assert!(ends[0]["run"].as_u64() < ends[1]["run"].as_u64(), "{ends:?}");

    next_status(&mut watched).await;
    let run = tasks.start(endless("import")()).unwrap();
    shown.run = Some((run.clone(), run.stop_on_drop()));
    assert_eq!(follow(&mut watched, &shown), None, "it was sent already");
}
