//! Publishes numbered messages and logs what came of each: `chaos-publisher URLS QUEUE LOG`. What it is told stands on
//! its standard input: `pause`, `resume`, `hold` (the next message has its handler wait), `stop`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use asyncworker::PublishErrorKind;
use asyncworker::prelude::*;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::time::Duration;
use tests::chaos::{self, Journal, Lines};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Messages under way at once, and those that are begun together.
const WINDOW: usize = 400;
const STEP: usize = 50;

const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy)]
struct Job {
    id: u64,
    attempt: u32,
    command: u8,
}

#[derive(Default)]
struct Told {
    paused: bool,
    stopping: bool,
    holds: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), asyncworker::Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [urls, queue, log] = &arguments[..] else { panic!("chaos-publisher URLS QUEUE LOG") };
    let journal = Journal::open(log);
    let amqp = chaos::patient(Amqp::from_uris(urls.split(','))?);
    let app = App::new().name("chaos-publisher").connect(amqp).start().await?;
    let publisher = app.publisher();
    let mut input = lines_of_input();
    let mut told = Told::default();
    let mut under_way = FuturesUnordered::new();
    let (mut next, mut again) = (1, Vec::new());
    loop {
        let mut lines = Lines::default();
        let mut begun = Vec::new();
        while under_way.len() + begun.len() < WINDOW && begun.len() < STEP {
            let job = match again.pop() {
                Some(job) => job,
                None if told.paused || told.stopping => break,
                None => {
                    let command = if told.holds > 0 { chaos::HOLD } else { chaos::NONE };
                    told.holds = told.holds.saturating_sub(1);
                    next += 1;
                    Job { id: next - 1, attempt: 1, command }
                }
            };
            lines.attempt(job.id, job.attempt);
            begun.push(job);
        }
        journal.append(&lines.0);
        let full = begun.len() < STEP;
        under_way.extend(begun.into_iter().map(|job| publish(&publisher, queue, job)));
        if told.stopping && under_way.is_empty() {
            break;
        }
        let mut lines = Lines::default();
        tokio::select! {
            biased;
            line = input.recv() => match line.as_deref() {
                Some("pause") => told.paused = true,
                Some("resume") => told.paused = false,
                Some("hold") => told.holds += 1,
                Some("stop") => told.stopping = true,
                Some(unknown) => panic!("not to be done: {unknown}"),
                None => panic!("who told it what to do is gone"),
            },
            Some(first) = under_way.next() => {
                let mut done = Some(first);
                while let Some((how, job)) = done {
                    lines.published(how, job.id, job.attempt);
                    if how != 'C' {
                        again.push(Job { attempt: job.attempt + 1, ..job });
                    }
                    done = under_way.next().now_or_never().flatten();
                }
            },
            () = std::future::ready(()), if !full => {}
        }
        journal.append(&lines.0);
    }
    app.shutdown().await
}

/// By a thread that the end of the process does not wait for.
fn lines_of_input() -> UnboundedReceiver<String> {
    let (lines, input) = unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
    input
}

fn publish(publisher: &Publisher, queue: &str, job: Job) -> BoxFuture<'static, (char, Job)> {
    let publisher = publisher.clone();
    let message = Publish::raw(chaos::body(job.id, job.command)).to(queue).deadline(DEADLINE);
    Box::pin(async move {
        if job.attempt > 1 {
            // What the broker refuses is not offered again at once.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let how = match publisher.publish(message).await {
            Ok(()) => 'C',
            Err(error) => match error.kind() {
                PublishErrorKind::Refused => 'N',
                PublishErrorKind::Unroutable => 'R',
                _ => 'U',
            },
        };
        (how, job)
    })
}
