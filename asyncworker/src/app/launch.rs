//! From an app that was put together to one that runs: everything is checked first, then hooks run, then
//! services start, then queues are declared, then messages are consumed.

use super::hooks::Context;
#[cfg(feature = "http")]
use super::http;
use super::running::{Consumers, Running};
use super::{App, Hook};
use crate::backend::{Connection, Connections, NamedBackend, Subscription};
use crate::emitter::Emitter;
use crate::error::{Error, ErrorKind};
use crate::handler::{BoundHandler, Next, Scope, handling};
#[cfg(feature = "http")]
use crate::http::Offer;
use crate::meter::{Meters, RouteMeter};
use crate::publish::Publisher;
use crate::route::{Policy, Protocol, Route};
use crate::schedule::{Planned, Schedule, Scheduler};
use crate::service::{Board, Services};
use crate::settings::Settings;
use crate::status::{Observed, Observer, Sight};
use crate::task::Tasks;
use crate::topology::{Declaration, Thing};
use crate::worker::{Progress, Stop, Worker};
use futures_util::FutureExt;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// A timeout that the clock cannot count to is as good as this.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(365 * 24 * 60 * 60);

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

impl App {
    /// Starts; `interrupt` ends the waiting for hooks and brokers.
    pub(super) async fn launch(mut self, settings: Settings, interrupt: CancellationToken) -> Result<Running, Error> {
        if let Some(mistake) = self.mistake.take() {
            return Err(mistake);
        }
        #[cfg(feature = "http")]
        self.install_bridge()?;
        for variable in &settings.unknown {
            tracing::warn!(%variable, "an environment variable that nothing reads");
        }
        let name = self.name.unwrap_or_else(program_name);
        #[cfg(feature = "metrics")]
        let metrics = self.metrics.resolve(&settings.metrics)?;
        #[cfg(feature = "metrics")]
        let meters = metrics.meters();
        #[cfg(not(feature = "metrics"))]
        let meters = Meters::default();
        let connections = open(self.connections, &name, &settings, &meters)?;
        let publisher = Publisher::new(Arc::clone(&connections));
        let (emitter, tasks, sight) = (Emitter::new(), Tasks::new(), Sight::default());
        self.state.insert(sight.clone());
        for (new, what) in
            [(self.state.insert(emitter.clone()), "Emitter"), (self.state.insert(tasks.clone()), "Tasks")]
        {
            if !new {
                return Err(Error::configuration(format!("the app was given `{what}` as a state, and it has its own")));
            }
        }
        let mut services = self.services.assemble(&mut self.state)?;
        let mut mounted = Vec::new();
        let mut names = HashSet::new();
        for route in self.routes {
            let route = mount(route, &connections, &publisher, &settings, &self.state, &self.layers, &meters)?;
            if !names.insert(Arc::clone(&route.name)) {
                return Err(Error::configuration(format!(
                    "two routes are named `{}`; give one of them another name by `name = \"..\"` or `.name(..)`",
                    route.name
                )));
            }
            mounted.push(route);
        }
        let scope = Scope::of_app(&self.state, &publisher);
        let scheduled = plan(self.schedules, &scope)?;
        let declarations = sort(self.declarations, &connections)?;
        emitter.bind(self.subscriptions, &scope).map_err(Error::configuration)?;
        services.resolve(&scope)?;
        #[cfg(feature = "metrics")]
        let exposition = metrics.exposition(meters);
        #[cfg(feature = "http")]
        let offer = Offer { state: &self.state, publisher: &publisher };
        #[cfg(feature = "metrics")]
        let http = self.http.plan(&offer, &settings, &exposition, metrics.address)?;
        #[cfg(all(feature = "http", not(feature = "metrics")))]
        let http = self.http.plan(&offer, &settings)?;
        let context = Context { state: Arc::new(self.state), publisher, tasks };
        context.tasks.belong_to(&context.state, &context.publisher);

        let failed = services.failed();
        let starting = async {
            start_up(self.on_startup, &mut services, declarations, &connections, &context).await?;
            #[cfg(feature = "http")]
            let bound = http::bind(http).await.map_err(|error| (true, error))?;
            #[cfg(not(feature = "http"))]
            let bound = ();
            Ok(bound)
        };
        let started = tokio::select! {
            started = starting => started,
            error = failed => Err((true, error)),
            () = interrupt.cancelled() => Err((true, Error::new(ErrorKind::Shutdown, "the app was told to stop before it had started"))),
        };
        let consumers = match &started {
            Ok(_) => consume(mounted, scheduled, &connections, services.boards(), &context.publisher, &sight),
            Err(_) => Consumers::none(),
        };
        let running = Running::new(
            consumers,
            services,
            connections,
            context,
            self.on_shutdown,
            self.shutdown_timeout.unwrap_or(settings.shutdown_timeout).min(LONGEST_SHUTDOWN),
            #[cfg(feature = "metrics")]
            exposition,
        );
        match started {
            Ok(_bound) => {
                #[cfg(feature = "http")]
                let running = running.serve(_bound);
                tracing::info!(app = name, "started");
                self.on_started.into_iter().for_each(|hook| hook(&running));
                Ok(running)
            }
            Err((hooks, error)) => {
                let cleaned = running.stop(hooks).await;
                // A service that has failed for good is the error already.
                if let Err(also) = cleaned
                    && also.kind() != ErrorKind::Service
                {
                    tracing::error!(error = ?also, "could not clean up after a start that failed");
                }
                Err(error)
            }
        }
    }
}

