//! Server-Sent Events, by reqwest: the only place where it is named.

mod client;
mod consumer;
mod ids;
mod ledger;
mod opened;
mod parser;

pub use ids::{EventIdFile, EventIds};
#[cfg(any(test, fuzzing))]
pub(crate) use parser::fuzzing;

use super::Connection;
use super::report::FailureHook;
use crate::error::Error;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

const LARGEST_EVENT: usize = 1024 * 1024;

/// A server of events (`text/event-stream`) to [connect](crate::App::connect) to.
///
/// Each path of a route is joined with the base URL, as a browser would resolve a link, and is a stream of its own. It is
/// read by the rules of the WHATWG HTML standard, "Server-sent events".
///
/// ```
/// use asyncworker::{EventIdFile, Sse};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), asyncworker::Error> {
/// let events = Sse::new("https://events.example.com/")?
///     .bearer_auth("secret")
///     .header("x-team", "asgard")?
///     .idle_timeout(Duration::from_secs(90))
///     .event_ids(EventIdFile::new("/var/lib/my-worker/ids.json"));
/// # Ok(()) }
/// ```
///
/// # What becomes of a stream
///
/// It is asked for with `Accept: text/event-stream`, `Cache-Control: no-cache` and, once the server has given ids,
/// `Last-Event-ID`. A worker is not a browser, so that not all answers mean the same to it:
///
/// | answer | browser | here |
/// |---|---|---|
/// | 200 with `text/event-stream` | reads it | reads it |
/// | 200 with another content type, or none | stops | stops, with an error in the log |
/// | 204 | stops | stops |
/// | 301, 302, 303, 307, 308 | follows | follows, up to 20; credentials and headers stay at home |
/// | 5xx, 429 | stops | comes back after a pause, not before `Retry-After` |
/// | any other | stops | stops, with an error in the log |
/// | no answer, or the stream ends | comes back | comes back after a pause |
///
/// [`retry_status`](Self::retry_status) says otherwise of a status. The pause is the server's reconnection time (`retry`),
/// else 1 s, doubles up to 30 s while nothing comes, and has jitter. A path that has stopped leaves the others alone.
///
/// # At least once
///
/// `Last-Event-ID` names the last event that is *done with*, together with all before it, and never one that was only
/// read. So a server that resumes repeats what was not handled. What this app still holds of that is known by its id, name
/// and data, and not handled twice; after a restart ([`event_ids`](Self::event_ids)) it may be. A server that gives no ids
/// cannot resume, and what it sends while nobody listens is gone.
///
/// An event that is requeued is kept and handled again after 100 ms, doubling up to 30 s. The stream is not resumed after
/// it, and read no further than the prefetch beyond it: an event that fails for ever stops its path, so let it be
/// rejected at last.
///
/// Proxies are taken from the environment (`HTTPS_PROXY`, `NO_PROXY` and so on).
#[derive(Clone)]
pub struct Sse {
    url: Url,
    name: Option<String>,
    prefetch: Option<u16>,
    credentials: Option<Credentials>,
    headers: HeaderMap,
    connect_timeout: Duration,
    idle_timeout: Option<Duration>,
    backoff: (Duration, Duration),
    largest_event: usize,
    gzip: bool,
    last_event_id: Option<String>,
    ids: Option<Arc<dyn EventIds>>,
    retry_status: Arc<dyn Fn(u16) -> bool + Send + Sync>,
    ca_certificates: Vec<String>,
    on_connection_failure: Option<FailureHook>,
}

#[derive(Clone)]
enum Credentials {
    Basic { user: String, password: String },
    Bearer { token: String },
}

impl fmt::Debug for Sse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sse")
            .field("url", &without_query(&self.url))
            .field("name", &self.name)
            .field("prefetch", &self.prefetch)
            .finish_non_exhaustive()
    }
}

