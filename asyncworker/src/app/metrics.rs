//! The metrics of an app, and where they are served at an address of their own.

use super::hooks::Context;
use super::http::Served;
use super::parts::{Part, Times};
use super::{App, Running};
use crate::error::Error;
use crate::http::{Http, Offer, Plan, Server};
use crate::metrics::Exposition;
use crate::settings::Settings;
use crate::status::Observer;
use async_trait::async_trait;
use std::net::SocketAddr;

/// The page of metrics, and what serves it where it has an address of its own.
pub(super) struct MetricsPage {
    exposition: Exposition,
    served: Served,
}

impl MetricsPage {
    /// Checks the address, if there is one.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn plan(
        exposition: Exposition,
        address: Option<String>,
        offer: &Offer<'_>,
        settings: &Settings,
        observer: &Observer,
    ) -> Result<Self, Error> {
        let served = match address.filter(|_| exposition.path().is_some()) {
            Some(address) => {
                let plan = Plan::new(Http::bind(address), Vec::new(), offer, settings, &exposition)?;
                Served::planned(plan, observer)
            }
            None => Served::Nothing,
        };
        Ok(Self { exposition, served })
    }
}

/// It stops after all that it tells of: what a drain has counted can be read to the end.
#[async_trait]
impl Part for MetricsPage {
    async fn open(&mut self, context: &Context) -> Result<(), Error> {
        self.served.open(context).await
    }

    async fn stop(&mut self, _: &Context, times: Times) -> Vec<String> {
        self.served.stop(times.end).await
    }
}

impl App {
    /// How the app shows its metrics, where that is not as the environment says or by default.
    #[must_use]
    pub fn metrics(mut self, metrics: crate::Metrics) -> Self {
        self.metrics = metrics;
        self
    }
}

impl Running {
    /// The app's metrics as they are now, in Prometheus's text format (version 0.0.4).
    #[must_use]
    pub fn metrics(&self) -> String {
        self.parts.metrics.exposition.text()
    }

    /// The address at which the metrics are served, where that is one of their own: [`Metrics::bind`](crate::Metrics::bind).
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.parts.metrics.served.server().and_then(Server::address)
    }
}
