//! A task tied to a websocket: started with it, shown and commanded over it, and ended with it.

use super::handle::{StopOnDrop, TaskHandle};
use super::status::{TaskError, TaskState};
use super::{Task, Tasks};
use crate::http::ws::{Message, WebSocket};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use serde::Serialize;
use serde_json::json;
use std::future::pending;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

/// How often the client is sent a ping, which a browser answers by itself.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// After this long without anything from the client, pongs included, it is taken for gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Between one status and the next, unless that is of the end: no eye follows more.
const PAUSE: Duration = Duration::from_millis(50);

/// What is told of a text that is no command is not longer than this, in characters.
const QUOTED: usize = 40;

impl Tasks {
    /// Ties a task to a websocket: starts it, sends the client what it does and takes the client's commands, until the
    /// websocket closes; then stops it and waits for its end. It is all that the websocket's handler has to do.
    ///
    /// `task` makes the task at each start. The client is sent the [`TaskStatus`](super::TaskStatus) of the run as JSON: at
    /// once, at its end, and whenever its state or progress has changed in between, at most 20 times a second, which
    /// leaves out what was overtaken. The client says, as text:
    ///
    /// | | |
    /// |---|---|
    /// | `stop` | stops the run; the websocket stays open |
    /// | `start` | starts the task again |
    /// | `restart` | stops the run, waits for its end and starts the task again |
    ///
    /// What cannot be done is answered by `{"error": "the task `import` runs already (run 1764078000000001)"}`, say, and
    /// changes nothing.
    ///
    /// The websocket closes by its client, by an error, because the app is told to stop, or, with 3008, because nothing
    /// came of the client for 60 s, not even the answer to a ping; one is sent every 20 s. The task then has its
    /// [`stop_timeout`](Task::stop_timeout), and a blocking one as long as it takes.
    ///
    /// Of each name one runs at a time here, too; where each client is to have a task of its own, the name says whose it
    /// is. A task that runs already, started elsewhere, is not started and not tied: `stop` and the end of this websocket
    /// leave it alone, and `restart` takes its place. One that is stopping, as that of a page that is loaded again, is waited
    /// for.
    ///
    /// ```
    /// use asyncworker as app;
    /// use asyncworker::http::WebSocket;
    /// use asyncworker::http::ws::CheckedOrigin;
    /// use asyncworker::prelude::*;
    ///
    /// async fn import(run: TaskRun<u32>) -> Result<(), Failure> {
    ///     for percent in 0..=100 {
    ///         run.progress(percent);
    ///     }
    ///     Ok(())
    /// }
    ///
    /// // In the page: new WebSocket(..).onmessage = message => bar.value = JSON.parse(message.data).progress
    /// #[app::ws("/import")]
    /// async fn tied(socket: WebSocket, tasks: Tasks, _: CheckedOrigin) {
    ///     tasks.serve(socket, || Task::new("import", import)).await;
    /// }
    /// ```
    ///
    /// # Cancel safety
    /// Dropped halfway, the run was told to stop all the same.
    pub async fn serve<P>(&self, socket: WebSocket, task: impl FnMut() -> Task<P> + Send)
    where
        P: Serialize + Clone + Send + Sync + 'static,
    {
        let ending = socket.ending();
        let (outgoing, incoming) = socket.split();
        if serve(self, task, incoming, outgoing).await == End::Idle {
            ending.idle();
        }
    }
}

/// What the client is to see.
struct Shown<P> {
    /// The run that was started last for this websocket. Dropped, it is told to stop.
    run: Option<(TaskHandle<P>, StopOnDrop)>,
    /// What could not be done, until it is sent; of several the last.
    refused: Option<String>,
}

/// Why a websocket is served no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It has closed, or is to.
    Closed,
    /// Nothing came of the client for too long.
    Idle,
}

async fn serve<P, E>(
    tasks: &Tasks,
    task: impl FnMut() -> Task<P> + Send,
    incoming: impl Stream<Item = Result<Message, E>> + Unpin,
    outgoing: impl Sink<Message> + Unpin,
) -> End
where
    P: Serialize + Clone + Send + Sync + 'static,
{
    let shown = watch::Sender::new(Shown { run: None, refused: None });
    let end = tokio::select! {
        end = obey(tasks, task, incoming, &shown) => end,
        // Nothing can be sent any more.
        () = show(outgoing, &shown) => End::Closed,
    };
    let run = shown.borrow().run.as_ref().map(|(run, _)| run.clone());
    if let Some(run) = run {
        run.stop().await;
    }
    end
}

