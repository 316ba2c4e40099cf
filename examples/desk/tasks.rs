//! Long tasks of three kinds, which all pages see: whoever opens one finds them as they are.
use asyncworker as app;
use asyncworker::http::WebSocket;
use asyncworker::http::ws::{CheckedOrigin, Message as Frame};
use asyncworker::prelude::*;
use asyncworker::{StopOnDrop, TaskError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

/// How far a task is. Pages come at any time, so this is all of it and not only what is new.
#[derive(Clone, Default, Serialize)]
pub struct Progress {
    percent: u64,
    detail: String,
    results: Vec<String>,
}

/// On the runtime: ten pages, whose results are there as soon as each is done.
async fn import(run: TaskRun<Progress>) {
    const PAGES: u64 = 10;
    const PARTS: u64 = 5;
    let mut progress = Progress::default();
    for part in 1..=PAGES * PARTS {
        tokio::time::sleep(Duration::from_millis(120)).await;
        let page = part.div_ceil(PARTS);
        progress.percent = part * 100 / (PAGES * PARTS);
        progress.detail = format!("page {page} of {PAGES}");
        if part % PARTS == 0 {
            progress.results.push(format!("page {page}: {} customers", 90 + page * 37 % 20));
        }
        run.progress(progress.clone());
    }
}

/// On a thread of its own, which asks at every step whether it is to stop.
fn primes(run: TaskRun<Progress>) -> Result<(), Failure> {
    const LIMIT: u64 = 3_000_000;
    let (mut percent, mut found) = (0, 0);
    for number in 2..=LIMIT {
        run.check()?;
        if (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| number % divisor != 0) {
            found += 1;
        }
        if number * 100 / LIMIT > percent {
            percent = number * 100 / LIMIT;
            run.progress(Progress { percent, detail: format!("{found} primes up to {number}"), ..Progress::default() });
        }
    }
    Ok(())
}

/// Of use only to who waits for it.
async fn report(run: TaskRun<Progress>) {
    const CHAPTERS: [&str; 5] = ["orders", "customers", "returns", "stock", "outlook"];
    for part in 0..100 {
        let detail = format!("the chapter on {}", CHAPTERS[part * CHAPTERS.len() / 100]);
        tokio::time::sleep(Duration::from_millis(120)).await;
        run.progress(Progress { percent: part as u64 + 1, detail, ..Progress::default() });
    }
}

fn task(name: &str) -> Result<Task<Progress>, TaskError> {
    match name {
        "import" => Ok(Task::new(name, import)),
        "primes" => Ok(Task::blocking(name, primes)),
        "report" => Ok(Task::new(name, report)),
        _ => Err(TaskError::Unknown { name: name.to_owned() }),
    }
}

/// What a page wants done with a task.
#[derive(Deserialize)]
struct Wish {
    task: String,
    action: Action,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Start,
    Stop,
    Restart,
}

/// A page: it is shown all tasks whenever something changes, and says what it wants done.
#[app::ws("/tasks/live")]
pub async fn live(mut socket: WebSocket, tasks: Tasks, _: CheckedOrigin) -> Result<(), Failure> {
    let mut changes = tasks.watch();
    // The report that this page has started: it ends with the page.
    let mut tied = None;
    loop {
        tokio::select! {
            Some(list) = changes.next() => socket.send(Frame::text(serde_json::to_string(&list)?)).await?,
            received = socket.recv() => match received.transpose()? {
                Some(Frame::Text(text)) => {
                    let wish: Wish = serde_json::from_str(&text)?;
                    if let Err(refused) = fulfil(&wish, &tasks, &mut tied).await {
                        let note = json!({ "task": wish.task, "note": refused.to_string() });
                        socket.send(Frame::text(note.to_string())).await?;
                    }
                }
                Some(_) => {}
                None => return Ok(()),
            },
        }
    }
}

async fn fulfil(wish: &Wish, tasks: &Tasks, tied: &mut Option<StopOnDrop>) -> Result<(), TaskError> {
    let started = match wish.action {
        Action::Start => tasks.start(task(&wish.task)?)?,
        Action::Restart => tasks.restart(task(&wish.task)?).await?,
        Action::Stop => return tasks.stop(&wish.task).await.map(drop),
    };
    if wish.task == "report" {
        *tied = Some(started.stop_on_drop());
    }
    Ok(())
}
