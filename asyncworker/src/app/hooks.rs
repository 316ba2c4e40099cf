//! Startup and shutdown hooks.

use super::parts::{Part, Times};
use crate::emitter::Emitter;
use crate::error::{Error, ErrorKind};
use crate::handler::{Failure, Scope};
use crate::publish::Publisher;
use crate::state::StateMap;
use crate::task::Tasks;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::time::timeout_at;

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

/// The hooks of an app. Those of the shutdown run once those of the startup have begun, unless one of these fails.
pub(super) struct Hooks {
    on_startup: Vec<Hook>,
    on_shutdown: Vec<Hook>,
    /// The shutdown hooks that are to run.
    due: Vec<Hook>,
}

impl Hooks {
    pub(super) fn new(on_startup: Vec<Hook>, on_shutdown: Vec<Hook>) -> Self {
        Self { on_startup, on_shutdown, due: Vec::new() }
    }
}

#[async_trait]
impl Part for Hooks {
    async fn start(&mut self, context: &Context) -> Result<(), Error> {
        self.due = std::mem::take(&mut self.on_shutdown);
        for (place, hook) in std::mem::take(&mut self.on_startup).into_iter().enumerate() {
            if let Err(failure) = hook.run(context.clone()).await {
                self.due.clear();
                let error = Error::new(ErrorKind::Startup, format!("startup hook {} failed", place + 1));
                return Err(error.because(failure.to_string()));
            }
        }
        Ok(())
    }

    async fn stop(&mut self, context: &Context, times: Times) -> Vec<String> {
        let mut complaints = Vec::new();
        while let Some(hook) = self.due.pop() {
            let place = self.due.len() + 1;
            // A hook gets a turn even when the handlers have used up the time: most need next to none.
            match timeout_at(times.end, hook.run(context.clone())).await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => complaints.push(format!("shutdown hook {place} failed: {failure}")),
                Err(_) => complaints.push(format!("shutdown hook {place} did not end in time")),
            }
        }
        complaints
    }
}
