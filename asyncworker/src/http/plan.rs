//! From settings and endpoints to a server: everything is checked first, then the address is bound and served.

use super::endpoint::Endpoint;
#[cfg(feature = "metrics")]
use super::metrics;
use super::needs::Offer;
use super::probes;
use super::server::{Limits, Server};
use super::settings::{Address, Http};
use super::shared::Shared;
use super::site::{self, Builtin, Site};
use crate::error::{Error, ErrorKind};
#[cfg(feature = "metrics")]
use crate::meter::HttpMeter;
#[cfg(feature = "metrics")]
use crate::metrics::Exposition;
use crate::settings::Settings;
use axum::Router;
use tokio::net::TcpListener;

/// What was found right, and is bound nowhere yet.
pub(crate) struct Plan {
    /// `None`: none at all.
    address: Option<String>,
    limits: Limits,
    router: Router,
    builtins: Vec<Builtin>,
    body_limit: usize,
    #[cfg(feature = "metrics")]
    meter: HttpMeter,
}

impl Plan {
    /// Checks the settings and the endpoints and puts them together.
    ///
    /// # Errors
    /// What is wrong, with the endpoints it concerns.
    pub(crate) fn new(
        http: Http,
        endpoints: Vec<Endpoint>,
        offer: &Offer<'_>,
        settings: &Settings,
        #[cfg(feature = "metrics")] exposition: &Exposition,
    ) -> Result<Self, Error> {
        let address = match http.address {
            Address::Default => Some(join(&settings.http_host, settings.http_port)),
            Address::Given(address) => Some(address),
            Address::Unbound => None,
        };
        if let Some(address) = &address
            && !is_address(address)
        {
            return Err(refused(&format!(
                "{address:?} is not an address to bind; it is a host and a port, such as `127.0.0.1:8080`"
            )));
        }
        if http.limits.max_connections == 0 {
            return Err(refused("max_connections is 0; it must be at least 1"));
        }
        for (name, time) in [
            ("header_read_timeout", http.limits.header_read_timeout),
            ("body_read_timeout", http.limits.body_read_timeout),
            ("stalled_after", http.stalled_after),
        ] {
            if time.is_zero() {
                return Err(refused(&format!("{name} is 0; it must be longer")));
            }
        }
        let mut builtins = Vec::new();
        if http.probes {
            builtins.extend(probes::builtins(http.stalled_after));
        }
        #[cfg(feature = "metrics")]
        if let Some(path) = exposition.path() {
            builtins.push(metrics::builtin(path, exposition.clone()));
        }
        let router = site::assemble(endpoints, http.fallback, http.layers, http.body_limit, &builtins, offer)?;
        Ok(Self {
            address,
            limits: http.limits,
            router,
            builtins,
            body_limit: http.body_limit,
            #[cfg(feature = "metrics")]
            meter: exposition.http().clone(),
        })
    }

    /// Binds the address and serves from now on: what is built in, and the endpoints when the app has started.
    ///
    /// # Errors
    /// It cannot be bound, by name: another program has it, most likely.
    pub(crate) async fn serve(self, shared: Shared) -> Result<Server, Error> {
        let listener = match &self.address {
            None => None,
            Some(address) => Some(TcpListener::bind(address).await.map_err(|error| {
                Error::new(ErrorKind::Startup, format!("HTTP: cannot bind {address}")).because(error)
            })?),
        };
        let routers = site::complete(self.router, self.builtins, shared.observer());
        #[cfg(feature = "metrics")]
        let routers = routers.map(|router| metrics::count(router, self.meter.clone()));
        Ok(Server::start(listener, Site::new(routers, shared), self.limits))
    }

    /// Bytes of a request's body at the most, where its endpoint says nothing else.
    pub(crate) fn body_limit(&self) -> usize {
        self.body_limit
    }
}

fn refused(what: &str) -> Error {
    Error::configuration(format!("HTTP: {what}"))
}

/// A host and a port; the colons of an IPv6 address are not that of the port.
fn join(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn is_address(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}
