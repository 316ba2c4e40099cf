//! What a worker is asked to do, as `key=value` arguments: a C program reads those as easily.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Handle what is in the queue.
    Drain,
    /// The same, and nobody parses: bodies are bytes of any number.
    Bytes,
    /// The same, and each handler waits for 10 ms.
    Wait,
    /// Handle what comes in, and say how old each message was when its handler started.
    Latency,
    /// Publish, confirmed.
    Publish,
    /// Consume, and nothing comes.
    Idle,
}

impl Task {
    const ALL: [Self; 6] = [Self::Drain, Self::Bytes, Self::Wait, Self::Latency, Self::Publish, Self::Idle];
}

/// One run of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// What to do.
    pub task: Task,
    /// The broker's port on this machine.
    pub port: u16,
    /// The queue to consume from or to publish to.
    pub queue: String,
    /// The worker ends after so many.
    pub messages: u64,
    /// Queues that share them, each with a route of its own.
    pub routes: u32,
    /// How long to watch a worker that has nothing to do.
    pub seconds: u64,
    /// The consumer's prefetch.
    pub prefetch: u16,
    /// Messages a bulk.
    pub bulk: usize,
    /// Bytes of a body to publish.
    pub body: usize,
}

impl Job {
    /// The job in this process's arguments.
    ///
    /// # Errors
    /// What is missing or cannot be read.
    pub fn from_args() -> Result<Self, Error> {
        Self::parse(std::env::args().skip(1))
    }

    fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, Error> {
        let pairs = pairs(arguments);
        Ok(Self {
            task: value(&pairs, "task")?,
            port: value(&pairs, "port")?,
            queue: value(&pairs, "queue")?,
            messages: value(&pairs, "messages")?,
            routes: value(&pairs, "routes")?,
            seconds: value(&pairs, "seconds")?,
            prefetch: value(&pairs, "prefetch")?,
            bulk: value(&pairs, "bulk")?,
            body: value(&pairs, "body")?,
        })
    }

    /// The arguments that say this job.
    #[must_use]
    pub fn to_args(&self) -> Vec<String> {
        let Self { task, port, queue, messages, routes, seconds, prefetch, bulk, body } = self;
        vec![
            format!("task={task}"),
            format!("port={port}"),
            format!("queue={queue}"),
            format!("messages={messages}"),
            format!("routes={routes}"),
            format!("seconds={seconds}"),
            format!("prefetch={prefetch}"),
            format!("bulk={bulk}"),
            format!("body={body}"),
        ]
    }

    /// How many messages the hand-written loops let pass before they ack them by one frame. They know that more will
    /// come and need no timer for the rest, which a worker that runs for ever would.
    #[must_use]
    pub fn ack_every(&self) -> usize {
        match self.task {
            Task::Latency => 1,
            _ if self.bulk > 1 => self.bulk,
            _ => usize::from(self.prefetch).div_ceil(2).min(100),
        }
    }

    /// The queues, one a route.
    #[must_use]
    pub fn queues(&self) -> Vec<String> {
        match self.routes {
            1 => vec![self.queue.clone()],
            routes => (1..=routes).map(|number| format!("{}-{number}", self.queue)).collect(),
        }
    }

    /// The broker's URI.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }
}

/// The arguments of the form `key=value`.
pub fn pairs(arguments: impl IntoIterator<Item = String>) -> Vec<(String, String)> {
    let split = |argument: String| argument.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    arguments.into_iter().filter_map(split).collect()
}

fn value<T: FromStr<Err: fmt::Display>>(pairs: &[(String, String)], key: &str) -> Result<T, Error> {
    let (_, value) = pairs.iter().find(|(name, _)| name == key).ok_or_else(|| format!("`{key}=` is missing"))?;
    value.parse().map_err(|error| format!("{key}={value}: {error}").into())
}

impl fmt::Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Drain => "drain",
            Self::Bytes => "bytes",
            Self::Wait => "wait",
            Self::Latency => "latency",
            Self::Publish => "publish",
            Self::Idle => "idle",
        })
    }
}

impl FromStr for Task {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|task| task.to_string() == text).ok_or_else(|| "not a task".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_comes_back_from_its_arguments() -> Result<(), Error> {
        let job = Job {
            task: Task::Latency,
            port: 5672,
            queue: "bench".to_owned(),
            messages: 7,
            routes: 1,
            seconds: 0,
            prefetch: 256,
            bulk: 100,
            body: 120,
        };
        assert_eq!(Job::parse(job.to_args())?, job);
        Ok(())
    }

    #[test]
    fn an_argument_that_is_missing_is_named() {
        let error = Job::parse(["task=drain".to_owned()]).map_err(|error| error.to_string());
        assert_eq!(error, Err("`port=` is missing".to_owned()));
    }
}
