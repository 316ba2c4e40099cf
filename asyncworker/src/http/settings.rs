//! Where and within what limits HTTP is served.

use super::server::Limits;
use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::Route;
use std::convert::Infallible;
use std::fmt;
use std::time::Duration;
use tower_layer::Layer;
use tower_service::Service;

/// Something put around a router.
pub(super) type Wrap = Box<dyn FnOnce(Router) -> Router + Send>;

/// Where the app's endpoints are served and within what limits: [`App::http`](crate::App::http).
///
/// An app that has endpoints and no `Http` serves them by all these defaults. Limits that a request or a connection
/// runs into cost the app nothing else.
///
/// ```
/// use asyncworker::http::{Http, StatusCode};
/// use std::time::Duration;
///
/// let http = Http::bind("0.0.0.0:8080")
///     .body_limit(64 * 1024)
///     .max_connections(10_000)
///     .header_read_timeout(Duration::from_secs(10));
/// ```
pub struct Http {
    pub(super) address: Address,
    pub(super) limits: Limits,
    pub(super) body_limit: usize,
    pub(super) probes: bool,
    pub(super) stalled_after: Duration,
    pub(super) layers: Vec<Wrap>,
    pub(super) fallback: Option<Router>,
}

pub(super) enum Address {
    /// As the environment says.
    Default,
    Given(String),
    Unbound,
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match &self.address {
            Address::Default => "the default",
            Address::Given(address) => address,
            Address::Unbound => "none",
        };
        f.debug_struct("Http")
            .field("address", &address)
            .field("limits", &self.limits)
            .field("body_limit", &self.body_limit)
            .finish_non_exhaustive()
    }
}

impl Http {
    /// The address of `ASYNCWORKER_HTTP_HOST` and `ASYNCWORKER_HTTP_PORT`, else `127.0.0.1:8080`, which only programs of
    /// this machine reach.
    #[must_use]
    pub fn new() -> Self {
        Self::at(Address::Default)
    }

    /// This address: an IP address or a host's name, and a port, such as `0.0.0.0:8080` (whoever reaches the machine) or
    /// `[::1]:8080`. With port 0 the system chooses one, and [`Running::http_address`](crate::Running::http_address)
    /// tells it. An address that cannot be bound is a start-up error.
    #[must_use]
    pub fn bind(address: impl Into<String>) -> Self {
        Self::at(Address::Given(address.into()))
    }

    /// No address: the endpoints are reached by [`Running::http_client`](crate::Running::http_client) only. For tests.
    #[must_use]
    pub fn unbound() -> Self {
        Self::at(Address::Unbound)
    }

    fn at(address: Address) -> Self {
        Self {
            address,
            limits: Limits::default(),
            body_limit: 2 * 1024 * 1024,
            probes: true,
            stalled_after: Duration::from_secs(30 * 60),
            layers: Vec::new(),
            fallback: None,
        }
    }

    /// Bytes of a request's body at the most; a request with a larger one is answered by 413, at its head where that
    /// says its length, else when it gets there. Default 2 MiB. [`Endpoint::body_limit`](super::Endpoint::body_limit) sets that of one endpoint.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// How long a client may take over the head of a request, from the opening of the connection or the end of the
    /// response before it: so it is also how long a connection may be idle. Then the connection is closed. Default 75 s,
    /// which is more than the 60 s after which load balancers as a rule give up an idle connection; the other way round
    /// they would send requests into one that is closing.
    #[must_use]
    pub fn header_read_timeout(mut self, timeout: Duration) -> Self {
        self.limits.header_read_timeout = timeout;
        self
    }

    /// How long a client may send nothing in the middle of a body. Then reading it fails, which extractors answer by
    /// 400, and the connection is closed. Default 30 s.
    #[must_use]
    pub fn body_read_timeout(mut self, timeout: Duration) -> Self {
        self.limits.body_read_timeout = timeout;
        self
    }

    /// Connections at the most, websockets among them. Others, also of probes, wait unaccepted until one of these ends. Default 1024;
    /// 0 is refused at start.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.limits.max_connections = connections;
        self
    }

    /// Whether `/livez` and `/readyz` are answered, for Kubernetes and its like. Default true.
    #[must_use]
    pub fn probes(mut self, on: bool) -> Self {
        self.probes = on;
        self
    }

    /// How long a route may have unsettled messages and settle none before `/livez` says that the app hangs: more than
    /// any `bulk_flush_interval`, and more than a handler may take. Default 30 minutes, after which RabbitMQ gives up on
    /// a consumer (its `consumer_timeout`).
    #[must_use]
    pub fn stalled_after(mut self, time: Duration) -> Self {
        self.stalled_after = time;
        self
    }

    /// Puts a tower layer around all endpoints and the [`fallback`](Self::fallback), though not around probes; the
    /// first one added is the outermost.
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        self.layers.push(Box::new(|router| router.layer(layer)));
        self
    }

    /// What answers where no endpoint has the path: any axum [`Router`], in place of 404. Its handlers can take
    /// [`State<T>`](crate::State) and [`Publisher`](crate::Publisher) too. Given again, it replaces the one before.
    #[must_use]
    pub fn fallback(mut self, router: Router) -> Self {
        self.fallback = Some(router);
        self
    }
}
