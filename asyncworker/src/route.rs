//! What a route is: where its messages come from, its options and its handler.

use crate::error::Error;
use crate::handler::{Arity, BindHandler, Handler, Layer, erase};
use crate::settings::Settings;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What becomes of a message when its handler has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Done: `basic.ack`. The message leaves the queue.
    Ack,
    /// Refused for good: `basic.reject` without requeue. The queue's dead-letter exchange gets it where
    /// there is one; else it is gone.
    Reject,
    /// Again: `basic.reject` with requeue. The message goes back to its place in the queue and comes
    /// again, marked as redelivered.
    Requeue,
}

/// What a route consumes, and what a connection serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Queues, by AMQP 0-9-1; who serves them publishes, too.
    Amqp,
    /// Streams of Server-Sent Events.
    Sse,
}

impl Protocol {
    /// What a connection of it has, for an error.
    pub(crate) fn serves(self) -> &'static str {
        match self {
            Self::Amqp => "queues",
            Self::Sse => "events",
        }
    }

    /// What one lane of a route of it consumes, likewise.
    fn lane(self) -> &'static str {
        match self {
            Self::Amqp => "queue",
            Self::Sse => "path",
        }
    }
}

/// How a route bulks, runs and settles. Every option has a default.
///
/// ```
/// use asyncworker::{Action, RouteOptions};
/// use std::time::Duration;
///
/// let options = RouteOptions::new()
///     .bulk_size(100)
///     .bulk_flush_interval(Duration::from_secs(2))
///     .on_exception(Action::Reject);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouteOptions {
    bulk_size: Option<usize>,
    bulk_flush_interval: Option<Duration>,
    on_success: Option<Action>,
    on_exception: Option<Action>,
    on_decode_error: Option<Action>,
    concurrency: Option<usize>,
    timeout: Option<Duration>,
    prefetch: Option<u16>,
    max_body_size: Option<usize>,
}

impl RouteOptions {
    /// All defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Messages a bulk at the most; the bulk that is formed is `min(bulk_size, prefetch)`, because the
    /// broker sends no more than the prefetch before it sees a settlement. Default 1; 0 is refused at
    /// start.
    #[must_use]
    pub fn bulk_size(mut self, messages: usize) -> Self {
        self.bulk_size = Some(messages);
        self
    }

    /// How long a bulk waits to fill, from its first message on. Default `ASYNCWORKER_FLUSH_TIMEOUT`,
    /// else 60 s.
    #[must_use]
    pub fn bulk_flush_interval(mut self, interval: Duration) -> Self {
        self.bulk_flush_interval = Some(interval);
        self
    }

    /// What becomes of an unmarked message when the handler succeeds. Default [`Action::Ack`].
    #[must_use]
    pub fn on_success(mut self, action: Action) -> Self {
        self.on_success = Some(action);
        self
    }

    /// What becomes of an unmarked message when the handler returns an `Err`, panics or runs into its
    /// timeout. Default [`Action::Requeue`].
    #[must_use]
    pub fn on_exception(mut self, action: Action) -> Self {
        self.on_exception = Some(action);
        self
    }

    /// What becomes of an unmarked message whose body was asked for and did not decode; no other
    /// message of its bulk is concerned. Default [`Action::Reject`].
    #[must_use]
    pub fn on_decode_error(mut self, action: Action) -> Self {
        self.on_decode_error = Some(action);
        self
    }

    /// Bulks that are handled side by side at the most. Default: as many as the prefetch allows, or 1 for events.
    /// With 1 bulks are handled in the order they came. 0 is refused at start.
    #[must_use]
    pub fn concurrency(mut self, bulks: usize) -> Self {
        self.concurrency = Some(bulks);
        self
    }

    /// How long one run of the handler may take; after that it is dropped at its next `await` and its
    /// unmarked messages take `on_exception`. Default: as long as it likes.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Messages in flight a queue of this route (`basic.qos`), 1 to 65535. Default: the connection's.
    /// 0 is refused at start: for RabbitMQ it would mean "without a limit".
    ///
    /// Of events: how many a path are held, from the oldest that is not settled on. No more is read than that.
    #[must_use]
    pub fn prefetch(mut self, messages: u16) -> Self {
        self.prefetch = Some(messages);
        self
    }

