//! What a handler may take as arguments.

use super::Failure;
use crate::message::{Batch, Bulk, Event, Headers, Message, Properties, decode};
use crate::publish::{NO_CONNECTION, Publisher};
use crate::route::Protocol;
use crate::state::{StateMap, needed};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::ops::Deref;

/// How many messages of its bulk an argument stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// Nothing to do with the messages: fits any bulk.
    Any,
    /// The one message of a bulk of one.
    One,
    /// All of them.
    Many,
}

/// What a handler may take as an argument.
///
/// What it needs of the app is looked up once, when the app starts ([`resolve`](Self::resolve)); each
/// bulk then only passes by [`extract`](Self::extract).
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}`",
    label = "not something a handler may take",
    note = "it may take `Batch<Message<T>>`, `Message<T>`, `Batch<Event<T>>`, `Event<T>`, `Body<T>`, `Headers`, `Properties`, `Bytes`, `State<T>`, `Publisher`, `Emitter`, `Tasks` and `Status`, where `T` is `Deserialize` (or `Clone` for `State`), `Send`, `Sync` and `'static`"
)]
pub trait Extract: Sized + Send + 'static {
    /// What was looked up at start.
    type Resolved: Clone + Send + Sync + 'static;

    /// How many messages the argument stands for.
    const ARITY: Arity = Arity::Any;

    /// Looks up what the argument needs of the app.
    ///
    /// # Errors
    /// The app has no such thing, in words that say what is missing; it becomes a start-up error that
    /// names the route.
    fn resolve(scope: &Scope<'_>) -> Result<Self::Resolved, String>;

    /// Makes the argument for this bulk.
    ///
    /// # Errors
    /// The handler is not called, and the failure is its failure.
    fn extract(resolved: &Self::Resolved, bulk: &Bulk) -> Result<Self, Failure>;

    /// The same for the last argument, which may keep the bulk rather than a clone of it.
    #[doc(hidden)]
    fn extract_last(resolved: &Self::Resolved, bulk: Bulk) -> Result<Self, Failure> {
        Self::extract(resolved, &bulk)
    }
}

/// What an argument may ask of the app at start.
#[derive(Debug)]
pub struct Scope<'a> {
    pub(crate) state: &'a StateMap,
    /// The route's; a schedule has none.
    pub(crate) protocol: Option<Protocol>,
    pub(crate) publisher: Publisher,
}

impl<'a> Scope<'a> {
    /// Outside of routes.
    pub(crate) fn of_app(state: &'a StateMap, publisher: &Publisher) -> Self {
        Self { state, protocol: None, publisher: publisher.clone() }
    }

    /// The state of this type, if the app has one.
    #[must_use]
    pub fn state<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.state.get()
    }

    /// A publisher on the route's connection and virtual host, or on the first connection that publishes where that of
    /// the route does not.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Nothing, if the route is of this protocol; else what to say of an argument that is not for it.
    fn only_of(&self, protocol: Protocol, argument: &str) -> Result<(), String> {
        match (self.protocol == Some(protocol), protocol) {
            (true, _) => Ok(()),
            (false, Protocol::Amqp) => {
                Err(format!("it takes {argument} of a queue, and its events come as `Event<T>`, `Body<T>` or `Bytes`"))
            }
            (false, Protocol::Sse) => Err(format!(
                "it takes {argument} of a stream, and what comes from its queues is `Message<T>`, `Body<T>` or `Bytes`"
            )),
        }
    }
}

/// A value the app was given by [`App::state`](crate::App::state), cloned for each run; so it is most
/// often an `Arc`. A type that the app does not have is a start-up error.
#[derive(Debug, Clone, Copy)]
pub struct State<T>(pub T);

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone + Send + Sync + 'static> Extract for State<T> {
    type Resolved = T;

    fn resolve(scope: &Scope<'_>) -> Result<T, String> {
        needed(scope.state)
    }

    fn extract(resolved: &T, _: &Bulk) -> Result<Self, Failure> {
        Ok(Self(resolved.clone()))
    }
}

impl Extract for Publisher {
    type Resolved = Self;

    fn resolve(scope: &Scope<'_>) -> Result<Self, String> {
        let publisher = scope.publisher();
        if !publisher.has_connection() {
            return Err(format!("it takes a `Publisher`, and {NO_CONNECTION}"));
        }
        Ok(publisher)
    }

    fn extract(resolved: &Self, _: &Bulk) -> Result<Self, Failure> {
        Ok(resolved.clone())
    }
}

/// An argument that is made of all messages of a bulk.
macro_rules! extract_many {
    ($item:ident, $protocol:ident, $argument:literal) => {
        impl<T: Send + Sync + 'static> Extract for Batch<$item<T>> {
            type Resolved = ();

            const ARITY: Arity = Arity::Many;

            fn resolve(scope: &Scope<'_>) -> Result<(), String> {
                scope.only_of(Protocol::$protocol, $argument)
            }

            fn extract((): &(), bulk: &Bulk) -> Result<Self, Failure> {
                Ok(Self::of(bulk))
            }
        }
    };
}

extract_many!(Message, Amqp, "`Batch<Message<T>>`");
extract_many!(Event, Sse, "`Batch<Event<T>>`");

/// An argument that is the one message of a bulk, and keeps the bulk.
macro_rules! extract_item {
    ($item:ident, $protocol:ident, $argument:literal) => {
        impl<T: Send + Sync + 'static> Extract for $item<T> {
            type Resolved = ();

            const ARITY: Arity = Arity::One;

            fn resolve(scope: &Scope<'_>) -> Result<(), String> {
                scope.only_of(Protocol::$protocol, $argument)
            }

            fn extract(resolved: &(), bulk: &Bulk) -> Result<Self, Failure> {
                Self::extract_last(resolved, bulk.clone())
            }

            fn extract_last((): &(), bulk: Bulk) -> Result<Self, Failure> {
                Ok(Self::new(bulk, 0))
            }
        }
    };
}

extract_item!(Message, Amqp, "a `Message<T>`");
extract_item!(Event, Sse, "an `Event<T>`");

/// The decoded body of one message. A body that does not decode never reaches the handler: the message
/// takes the route's `on_decode_error`.
#[derive(Debug, Clone, Copy)]
pub struct Body<T>(pub T);

impl<T> Deref for Body<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// An argument that is made of the one message of a bulk of one.
macro_rules! extract_one {
    (impl [$($generics:tt)*] $type:ty, |$scope:ident| $resolve:expr, |$bulk:ident| $make:expr) => {
        impl<$($generics)*> Extract for $type {
            type Resolved = ();

            const ARITY: Arity = Arity::One;

            fn resolve($scope: &Scope<'_>) -> Result<(), String> {
                $resolve
            }

            fn extract((): &(), $bulk: &Bulk) -> Result<Self, Failure> {
                $make
            }
        }
    };
}

extract_one!(impl [T: DeserializeOwned + Send + 'static] Body<T>, |_scope| Ok(()), |bulk| {
    Ok(Self(decode(&bulk.entries()[0])?))
});
extract_one!(impl [] Bytes, |_scope| Ok(()), |bulk| Ok(bulk.entries()[0].delivery.body.clone()));
extract_one!(impl [] Properties, |scope| scope.only_of(Protocol::Amqp, "the `Properties`"), |bulk| {
    Ok(bulk.entries()[0].delivery.properties.get().cloned().unwrap_or_default())
});
extract_one!(impl [] Headers, |scope| scope.only_of(Protocol::Amqp, "the `Headers`"), |bulk| {
    Ok(bulk.entries()[0].delivery.properties.get().map(|p| p.headers.clone()).unwrap_or_default())
});
