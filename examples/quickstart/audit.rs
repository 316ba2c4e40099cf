//! The books of the quickstart: a layer that counts, and what must be true of the counts in the end.
use asyncworker::prelude::*;
use asyncworker::{Bulk, Connection, Next, Outcome};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

#[derive(Default)]
struct Books {
    received: u64,
    acked: u64,
    requeued: u64,
    rejected: u64,
    bulks: u64,
    connection_failures: u64,
    /// How each order ended, by id.
    ended: Vec<Option<Action>>,
}

#[derive(Clone)]
pub struct Audit {
    orders: u64,
    books: Arc<Mutex<Books>>,
    bar: ProgressBar,
    done: Arc<Notify>,
}

/// A layer goes around the handler, once a bulk.
#[asyncworker::async_trait]
impl Layer for Audit {
    async fn call(&self, bulk: Bulk, next: Next) -> Result<Outcome, Failure> {
        let outcome = next.run(bulk.clone()).await?;
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.bulks += 1;
        let mut ended_now = 0;
        for message in bulk.messages::<()>() {
            books.received += 1;
            let action = message.marked().unwrap_or(Action::Reject);
            match action {
                Action::Ack => books.acked += 1,
                Action::Reject => books.rejected += 1,
                Action::Requeue => books.requeued += 1,
            }
            let id = message.properties().message_id.as_deref().and_then(|id| id.parse::<usize>().ok());
            if action != Action::Requeue
                && let Some(ended) = id.and_then(|id| books.ended.get_mut(id))
                && ended.replace(action).is_none()
            {
                ended_now += 1;
            }
        }
        self.bar.inc(ended_now);
        if self.bar.position() == self.orders {
            self.done.notify_one();
        }
        Ok(outcome)
    }
}

impl Audit {
    pub fn new(orders: u64) -> Result<Self, Box<dyn Error>> {
        let broker = if std::env::var("AMQP_URL").is_ok() { "RabbitMQ" } else { "the broker within this process" };
        println!("{} orders, over {broker}", HumanCount(orders));
        let style = "{bar:40.green} {human_pos} of {human_len} orders, {elapsed}";
        let bar = ProgressBar::new(orders).with_style(ProgressStyle::with_template(style)?);
        let books = Books { ended: vec![None; usize::try_from(orders)? + 1], ..Books::default() };
        Ok(Self { orders, books: Arc::new(Mutex::new(books)), bar, done: Arc::default() })
    }

    /// Waits until each order has ended.
    pub async fn complete(&self) {
        self.done.notified().await;
        self.bar.finish_and_clear();
    }

    pub fn on_connection_failure(&self) -> impl Fn(&asyncworker::Error, u64) + Send + Sync + 'static {
        let Self { books, bar, .. } = self.clone();
        move |error, in_a_row| {
            books.lock().unwrap_or_else(PoisonError::into_inner).connection_failures += 1;
            if in_a_row == 1 {
                bar.suspend(|| eprintln!("{error:?}\n  trying again"));
            }
        }
    }

    /// Prints the table; an error where the numbers do not add up.
    pub fn report(&self, time: Duration, till: u64, left: u64, dead_letters: u64) -> Result<(), Box<dyn Error>> {
        let Books { received, acked, requeued, rejected, bulks, connection_failures, ref ended } =
            *self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |count: u64, what: &str| println!("{:>12}  {what}", HumanCount(count).to_string());
        row(received, "received");
        row(acked, "acked");
        row(requeued, "requeued, to come again");
        row(rejected, "rejected, and now dead letters");
        row(bulks, "bulks");
        row((received as f64 / time.as_secs_f64()) as u64, "messages/s");

        let bad = |id: &u64| id.is_multiple_of(1000) || id.is_multiple_of(300);
        let all_bad = (1..=self.orders).filter(bad).count() as u64;
        let put_back = (1..=self.orders).filter(|id| id.is_multiple_of(500) && !bad(id)).count() as u64;
        let right = |id: u64| Some(if bad(&id) { Action::Reject } else { Action::Ack });
        let mut wrong = Vec::new();
        let mut check = |what, holds: bool| {
            if !holds {
                wrong.push(what)
            }
        };
        check("an order did not end as it should", (1..).zip(&ended[1..]).all(|(id, ended)| *ended == right(id)));
        check("the queue is not empty", left == 0);
        // After a lost connection, orders that were not settled yet are handled a second time.
        if connection_failures == 0 {
            check(
                "an order was handled twice",
                (acked, requeued, rejected) == (self.orders - all_bad, put_back, all_bad),
            );
            check("the till is wrong", till == 3 * acked);
            check("not every rejected order is a dead letter", dead_letters == rejected);
        }
        if !wrong.is_empty() {
            return Err(wrong.join("; ").into());
        }
        println!("Every order ended as it should, and the queue is empty.");
        Ok(())
    }
}

/// How many messages a queue still holds: those that come out of it before one that is put in last.
pub async fn drain(broker: Connection, queue: &str) -> Result<u64, Box<dyn Error>> {
    let (seen, mut bodies) = tokio::sync::mpsc::unbounded_channel();
    let look = move |message: Message| {
        let sent = seen.send(message.raw().clone());
        async move { sent }
    };
    let options = RouteOptions::new().concurrency(1);
    let running = App::new().connect(broker).route(Route::amqp([queue]).options(options).handler(look)).start().await?;
    running.publisher().publish(Publish::raw("last").to(queue)).await?;
    let mut left = 0;
    while bodies.recv().await.is_some_and(|body| body != "last") {
        left += 1;
    }
    running.shutdown().await?;
    Ok(left)
}
