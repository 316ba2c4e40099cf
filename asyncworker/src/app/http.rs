//! HTTP in the life of an app.

use super::{App, Running};
use crate::error::Error;
use crate::http::{Bound, Endpoint, Http, Offer, Plan, Server, Shared, TestClient};
use crate::settings::Settings;
use std::net::SocketAddr;

/// What an app was told to serve.
#[derive(Debug, Default)]
pub(super) struct Registered {
    settings: Option<Http>,
    pub(super) endpoints: Vec<Endpoint>,
}

impl Registered {
    /// Checks it; nothing where there is nothing to serve.
    pub(super) fn plan(self, offer: &Offer<'_>, settings: &Settings) -> Result<Option<Plan>, Error> {
        match self.settings {
            None if self.endpoints.is_empty() => Ok(None),
            http => Plan::new(http.unwrap_or_default(), self.endpoints, offer, settings).map(Some),
        }
    }
}

/// Binds what was planned.
pub(super) async fn bind(plan: Option<Plan>) -> Result<Option<Bound>, Error> {
    match plan {
        Some(plan) => plan.bind().await.map(Some),
        None => Ok(None),
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
    /// Serves what was bound.
    pub(super) fn serve(mut self, bound: Option<Bound>) -> Self {
        self.http = bound.map(|bound| {
            let Self { consumers, context, .. } = &self;
            let stopping = consumers.stop.drain.clone();
            let shared = Shared::new(context.state.clone(), context.publisher.clone(), stopping);
            bound.serve(&consumers.observer, shared)
        });
        self
    }

    /// The address at which HTTP is served, with the port that the system has chosen where 0 was asked for. `None` for
    /// an app without HTTP, and for one whose HTTP is [`unbound`](Http::unbound).
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(Server::address)
    }

    /// Asks the app's endpoints without a network, for tests.
    #[must_use]
    pub fn http_client(&self) -> TestClient {
        TestClient::new(self.http.as_ref().map(|http| http.site().clone()))
    }
}
