//! The app: what is registered, and its life from start to exit.

mod connections;
mod events;
mod hooks;
#[cfg(feature = "http")]
mod http;
mod launch;
#[cfg(feature = "metrics")]
mod metrics;
mod mount;
mod parts;
#[cfg(feature = "http")]
mod rooms;
mod routes;
mod running;
mod schedules;
mod services;
mod signals;
mod tasks;

pub use hooks::Context;
pub use mount::Mount;
pub use running::Running;

use crate::backend::Connection;
use crate::emitter::Subscription;
use crate::error::Error;
use crate::handler::{Failure, Layer};
use crate::route::Route;
use crate::schedule::Schedule;
use crate::service::Registry;
use crate::settings::Settings;
use crate::state::StateMap;
use crate::topology::Declaration;
use hooks::Hook;
use mount::Kind;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A worker: brokers, routes, state and hooks, put together and then run.
///
/// Whatever is put together wrongly is told by [`run`](Self::run) or [`start`](Self::start) before
/// anything is consumed, with the route's name and the fix.
///
/// ```no_run
/// use asyncworker as app;
/// use asyncworker::prelude::*;
///
/// #[app::route("orders", bulk_size = 100)]
/// async fn index(orders: Batch<Message>) -> Result<(), Failure> {
///     println!("{} orders", orders.len());
///     Ok(())
/// }
///
/// #[tokio::main]
/// async fn main() -> Result<(), app::Error> {
///     App::new()
///         .connect(Amqp::from_uri("amqp://guest:guest@127.0.0.1:5672")?)
///         .mount(routes![index])
///         .run()
///         .await
/// }
/// ```
#[derive(Default)]
pub struct App {
    name: Option<String>,
    connections: Vec<Connection>,
    routes: Vec<Route>,
    schedules: Vec<Schedule>,
    state: StateMap,
    layers: Vec<Arc<dyn Layer>>,
    declarations: Vec<Declaration>,
    subscriptions: Vec<Subscription>,
    services: Registry,
    #[cfg(feature = "http")]
    http: http::Registered,
    #[cfg(feature = "http")]
    room_bridge: Option<crate::RoomBridge>,
    on_startup: Vec<Hook>,
    on_started: Vec<Started>,
    on_shutdown: Vec<Hook>,
    shutdown_timeout: Option<Duration>,
    #[cfg(feature = "metrics")]
    metrics: crate::Metrics,
    /// The first thing that was wrong while the app was put together.
    mistake: Option<Error>,
}

