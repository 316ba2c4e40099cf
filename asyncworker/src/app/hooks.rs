//! Startup and shutdown hooks.

use crate::emitter::Emitter;
use crate::handler::{Failure, Scope};
use crate::publish::Publisher;
use crate::state::StateMap;
use crate::task::Tasks;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// What a hook may use of the app.
#[derive(Debug, Clone)]
pub struct Context {
    pub(super) state: Arc<StateMap>,
    pub(super) publisher: Publisher,
    pub(super) tasks: Tasks,
}

impl Context {
    /// What an argument of a handler may ask of the app, outside of routes.
    pub(crate) fn scope(&self) -> Scope<'_> {
        Scope::of_app(&self.state, &self.publisher)
    }

    /// The app's state of this type, if it has one.
    #[must_use]
    pub fn state<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.state.get()
    }

    /// A publisher on the app's first connection that publishes.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Tells the app's own handlers what happened.
    #[must_use]
    pub fn emitter(&self) -> Emitter {
        self.state.get().unwrap_or_else(Emitter::new)
    }

    /// The app's long tasks.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }
}

/// A hook that has not run yet.
pub(super) struct Hook(Box<dyn FnOnce(Context) -> BoxFuture<'static, Result<(), Failure>> + Send>);

impl Hook {
    pub(super) fn new<F, Fut>(hook: F) -> Self
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        Self(Box::new(move |context| Box::pin(async move { hook(context).await })))
    }

    /// Runs it; a panic is a failure.
    pub(super) async fn run(self, context: Context) -> Result<(), Failure> {
        AssertUnwindSafe((self.0)(context)).catch_unwind().await.unwrap_or_else(|panic| Err(Failure::panicked(&*panic)))
    }
}
