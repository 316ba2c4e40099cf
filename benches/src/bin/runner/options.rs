//! What the command line asks for.

use std::path::PathBuf;

use benches::Error;

use crate::workload::{WORKLOADS, Worker, Workload};

pub(crate) const HELP: &str = "\
Compares asyncworker with other clients of RabbitMQ, and writes a Markdown table.

    cargo xtask bench [--runs N] [--messages N] [--only W1,..] [--worker a,b] [--out FILE]

    --runs N         rounds; in each every worker has its turn (default 5)
    --messages N     messages a run of the drains; other workloads take a multiple or a part of it (default 100000)
    --only W1,..     of W1, feed, W2 (both: W2-100, W2-1000), W6, P1, W3, W5, W4; they are run in this order
    --worker a,b     of asyncworker, lapin-usual, lapin-best, amqprs, rabbitmq-c
    --out FILE       where the table goes too, beside the standard output
";

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) runs: usize,
    pub(crate) messages: u64,
    pub(crate) workloads: Vec<&'static Workload>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) out: Option<PathBuf>,
    /// Said by xtask: the broker's port, its process, and what it is.
    pub(crate) port: u16,
    pub(crate) broker_pid: Option<u32>,
    pub(crate) broker: String,
}

impl Options {
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, Error> {
        let mut options = Self {
            runs: 5,
            messages: 100_000,
            workloads: WORKLOADS.iter().collect(),
            workers: Worker::ALL.to_vec(),
            out: None,
            port: 5672,
            broker_pid: None,
            broker: "a broker on port 5672".to_owned(),
        };
        let mut arguments = arguments.into_iter();
        while let Some(option) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
            match option.as_str() {
                "--runs" => options.runs = value.parse::<usize>()?.max(1),
                "--messages" => options.messages = value.parse()?,
                "--only" => options.workloads = chosen(&value)?,
                "--worker" => options.workers = workers(&value)?,
                "--out" => options.out = Some(value.into()),
                "--port" => options.port = value.parse()?,
                "--broker-pid" => options.broker_pid = Some(value.parse()?),
                "--broker" => options.broker = value,
                _ => return Err(format!("{option} is not an option\n\n{HELP}").into()),
            }
        }
        Ok(options)
    }
}

fn chosen(names: &str) -> Result<Vec<&'static Workload>, Error> {
    let names: Vec<&str> = names.split(',').collect();
    let is = |workload: &Workload, name: &str| workload.name == name || workload.name.starts_with(&format!("{name}-"));
    if let Some(name) = names.iter().find(|name| !WORKLOADS.iter().any(|workload| is(workload, name))) {
        return Err(format!("{name} is not a workload\n\n{HELP}").into());
    }
    Ok(WORKLOADS.iter().filter(|workload| names.iter().any(|name| is(workload, name))).collect())
}

fn workers(names: &str) -> Result<Vec<Worker>, Error> {
    let find = |name| Worker::ALL.into_iter().find(|worker| worker.name() == name);
    names.split(',').map(|name| find(name).ok_or_else(|| format!("{name} is not a worker\n\n{HELP}").into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Error> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_name_takes_in_its_variants() -> Result<(), Error> {
        let options = parse("--only W2,W1 --worker amqprs,asyncworker --runs 3")?;
        let names: Vec<_> = options.workloads.iter().map(|workload| workload.name).collect();
        assert_eq!(names, ["W1", "W2-100", "W2-1000"]);
        assert_eq!(options.workers, [Worker::Amqprs, Worker::Asyncworker]);
        assert_eq!(options.runs, 3);
        Ok(())
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        for line in ["--only W9", "--worker kanin", "--speed 7", "--runs", "--runs many"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
