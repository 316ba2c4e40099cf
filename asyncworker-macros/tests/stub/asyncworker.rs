// As much of `asyncworker` as an expansion names: these tests are about the macro alone, and need no dependency on the
// crate that depends on it. Included, not a module, for the expansion's paths begin at the root: `::asyncworker::..`.

extern crate self as asyncworker;

pub use stub::{http, Action, Arity, Extract, IntoOutcome, IntoResult, Message, Mount, Route, RouteOptions, Schedule};

#[doc(hidden)]
pub mod __private {
    pub use crate::stub::{Discovered, Mounted, http, inventory};
}

#[allow(dead_code, unused_macros, unused_imports, missing_docs, missing_debug_implementations, unreachable_pub)]
mod stub {
    use std::time::Duration;

    #[derive(Debug, Clone, Copy, PartialEq)]
    pub enum Arity {
        Any,
        One,
    }

    pub trait Extract {
        const ARITY: Arity = Arity::Any;
    }
    impl Extract for u32 {}
    impl Extract for String {}

    #[derive(Debug)]
    pub struct Message;
    impl Extract for Message {
        const ARITY: Arity = Arity::One;
    }

    pub trait IntoResult {}
    impl IntoResult for () {}

    pub trait IntoOutcome {}
    impl IntoOutcome for () {}
    impl IntoOutcome for Action {}

    #[derive(Debug, Clone, Copy, PartialEq)]
    pub enum Action {
        Ack,
        Reject,
        Requeue,
    }

    pub type Mount = Route;

    #[derive(Debug, Default, PartialEq)]
    pub struct Route {
        pub queues: Vec<String>,
        pub paths: Vec<String>,
        pub name: String,
        pub vhost: Option<String>,
        pub connection: Option<String>,
        pub options: RouteOptions,
        pub endpoint: Option<http::Endpoint>,
        pub schedule: Option<Schedule>,
    }

    impl From<http::Endpoint> for Route {
        fn from(endpoint: http::Endpoint) -> Self {
            Self { name: endpoint.name.clone(), endpoint: Some(endpoint), ..Self::default() }
        }
    }

    impl Route {
        pub fn amqp<Q: Into<String>>(queues: impl IntoIterator<Item = Q>) -> Self {
            Self { queues: queues.into_iter().map(Into::into).collect(), ..Self::default() }
        }
        pub fn sse<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> Self {
            Self { paths: paths.into_iter().map(Into::into).collect(), ..Self::default() }
        }
        pub fn name(self, name: impl Into<String>) -> Self {
            Self { name: name.into(), ..self }
        }
        pub fn vhost(self, vhost: impl Into<String>) -> Self {
            Self { vhost: Some(vhost.into()), ..self }
        }
        pub fn connection(self, connection: impl Into<String>) -> Self {
            Self { connection: Some(connection.into()), ..self }
        }
        pub fn options(self, options: RouteOptions) -> Self {
            Self { options, ..self }
        }
        pub fn handler<H>(self, _: H) -> Self {
            self
        }
    }

    #[derive(Debug, Default, PartialEq)]
    pub struct Schedule {
        pub interval: Duration,
        pub pattern: String,
        pub name: String,
        pub timezone: Option<String>,
        pub max_concurrency: Option<usize>,
        pub jitter: Option<Duration>,
        pub timeout: Option<Duration>,
    }

    impl Schedule {
        pub fn every(interval: Duration) -> Self {
            Self { interval, ..Self::default() }
        }
        pub fn cron(pattern: impl Into<String>) -> Self {
            Self { pattern: pattern.into(), ..Self::default() }
        }
        pub fn name(self, name: impl Into<String>) -> Self {
            Self { name: name.into(), ..self }
        }
        pub fn timezone(self, timezone: impl Into<String>) -> Self {
            Self { timezone: Some(timezone.into()), ..self }
        }
        pub fn max_concurrency(self, runs: usize) -> Self {
            Self { max_concurrency: Some(runs), ..self }
        }
        pub fn jitter(self, longest: Duration) -> Self {
            Self { jitter: Some(longest), ..self }
        }
        pub fn timeout(self, timeout: Duration) -> Self {
            Self { timeout: Some(timeout), ..self }
        }
        pub fn handler<H>(self, _: H) -> Self {
            self
        }
    }