/// What is told of an app that runs.
type Started = Box<dyn FnOnce(&Running) + Send>;

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("name", &self.name)
            .field("connections", &self.connections)
            .field("routes", &self.routes)
            .field("schedules", &self.schedules)
            .field("services", &self.services)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl App {
    /// An app with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An app with everything of the program that has an attribute, wherever it stands: Flask's way.
    /// [`mount`](Self::mount) is the explicit one.
    #[cfg(feature = "macros")]
    #[must_use]
    pub fn discover() -> Self {
        let mut mounts: Vec<_> =
            inventory::iter::<crate::__private::Discovered>().flat_map(|found| (found.mounts)()).collect();
        // The linker decides on the order of discovery; a start should not look different each build.
        mounts.sort_by_key(Mount::label);
        Self::new().mount(mounts)
    }

    /// The app's name, as connections and consumer tags show it. Default: the name of the program.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Adds a broker, an `Amqp` or a `Memory`, or a server of events, an `Sse`. Several brokers must have names, and so must
    /// several servers of events. A `Memory` serves events, too, as a rule where there is no `Sse`.
    #[must_use]
    pub fn connect(mut self, broker: impl Into<Connection>) -> Self {
        self.connections.push(broker.into());
        self
    }

    /// Adds a value that handlers take as [`State<T>`](crate::State): one of each type.
    #[must_use]
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        if !self.state.insert(value) {
            let name = std::any::type_name::<T>();
            self.mistake.get_or_insert(Error::configuration(format!("the state `{name}` was given twice")));
        }
        self
    }

    /// Adds what has an attribute, `routes![a, b]`, or any number of [`Route`]s or [`Schedule`]s.
    #[must_use]
    pub fn mount(mut self, mounts: impl IntoIterator<Item: Into<Mount>>) -> Self {
        for mount in mounts {
            match mount.into().0 {
                Kind::Route(route) => self.routes.push(route),
                #[cfg(feature = "http")]
                Kind::Endpoint(endpoint) => self.http.endpoints.push(endpoint),
                Kind::Schedule(schedule) => self.schedules.push(schedule),
            }
        }
        self
    }

    /// Adds one route.
    #[must_use]
    pub fn route(self, route: Route) -> Self {
        self.mount([route])
    }

    /// Puts a layer around the handlers of all routes, and of nothing else; the first one added is the outermost.
    #[must_use]
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }

    /// Declares a [`Queue`](crate::Queue), an [`Exchange`](crate::Exchange) or a
    /// [`Binding`](crate::Binding) before anything is consumed, and again after each reconnect. What
    /// exists already and differs is a start-up error that names the argument. The app waits for the
    /// broker to do this.
    #[must_use]
    pub fn declare(mut self, thing: impl Into<Declaration>) -> Self {
        self.declarations.push(thing.into());
        self
    }

    /// Runs this before anything is consumed; several run one after the other, as they were added. An
    /// `Err` or a panic is a start-up error.
    #[must_use]
    pub fn on_startup<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.on_startup.push(Hook::new(hook));
        self
    }

    /// Calls this when the app has started: HTTP is served, and consumers are on their way. So a program that
    /// [`run`](Self::run)s can tell the [address](Running::http_address) that it is reached at. Several are called in the
    /// order they were added; they must not block.
    #[must_use]
    pub fn on_started(mut self, hook: impl FnOnce(&Running) + Send + 'static) -> Self {
        self.on_started.push(Box::new(hook));
        self
    }

    /// Runs this when the last message is settled, while it can still publish; several run one after
    /// the other, the last one added first. One that fails or does not end holds up none of the others,
    /// nor the exit; the app's result then is an error.
    #[must_use]
    pub fn on_shutdown<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.on_shutdown.push(Hook::new(hook));
        self
    }

    /// How long a shutdown may take as a whole, handlers, services and hooks included. Default
    /// `ASYNCWORKER_SHUTDOWN_TIMEOUT`, else 25 s (Kubernetes kills after 30).
    #[must_use]
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = Some(timeout);
        self
    }

    /// Starts the app and gives it back running. Brokers that are away are waited for in the background,
    /// unless something is to be declared.
    ///
    /// # Errors
    /// What was put together wrongly, a startup hook that failed, a service that was not ready in time, or a declaration that does not fit
    /// what exists.
    ///
    /// # Cancel safety
    /// Not cancel safe: startup hooks may have run.
    pub async fn start(self) -> Result<Running, Error> {
        self.launch(Settings::from_env()?, CancellationToken::new()).await
    }

    /// Runs the app until SIGINT (Ctrl-C) or SIGTERM, then stops it in order: consumers are cancelled,
    /// the partial bulk is handed over, handlers are waited for, what they said is settled, the rest goes
    /// back to its queue.
    ///
    /// A second signal ends the process at once, with 128 plus the signal's number; so does, with 1, a
    /// handler that blocks its thread beyond the shutdown timeout. Where the program has set up no
    /// logging of its own, [`telemetry::init`](crate::telemetry::init) is called.
    ///
    /// # Errors
    /// As [`start`](Self::start), when a service has failed past its restart limit, and when the shutdown was not in order.
    pub async fn run(self) -> Result<(), Error> {
        signals::run(self).await
    }
}
