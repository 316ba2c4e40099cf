//! Events inside an app: what happened, told to whoever wants to know. (What comes by Server-Sent Events are
//! messages, and no matter of this.)

use crate::handler::{BoundItemHandler, Extract, Failure, ItemHandler, Scope};
use crate::message::Bulk;
use futures_util::future::join_all;
use std::any::{Any, TypeId, type_name, type_name_of_val};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Tells the handlers of an app what happened, without knowing them: they are those of
/// [`App::on`](crate::App::on) and [`App::on_detached`](crate::App::on_detached) for the event's type.
///
/// It is an argument of a handler, or comes from [`Context::emitter`](crate::Context::emitter). A clone is the same
/// emitter. Events stay within the process, and nobody keeps them: one that no handler wants is gone, and a restart
/// forgets what was under way. What must not be lost is a message: [`Publisher`](crate::Publisher).
///
/// ```
/// use asyncworker::prelude::*;
///
/// #[derive(Clone)]
/// struct OrderPlaced {
///     id: u64,
/// }
///
/// async fn bill(order: OrderPlaced) -> Result<(), Failure> {
///     println!("a bill for order {}", order.id);
///     Ok(())
/// }
///
/// async fn place(emitter: Emitter, Body(id): Body<u64>) -> Result<(), Failure> {
///     Ok(emitter.emit(OrderPlaced { id }).await?)
/// }
///
/// let app = App::new().on(bill).route(Route::amqp(["orders"]).handler(place));
/// ```
#[derive(Clone)]
pub struct Emitter(Arc<Shared>);

struct Shared {
    /// Empty until the app has been checked, and no event comes before that.
    bound: OnceLock<Bound>,
    /// What nobody waits for until the app stops.
    detached: TaskTracker,
    abandon: CancellationToken,
}

struct Bound {
    handlers: Handlers,
    runtime: Handle,
}

/// By the type `E` of their event, in the order they were added: a `Vec<EventHandler<E>>` each.
#[derive(Default)]
struct Handlers(HashMap<TypeId, Box<dyn Any + Send + Sync>>);

struct EventHandler<E> {
    name: &'static str,
    detached: bool,
    handler: BoundItemHandler<E>,
}

impl<E> Clone for EventHandler<E> {
    fn clone(&self) -> Self {
        Self { name: self.name, detached: self.detached, handler: Arc::clone(&self.handler) }
    }
}

impl<E: 'static> EventHandler<E> {
    /// Runs it to its end; a failure is told.
    async fn handle(self, event: E) -> Result<(), HandlerFailure> {
        let ended = (self.handler)(event).await;
        ended.map_err(|failure| {
            tracing::warn!(event = type_name::<E>(), handler = self.name, error = %failure, "a handler of an event failed");
            HandlerFailure { handler: self.name, failure }
        })
    }
}

impl fmt::Debug for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = self.0.bound.get().map_or(0, |bound| bound.handlers.0.len());
        f.debug_struct("Emitter").field("events", &events).finish_non_exhaustive()
    }
}

impl Emitter {
    pub(crate) fn new() -> Self {
        let (detached, abandon) = (TaskTracker::new(), CancellationToken::new());
        Self(Arc::new(Shared { bound: OnceLock::new(), detached, abandon }))
    }

    /// Looks up what the handlers need of the app, and takes them. Called once, within the runtime.
    ///
    /// # Errors
    /// Names the handler and what is missing.
    pub(crate) fn bind(&self, subscriptions: Vec<Subscription>, scope: &Scope<'_>) -> Result<(), String> {
        let mut handlers = Handlers::default();
        for subscription in subscriptions {
            (subscription.0)(scope, &mut handlers)?;
        }
        self.0.bound.get_or_init(|| Bound { handlers, runtime: Handle::current() });
        Ok(())
    }

