//! Defaults from the environment: the variables `ASYNCWORKER_*`.
//!
//! What is said in code wins over the environment, the environment over the built-in default. A value
//! that cannot be read is a start-up error that names its variable; a variable with this prefix that
//! nobody reads is warned of, because it is most likely a typing error.

use crate::error::Error;
#[cfg(feature = "metrics")]
use crate::metrics::config;
use std::str::FromStr;
use std::time::Duration;

const PREFIX: &str = "ASYNCWORKER_";

const KNOWN: [&str; 9] = [
    "LOGLEVEL",
    "LOGFORMAT",
    "AMQP_DEFAULT_VHOST",
    "AMQP_DEFAULT_PREFETCH_COUNT",
    "AMQP_DEFAULT_HEARTBEAT",
    "FLUSH_TIMEOUT",
    "HTTP_HOST",
    "HTTP_PORT",
    "SHUTDOWN_TIMEOUT",
];

/// What the environment says, with the built-in defaults where it says nothing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// `ASYNCWORKER_AMQP_DEFAULT_VHOST`: the virtual host of routes and connections that name none.
    pub(crate) vhost: String,
    /// `ASYNCWORKER_AMQP_DEFAULT_PREFETCH_COUNT`: messages in flight a consumer, 1 to 65535.
    pub(crate) prefetch: u16,
    /// `ASYNCWORKER_AMQP_DEFAULT_HEARTBEAT`: seconds.
    pub(crate) heartbeat: u16,
    /// `ASYNCWORKER_FLUSH_TIMEOUT`: seconds, fractions allowed; the `bulk_flush_interval` of routes
    /// that have none.
    pub(crate) bulk_flush_interval: Duration,
    /// `ASYNCWORKER_SHUTDOWN_TIMEOUT`: seconds, fractions allowed.
    pub(crate) shutdown_timeout: Duration,
    /// `ASYNCWORKER_HTTP_HOST`: the address or name to serve HTTP at.
    pub(crate) http_host: String,
    /// `ASYNCWORKER_HTTP_PORT`: 0 for one that the system chooses.
    pub(crate) http_port: u16,
    /// `ASYNCWORKER_METRICS_*`: what of it the app does not say itself.
    #[cfg(feature = "metrics")]
    pub(crate) metrics: config::Config,
    /// Variables with our prefix that nobody reads.
    pub(crate) unknown: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            vhost: "/".into(),
            prefetch: 128,
            heartbeat: 10,
            bulk_flush_interval: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(25),
            http_host: "127.0.0.1".into(),
            http_port: 8080,
            #[cfg(feature = "metrics")]
            metrics: config::Config::default(),
            unknown: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// A variable whose value cannot be read, by name.
    pub(crate) fn from_env() -> Result<Self, Error> {
        Self::from_variables(std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            name.starts_with(PREFIX).then(|| (name, value.to_string_lossy().into_owned()))
        }))
    }

    fn from_variables(variables: impl Iterator<Item = (String, String)>) -> Result<Self, Error> {
        let mut settings = Self::default();
        for (variable, value) in variables {
            let name = variable.strip_prefix(PREFIX).unwrap_or(&variable);
            match name {
                "AMQP_DEFAULT_VHOST" => settings.vhost = value,
                "AMQP_DEFAULT_PREFETCH_COUNT" => {
                    settings.prefetch = number(&variable, &value)?;
                    if settings.prefetch == 0 {
                        return Err(unreadable(&variable, &value, "a whole number from 1 to 65535"));
                    }
                }
                "AMQP_DEFAULT_HEARTBEAT" => settings.heartbeat = number(&variable, &value)?,
                "FLUSH_TIMEOUT" => settings.bulk_flush_interval = seconds(&variable, &value)?,
                "SHUTDOWN_TIMEOUT" => settings.shutdown_timeout = seconds(&variable, &value)?,
                "HTTP_HOST" => settings.http_host = value.trim().to_owned(),
                "HTTP_PORT" => settings.http_port = number(&variable, &value)?,
                #[cfg(feature = "metrics")]
                "METRICS_NAMESPACE" => settings.metrics.namespace = read(&variable, &value, config::name)?,
                #[cfg(feature = "metrics")]
                "METRICS_APPPREFIX" => settings.metrics.prefix = read(&variable, &value, config::name)?,
                #[cfg(feature = "metrics")]
                "METRICS_ROUTE_PATH" => settings.metrics.path = read(&variable, &value, config::path)?,
                #[cfg(feature = "metrics")]
                "METRICS_ROUTE_ENABLED" => settings.metrics.enabled = read(&variable, &value, config::switch)?,
                #[cfg(feature = "metrics")]
                "METRICS_DEFAULT_HISTOGRAM_BUCKETS_IN_MS" => {
                    settings.metrics.buckets = read(&variable, &value, config::buckets)?;
                }
                known if KNOWN.contains(&known) => {}
                _ => settings.unknown.push(variable),
            }
        }
        settings.unknown.sort();
        Ok(settings)
    }
}

