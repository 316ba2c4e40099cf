#![doc = include_str!("../docs/crate.md")]
// Without a broker there is nobody to declare, publish and lose a channel for; the crate builds all the same.
#![cfg_attr(not(any(feature = "amqp", feature = "memory")), allow(dead_code))]

mod app;
mod backend;
mod emitter;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod handler;
#[cfg(feature = "http")]
pub mod http;
mod message;
mod meter;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "otel")]
mod otel;
mod publish;
#[cfg(feature = "http")]
mod room;
mod route;
mod schedule;
mod service;
mod settings;
mod state;
mod status;
mod task;
pub mod telemetry;
mod throttle;
mod timeit;
mod topology;
mod worker;

pub use app::{App, Context, Mount, Running};
pub use async_trait::async_trait;
pub use backend::Connection;
#[cfg(feature = "amqp")]
pub use backend::amqp::Amqp;
#[cfg(feature = "__counts")]
#[doc(hidden)]
pub use backend::amqp::piped::piped as __piped;
#[cfg(feature = "memory")]
pub use backend::memory::{Memory, MemoryMessage};
#[cfg(feature = "sse")]
pub use backend::sse::{EventIdFile, EventIds, Sse};
pub use bytes::Bytes;
pub use emitter::{EmitError, Emitter};
pub use error::{Error, ErrorKind};
pub use handler::{
    Arity, Body, Extract, Failure, Handler, IntoOutcome, IntoResult, ItemHandler, Layer, Next, Outcome, Scope, State,
};
pub use message::{Batch, Bulk, DecodeError, Event, HeaderValue, Headers, Marks, Message, Properties};
#[cfg(feature = "metrics")]
pub use metrics::Metrics;
pub use publish::{Publish, PublishError, PublishErrorKind, Publisher};
#[cfg(feature = "http")]
pub use room::{Overflow, Participant, RoomBridge, RoomEvent, RoomMessage, RoomOptions, RoomSocket, Rooms};
pub use route::{Action, Route, RouteOptions};
pub use schedule::Schedule;
pub use service::{IntoService, PutError, QueueService, Restart, Service, ServiceContext, Supervised};
pub use status::{QueueStatus, RouteStatus, ScheduleStatus, ServiceState, ServiceStatus, Status};
pub use task::{
    RunId, StopOnDrop, Stopped, Task, TaskError, TaskHandle, TaskKind, TaskOutcome, TaskRun, TaskState, TaskStatus,
    Tasks, TasksWatch,
};
pub use timeit::{Timeit, TimeitOutcome, TimeitReport, Transactions};
pub use topology::{Binding, Declaration, Exchange, Queue};

#[cfg(all(feature = "macros", feature = "cron"))]
pub use asyncworker_macros::cron;
#[cfg(all(feature = "http", feature = "macros"))]
pub use asyncworker_macros::{delete, get, head, patch, post, put, ws};
#[cfg(feature = "macros")]
pub use asyncworker_macros::{route, run_every, sse, timeit};

/// What a worker's file imports.
pub mod prelude {
    #[cfg(feature = "amqp")]
    pub use crate::Amqp;
    #[cfg(feature = "memory")]
    pub use crate::Memory;
    #[cfg(feature = "metrics")]
    pub use crate::Metrics;
    #[cfg(feature = "sse")]
    pub use crate::Sse;
    #[cfg(feature = "http")]
    pub use crate::http::{Endpoint, Http};
    #[cfg(feature = "macros")]
    pub use crate::routes;
    pub use crate::{
        Action, App, Batch, Binding, Body, Emitter, Event, Exchange, Failure, Headers, Layer, Message, Properties,
        Publish, Publisher, Queue, Route, RouteOptions, Schedule, State, Task, TaskHandle, TaskRun, Tasks, Timeit,
        TimeitOutcome, TimeitReport,
    };
}

/// What the attributes' expansions name. Not part of the public API.
#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod __private {
    pub use crate::timeit::observed as timeit;
    pub use inventory;

    /// What the attributes of HTTP name.
    #[cfg(feature = "http")]
    pub mod http {
        pub use crate::http::{Argument, IntoResponse, Need, NeedsNothing, WebSocket};
        pub use axum::extract::{FromRequest, FromRequestParts};
    }

    /// A function that has an attribute of ours.
    pub trait Mounted {
        /// What its attributes make, in their order.
        fn mounts() -> Vec<crate::Mount>;
    }

    /// What the attributes of one function make.
    #[derive(Debug)]
    pub struct Discovered {
        pub(crate) mounts: fn() -> Vec<crate::Mount>,
    }

    impl Discovered {
        /// Found at link time.
        #[must_use]
        pub const fn new(mounts: fn() -> Vec<crate::Mount>) -> Self {
            Self { mounts }
        }
    }

    inventory::collect!(Discovered);
}

/// What the attributes of these functions make, for `App::mount`: `routes![index, billing::receipt]`.
#[cfg(feature = "macros")]
#[macro_export]
macro_rules! routes {
    ($($handler:path),* $(,)?) => {{
        #[allow(unused_mut)]
        let mut mounts: ::std::vec::Vec<$crate::Mount> = ::std::vec::Vec::new();
        $(mounts.extend(<$handler as $crate::__private::Mounted>::mounts());)*
        mounts
    }};
}

/// The programs of the README, compiled and run with the tests.
#[cfg(all(doctest, feature = "amqp", feature = "macros", feature = "memory"))]
#[doc = include_str!("../../README.md")]
struct Readme;

/// Those of the guide.
#[cfg(all(
    doctest,
    feature = "amqp",
    feature = "cron",
    feature = "http",
    feature = "macros",
    feature = "memory",
    feature = "sse"
))]
#[doc = include_str!("../../docs/guide.md")]
struct Guide;