    /// Bytes of a body at the most. A message with a larger one is rejected by itself, without being kept in
    /// memory or decoded, and no handler sees it; it goes to the queue's dead letters, where it has any.
    /// Default: as large as the broker lets through (`max_message_size` of RabbitMQ).
    #[must_use]
    pub fn max_body_size(mut self, bytes: usize) -> Self {
        self.max_body_size = Some(bytes);
        self
    }
}

/// A handler and where its messages come from: what `#[app::route]` makes, as a value.
///
/// ```
/// use asyncworker::prelude::*;
///
/// async fn count(messages: Batch<Message>) {
///     println!("{} messages", messages.len());
/// }
///
/// let route = Route::amqp(["orders", "orders.late"])
///     .options(RouteOptions::new().bulk_size(100))
///     .handler(count);
/// ```
pub struct Route {
    pub(crate) name: Option<String>,
    pub(crate) protocol: Protocol,
    /// The queues, or the paths of events.
    pub(crate) queues: Vec<String>,
    pub(crate) connection: Option<String>,
    pub(crate) vhost: Option<String>,
    pub(crate) options: RouteOptions,
    pub(crate) layers: Vec<Arc<dyn Layer>>,
    /// The framework's own: the layers of the app are not around it.
    pub(crate) internal: bool,
    pub(crate) handler: Option<Box<dyn BindHandler>>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("name", &self.name)
            .field("protocol", &self.protocol)
            .field("queues", &self.queues)
            .field("connection", &self.connection)
            .field("vhost", &self.vhost)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Route {
    /// A route that consumes these queues. They are consumed, never declared, unless the app is asked
    /// to ([`App::declare`](crate::App::declare)). One bulk may mix messages of all of them.
    pub fn amqp<Q: Into<String>>(queues: impl IntoIterator<Item = Q>) -> Self {
        Self::of(Protocol::Amqp, queues.into_iter().map(Into::into).collect())
    }

    /// A route that consumes the events of these paths, each joined with the base URL of an `Sse` connection as a
    /// browser would resolve a link: `/v2/events` is a path of the server, `events` one beside the last part of the
    /// base URL's path. One bulk may mix events of all of them.
    ///
    /// Its handler takes [`Event`](crate::Event)s. Unless [`RouteOptions::concurrency`] says otherwise, one bulk is
    /// handled at a time, so that events keep their order; there is no virtual host.
    pub fn sse<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self::of(Protocol::Sse, paths.into_iter().map(Into::into).collect())
    }

    fn of(protocol: Protocol, queues: Vec<String>) -> Self {
        Self {
            name: None,
            protocol,
            queues,
            connection: None,
            vhost: None,
            options: RouteOptions::new(),
            layers: Vec::new(),
            internal: false,
            handler: None,
        }
    }

    /// The name that logs, consumer tags and errors show; unique in an app. Default: its queues or paths.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The name of the connection to consume from. It may be left out where the app has only one broker; of events where it
    /// has only one `Sse`, or none and only one `Memory`.
    #[must_use]
    pub fn connection(mut self, name: impl Into<String>) -> Self {
        self.connection = Some(name.into());
        self
    }

    /// The virtual host, verbatim. Default: the connection's. A route of events has none.
    #[must_use]
    pub fn vhost(mut self, vhost: impl Into<String>) -> Self {
        self.vhost = Some(vhost.into());
        self
    }

    /// How the route bulks, runs and settles.
    #[must_use]
    pub fn options(mut self, options: RouteOptions) -> Self {
        self.options = options;
        self
    }

    /// Puts a layer around the handler of this route, inside those of the app; the first one added is
    /// the outermost.
    #[must_use]
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }

    /// The handler: an `async fn` over a [`Batch`](crate::Batch), or over one
    /// [`Message`](crate::Message), [`Event`](crate::Event) or [`Body`](crate::Body) at a time.
    #[must_use]
    pub fn handler<A: 'static>(mut self, handler: impl Handler<A>) -> Self {
        self.handler = Some(erase(handler));
        self
    }

    /// The name to show: the given one, else the queues.
    pub(crate) fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.queues.join(","))
    }
}