    /// Tells this event to its handlers, each with a clone of it, and waits for those of
    /// [`App::on`](crate::App::on). They run side by side; one that fails or panics concerns none of the others.
    ///
    /// # Errors
    /// Handlers failed: which, and why. It was logged, too.
    ///
    /// # Cancel safety
    /// Dropped halfway, the handlers that are waited for are dropped at their next `await`; the detached ones go on.
    pub async fn emit<E: Clone + Send + Sync + 'static>(&self, event: E) -> Result<(), EmitError> {
        let mut awaited = Vec::new();
        for handler in self.handlers::<E>() {
            let detached = handler.detached;
            let handling = handler.handle(event.clone());
            if detached {
                self.detach(handling);
            } else {
                awaited.push(handling);
            }
        }
        let failures: Vec<_> = join_all(awaited).await.into_iter().filter_map(Result::err).collect();
        if failures.is_empty() { Ok(()) } else { Err(EmitError { event: type_name::<E>(), failures }) }
    }

    /// Tells this event to its handlers and waits for none of them: what fails is logged. A shutdown waits for them,
    /// within its time. Nothing bounds how many run; what comes in masses belongs into a
    /// [`QueueService`](crate::QueueService).
    pub fn emit_detached<E: Clone + Send + Sync + 'static>(&self, event: E) {
        for handler in self.handlers::<E>() {
            self.detach(handler.handle(event.clone()));
        }
    }

    fn handlers<E: 'static>(&self) -> Vec<EventHandler<E>> {
        let found = self.0.bound.get().and_then(|bound| bound.handlers.0.get(&TypeId::of::<E>()));
        found.and_then(|handlers| handlers.downcast_ref::<Vec<EventHandler<E>>>()).cloned().unwrap_or_default()
    }

    fn detach(&self, handling: impl Future<Output = Result<(), HandlerFailure>> + Send + 'static) {
        let Some(bound) = self.0.bound.get() else { return };
        let abandon = self.0.abandon.clone();
        let handling = async move {
            tokio::select! {
                // What failed was told.
                _ = handling => {}
                () = abandon.cancelled() => {}
            }
        };
        // On the app's runtime, wherever the event comes from.
        self.0.detached.spawn_on(handling.in_current_span(), &bound.runtime);
    }

    /// Ends what is detached when it is cancelled.
    pub(crate) fn abandon(&self) -> &CancellationToken {
        &self.0.abandon
    }

    /// Waits for what is detached to end. Gives how many handlers run still.
    pub(crate) async fn ended(&self, until: Instant) -> usize {
        self.0.detached.close();
        match timeout_at(until, self.0.detached.wait()).await {
            Ok(()) => 0,
            Err(_) => self.0.detached.len(),
        }
    }
}

/// What a handler keeps of its emitter, which may have that handler in it: both would outlive their app.
#[derive(Debug, Clone)]
pub struct Kept(Weak<Shared>);

impl Extract for Emitter {
    type Resolved = Kept;

    fn resolve(scope: &Scope<'_>) -> Result<Kept, String> {
        let emitter: Option<Self> = scope.state();
        let emitter = emitter.ok_or("it takes an `Emitter`, which only an app has")?;
        Ok(Kept(Arc::downgrade(&emitter.0)))
    }

    fn extract(kept: &Kept, _: &Bulk) -> Result<Self, Failure> {
        kept.0.upgrade().map(Self).ok_or_else(|| Failure::new("its app has ended, and its emitter with it"))
    }
}

/// A handler's wish to be told of an event, with both their types forgotten.
pub(crate) struct Subscription(Box<Subscribe>);

type Subscribe = dyn FnOnce(&Scope<'_>, &mut Handlers) -> Result<(), String> + Send;

impl Subscription {
    pub(crate) fn new<E: Clone + Send + Sync + 'static, A>(handler: impl ItemHandler<E, A>, detached: bool) -> Self {
        Self(Box::new(move |scope, handlers| {
            let name = type_name_of_val(&handler);
            let handler = handler
                .bind_item(scope)
                .map_err(|missing| format!("the handler `{name}` of the event `{}`: {missing}", type_name::<E>()))?;
            let of_event =
                handlers.0.entry(TypeId::of::<E>()).or_insert_with(|| Box::new(Vec::<EventHandler<E>>::new()));
            if let Some(of_event) = of_event.downcast_mut::<Vec<EventHandler<E>>>() {
                of_event.push(EventHandler { name, detached, handler });
            }
            Ok(())
        }))
    }
}

/// Handlers of an event failed, each by itself.
#[derive(Debug)]
pub struct EmitError {
    event: &'static str,
    failures: Vec<HandlerFailure>,
}

#[derive(Debug)]
struct HandlerFailure {
    handler: &'static str,
    failure: Failure,
}

impl EmitError {
    /// The names of the handlers that failed, as Rust writes them, and why they did.
    pub fn failures(&self) -> impl ExactSizeIterator<Item = (&str, &Failure)> {
        self.failures.iter().map(|failed| (failed.handler, &failed.failure))
    }
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} handlers of the event `{}` failed", self.failures.len(), self.event)?;
        for (place, HandlerFailure { handler, failure }) in self.failures.iter().enumerate() {
            write!(f, "{} `{handler}`: {failure}", if place == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

impl std::error::Error for EmitError {}