/// Starts the task and does as the client says. Ends when the websocket does.
async fn obey<P, E>(
    tasks: &Tasks,
    mut task: impl FnMut() -> Task<P> + Send,
    mut incoming: impl Stream<Item = Result<Message, E>> + Unpin,
    shown: &watch::Sender<Shown<P>>,
) -> End
where
    P: Serialize + Clone + Send + Sync + 'static,
{
    let refuse = |why: String| shown.send_modify(|shown| shown.refused = Some(why));
    // It may have to wait for the run before, and the websocket may close meanwhile.
    let mut starting: Option<BoxFuture<'_, Result<TaskHandle<P>, TaskError>>> =
        Some(tasks.start_after(task(), false).boxed());
    loop {
        let received = tokio::select! {
            started = ended(&mut starting) => {
                starting = None;
                match started {
                    Ok(run) => shown.send_modify(|shown| shown.run = Some((run.clone(), run.stop_on_drop()))),
                    Err(error) => refuse(error.to_string()),
                }
                continue;
            }
            received = timeout(IDLE_TIMEOUT, incoming.next()) => received,
        };
        match received {
            Ok(Some(Ok(Message::Text(command)))) => match command.as_str() {
                "start" => starting = Some(tasks.start_after(task(), false).boxed()),
                "restart" => starting = Some(tasks.start_after(task(), true).boxed()),
                "stop" => {
                    let gave_up = starting.take().is_some();
                    let stopped = shown.borrow().run.as_ref().map(|(run, _)| run.request_stop());
                    if stopped.is_none() && !gave_up {
                        refuse("there is no run of this websocket to stop".into());
                    }
                }
                other => {
                    let quoted: String = other.chars().take(QUOTED).collect();
                    refuse(format!("there is no command `{quoted}`; there are `start`, `stop` and `restart`"));
                }
            },
            Ok(Some(Ok(Message::Binary(_)))) => refuse("a command is a text: `start`, `stop` or `restart`".into()),
            // A pong, most of all. After a close nothing comes.
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(_)) | None) => return End::Closed,
            Err(_) => {
                tracing::info!("a client has said nothing for {IDLE_TIMEOUT:?}, and is taken for gone");
                return End::Idle;
            }
        }
    }
}

/// The end of what is there, and never where nothing is.
async fn ended<T>(future: &mut Option<BoxFuture<'_, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

/// Sends what there is to see, and pings. Ends when nothing can be sent any more.
async fn show<P: Clone>(mut outgoing: impl Sink<Message> + Unpin, shown: &watch::Sender<Shown<P>>) {
    let mut news = shown.subscribe();
    news.mark_changed();
    let mut watched: Option<Watched<P>> = None;
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    loop {
        let messages = tokio::select! {
            // Before what there is of the next run, the last of the one before it.
            biased;
            status = next_status(&mut watched) => [Some(Message::text(status)), None],
            // Who has sent it is this function's caller, and there.
            _ = news.changed() => {
                let mut refused = None;
                shown.send_if_modified(|shown| {
                    refused = shown.refused.take();
                    false
                });
                let end = follow(&mut watched, &news.borrow_and_update());
                [end.map(Message::text), refused.map(|why| Message::text(json!({ "error": why }).to_string()))]
            }
            _ = heartbeat.tick() => [Some(Message::Ping(bytes::Bytes::new())), None],
        };
        for message in messages.into_iter().flatten() {
            if outgoing.send(message).await.is_err() {
                return;
            }
        }
    }
}

/// A run whose changes are sent.
struct Watched<P> {
    run: TaskHandle<P>,
    state: watch::Receiver<TaskState>,
    /// Before it, only the end is sent.
    next: Instant,
}

impl<P> Watched<P> {
    /// What the run does, of which note is taken.
    fn status(&mut self) -> String {
        self.state.mark_unchanged();
        self.run.progress.mark_unchanged();
        self.next = Instant::now() + PAUSE;
        // What a progress is that is no JSON, the status has made null.
        serde_json::to_string(&self.run.status()).unwrap_or_default()
    }
}

/// Watches the run that is there now. Gives the end of the one before, where that was not sent: those who wait for an end are
/// woken one by one, so that who starts the next run for it may be there first.
fn follow<P: Clone>(watched: &mut Option<Watched<P>>, shown: &Shown<P>) -> Option<String> {
    let (run, _) = shown.run.as_ref()?;
    if watched.as_ref().is_some_and(|watched| watched.run.id() == run.id()) {
        return None;
    }
    let mut state = run.run.watch();
    state.mark_changed();
    let mut before = watched.replace(Watched { run: run.clone(), state, next: Instant::now() })?;
    let unsent = before.run.run.is_ended() && before.state.has_changed().unwrap_or(false);
    unsent.then(|| before.status())
}

/// What the run does, when that has changed; never where there is none.
async fn next_status<P>(watched: &mut Option<Watched<P>>) -> String {
    let Some(watched) = watched else { return pending().await };
    let Watched { run, state, next } = &mut *watched;
    // Given up halfway by its caller, it has taken note of nothing.
    tokio::select! {
        () = sleep_until(*next) => {}
        _ = run.outcome() => {}
    }
    tokio::select! {
        _ = state.changed() => {}
        _ = run.progress.changed() => {}
    }
    watched.status()
}

#[cfg(test)]
mod tests;
