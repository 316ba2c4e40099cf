//! What the integration tests share: brokers to test with, an independent client, faults, and worker
//! processes.
//!
//! `cargo xtask test` runs them all; it sets `AMQP_URL` and `XTASK_BROKER`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, missing_debug_implementations)]

mod broker;
mod browser;
pub mod chaos;
mod client;
mod control;
mod events;
mod http;
mod process;
pub mod raw;
pub mod relay;
mod seen;
mod socket;
mod streams;
mod wait;

pub use broker::{Broker, Death, Envelope, Taken};
pub use browser::{Browser, Tab};
pub use client::Client;
pub use control::{Node, amqp_url, broker_address, close_connections_of, control, ctl, try_ctl, unsettled, url_to};
pub use events::Events;
pub use http::{Answer, Http};
pub use process::{Worker, example};
pub use relay::Relay;
pub use seen::{EventSight, Gate, Log, Seen, Sight};
pub use socket::{RawSocket, Socket};
pub use streams::{EventServer, Reply, Request};
pub use wait::{LIMIT, Watchdog, holds, until, until_async};

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// A name that no other test of this or another run has.
pub fn unique(base: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{base}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// An address of this machine's that no other test of this or another run listens at, and no connection comes from: a
/// port that is free there stays so. For what listens at an address that has to be known before, or for a second time.
pub fn own_host() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // All of 127.0.0.0/8 is this machine; a process id has 22 bits.
    let own = std::process::id() * 4 + NEXT.fetch_add(1, Ordering::Relaxed) % 4;
    Ipv4Addr::from(0x7f00_0000 + own % 0x0100_0000)
}

/// Runs each of these `async fn(Broker)` twice: as `memory::name`, in virtual time, and as
/// `rabbitmq::name`.
#[macro_export]
macro_rules! on_both_brokers {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(
                #[tokio::test(start_paused = true)]
                async fn $name() {
                    let watchdog = $crate::Watchdog::start(stringify!($name));
                    let broker = $crate::Broker::memory(stringify!($name));
                    super::$name(broker.clone()).await;
                    broker.clean().await;
                    watchdog.end();
                }
            )*
        }

        mod rabbitmq {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let watchdog = $crate::Watchdog::start(stringify!($name));
                    let broker = $crate::Broker::rabbitmq(stringify!($name)).await;
                    super::$name(broker.clone()).await;
                    broker.clean().await;
                    watchdog.end();
                }
            )*
        }
    };
}