    // The stub mounts routes; what else is mounted is a route that has it.
    impl From<Schedule> for Route {
        fn from(schedule: Schedule) -> Self {
            Self { name: schedule.name.clone(), schedule: Some(schedule), ..Self::default() }
        }
    }

    #[derive(Debug, Default, PartialEq)]
    pub struct RouteOptions {
        pub bulk_size: Option<usize>,
        pub bulk_flush_interval: Option<Duration>,
        pub on_success: Option<Action>,
        pub on_exception: Option<Action>,
        pub on_decode_error: Option<Action>,
        pub concurrency: Option<usize>,
        pub timeout: Option<Duration>,
        pub prefetch: Option<u16>,
    }

    macro_rules! setters {
        ($($name:ident: $type:ty),*) => {
            impl RouteOptions {
                pub fn new() -> Self {
                    Self::default()
                }
                $(pub fn $name(self, $name: $type) -> Self {
                    Self { $name: Some($name), ..self }
                })*
            }
        };
    }
    setters!(bulk_size: usize, bulk_flush_interval: Duration, on_success: Action, on_exception: Action,
        on_decode_error: Action, concurrency: usize, timeout: Duration, prefetch: u16);

    /// As much of HTTP: what a request carries is an extractor before the last, a body is one at the end.
    pub mod http {
        use std::marker::PhantomData;

        pub trait FromRequestParts<S> {}
        impl FromRequestParts<()> for u32 {}
        impl FromRequestParts<()> for State {}

        pub trait FromRequest<S, M> {}
        pub struct ViaParts;
        impl<T: FromRequestParts<()>> FromRequest<(), ViaParts> for T {}
        impl FromRequest<(), ()> for String {}

        pub trait IntoResponse {}
        impl IntoResponse for () {}
        impl IntoResponse for u32 {}

        pub struct WebSocket;
        pub struct State;

        #[derive(Debug, Clone, Copy, PartialEq)]
        pub struct Need;
        pub struct Argument<T>(PhantomData<T>);
        impl<T> Argument<T> {
            pub const TYPE: Self = Self(PhantomData);
        }
        impl Argument<State> {
            pub fn needs(&self) -> Option<Need> {
                Some(Need)
            }
        }
        pub trait NeedsNothing {
            fn needs(&self) -> Option<Need> {
                None
            }
        }
        impl<T> NeedsNothing for Argument<T> {}

        #[derive(Debug, Default, PartialEq)]
        pub struct Endpoint {
            pub method: &'static str,
            pub paths: Vec<String>,
            pub name: String,
            pub body_limit: Option<usize>,
            pub needs: usize,
        }

        macro_rules! constructors {
            ($($method:ident)*) => {
                $(pub fn $method<P: Into<String>, F>(paths: impl IntoIterator<Item = P>, _: F) -> Self {
                    let paths = paths.into_iter().map(Into::into).collect();
                    Self { method: stringify!($method), paths, ..Self::default() }
                })*
            };
        }

        impl Endpoint {
            constructors!(get head post put patch delete ws);
            pub fn name(self, name: impl Into<String>) -> Self {
                Self { name: name.into(), ..self }
            }
            pub fn body_limit(self, bytes: usize) -> Self {
                Self { body_limit: Some(bytes), ..self }
            }
            pub fn __needs(self, needs: impl IntoIterator<Item = Need>) -> Self {
                Self { needs: needs.into_iter().count(), ..self }
            }
        }
    }

    pub trait Mounted {
        fn mounts() -> Vec<Mount>;
    }

    pub struct Discovered(pub fn() -> Vec<Mount>);

    impl Discovered {
        pub const fn new(mounts: fn() -> Vec<Mount>) -> Self {
            Self(mounts)
        }
    }

    pub mod inventory {
        macro_rules! submit {
            ($value:expr) => {
                const _: crate::stub::Discovered = $value;
            };
        }
        pub(crate) use submit;
    }
}

#[allow(unused_macros)]
macro_rules! routes {
    ($($name:path),*) => {{
        let mut routes = Vec::new();
        $(routes.extend(<$name as ::asyncworker::__private::Mounted>::mounts());)*
        routes
    }};
}
