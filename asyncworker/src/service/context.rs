//! What a run of a service has of its app.

use super::Board;
use crate::app::Context;
use crate::emitter::Emitter;
use crate::handler::{Failure, Scope};
use crate::publish::Publisher;
use crate::state::asked;
use crate::task::Tasks;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What one run of a [`Service`](crate::Service) has of its app. A clone belongs to the same run.
#[derive(Debug, Clone)]
pub struct ServiceContext {
    app: Context,
    board: Arc<Board>,
    run: u64,
    stop: CancellationToken,
}

impl ServiceContext {
    /// A run begins.
    pub(super) fn begin(app: Context, board: Arc<Board>, stop: CancellationToken) -> Self {
        let run = board.begin();
        Self { app, board, run, stop }
    }

    /// The name of the service.
    #[must_use]
    pub fn name(&self) -> &str {
        self.board.name()
    }

    /// Says that the service does what it is for. What depends on it starts then, and at last the handlers; until then
    /// the app is not [ready](crate::Status::is_ready).
    pub fn ready(&self) {
        self.board.say_ready(self.run, true);
    }

    /// Says that the service does not do what it is for at present, a connection of its own being lost, say. The app is
    /// not ready then, and goes on.
    pub fn not_ready(&self) {
        self.board.say_ready(self.run, false);
    }

    /// Ends when the service is to stop: at the shutdown of the app, after the handlers have ended.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn told_to_stop(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the service is to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// The app's state of this type; so, too, any other service, by what it is found as: `Arc<Rates>`.
    ///
    /// # Errors
    /// The app has none. It names the type.
    pub fn state<T: Clone + Send + Sync + 'static>(&self) -> Result<T, Failure> {
        asked(self.app.state())
    }

    /// A publisher on the app's first connection that publishes.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.app.publisher()
    }

    /// Tells the app's own handlers what happened.
    #[must_use]
    pub fn emitter(&self) -> Emitter {
        self.app.emitter()
    }

    /// The app's long tasks.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        self.app.tasks()
    }

    pub(super) fn scope(&self) -> Scope<'_> {
        self.app.scope()
    }

    /// Something went wrong that does not end the run.
    pub(super) fn note(&self, failure: &Failure) {
        self.board.note(&failure.to_string());
    }
}