/// Opens the connections' backends; nothing connects yet.
fn open(connections: Vec<Connection>, app: &str, settings: &Settings, meters: &Meters) -> Result<Connections, Error> {
    let mut opened: Vec<NamedBackend> = Vec::new();
    for connection in connections {
        let name = connection.0.name().map(str::to_owned);
        match &name {
            Some(name) if opened.iter().any(|known| known.name.as_ref() == Some(name)) => {
                return Err(Error::configuration(format!("two connections are named `{name}`")));
            }
            _ => {}
        }
        let meter = meters.connection(name.as_deref());
        let backend = connection.0.open(app, settings, &meter)?;
        // What is counted of it is about queues and publishes.
        if backend.serves(Protocol::Amqp) {
            meters.shows(&meter);
        }
        opened.push(NamedBackend { name, backend, meter });
    }
    for protocol in [Protocol::Amqp, Protocol::Sse] {
        let mut of_it = opened.iter().filter(|known| known.backend.serves(protocol));
        if of_it.clone().count() > 1 && of_it.any(|known| known.name.is_none()) {
            let serves = protocol.serves();
            return Err(Error::configuration(format!(
                "the app has several connections for {serves} and one of them has no name; give each a name by `.name(..)`"
            )));
        }
    }
    Ok(opened.into())
}

/// The connection of this name, or the only one of this protocol.
fn choose(name: Option<&str>, protocol: Protocol, connections: &Connections, whose: &str) -> Result<usize, Error> {
    let serves = protocol.serves();
    let of_it = |place: &usize| connections[*place].backend.serves(protocol);
    let places: Vec<usize> = (0..connections.len()).filter(of_it).collect();
    let known = || {
        let names: Vec<_> = places.iter().filter_map(|place| connections[*place].name.as_deref()).collect();
        if names.is_empty() { "none has a name".to_owned() } else { format!("there are `{}`", names.join("`, `")) }
    };
    let wrong = match (name, &places[..]) {
        (Some(name), _) => match connections.iter().position(|known| known.name.as_deref() == Some(name)) {
            Some(place) if of_it(&place) => return Ok(place),
            Some(_) => format!("the connection `{name}` has no {serves}; of those that have, {}", known()),
            None => format!("the app has no connection named `{name}`; {}", known()),
        },
        (None, [only]) => return Ok(*only),
        (None, []) => format!("the app has no connection for {serves}; add one by `.connect(..)`"),
        (None, _) => format!(
            "the app has several connections for {serves}, so it must name one by `connection = \"..\"` or `.connection(..)`; {}",
            known()
        ),
    };
    Err(Error::configuration(format!("{whose}: {wrong}")))
}