impl Sse {
    /// The server at this base URL, `http` or `https`. A user and a password in it are taken for
    /// [`basic_auth`](Self::basic_auth).
    ///
    /// # Errors
    /// What is wrong with the URL. The error never shows the URL itself.
    pub fn new(url: &str) -> Result<Self, Error> {
        let refuse = |why: &str| Error::configuration(format!("the URL of a server of events {why}"));
        let mut url = Url::parse(url).map_err(|error| refuse(&format!("cannot be read: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse(&format!("begins with `{}:`; it must be `http:` or `https:`", url.scheme())));
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let credentials = (!url.username().is_empty() || url.password().is_some()).then(|| Credentials::Basic {
            user: decoded(url.username()),
            password: decoded(url.password().unwrap_or_default()),
        });
        // An HTTP URL has a host, and so these do not fail.
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        Ok(Self {
            url,
            name: None,
            prefetch: None,
            credentials,
            headers: HeaderMap::new(),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: None,
            backoff: (Duration::from_secs(1), Duration::from_secs(30)),
            largest_event: LARGEST_EVENT,
            gzip: true,
            last_event_id: None,
            ids: None,
            retry_status: Arc::new(|status| status >= 500 || status == 429),
            ca_certificates: Vec::new(),
            on_connection_failure: None,
        })
    }

    /// The name that routes choose it by; needed where the app has several of them.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// User and password, by `Authorization: Basic`. No other origin gets them, wherever a redirect leads.
    #[must_use]
    pub fn basic_auth(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some(Credentials::Basic { user: user.into(), password: password.into() });
        self
    }

    /// A token, by `Authorization: Bearer`. No other origin gets it, wherever a redirect leads.
    #[must_use]
    pub fn bearer_auth(mut self, token: impl Into<String>) -> Self {
        self.credentials = Some(Credentials::Bearer { token: token.into() });
        self
    }

    /// A header of every request to this server. No other origin gets it, wherever a redirect leads. The last value of a
    /// name wins.
    ///
    /// # Errors
    /// HTTP cannot carry this name or value, or the name is one that the connection sets itself: `Accept`,
    /// `Cache-Control`, `Last-Event-ID`.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, Error> {
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Error::configuration(format!("{name:?} is not the name of an HTTP header")))?;
        if [ACCEPT, CACHE_CONTROL].contains(&header) || header == "last-event-id" {
            return Err(Error::configuration(format!(
                "the header `{header}` is set by the connection itself (`Last-Event-ID` by `.last_event_id(..)`)"
            )));
        }
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| Error::configuration(format!("the value of the header `{header}` cannot be sent by HTTP")))?;
        value.set_sensitive(true);
        self.headers.insert(header, value);
        Ok(self)
    }

    /// Events held a path, of routes that say nothing: how far it is read beyond the oldest event that is not done with.
    /// Default 128; 0 is refused at start.
    #[must_use]
    pub fn prefetch(mut self, events: u16) -> Self {
        self.prefetch = Some(events);
        self
    }

    /// The pause after a failure: the first, and the longest it doubles to. Default 1 s and 30 s. A reconnection time
    /// that the server gives goes before the first.
    #[must_use]
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = (first, longest);
        self
    }

    /// Which answers, by their status, are to be asked again for after a pause. Default: 5xx and 429. All others but
    /// 200, 204 and redirects stop the path, with an error in the log.
    #[must_use]
    pub fn retry_status(mut self, retry: impl Fn(u16) -> bool + Send + Sync + 'static) -> Self {
        self.retry_status = Arc::new(retry);
        self
    }

    /// How long it may take to connect, TLS included. Default 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a server may say nothing, not even a comment, before its stream is given up and asked for again; its
    /// answer has as long to begin. Default: as long as it likes, for many servers say nothing until something happens.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Bytes of an event's data at the most. A larger event is skipped without being kept in memory, and said so in the
    /// log; the stream goes on, and is resumed after it. Default 1 MiB. A route's `max_body_size` may say less.
    #[must_use]
    pub fn largest_event(mut self, bytes: usize) -> Self {
        self.largest_event = bytes;
        self
    }

    /// Whether servers may compress. Default `true`, as in browsers.
    #[must_use]
    pub fn gzip(mut self, gzip: bool) -> Self {
        self.gzip = gzip;
        self
    }

    /// What a path is resumed after that has no id yet, as if the event of this id had been handled.
    #[must_use]
    pub fn last_event_id(mut self, id: impl Into<String>) -> Self {
        self.last_event_id = Some(id.into());
        self
    }

    /// Where the ids of handled events are kept over a restart: an [`EventIdFile`], say. Default: nowhere, so that an app
    /// that is started again takes what is sent from then on.
    #[must_use]
    pub fn event_ids(mut self, ids: impl EventIds) -> Self {
        self.ids = Some(Arc::new(ids));
        self
    }

    /// Certificate authorities to trust besides the system's, in PEM.
    #[must_use]
    pub fn ca_certificates(mut self, pem: impl Into<String>) -> Self {
        self.ca_certificates.push(pem.into());
        self
    }

    /// Called at each attempt that fails, when a stream is lost, and when a path stops for good, with the error and the
    /// number of failures in a row. It is called on the path's task: it must not block.
    #[must_use]
    pub fn on_connection_failure(mut self, hook: impl Fn(&Error, u64) + Send + Sync + 'static) -> Self {
        self.on_connection_failure = Some(Arc::new(hook));
        self
    }
}

impl From<Sse> for Connection {
    fn from(sse: Sse) -> Self {
        Self(Box::new(sse))
    }
}

fn without_query(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}
