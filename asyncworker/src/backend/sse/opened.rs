//! A server of events as one running app has it.

use super::client::Client;
use super::consumer::Consumer;
use super::{Credentials, EventIds, Sse, without_query};
use crate::backend::report::FailureHook;
use crate::backend::{Backend, Connect, Subscription};
use crate::error::Error;
use crate::meter::ConnectionMeter;
use crate::publish::{Publish, PublishError, PublishErrorKind};
use crate::route::Protocol;
use crate::settings::Settings;
use crate::topology::Thing;
use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Url};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tracing::Instrument;

/// After so long without a byte the other side is asked whether it is there: a machine that went away says nothing.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How to ask.
pub(super) struct Config {
    /// For the server alone, a bearer token among them.
    pub(super) headers: HeaderMap,
    /// User and password, likewise.
    pub(super) basic_auth: Option<(String, String)>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) backoff: (Duration, Duration),
    pub(super) largest_event: usize,
    pub(super) last_event_id: Option<String>,
    pub(super) ids: Option<Arc<dyn EventIds>>,
    pub(super) retry_status: Arc<dyn Fn(u16) -> bool + Send + Sync>,
    pub(super) on_connection_failure: Option<FailureHook>,
}

impl Connect for Sse {
    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn open(self: Box<Self>, app: &str, _: &Settings, _: &ConnectionMeter) -> Result<Arc<dyn Backend>, Error> {
        let (first, longest) = self.backoff;
        if first.is_zero() || first > longest {
            return Err(Error::configuration(
                "the backoff of a server of events must be above 0, and its first pause no longer than its longest",
            ));
        }
        if self.largest_event == 0 || self.idle_timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(Error::configuration(
                "the largest event and the idle timeout of a server of events must be above 0",
            ));
        }
        let (headers, basic_auth) = self.headers_and_user()?;
        if self.credentials.is_some() && self.url.scheme() == "http" && !is_this_machine(&self.url) {
            let server = without_query(&self.url);
            tracing::warn!(server, "credentials go over the network in plain text; use https");
        }
        let http = self.client(app)?;
        let config = Arc::new(Config {
            headers,
            basic_auth,
            idle_timeout: self.idle_timeout,
            backoff: self.backoff,
            largest_event: self.largest_event,
            last_event_id: self.last_event_id,
            ids: self.ids,
            retry_status: self.retry_status,
            on_connection_failure: self.on_connection_failure,
        });
        let prefetch = self.prefetch.unwrap_or(128);
        Ok(Arc::new(SseBackend { url: self.url, prefetch, client: Client { http, config } }))
    }
}

impl Sse {
    /// The headers for the server, with the credentials, but for user and password.
    fn headers_and_user(&self) -> Result<(HeaderMap, Option<(String, String)>), Error> {
        let mut headers = self.headers.clone();
        match &self.credentials {
            None => Ok((headers, None)),
            Some(Credentials::Basic { user, .. }) if user.contains(':') => {
                Err(Error::configuration("a user of HTTP's basic authentication has no `:` in its name"))
            }
            Some(Credentials::Basic { user, password }) => {
                headers.remove(AUTHORIZATION);
                Ok((headers, Some((user.clone(), password.clone()))))
            }
            Some(Credentials::Bearer { token }) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
                    Error::configuration("the bearer token of a server of events cannot be sent by HTTP")
                })?;
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
                Ok((headers, None))
            }
        }
    }

    fn client(&self, app: &str) -> Result<reqwest::Client, Error> {
        let failed = |error: reqwest::Error| {
            Error::configuration("the client of a server of events cannot be made").because(error)
        };
        let app: String = app.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
        let mut client = reqwest::Client::builder()
            .user_agent(format!("asyncworker/{} ({app})", env!("CARGO_PKG_VERSION")))
            // Followed by ourselves: what is for this server must not go to another.
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(self.connect_timeout)
            .tcp_keepalive(KEEPALIVE)
            .pool_max_idle_per_host(0)
            .gzip(self.gzip);
        for pem in &self.ca_certificates {
            for certificate in Certificate::from_pem_bundle(pem.as_bytes()).map_err(failed)? {
                client = client.add_root_certificate(certificate);
            }
        }
        client.build().map_err(failed)
    }
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A server of events of a running app.
struct SseBackend {
    url: Url,
    prefetch: u16,
    client: Client,
}

impl SseBackend {
    fn join(&self, path: &str) -> Result<Url, String> {
        let mut url = self.url.join(path).map_err(|error| format!("the path {path:?} cannot be read: {error}"))?;
        if url.origin() != self.url.origin() {
            return Err(format!(
                "the path {path:?} leads to another server than {}; give that a connection of its own",
                self.url.origin().ascii_serialization()
            ));
        }
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        Ok(url)
    }
}

#[async_trait]
impl Backend for SseBackend {
    fn serves(&self, protocol: Protocol) -> bool {
        protocol == Protocol::Sse
    }

    fn check(&self, queue: &str) -> Result<(), String> {
        self.join(queue).map(|_| ())
    }

    fn default_vhost(&self) -> &str {
        ""
    }

    fn default_prefetch(&self) -> u16 {
        self.prefetch
    }

    async fn declare(&self, _: Arc<str>, _: Vec<Thing>) -> Result<(), Error> {
        Err(Error::configuration("a server of events has nothing to declare"))
    }

    fn consume(&self, subscription: Subscription) -> JoinHandle<()> {
        let span = tracing::info_span!("consumer", path = &*subscription.queue);
        match self.join(&subscription.queue) {
            Ok(url) => tokio::spawn(Consumer::new(self.client.clone(), url, subscription).run().instrument(span)),
            // It was checked when the app started.
            Err(error) => {
                tracing::error!(error, "the path is not consumed");
                tokio::spawn(std::future::ready(()))
            }
        }
    }

    async fn publish(&self, _: Arc<str>, _: Publish) -> Result<(), PublishError> {
        Err(PublishError::new(PublishErrorKind::Invalid, "a server of events publishes nothing"))
    }

    async fn close(&self) {}
}
