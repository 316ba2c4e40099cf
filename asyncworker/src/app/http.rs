//! HTTP in the life of an app.

use super::hooks::Context;
use super::parts::Part;
use super::{App, Running};
use crate::error::Error;
use crate::http::{Endpoint, Http, Offer, Plan, Server, Shared, TestClient};
#[cfg(feature = "metrics")]
use crate::metrics::Exposition;
use crate::settings::Settings;
use crate::status::Observer;
use async_trait::async_trait;
use std::net::SocketAddr;
use tokio::time::Instant;

/// What an app was told to serve.
#[derive(Debug, Default)]
pub(super) struct Registered {
    settings: Option<Http>,
    pub(super) endpoints: Vec<Endpoint>,
}

impl Registered {
    /// Checks it.
    ///
    /// # Errors
    /// What is wrong, with the endpoints it concerns.
    pub(super) fn plan(
        self,
        offer: &Offer<'_>,
        settings: &Settings,
        observer: &Observer,
        #[cfg(feature = "metrics")] exposition: &Exposition,
    ) -> Result<Endpoints, Error> {
        let Self { settings: http, endpoints } = self;
        if http.is_none() && endpoints.is_empty() {
            return Ok(Endpoints(Served::Nothing));
        }
        let plan = Plan::new(
            http.unwrap_or_default(),
            endpoints,
            offer,
            settings,
            #[cfg(feature = "metrics")]
            exposition,
        )?;
        Ok(Endpoints(Served::planned(plan, observer)))
    }
}

/// What serves the endpoints: from its opening on it answers the probes, and the endpoints when the app has started.
pub(super) struct Endpoints(Served);

#[async_trait]
impl Part for Endpoints {
    async fn open(&mut self, context: &Context) -> Result<(), Error> {
        self.0.open(context).await
    }

    async fn drain(&mut self, until: Instant) -> Vec<String> {
        self.0.stop(until).await
    }
}

/// A server in the life of an app.
pub(super) enum Served {
    /// There is nothing to serve, or nothing any more.
    Nothing,
    Planned(Box<Plan>, Observer),
    Open(Server),
}

impl Served {
    pub(super) fn planned(plan: Plan, observer: &Observer) -> Self {
        Self::Planned(plan.into(), observer.clone())
    }

    /// Binds and serves what was planned.
    pub(super) async fn open(&mut self, context: &Context) -> Result<(), Error> {
        if let Self::Planned(plan, observer) = std::mem::replace(self, Self::Nothing) {
            let shared = Shared::new(context.state.clone(), context.publisher(), observer, plan.body_limit());
            *self = Self::Open(plan.serve(shared).await?);
        }
        Ok(())
    }

    pub(super) fn server(&self) -> Option<&Server> {
        match self {
            Self::Open(server) => Some(server),
            Self::Nothing | Self::Planned(..) => None,
        }
    }

    /// Gives what did not end until then.
    pub(super) async fn stop(&mut self, until: Instant) -> Vec<String> {
        match std::mem::replace(self, Self::Nothing) {
            Self::Open(server) => server.stop(until).await,
            Self::Nothing | Self::Planned(..) => Vec::new(),
        }
    }
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
    /// The address at which HTTP is served, with the port that the system has chosen where 0 was asked for. `None` for
    /// an app without HTTP, and for one whose HTTP is [`unbound`](Http::unbound).
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.parts.endpoints.0.server().and_then(Server::address)
    }

    /// Asks the app's endpoints without a network, for tests.
    #[must_use]
    pub fn http_client(&self) -> TestClient {
        TestClient::new(self.parts.endpoints.0.server().map(|server| server.site().clone()))
    }
}
