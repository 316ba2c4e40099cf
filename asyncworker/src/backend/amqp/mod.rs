//! RabbitMQ over AMQP 0-9-1, by lapin: the only place where it is named.

mod connection;
mod consumer;
mod convert;
mod dial;
mod opened;
#[cfg(feature = "__counts")]
pub(crate) mod piped;
mod publisher;
mod starved;
mod topology;
mod uri;
mod wire;

#[cfg(any(test, fuzzing))]
pub(crate) use wire::fuzzing;

use super::Connection;
use super::report::FailureHook;
use crate::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use uri::Endpoint;

/// A RabbitMQ broker, or a cluster of them, to [connect](crate::App::connect) to.
///
/// Nothing connects before the app starts. From then on one connection a virtual host consumes and
/// another publishes; a connection that is lost is made anew, the next host in turn, after a pause of 1 s
/// that doubles up to 30 s, with jitter.
///
/// ```
/// use asyncworker::Amqp;
///
/// # fn main() -> Result<(), asyncworker::Error> {
/// let here = Amqp::new("127.0.0.1").user("guest").password("guest").prefetch(256);
/// let there = Amqp::from_uri("amqps://app:secret@rabbit.example.com/orders?heartbeat=5")?.name("there");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Amqp {
    endpoints: Vec<Endpoint>,
    name: Option<String>,
    vhost: Option<String>,
    prefetch: Option<u16>,
    heartbeat: Option<u16>,
    frame_max: Option<u32>,
    channel_max: Option<u16>,
    connect_timeout: Option<Duration>,
    backoff: (Duration, Duration),
    look_every: Duration,
    ca_certificates: Option<String>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    on_connection_failure: Option<FailureHook>,
}

impl fmt::Debug for Amqp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Amqp")
            .field("endpoints", &self.endpoints)
            .field("name", &self.name)
            .field("vhost", &self.vhost)
            .field("prefetch", &self.prefetch)
            .finish_non_exhaustive()
    }
}

impl Amqp {
    /// The broker on this host: a name or an address, IPv6 without brackets. Port 5672, user and
    /// password `guest`.
    pub fn new(host: impl Into<String>) -> Self {
        Self::of(vec![Endpoint {
            host: host.into(),
            port: None,
            tls: false,
            user: "guest".into(),
            password: "guest".into(),
        }])
    }

    fn of(endpoints: Vec<Endpoint>) -> Self {
        Self {
            endpoints,
            name: None,
            vhost: None,
            prefetch: None,
            heartbeat: None,
            frame_max: None,
            channel_max: None,
            connect_timeout: None,
            backoff: (Duration::from_secs(1), Duration::from_secs(30)),
            look_every: starved::LOOK,
            ca_certificates: None,
            identity: None,
            on_connection_failure: None,
        }
    }

    /// The broker that this URI names: `amqp://user:password@host:port/vhost`, or `amqps://` for TLS.
    /// The virtual host is percent-encoded (`%2f` is `/`); without one it is the default. Parameters:
    /// `heartbeat` (s), `connection_timeout` (ms), `frame_max` (bytes), `channel_max`.
    ///
    /// # Errors
    /// What is wrong with the URI. The error never shows the URI itself.
    pub fn from_uri(uri: &str) -> Result<Self, Error> {
        Self::from_uris([uri])
    }

