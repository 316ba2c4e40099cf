//! asyncworker as its users write it. Its clock runs from the start of the app, connecting included, because the app does
//! not tell when it consumes; the other workers' clocks start with an open connection.

use std::time::Instant;

use asyncworker::prelude::*;
use benches::{Error, HANDLER_WAIT, Job, Order, PUBLISH_WINDOW, Report, Tally, Task, body, now};
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

#[tokio::main]
async fn main() -> Result<(), Error> {
    let job = Job::from_args()?;
    let app = App::new().connect(Amqp::from_uri(&job.uri())?.prefetch(job.prefetch));
    if job.task == Task::Publish {
        return publish(app, &job).await;
    }
    let tally: &'static Tally = Box::leak(Box::new(Tally::new(&job)));
    let route = Route::amqp([&*job.queue]).name("bench").options(RouteOptions::new().bulk_size(job.bulk));
    let route = match job.task {
        Task::Wait => route.handler(wait),
        _ if job.bulk > 1 => route.handler(bulk),
        _ => route.handler(one),
    };
    let start = Instant::now();
    let running = app.state(tally).route(route).start().await?;
    tally.done().await;
    running.shutdown().await?;
    Report::print(tally, start)
}

async fn publish(app: App, job: &Job) -> Result<(), Error> {
    let body = body(0, 0, job.body);
    let start = Instant::now();
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
    Report::print_published(confirmed, confirmed * body.len() as u64, start)
}
