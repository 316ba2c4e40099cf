//! A running app and its end.

use super::hooks::Context;
use super::parts::Parts;
use crate::emitter::Emitter;
use crate::error::{Error, ErrorKind};
use crate::publish::Publisher;
use crate::status::{Observer, Status};
use crate::task::Tasks;
use std::fmt;
use std::time::Duration;

/// An app that runs. Dropped without [`shutdown`](Self::shutdown), it stops at once: what was not settled
/// goes back to its queue.
pub struct Running {
    pub(super) parts: Parts,
    pub(super) context: Context,
    pub(super) observer: Observer,
    pub(super) shutdown_timeout: Duration,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("routes", &self.parts.routes.len()).finish_non_exhaustive()
    }
}

impl Running {
    /// A publisher on the app's first connection that publishes.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.context.publisher()
    }

    /// Tells the app's own handlers what happened.
    #[must_use]
    pub fn emitter(&self) -> Emitter {
        self.parts.emitter.clone()
    }

    /// The app's long tasks.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        self.context.tasks()
    }

    /// What the app does right now: whether its queues are consumed, how far its routes have come, and where its services
    /// stand.
    #[must_use]
    pub fn status(&self) -> Status {
        self.observer.status()
    }

    /// Stops the app: tasks are told to stop, consumers are cancelled, the partial bulk is handed to its handler, handlers are
    /// waited for, what they said is settled, everything else goes back to its queue, services stop, shutdown hooks run,
    /// connections close. All of that within the shutdown timeout.
    ///
    /// # Errors
    /// [`ErrorKind::Shutdown`]: a handler, a task, a service or a hook did not end in time, or a service or a hook failed.
    /// No message is lost by it. [`ErrorKind::Service`]: a service had failed past its restart limit.
    ///
    /// # Cancel safety
    /// Dropped halfway, the rest stops at once.
    pub async fn shutdown(mut self) -> Result<(), Error> {
        let complaints = self.parts.stop(&self.context, self.shutdown_timeout).await;
        let failure = self.parts.services.failure();
        if complaints.is_empty() {
            tracing::info!("stopped");
            return failure.map_or(Ok(()), Err);
        }
        let error =
            Error::new(ErrorKind::Shutdown, format!("the app did not stop in order: {}", complaints.join("; ")));
        tracing::error!(%error);
        Err(failure.unwrap_or(error))
    }
}
