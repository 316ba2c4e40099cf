//! Services: what lives as long as the app, beside its handlers.
//!
//! [`group`] has the life of all of them, [`supervisor`] that of one.

mod board;
mod context;
mod group;
mod queue;
mod registry;
mod restarts;
mod settings;
mod supervised;
mod supervisor;

pub(crate) use board::Board;
pub use context::ServiceContext;
pub(crate) use group::Services;
pub use queue::{PutError, QueueService};
pub(crate) use registry::Registry;
pub use restarts::Restart;
pub(crate) use settings::Factory;
pub use supervised::{IntoService, Supervised};

use crate::handler::{Failure, Scope};
use async_trait::async_trait;

/// What lives as long as the app, beside its handlers: a connection that is kept, a cache that is refreshed, a queue that is
/// worked off.
///
/// [`App::service`](crate::App::service) adds it, by itself or as a [`Supervised`], which says how it is restarted, what it
/// depends on and what it is found as. Handlers, hooks and other services find it as `State<Arc<S>>`. The app starts it
/// after the startup hooks and the services it depends on, and goes on when it is ready; it stops it, last first, after
/// the handlers have ended and before the shutdown hooks.
///
/// ```
/// use asyncworker::prelude::*;
/// use asyncworker::{Service, ServiceContext};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::Duration;
///
/// #[derive(Default)]
/// struct Rates(AtomicU64);
///
/// #[asyncworker::async_trait]
/// impl Service for Rates {
///     async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
///         loop {
///             self.0.store(42, Ordering::Relaxed); // fetched somewhere, as a rule
///             context.ready();
///             tokio::select! {
///                 () = context.told_to_stop() => return Ok(()),
///                 () = tokio::time::sleep(Duration::from_secs(60)) => {}
///             }
///         }
///     }
/// }
///
/// async fn price(rates: State<Arc<Rates>>, order: Message) {
///     println!("{} at {}", order.queue(), rates.0.0.load(Ordering::Relaxed));
/// }
///
/// let app = App::new().service(Rates::default()).route(Route::amqp(["orders"]).handler(price));
/// ```
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Runs until it is [told to stop](ServiceContext::told_to_stop); says [`ready`](ServiceContext::ready) when it is. A
    /// restart runs it again, so what one run needs for itself is made in here.
    ///
    /// # Errors
    /// An `Err` or a panic is a failure of this run: [`Restart`] says what follows.
    ///
    /// # Cancel safety
    /// It is a task of its own. One that has not ended when its time to stop is up is dropped at its next `await`.
    async fn run(&self, context: ServiceContext) -> Result<(), Failure>;

    /// Gives back what outlives a run. It is called once, when the app stops, after the last run.
    ///
    /// # Errors
    /// The app goes on stopping; its result is an error then, which names the service.
    async fn stop(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// Looks up what it needs of the app: called once, before anything starts. [`ServiceContext::state`] gives the same in a
    /// run, when it is too late to refuse the start.
    ///
    /// # Errors
    /// The app has no such thing, in words that say what is missing; it becomes a start-up error that names the service.
    fn resolve(&self, scope: &Scope<'_>) -> Result<(), String> {
        let _ = scope;
        Ok(())
    }

    /// How much waits to be done, for [`ServiceStatus`](crate::ServiceStatus). `None`, where that is no question.
    fn depth(&self) -> Option<usize> {
        None
    }
}