/// The options of a mounted route, checked and with every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Policy {
    /// `min(bulk_size, prefetch)`.
    pub(crate) bulk: usize,
    pub(crate) flush_interval: Duration,
    pub(crate) on_success: Action,
    pub(crate) on_exception: Action,
    pub(crate) on_decode_error: Action,
    /// `usize::MAX` where only the prefetch is the limit.
    pub(crate) concurrency: usize,
    pub(crate) timeout: Option<Duration>,
    pub(crate) prefetch: u16,
    /// `usize::MAX` where only the broker's is the limit.
    pub(crate) max_body: usize,
}

impl Policy {
    /// Checks a route's options and fills in what is not said.
    ///
    /// # Errors
    /// Names the route, the option and what would be right.
    pub(crate) fn of(route: &Route, connection_prefetch: u16, settings: &Settings) -> Result<Self, Error> {
        let label = route.label();
        let refuse = |what: &str| Err(Error::configuration(format!("route `{label}`: {what}")));
        let options = &route.options;
        let lane = route.protocol.lane();
        if route.queues.is_empty() {
            return refuse(&format!("it names no {lane} to consume"));
        }
        for (index, queue) in route.queues.iter().enumerate() {
            if queue.is_empty() {
                return refuse(&format!("the name of a {lane} is empty"));
            }
            if route.protocol == Protocol::Amqp && queue.len() > 255 {
                return refuse(&format!("the queue name {queue:?} is longer than 255 bytes (AMQP 0-9-1 short string)"));
            }
            if route.queues[..index].contains(queue) {
                return refuse(&format!("the {lane} {queue:?} is named twice"));
            }
        }
        if route.protocol == Protocol::Sse && route.vhost.is_some() {
            return refuse("it names a virtual host, and events have none; leave it out");
        }
        if options.bulk_size == Some(0) {
            return refuse("bulk_size is 0; it must be at least 1");
        }
        if options.concurrency == Some(0) {
            return refuse("concurrency is 0; it must be at least 1");
        }
        if options.timeout == Some(Duration::ZERO) {
            return refuse("timeout is 0; leave it out for no timeout");
        }
        let prefetch = options.prefetch.unwrap_or(connection_prefetch);
        if prefetch == 0 {
            return refuse(match route.protocol {
                Protocol::Amqp => "prefetch is 0, which means no limit to RabbitMQ; it must be from 1 to 65535",
                Protocol::Sse => "prefetch is 0, so that no event could be read; it must be from 1 to 65535",
            });
        }
        let bulk_size = options.bulk_size.unwrap_or(1);
        match &route.handler {
            None => return refuse("it has no handler; add `.handler(..)`"),
            Some(handler) if handler.arity() == Arity::One && bulk_size > 1 => {
                let (one, many) = match route.protocol {
                    Protocol::Amqp => ("message", "Batch<Message<T>>"),
                    Protocol::Sse => ("event", "Batch<Event<T>>"),
                };
                return refuse(&format!(
                    "bulk_size is {bulk_size} but its handler takes one {one} at a time; take `{many}` or leave bulk_size out"
                ));
            }
            Some(_) => {}
        }
        Ok(Self {
            bulk: bulk_size.min(usize::from(prefetch)),
            flush_interval: options.bulk_flush_interval.unwrap_or(settings.bulk_flush_interval),
            on_success: options.on_success.unwrap_or(Action::Ack),
            on_exception: options.on_exception.unwrap_or(Action::Requeue),
            on_decode_error: options.on_decode_error.unwrap_or(Action::Reject),
            concurrency: options.concurrency.unwrap_or(match route.protocol {
                Protocol::Amqp => usize::MAX,
                // What events tell mostly depends on their order.
                Protocol::Sse => 1,
            }),
            timeout: options.timeout,
            prefetch,
            max_body: options.max_body_size.unwrap_or(usize::MAX),
        })
    }
}
