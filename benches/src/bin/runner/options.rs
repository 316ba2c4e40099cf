//! What the command line asks for.

use std::path::PathBuf;

use benches::Error;

use crate::growth::GROWTH;
use crate::workload::{SUITE, Worker, Workload};

pub(crate) const HELP: &str = "\
Compares asyncworker with other clients of RabbitMQ, and writes Markdown tables.

    cargo xtask bench [--growth] [--quick] [--runs N] [--scale F] [--idle S] [--only W1,..] [--worker a,b] [--out FILE]

    --growth         how costs grow with routes, bodies, prefetch and time, instead of the comparison
    --quick          both, once and short, built without link-time optimization: whether it works, not how fast
    --runs N         rounds; in each every worker has its turn (default 5)
    --scale F        so many times the usual messages a run (default 1: 100000 in W1)
    --idle S         how long an idle worker is watched, in seconds (default 60)
    --only W1,..     of W1, feed, W2, W6, P1, W3, W5, W4 and start, routes, bodies, prefetch, prefetch-feed, flat, idle
    --worker a,b     of asyncworker, lapin-usual, lapin-best, amqprs, rabbitmq-c, async-worker (by `python3`, or what
                     PYTHON says)
    --out FILE       where the tables go too, beside the standard output
";

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) runs: usize,
    pub(crate) scale: f64,
    pub(crate) idle_seconds: u64,
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
        let arguments: Vec<String> = arguments.into_iter().collect();
        let flag = |name| arguments.iter().any(|argument| argument == name);
        let (quick, growth) = (flag("--quick"), flag("--growth"));
        let workloads = SUITE.iter().filter(|_| quick || !growth).chain(GROWTH.iter().filter(|_| quick || growth));
        let mut options = Self {
            quick,
            runs: if quick { 1 } else { 5 },
            scale: if quick { 0.02 } else { 1.0 },
            idle_seconds: if quick { 3 } else { 60 },
            workloads: workloads.collect(),
            workers: Worker::ALL.to_vec(),
            out: None,
            port: 5672,
            broker_pid: None,
            broker: "a broker on port 5672".to_owned(),
        };
        let mut arguments = arguments.into_iter().filter(|argument| argument != "--quick" && argument != "--growth");
        while let Some(option) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{option} needs a value, or is no option\n\n{HELP}"))?;
            match option.as_str() {
                "--runs" => options.runs = value.parse::<usize>()?.max(1),
                "--scale" => options.scale = value.parse()?,
                "--idle" => options.idle_seconds = value.parse()?,
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

/// Of either suite.
fn chosen(names: &str) -> Result<Vec<&'static Workload>, Error> {
    let find = |name| SUITE.iter().chain(&GROWTH).find(|workload| workload.name == name);
    let found = |name| find(name).ok_or_else(|| format!("{name} is not a workload\n\n{HELP}").into());
    names.split(',').map(found).collect()
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

    fn names(options: &Options) -> Vec<&str> {
        options.workloads.iter().map(|workload| workload.name).collect()
    }

    #[test]
    fn what_is_chosen_is_run_in_that_order() -> Result<(), Error> {
        let options = parse("--only idle,W1 --worker amqprs,asyncworker --runs 3")?;
        assert_eq!(names(&options), ["idle", "W1"]);
        assert_eq!(options.workers, [Worker::Amqprs, Worker::Asyncworker]);
        assert_eq!(options.runs, 3);
        Ok(())
    }

    #[test]
    fn quick_is_both_suites_once() -> Result<(), Error> {
        assert_eq!(parse("")?.workloads.len(), SUITE.len());
        assert_eq!(parse("--growth --runs 2")?.workloads.len(), GROWTH.len());
        let quick = parse("--quick --idle 9")?;
        assert_eq!((quick.workloads.len(), quick.runs, quick.idle_seconds), (SUITE.len() + GROWTH.len(), 1, 9));
        Ok(())
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        for line in ["--only W9", "--worker kanin", "--speed 7", "--runs", "--runs many"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
