//! Metrics for Prometheus: what routes, connections and HTTP count, what the process uses, and what the program records.

pub(crate) mod config;
mod exposition;
mod process;
mod recorder;
mod table;
#[cfg(all(test, feature = "memory"))]
mod tests;
mod text;

pub(crate) use config::Config;
pub(crate) use exposition::Exposition;
pub(crate) use text::CONTENT_TYPE;

use crate::error::Error;
use crate::meter::Meters;
use std::fmt;
use std::sync::Arc;

/// How an app shows its metrics: [`App::metrics`](crate::App::metrics).
///
/// Nobody has to say anything: every app counts, an app that serves HTTP has the page for Prometheus at `/metrics`, and
/// [`Running::metrics`](crate::Running::metrics) gives it to the program. What is said here wins over the environment,
/// `ASYNCWORKER_METRICS_*`.
///
/// What the program records itself by the macros of the `metrics` crate (`metrics::counter!("orders").increment(1)`) is
/// on the same page, under the name it was recorded by. That crate knows one recorder a process, and so each app of the
/// process shows it; a program that installs a recorder of its own before the first app starts keeps it.
///
/// ```
/// use asyncworker::{App, Metrics};
///
/// let app = App::new().metrics(Metrics::new().prefix("shop").buckets([1.0, 10.0, 100.0, 1_000.0]));
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "it is for `App::metrics`"]
pub struct Metrics {
    namespace: Option<String>,
    prefix: Option<String>,
    buckets: Option<Vec<f64>>,
    path: Option<String>,
    enabled: Option<bool>,
    address: Option<String>,
    more: Vec<More>,
}

/// Text that somebody else writes.
#[derive(Clone)]
pub(super) struct More(Arc<dyn Fn() -> String + Send + Sync>);

impl fmt::Debug for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("More")
    }
}

impl Metrics {
    /// As the environment says, and where it says nothing, by default: served at `/metrics` where the app serves HTTP.
    pub fn new() -> Self {
        Self::default()
    }

    /// Served at an address of their own, beside the probes, and not where the app's endpoints are: `0.0.0.0:9090`, say,
    /// or a port 0 for one that the system chooses and [`Running::metrics_address`](crate::Running::metrics_address)
    /// tells. An address that cannot be bound is a start-up error.
    pub fn bind(address: impl Into<String>) -> Self {
        Self { address: Some(address.into()), ..Self::new() }
    }

    /// What the name of each metric begins with, an underscore after it. Default `ASYNCWORKER_METRICS_NAMESPACE`, else
    /// `asyncworker`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// What follows the namespace: a word of this app's own, which tells it from others. Default
    /// `ASYNCWORKER_METRICS_APPPREFIX`, else none.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// The upper bounds, in milliseconds, by which times are counted: ascending, above 0. The infinite one is always
    /// there. Default `ASYNCWORKER_METRICS_DEFAULT_HISTOGRAM_BUCKETS_IN_MS`, else 10, 50, 100, 200, 500, 1000, 5000.
    ///
    /// Histograms that the program records by the `metrics` crate have those of the process's first app.
    pub fn buckets(mut self, milliseconds: impl IntoIterator<Item = f64>) -> Self {
        self.buckets = Some(milliseconds.into_iter().collect());
        self
    }

    /// The path that the page is served at. Default `ASYNCWORKER_METRICS_ROUTE_PATH`, else `/metrics`. An endpoint of
    /// the app's own at the same path is a start-up error.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Whether the page is served. Default `ASYNCWORKER_METRICS_ROUTE_ENABLED`, else yes.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = Some(enabled);
        self
    }

    /// Adds to the page what this gives, in Prometheus's text format and of other names: what another library renders,
    /// say. It is called each time the page is made.
    pub fn append(mut self, text: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.more.push(More(Arc::new(text)));
        self
    }

    /// What is set, with the environment's values where the code says nothing.
    ///
    /// # Errors
    /// A value that is none.
    pub(crate) fn resolve(self, environment: &Config) -> Result<Resolved, Error> {
        let mut config = environment.clone();
        if let Some(namespace) = self.namespace {
            config.namespace = config::name(&namespace).map_err(refused("namespace", &namespace))?;
        }
        if let Some(prefix) = self.prefix {
            config.prefix = config::name(&prefix).map_err(refused("prefix", &prefix))?;
        }
        if let Some(buckets) = self.buckets {
            config.buckets = config::bounds(buckets.clone()).map_err(refused("buckets", &buckets))?;
        }
        if let Some(path) = self.path {
            config.path = config::path(&path).map_err(refused("path", &path))?;
        }
        config.enabled = self.enabled.unwrap_or(config.enabled);
        Ok(Resolved { config, address: self.address, more: self.more.into() })
    }
}

fn refused(what: &str, value: &impl fmt::Debug) -> impl FnOnce(&'static str) -> Error {
    move |wanted| Error::configuration(format!("the metrics' {what} is {value:?}; it must be {wanted}"))
}

/// Metrics that were found right.
#[derive(Debug)]
pub(crate) struct Resolved {
    config: Config,
    /// One of their own.
    pub(crate) address: Option<String>,
    more: Arc<[More]>,
}

impl Resolved {
    pub(crate) fn meters(&self) -> Arc<Meters> {
        Arc::new(Meters::new(Arc::clone(&self.config.buckets)))
    }

    pub(crate) fn exposition(&self, meters: Arc<Meters>) -> Exposition {
        Exposition::new(&self.config, meters, Arc::clone(&self.more))
    }

    /// The same for the server of the endpoints, which has no page where that has an address of its own.
    pub(crate) fn beside(&self, exposition: &Exposition) -> Exposition {
        let exposition = exposition.clone();
        if self.address.is_some() { exposition.unserved() } else { exposition }
    }
}
