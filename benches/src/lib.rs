//! What the programs of the benchmark share. `cargo xtask bench` builds and runs them.
//!
//! * Each *worker* is a program of its own around one client library: it takes a [`Job`], does it, and prints its own
//!   figures as a [`Report`], one line of JSON.
//! * [`feed`] stands in for RabbitMQ where the client's own ceiling is to be seen.
//! * The *runner* prepares queues, runs the workers in turn, checks what they say and writes the table.
#![allow(clippy::print_stdout, reason = "its programs talk to each other by standard output")]

pub mod feed;
mod job;
pub mod lapin_worker;
mod milestones;
mod order;
pub mod process;
mod report;
mod tally;

pub use job::{Job, Task, pairs};
pub use milestones::Milestones;
pub use order::{Order, body, now};
pub use report::{Idle, Report};
pub use tally::Tally;

/// What a program of the benchmark ends with when it cannot go on.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// How long a handler waits in the task [`Task::Wait`].
pub const HANDLER_WAIT: std::time::Duration = std::time::Duration::from_millis(10);

/// How many publishes are under way at once in the task [`Task::Publish`].
pub const PUBLISH_WINDOW: usize = 100;
