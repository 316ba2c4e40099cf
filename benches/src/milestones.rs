//! When asyncworker has come where the other workers' clocks start. It does not call its users for that, but it logs it.

use std::fmt;
use std::sync::OnceLock;
use std::time::Instant;

use tokio::sync::Semaphore;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::Error;

/// What an app has logged so far.
#[derive(Debug)]
pub struct Milestones {
    connected: OnceLock<Instant>,
    /// A permit for each queue that is consumed.
    consuming: Semaphore,
}

impl Milestones {
    /// Notes what is logged from now on. Everything else stays switched off, as without a subscriber.
    ///
    /// # Errors
    /// The program has a subscriber already.
    pub fn watch() -> Result<&'static Self, Error> {
        let milestones: &Self = Box::leak(Box::new(Self { connected: OnceLock::new(), consuming: Semaphore::new(0) }));
        let wanted =
            |data: &tracing::Metadata<'_>| data.is_event() && data.target().starts_with("asyncworker::backend");
        let filter = filter_fn(wanted).with_max_level_hint(LevelFilter::INFO);
        tracing_subscriber::registry().with(Watcher(milestones).with_filter(filter)).try_init()?;
        Ok(milestones)
    }

    /// When it had a connection: before the channel, its prefetch and `basic.consume`. Other workers' clocks start only
    /// with the last of these, so the error is at asyncworker's expense.
    ///
    /// # Errors
    /// It never told.
    pub fn connected(&self) -> Result<Instant, Error> {
        Ok(*self.connected.get().ok_or("asyncworker did not log `connected`: where does the clock start?")?)
    }

    /// Waits until so many queues are consumed.
    ///
    /// # Errors
    /// Never.
    pub async fn consuming(&self, queues: u32) -> Result<(), Error> {
        self.consuming.acquire_many(queues).await?.forget();
        Ok(())
    }
}

struct Watcher(&'static Milestones);

impl<S: Subscriber> Layer<S> for Watcher {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        match text.0.as_str() {
            "connected" => {
                self.0.connected.get_or_init(Instant::now);
            }
            "consuming" => self.0.consuming.add_permits(1),
            _ => {}
        }
    }
}

/// An event's message.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