fn mount(
    mut route: Route,
    connections: &Connections,
    publisher: &Publisher,
    settings: &Settings,
    state: &crate::state::StateMap,
    layers: &[Arc<dyn crate::handler::Layer>],
    meters: &Meters,
) -> Result<Mounted, Error> {
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
    let publisher = if backend.serves(Protocol::Amqp) { publisher.at(connection, &vhost) } else { publisher.clone() };
    let Some(handler) = route.handler.take() else {
        return Err(Error::configuration(format!("{whose}: it has no handler; add `.handler(..)`")));
    };
    let scope = Scope { state, protocol: Some(route.protocol), publisher: publisher.clone() };
    let handler = handler.bind(&scope).map_err(|missing| Error::configuration(format!("{whose}: {missing}")))?;
    let around = if route.internal { &[] } else { layers };
    let name = label.into();
    let queues: Vec<_> = route.queues.iter().map(|queue| queue.as_str().into()).collect();
    let progress = Arc::new(Progress::new(queues.len()));
    let meter = meters.route(&name, route.protocol, &queues, &progress);
    Ok(Mounted {
        name,
        connection,
        vhost,
        queues,
        policy,
        handler: wrap(handler, around.iter().chain(&route.layers).cloned().collect()),
        publisher,
        progress,
        meter,
    })
}

/// Checks the schedules; each goes by its name.
fn plan(schedules: Vec<Schedule>, scope: &Scope<'_>) -> Result<Vec<(Arc<str>, Planned)>, Error> {
    let mut names = HashSet::new();
    let plan = |schedule: Schedule| {
        let name: Arc<str> = schedule.label().into();
        if !names.insert(Arc::clone(&name)) {
            return Err(Error::configuration(format!(
                "two schedules are named `{name}`; give one of them another name by `name = \"..\"` or `.name(..)`"
            )));
        }
        Ok((name, schedule.plan(scope)?))
    };
    schedules.into_iter().map(plan).collect()
}

/// The handler within its layers.
fn wrap(handler: BoundHandler, layers: Arc<[Arc<dyn crate::handler::Layer>]>) -> BoundHandler {
    if layers.is_empty() {
        return handler;
    }
    Arc::new(move |bulk, ended| handling(Next::new(Arc::clone(&layers), Arc::clone(&handler)).run(bulk), ended))
}

/// What is to be declared, by connection and virtual host, in the order it was asked for.
type Sorted = BTreeMap<(usize, Arc<str>), Vec<Thing>>;

fn sort(declarations: Vec<Declaration>, connections: &Connections) -> Result<Sorted, Error> {
    let mut sorted = Sorted::new();
    for declaration in declarations {
        let whose = match &declaration.thing {
            Thing::Queue(queue) => format!("queue `{}`", queue.name),
            Thing::Exchange(exchange) => format!("exchange `{}`", exchange.name),
            Thing::Binding(binding) => {
                format!("binding of queue `{}` to exchange `{}`", binding.queue, binding.exchange)
            }
        };
        let connection = choose(declaration.connection.as_deref(), Protocol::Amqp, connections, &whose)?;
        if let Thing::Queue(queue) = &declaration.thing
            && let Some(limit) = queue.drops_what_comes_back()
        {
            tracing::warn!(
                queue = queue.name,
                "what its handler sends back again and again is lost at {limit}, for want of a dead-letter exchange; add `.dead_letter(..)`, unless a policy of the broker has one"
            );
        }
        let vhost = declaration.vhost.as_deref().unwrap_or(connections[connection].backend.default_vhost()).into();
        sorted.entry((connection, vhost)).or_default().push(declaration.thing);
    }
    // A dead-letter queue that the app declares itself is as the app says.
    for things in sorted.values_mut() {
        let declared: HashSet<String> = things.iter().filter_map(Thing::queue_name).map(str::to_owned).collect();
        for thing in things {
            if let Thing::Queue(queue) = thing {
                queue.dead_letter_queue.take_if(|name| declared.contains(name));
            }
        }
    }
    Ok(sorted)
}

