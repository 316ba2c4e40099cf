//! asyncworker as its users write it.

use std::time::{Duration, Instant};

use asyncworker::prelude::*;
use benches::{Error, HANDLER_WAIT, Idle, Job, Milestones, Order, PUBLISH_WINDOW, Report, Tally, Task};
use benches::{body, now, process};
use futures_util::StreamExt;

type Shared = State<&'static Tally>;

async fn one(State(tally): Shared, message: Message<Order>) -> Result<(), Failure> {
    let at = tally.wants_age().then(now);
    tally.count(message.body()?, message.raw().len(), at);
    Ok(())
}

async fn bulk(State(tally): Shared, messages: Batch<Message<Order>>) -> Result<(), Failure> {
    for message in &messages {
        tally.count(message.body()?, message.raw().len(), None);
    }
    Ok(())
}

async fn wait(State(tally): Shared, message: Message<Order>) -> Result<(), Failure> {
    tokio::time::sleep(HANDLER_WAIT).await;
    tally.count(message.body()?, message.raw().len(), None);
    Ok(())
}

async fn bytes(State(tally): Shared, message: Message) {
    tally.count_bytes(message.raw());
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let job = Job::from_args()?;
    let milestones = Milestones::watch()?;
    if job.task == Task::Idle {
        return idle(&job, milestones).await;
    }
    let app = app(&job)?;
    if job.task == Task::Publish {
        return publish(app, &job, milestones).await;
    }
    let tally: &'static Tally = Box::leak(Box::new(Tally::new(&job)));
    let running = app.state(tally).mount(routes(&job)).start().await?;
    tally.done().await;
    running.shutdown().await?;
    Report::print(tally, milestones.connected()?)
}

fn app(job: &Job) -> Result<App, Error> {
    // RabbitMQ's own heartbeat, which the other workers take as it proposes it.
    Ok(App::new().connect(Amqp::from_uri(&job.uri())?.prefetch(job.prefetch).heartbeat(60)))
}

fn routes(job: &Job) -> Vec<Route> {
    let route = |queue: String| {
        let route = Route::amqp([&*queue]).name(&*queue).options(RouteOptions::new().bulk_size(job.bulk));
        match job.task {
            Task::Wait => route.handler(wait),
            Task::Bytes => route.handler(bytes),
            _ if job.bulk > 1 => route.handler(bulk),
            _ => route.handler(one),
        }
    };
    job.queues().into_iter().map(route).collect()
}

async fn publish(app: App, job: &Job, milestones: &Milestones) -> Result<(), Error> {
    let body = body(0, 0, job.body);
    let running = app.start().await?;
    let publisher = running.publisher();
    // Transient and not mandatory, as the other workers publish.
    let message = Publish::raw(body.clone()).to(&*job.queue).transient().mandatory(false);
    let publish = |_| publisher.publish(message.clone());
    let mut confirms = futures_util::stream::iter(0..job.messages).map(publish).buffer_unordered(PUBLISH_WINDOW);
    let mut confirmed = 0;
    while let Some(confirm) = confirms.next().await {
        confirm?;
        confirmed += 1;
    }
    drop(confirms);
    running.shutdown().await?;
    Report::print_published(confirmed, confirmed * body.len() as u64, milestones.connected()?)
}

async fn idle(job: &Job, milestones: &Milestones) -> Result<(), Error> {
    /// For what a start leaves behind, such as threads that look for work before they sleep.
    const REST: Duration = Duration::from_secs(1);
    let memory = || process::resident_kib().ok_or("the system does not tell the memory");
    let before = memory()?;
    let tally: &'static Tally = Box::leak(Box::new(Tally::new(job)));
    let start = Instant::now();
    let running = app(job)?.state(tally).mount(routes(job)).start().await?;
    milestones.consuming(job.routes).await?;
    let start_seconds = start.elapsed().as_secs_f64();
    let kib = memory()?.saturating_sub(before);
    let mut idle = Idle { start_seconds, kib, ..Idle::default() };
    if job.seconds > 0 {
        // Both sleeps take this thread away from the app, which has others: a timer would be a wake-up of its own.
        std::thread::sleep(REST);
        let (wake_ups, cpu_seconds) = (process::wake_ups(), process::cpu_seconds()?);
        std::thread::sleep(Duration::from_secs(job.seconds));
        idle.wake_ups = process::wake_ups() - wake_ups;
        idle.cpu_seconds = process::cpu_seconds()? - cpu_seconds;
    }
    running.shutdown().await?;
    Report::print_idle(idle, start)
}
