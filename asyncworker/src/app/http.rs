//! HTTP in the life of an app.

use super::{App, Running};
use crate::error::Error;
use crate::http::{Bound, Endpoint, Http, Offer, Plan, Server, Shared, TestClient};
#[cfg(feature = "metrics")]
use crate::metrics::Exposition;
use crate::settings::Settings;
use std::net::SocketAddr;
use tokio::time::Instant;

/// What an app was told to serve.
#[derive(Debug, Default)]
pub(super) struct Registered {
    settings: Option<Http>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// Something of each server: of that for the endpoints, and of that for metrics with an address of their own.
#[derive(Debug)]
pub(super) struct Servers<T> {
    endpoints: Option<T>,
    metrics: Option<T>,
}

impl<T> Servers<T> {
    pub(super) fn none() -> Self {
        Self { endpoints: None, metrics: None }
    }

    fn map<U>(self, f: impl Fn(T) -> U) -> Servers<U> {
        Servers { endpoints: self.endpoints.map(&f), metrics: self.metrics.map(&f) }
    }
}

impl Registered {
    /// Checks it; nothing where there is nothing to serve.
    #[cfg(not(feature = "metrics"))]
    pub(super) fn plan(self, offer: &Offer<'_>, settings: &Settings) -> Result<Servers<Plan>, Error> {
        let endpoints = self.serves().then(|| {
            let Self { settings: http, endpoints } = self;
            Plan::new(http.unwrap_or_default(), endpoints, offer, settings)
        });
        Ok(Servers { endpoints: endpoints.transpose()?, metrics: None })
    }

    /// Checks it, and what shows the metrics; nothing where there is nothing to serve.
    #[cfg(feature = "metrics")]
    pub(super) fn plan(
        self,
        offer: &Offer<'_>,
        settings: &Settings,
        exposition: &Exposition,
        address: Option<String>,
    ) -> Result<Servers<Plan>, Error> {
        let beside = if address.is_some() { exposition.clone().unserved() } else { exposition.clone() };
        let endpoints = self.serves().then(|| {
            let Self { settings: http, endpoints } = self;
            Plan::new(http.unwrap_or_default(), endpoints, offer, settings, &beside)
        });
        let metrics = address
            .filter(|_| exposition.path().is_some())
            .map(|address| Plan::new(Http::bind(address), Vec::new(), offer, settings, exposition));
        Ok(Servers { endpoints: endpoints.transpose()?, metrics: metrics.transpose()? })
    }

    fn serves(&self) -> bool {
        self.settings.is_some() || !self.endpoints.is_empty()
    }
}

/// Binds what was planned.
pub(super) async fn bind(plans: Servers<Plan>) -> Result<Servers<Bound>, Error> {
    let mut bound = Servers::none();
    if let Some(plan) = plans.endpoints {
        bound.endpoints = Some(plan.bind().await?);
    }
    if let Some(plan) = plans.metrics {
        bound.metrics = Some(plan.bind().await?);
    }
    Ok(bound)
}

impl App {
    /// Serves HTTP as these settings say: the endpoints that are mounted, and the probes `/livez` and `/readyz`. An app
    /// with endpoints does that without it too, by the defaults of [`Http::new`]. Said again, it replaces what was said
    /// before.
    #[must_use]
    pub fn http(mut self, http: Http) -> Self {
        self.http.settings = Some(http);
        self
    }

    /// Adds one endpoint.
    #[must_use]
    pub fn endpoint(self, endpoint: Endpoint) -> Self {
        self.mount([endpoint])
    }
}

impl Running {
    /// Serves what was bound.
    pub(super) fn serve(mut self, bound: Servers<Bound>) -> Self {
        let Self { consumers, context, .. } = &self;
        self.http = bound.map(|bound| {
            let stopping = consumers.stop.drain.clone();
            let (state, publisher) = (context.state.clone(), context.publisher.clone());
            let shared = Shared::new(state, publisher, stopping, bound.body_limit());
            bound.serve(&consumers.observer, shared)
        });
        self
    }

    /// Stops what serves the endpoints. Gives what did not end until then.
    pub(super) async fn stop_http(&mut self, until: Instant) -> Vec<String> {
        match self.http.endpoints.take() {
            Some(server) => server.stop(until).await,
            None => Vec::new(),
        }
    }

    /// The same of what serves the metrics elsewhere: what a drain has counted can be read to the end.
    pub(super) async fn stop_metrics(&mut self, until: Instant) -> Vec<String> {
        match self.http.metrics.take() {
            Some(server) => server.stop(until).await,
            None => Vec::new(),
        }
    }

    /// The address at which HTTP is served, with the port that the system has chosen where 0 was asked for. `None` for
    /// an app without HTTP, and for one whose HTTP is [`unbound`](Http::unbound).
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.endpoints.as_ref().and_then(Server::address)
    }

    /// The address at which the metrics are served, where that is one of their own: [`Metrics::bind`](crate::Metrics::bind).
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.http.metrics.as_ref().and_then(Server::address)
    }

    /// Asks the app's endpoints without a network, for tests.
    #[must_use]
    pub fn http_client(&self) -> TestClient {
        TestClient::new(self.http.endpoints.as_ref().map(|http| http.site().clone()))
    }
}