/// Startup hooks, then services, then declarations. An error tells with it whether the shutdown hooks are to run: they
/// are when all startup hooks did.
async fn start_up(
    hooks: Vec<Hook>,
    services: &mut Services,
    declarations: Sorted,
    connections: &Connections,
    context: &Context,
) -> Result<(), (bool, Error)> {
    for (place, hook) in hooks.into_iter().enumerate() {
        hook.run(context.clone()).await.map_err(|failure| {
            (
                false,
                Error::new(ErrorKind::Startup, format!("startup hook {} failed", place + 1))
                    .because(failure.to_string()),
            )
        })?;
    }
    services.start(context).await.map_err(|error| (true, error))?;
    for ((connection, vhost), things) in declarations {
        connections[connection].backend.declare(vhost, things).await.map_err(|error| (true, error))?;
    }
    Ok(())
}

/// Starts a worker a route and a consumer a queue, and a scheduler a schedule; before the first handler runs, there is a
/// status to see.
fn consume(
    routes: Vec<Mounted>,
    schedules: Vec<(Arc<str>, Planned)>,
    connections: &Connections,
    services: Arc<[Arc<Board>]>,
    publisher: &Publisher,
    sight: &Sight,
) -> Consumers {
    let stop = Stop { drain: CancellationToken::new(), abandon: CancellationToken::new() };
    let close = CancellationToken::new();
    let mut engines = Vec::new();
    let mut consumers = Vec::new();
    let mut observed = Vec::new();
    for route in routes {
        let (outbox, inbox) = mpsc::unbounded_channel();
        let span = tracing::info_span!("route", route = &*route.name);
        for (lane, queue) in route.queues.iter().enumerate() {
            let _entered = span.enter();
            consumers.push(connections[route.connection].backend.consume(Subscription {
                route: Arc::clone(&route.name),
                lane,
                vhost: Arc::clone(&route.vhost),
                queue: Arc::clone(queue),
                prefetch: route.policy.prefetch,
                max_body: route.policy.max_body,
                inbox: outbox.clone(),
                cancel: stop.drain.clone(),
                close: close.clone(),
            }));
        }
        let worker = Worker {
            route: Arc::clone(&route.name),
            policy: route.policy,
            handler: route.handler,
            publisher: route.publisher,
            inbox,
            lanes: route.queues.len(),
            progress: Arc::clone(&route.progress),
            meter: route.meter,
            stop: stop.clone(),
        };
        observed.push(Observed { name: route.name, queues: route.queues, progress: route.progress });
        engines.push(worker.run().instrument(span).boxed());
    }
    let mut scheduled = Vec::new();
    for (name, planned) in schedules {
        let span = tracing::info_span!("schedule", schedule = &*name);
        let scheduler = Scheduler::new(Arc::clone(&name), planned, publisher.clone(), stop.clone());
        scheduled.push((name, scheduler.tally()));
        engines.push(scheduler.run().instrument(span).boxed());
    }
    let observer = Observer::new(observed, scheduled, services, stop.drain.clone());
    sight.open(&observer);
    let workers = engines.into_iter().collect();
    Consumers { workers, consumers, observer, stop, close }
}

fn program_name() -> String {
    std::env::args_os()
        .next()
        .and_then(|path| Some(std::path::Path::new(&path).file_stem()?.to_string_lossy().into_owned()))
        .unwrap_or_else(|| "asyncworker".into())
}
