//! Middleware around a bulk.

use super::{BoundHandler, Failure, Outcome};
use crate::message::Bulk;
use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;

/// Something around the run of a handler over a bulk: timing, an audit, a circuit breaker.
///
/// A layer runs inside the route's timeout and its panics are caught like the handler's. It calls
/// [`Next::run`] once, several times (the bulk's marks stay), or not at all.
///
/// ```
/// use asyncworker::prelude::*;
/// use asyncworker::{Bulk, Layer, Next, Outcome};
///
/// struct Timed;
///
/// #[asyncworker::async_trait]
/// impl Layer for Timed {
///     async fn call(&self, bulk: Bulk, next: Next) -> Result<Outcome, Failure> {
///         let (route, messages) = (bulk.route().to_owned(), bulk.len());
///         let start = std::time::Instant::now();
///         let outcome = next.run(bulk).await;
///         println!("{route}: {messages} messages in {:?}, ok: {}", start.elapsed(), outcome.is_ok());
///         outcome
///     }
/// }
///
/// let app = App::new().layer(Timed);
/// ```
#[async_trait]
pub trait Layer: Send + Sync + 'static {
    /// Handles a bulk, as a rule by `next.run(bulk).await`.
    ///
    /// # Errors
    /// An `Err` is the run's failure, as if the handler had returned it.
    async fn call(&self, bulk: Bulk, next: Next) -> Result<Outcome, Failure>;
}

/// A layer that something else looks at too.
#[async_trait]
impl<L: Layer + ?Sized> Layer for Arc<L> {
    async fn call(&self, bulk: Bulk, next: Next) -> Result<Outcome, Failure> {
        (**self).call(bulk, next).await
    }
}

/// What a [`Layer`] goes around: the layers inside it and the handler.
#[derive(Clone)]
pub struct Next {
    layers: Arc<[Arc<dyn Layer>]>,
    inner: usize,
    handler: BoundHandler,
}

impl Next {
    pub(crate) fn new(layers: Arc<[Arc<dyn Layer>]>, handler: BoundHandler) -> Self {
        Self { layers, inner: 0, handler }
    }

    /// Runs what is inside.
    ///
    /// # Errors
    /// What the handler or a layer inside says.
    pub async fn run(mut self, bulk: Bulk) -> Result<Outcome, Failure> {
        match self.layers.get(self.inner).cloned() {
            Some(layer) => {
                self.inner += 1;
                layer.call(bulk, self).await
            }
            None => (self.handler)(bulk, None).await,
        }
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("layers", &(self.layers.len() - self.inner)).finish_non_exhaustive()
    }
}
