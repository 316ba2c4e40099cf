//! The routes of an app: checked, consumed, drained.

use super::connections::choose;
use super::hooks::Context;
use super::parts::{Part, Times, drained};
use crate::backend::{Connections, Subscription};
use crate::error::Error;
use crate::handler::{BoundHandler, Layer, Next, Scope, handling};
use crate::meter::{Meters, RouteMeter};
use crate::publish::Publisher;
use crate::route::{Policy, Protocol, Route};
use crate::settings::Settings;
use crate::state::StateMap;
use crate::status::Observed;
use crate::worker::{Progress, Stop, Worker};
use async_trait::async_trait;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// The routes: each has a worker, and each of its queues a consumer.
pub(super) struct Routes {
    connections: Connections,
    mounted: Vec<Mounted>,
    /// Each gives the number of handlers it had to abandon.
    workers: JoinSet<usize>,
    consumers: Vec<JoinHandle<()>>,
    stop: Stop,
    /// Cancelled, consumers close their channels.
    close: CancellationToken,
}

/// A route that was found right.
struct Mounted {
    name: Arc<str>,
    connection: usize,
    vhost: Arc<str>,
    queues: Vec<Arc<str>>,
    policy: Policy,
    handler: BoundHandler,
    publisher: Publisher,
    progress: Arc<Progress>,
    meter: RouteMeter,
}

/// What routes are mounted on.
pub(super) struct Ground<'a> {
    pub(super) connections: &'a Connections,
    pub(super) publisher: &'a Publisher,
    pub(super) settings: &'a Settings,
    pub(super) state: &'a StateMap,
    /// Around the handlers of all routes.
    pub(super) layers: &'a [Arc<dyn Layer>],
    pub(super) meters: &'a Meters,
}

impl Routes {
    /// Checks them; nothing is consumed yet.
    ///
    /// # Errors
    /// What is wrong with a route, by its name.
    pub(super) fn mount(routes: Vec<Route>, on: &Ground<'_>, stop: Stop) -> Result<Self, Error> {
        let mut mounted = Vec::new();
        let mut names = HashSet::new();
        for route in routes {
            let route = Mounted::of(route, on)?;
            if !names.insert(Arc::clone(&route.name)) {
                return Err(Error::configuration(format!(
                    "two routes are named `{}`; give one of them another name by `name = \"..\"` or `.name(..)`",
                    route.name
                )));
            }
            mounted.push(route);
        }
        Ok(Self {
            connections: Arc::clone(on.connections),
            mounted,
            workers: JoinSet::new(),
            consumers: Vec::new(),
            stop,
            close: CancellationToken::new(),
        })
    }

    /// What can be seen of those that were mounted.
    pub(super) fn observed(&self) -> Vec<Observed> {
        let observed = |route: &Mounted| Observed {
            name: Arc::clone(&route.name),
            queues: route.queues.clone(),
            progress: Arc::clone(&route.progress),
        };
        self.mounted.iter().map(observed).collect()
    }

    /// How many are consumed.
    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Ends the consumers when it is cancelled, however far they are.
    pub(super) fn close(&self) -> &CancellationToken {
        &self.close
    }

    /// Starts a route's worker, and a consumer a queue.
    fn consume(&mut self, route: Mounted) {
        let (outbox, inbox) = mpsc::unbounded_channel();
        let span = tracing::info_span!("route", route = &*route.name);
        for (lane, queue) in route.queues.iter().enumerate() {
            let _entered = span.enter();
            self.consumers.push(self.connections[route.connection].backend.consume(Subscription {
                route: Arc::clone(&route.name),
                lane,
                vhost: Arc::clone(&route.vhost),
                queue: Arc::clone(queue),
                prefetch: route.policy.prefetch,
                max_body: route.policy.max_body,
                progress: Arc::clone(&route.progress),
                inbox: outbox.clone(),
                cancel: self.stop.drain.clone(),
                close: self.close.clone(),
            }));
        }
        let worker = Worker {
            route: route.name,
            policy: route.policy,
            handler: route.handler,
            publisher: route.publisher,
            inbox,
            lanes: route.queues.len(),
            progress: route.progress,
            meter: route.meter,
            stop: self.stop.clone(),
        };
        self.workers.spawn(worker.run().instrument(span));
    }
}

impl Mounted {
    fn of(mut route: Route, on: &Ground<'_>) -> Result<Self, Error> {
        let Ground { connections, publisher, settings, state, layers, meters } = on;
        let label = route.label();
        let whose = format!("route `{label}`");
        let connection = choose(route.connection.as_deref(), route.protocol, connections, &whose)?;
        let backend = &connections[connection].backend;
        let policy = Policy::of(&route, backend.default_prefetch(), settings)?;
        route.queues.iter().try_for_each(|queue| {
            backend.check(queue).map_err(|wrong| Error::configuration(format!("{whose}: {wrong}")))
        })?;
        let vhost: Arc<str> = route.vhost.as_deref().unwrap_or(backend.default_vhost()).into();
        // Where it consumes, or on the first that publishes.
        let publishes = backend.serves(Protocol::Amqp);
        let publisher = if publishes { publisher.at(connection, &vhost) } else { (*publisher).clone() };
        let Some(handler) = route.handler.take() else {
            return Err(Error::configuration(format!("{whose}: it has no handler; add `.handler(..)`")));
        };
        let scope = Scope { state, protocol: Some(route.protocol), publisher: publisher.clone() };
        let handler = handler.bind(&scope).map_err(|missing| Error::configuration(format!("{whose}: {missing}")))?;
        let name = label.into();
        let queues: Vec<_> = route.queues.iter().map(|queue| queue.as_str().into()).collect();
        let progress = Arc::new(Progress::new(queues.len()));
        let meter = meters.route(&name, route.protocol, &queues, &progress);
        let around = if route.internal { &[] } else { *layers };
        let handler = wrap(handler, around.iter().chain(&route.layers).cloned().collect());
        Ok(Self { name, connection, vhost, queues, policy, handler, publisher, progress, meter })
    }
}

/// The handler within its layers.
fn wrap(handler: BoundHandler, layers: Arc<[Arc<dyn Layer>]>) -> BoundHandler {
    if layers.is_empty() {
        return handler;
    }
    Arc::new(move |bulk, ended| handling(Next::new(Arc::clone(&layers), Arc::clone(&handler)).run(bulk), ended))
}

#[async_trait]
impl Part for Routes {
    async fn start(&mut self, _: &Context) -> Result<(), Error> {
        for route in std::mem::take(&mut self.mounted) {
            self.consume(route);
        }
        Ok(())
    }

    async fn drain(&mut self, until: Instant) -> Vec<String> {
        match drained(&mut self.workers, &self.stop, until).await {
            0 => Vec::new(),
            abandoned => vec![format!("{abandoned} handlers did not end in time")],
        }
    }

    async fn stop(&mut self, _: &Context, times: Times) -> Vec<String> {
        self.close.cancel();
        let mut complaints = Vec::new();
        for consumer in std::mem::take(&mut self.consumers) {
            if timeout_at(times.end, consumer).await.is_err() {
                complaints.push("a consumer did not close in time".into());
            }
        }
        complaints
    }
}
