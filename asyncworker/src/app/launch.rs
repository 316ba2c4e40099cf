//! From an app that was put together to one that runs: everything is checked first, then its parts start.

use super::App;
use super::connections::{self, Declarations};
use super::hooks::{Context, Hooks};
#[cfg(feature = "metrics")]
use super::metrics::MetricsPage;
use super::parts::Parts;
use super::routes::{Ground, Routes};
use super::running::Running;
use super::schedules::Schedules;
use crate::emitter::Emitter;
use crate::error::{Error, ErrorKind};
use crate::handler::Scope;
#[cfg(feature = "http")]
use crate::http::Offer;
#[cfg(not(feature = "metrics"))]
use crate::meter::Meters;
use crate::publish::Publisher;
use crate::settings::Settings;
use crate::status::{Observer, Sight};
use crate::task::Tasks;
use crate::worker::Stop;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A timeout that the clock cannot count to is as good as this.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl App {
    /// Starts; `interrupt` ends the waiting for hooks, services and brokers.
    pub(super) async fn launch(mut self, settings: Settings, interrupt: CancellationToken) -> Result<Running, Error> {
        let name = self.name.take().unwrap_or_else(program_name);
        let on_started = std::mem::take(&mut self.on_started);
        let mut running = self.check(&name, &settings)?;
        let failed = running.parts.services.failed();
        let started = tokio::select! {
            started = running.parts.start(&running.context) => started,
            error = failed => Err(error),
            () = interrupt.cancelled() => Err(Error::new(ErrorKind::Shutdown, "the app was told to stop before it had started")),
        };
        if let Err(error) = started {
            // A service that has failed for good is the error already.
            if let Err(also) = running.shutdown().await
                && also.kind() != ErrorKind::Service
            {
                tracing::error!(error = ?also, "could not clean up after a start that failed");
            }
            return Err(error);
        }
        running.observer.started();
        tracing::info!(app = name, "started");
        on_started.into_iter().for_each(|hook| hook(&running));
        Ok(running)
    }

    /// Checks everything and puts the parts together; none has started.
    fn check(mut self, name: &str, settings: &Settings) -> Result<Running, Error> {
        if let Some(mistake) = self.mistake.take() {
            return Err(mistake);
        }
        #[cfg(feature = "http")]
        self.install_bridge()?;
        for variable in &settings.unknown {
            tracing::warn!(%variable, "an environment variable that nothing reads");
        }
        #[cfg(feature = "metrics")]
        let metrics = self.metrics.resolve(&settings.metrics)?;
        #[cfg(feature = "metrics")]
        let meters = metrics.meters();
        #[cfg(not(feature = "metrics"))]
        let meters = Meters::default();
        let connections = connections::open(self.connections, name, settings, &meters)?;
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
        let services = self.services.assemble(&mut self.state)?;
        let stop = Stop { drain: CancellationToken::new(), abandon: CancellationToken::new() };
        let ground = Ground {
            connections: &connections,
            publisher: &publisher,
            settings,
            state: &self.state,
            layers: &self.layers,
            meters: &meters,
        };
        let routes = Routes::mount(self.routes, &ground, stop.clone())?;
        let scope = Scope::of_app(&self.state, &publisher);
        let schedules = Schedules::plan(self.schedules, &scope, &meters, stop.clone())?;
        let declarations = Declarations::sort(self.declarations, &connections)?;
        emitter.bind(self.subscriptions, &scope).map_err(Error::configuration)?;
        services.resolve(&scope)?;
        let observer = Observer::new(routes.observed(), schedules.observed(), services.boards(), stop.drain.clone());
        sight.open(&observer);
        #[cfg(feature = "http")]
        let offer = Offer { state: &self.state, publisher: &publisher };
        #[cfg(feature = "metrics")]
        let exposition = metrics.exposition(meters);
        #[cfg(feature = "http")]
        let endpoints = self.http.plan(
            &offer,
            settings,
            &observer,
            #[cfg(feature = "metrics")]
            &metrics.beside(&exposition),
        )?;
        #[cfg(feature = "metrics")]
        let metrics = MetricsPage::plan(exposition, metrics.address, &offer, settings, &observer)?;
        let tokens = [&stop.drain, &stop.abandon, routes.close(), tasks.abandon(), emitter.abandon()];
        let _at_once = tokens.map(|token| token.clone().drop_guard());
        let context = Context { state: Arc::new(self.state), publisher, tasks: tasks.clone() };
        context.tasks.belong_to(&context.state, &context.publisher);
        let parts = Parts {
            connections,
            #[cfg(feature = "metrics")]
            metrics,
            hooks: Hooks::new(self.on_startup, self.on_shutdown),
            emitter,
            services,
            declarations,
            tasks,
            #[cfg(feature = "http")]
            endpoints,
            routes,
            schedules,
            stop,
            _at_once,
        };
        let shutdown_timeout = self.shutdown_timeout.unwrap_or(settings.shutdown_timeout).min(LONGEST_SHUTDOWN);
        Ok(Running { parts, context, observer, shutdown_timeout })
    }
}

fn program_name() -> String {
    std::env::args_os()
        .next()
        .and_then(|path| Some(Path::new(&path).file_stem()?.to_string_lossy().into_owned()))
        .unwrap_or_else(|| "asyncworker".into())
}