fn number(variable: &str, value: &str) -> Result<u16, Error> {
    u16::from_str(value.trim()).map_err(|_| unreadable(variable, value, "a whole number from 0 to 65535"))
}

fn seconds(variable: &str, value: &str) -> Result<Duration, Error> {
    f64::from_str(value.trim())
        .ok()
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| unreadable(variable, value, "a number of seconds above 0"))
}

/// As `parse` reads it, which else says what the value must be.
#[cfg(feature = "metrics")]
fn read<T>(variable: &str, value: &str, parse: fn(&str) -> Result<T, &'static str>) -> Result<T, Error> {
    parse(value.trim()).map_err(|wanted| unreadable(variable, value, wanted))
}

fn unreadable(variable: &str, value: &str, wanted: &str) -> Error {
    Error::configuration(format!("the environment variable {variable} is {value:?}; it must be {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, Error> {
        Settings::from_variables(variables.iter().map(|(name, value)| (name.to_string(), value.to_string())))
    }

    #[test]
    fn defect_11_every_setting_is_read_and_used() {
        let settings = read(&[
            ("ASYNCWORKER_AMQP_DEFAULT_VHOST", "fluentd"),
            ("ASYNCWORKER_AMQP_DEFAULT_PREFETCH_COUNT", "7"),
            ("ASYNCWORKER_AMQP_DEFAULT_HEARTBEAT", "30"),
            ("ASYNCWORKER_FLUSH_TIMEOUT", "0.5"),
            ("ASYNCWORKER_SHUTDOWN_TIMEOUT", "3"),
            ("ASYNCWORKER_HTTP_HOST", "0.0.0.0"),
            ("ASYNCWORKER_HTTP_PORT", "80"),
            ("ASYNCWORKER_LOGLEVEL", "debug"),
        ])
        .unwrap();
        assert_eq!(
            settings,
            Settings {
                vhost: "fluentd".into(),
                prefetch: 7,
                heartbeat: 30,
                bulk_flush_interval: Duration::from_millis(500),
                shutdown_timeout: Duration::from_secs(3),
                http_host: "0.0.0.0".into(),
                http_port: 80,
                #[cfg(feature = "metrics")]
                metrics: config::Config::default(),
                unknown: vec![],
            }
        );
    }

    #[cfg(feature = "metrics")]
    #[test]
    fn every_setting_of_the_metrics_is_read() {
        let settings = read(&[
            ("ASYNCWORKER_METRICS_NAMESPACE", "shop"),
            ("ASYNCWORKER_METRICS_APPPREFIX", "orders"),
            ("ASYNCWORKER_METRICS_ROUTE_PATH", "/internal/metrics"),
            ("ASYNCWORKER_METRICS_ROUTE_ENABLED", "false"),
            ("ASYNCWORKER_METRICS_DEFAULT_HISTOGRAM_BUCKETS_IN_MS", "[1, 2.5, inf]"),
        ])
        .unwrap();
        let expected = config::Config {
            namespace: "shop".into(),
            prefix: "orders".into(),
            path: "/internal/metrics".into(),
            enabled: false,
            buckets: [1.0, 2.5].into(),
        };
        assert_eq!(settings.metrics, expected);
        assert_eq!(settings.unknown, [""; 0]);
    }

    #[cfg(feature = "metrics")]
    #[test]
    fn a_value_of_the_metrics_that_cannot_be_read_names_its_variable() {
        for (name, value) in [
            ("ASYNCWORKER_METRICS_NAMESPACE", "my-shop"),
            ("ASYNCWORKER_METRICS_APPPREFIX", "2"),
            ("ASYNCWORKER_METRICS_ROUTE_PATH", "metrics"),
            ("ASYNCWORKER_METRICS_ROUTE_ENABLED", "perhaps"),
            ("ASYNCWORKER_METRICS_DEFAULT_HISTOGRAM_BUCKETS_IN_MS", "100,10"),
        ] {
            let error = read(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_read_names_its_variable() {
        for (name, value) in [
            ("ASYNCWORKER_FLUSH_TIMEOUT", "soon"),
            ("ASYNCWORKER_FLUSH_TIMEOUT", "0"),
            ("ASYNCWORKER_FLUSH_TIMEOUT", "inf"),
            ("ASYNCWORKER_AMQP_DEFAULT_PREFETCH_COUNT", "0"),
            ("ASYNCWORKER_AMQP_DEFAULT_HEARTBEAT", "-1"),
            ("ASYNCWORKER_HTTP_PORT", "65536"),
        ] {
            let error = read(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn a_variable_that_nobody_reads_is_told() {
        let settings = read(&[("ASYNCWORKER_FLUSH_TIMOUT", "1")]).unwrap();
        assert_eq!(settings.unknown, ["ASYNCWORKER_FLUSH_TIMOUT"]);
    }
}