    /// A cluster: its nodes are tried in turn. What is said by parameter is taken from the first URI that
    /// says it; virtual hosts must not differ.
    ///
    /// # Errors
    /// As [`from_uri`](Self::from_uri), and when there is none, or two name different virtual hosts.
    pub fn from_uris<U: AsRef<str>>(uris: impl IntoIterator<Item = U>) -> Result<Self, Error> {
        let mut amqp = Self::of(Vec::new());
        for uri in uris {
            let parsed = uri::parse(uri.as_ref())?;
            if !amqp.endpoints.is_empty() && amqp.vhost != parsed.vhost {
                return Err(Error::configuration("the AMQP URIs of one connection name different virtual hosts"));
            }
            amqp.endpoints.push(parsed.endpoint);
            amqp.vhost = parsed.vhost;
            amqp.heartbeat = amqp.heartbeat.or(parsed.heartbeat);
            amqp.connect_timeout = amqp.connect_timeout.or(parsed.connect_timeout);
            amqp.frame_max = amqp.frame_max.or(parsed.frame_max);
            amqp.channel_max = amqp.channel_max.or(parsed.channel_max);
        }
        if amqp.endpoints.is_empty() {
            return Err(Error::configuration("an AMQP connection needs at least one URI"));
        }
        Ok(amqp)
    }

    /// The port; default 5672, or 5671 with TLS.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.each(|endpoint| endpoint.port = Some(port));
        self
    }

    /// The user; default `guest`.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        let user = user.into();
        self.each(|endpoint| endpoint.user.clone_from(&user));
        self
    }

    /// The password; default `guest`.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        let password = password.into();
        self.each(|endpoint| endpoint.password.clone_from(&password));
        self
    }

    /// Encrypted, with the broker's certificate verified against the system's roots, or those of
    /// [`ca_certificates`](Self::ca_certificates).
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.each(|endpoint| endpoint.tls = true);
        self
    }

    /// Certificate authorities to trust besides the system's, in PEM.
    #[must_use]
    pub fn ca_certificates(mut self, pem: impl Into<String>) -> Self {
        self.ca_certificates = Some(pem.into());
        self
    }

    /// The client's own certificate chain and private key (PKCS #8), in PEM.
    #[must_use]
    pub fn client_certificate(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((chain.into(), key.into()));
        self
    }

    /// The name that routes choose it by.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The virtual host of routes that name none. Default: the URI's, else
    /// `ASYNCWORKER_AMQP_DEFAULT_VHOST`, else `/`.
    #[must_use]
    pub fn vhost(mut self, vhost: impl Into<String>) -> Self {
        self.vhost = Some(vhost.into());
        self
    }

    /// Messages in flight a consumer, of routes that say nothing. Default
    /// `ASYNCWORKER_AMQP_DEFAULT_PREFETCH_COUNT`, else 128. 0 is refused at start.
    #[must_use]
    pub fn prefetch(mut self, messages: u16) -> Self {
        self.prefetch = Some(messages);
        self
    }

    /// The heartbeat in seconds; a connection that is silent for twice as long is lost. Default
    /// `ASYNCWORKER_AMQP_DEFAULT_HEARTBEAT`, else 10. 0 turns it off.
    #[must_use]
    pub fn heartbeat(mut self, seconds: u16) -> Self {
        self.heartbeat = Some(seconds);
        self
    }

    /// How long one attempt to connect may take, from the name's look-up to the opened virtual host.
    /// Default 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// The pause after a failure: the first, and the longest it doubles to. Default 1 s and 30 s.
    #[must_use]
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = (first, longest);
        self
    }

    /// In tests consumers look more often whether they starve.
    #[cfg(test)]
    pub(crate) fn look_every(mut self, time: Duration) -> Self {
        self.look_every = time;
        self
    }

    /// Called at each attempt to connect that fails and when a connection is lost, with the error and
    /// the number of failures in a row. It is called on the connection's task: it must not block.
    #[must_use]
    pub fn on_connection_failure(mut self, hook: impl Fn(&Error, u64) + Send + Sync + 'static) -> Self {
        self.on_connection_failure = Some(Arc::new(hook));
        self
    }

    fn each(&mut self, change: impl Fn(&mut Endpoint)) {
        self.endpoints.iter_mut().for_each(change);
    }
}

impl From<Amqp> for Connection {
    fn from(amqp: Amqp) -> Self {
        Self(Box::new(amqp))
    }
}
