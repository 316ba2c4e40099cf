//! `cargo xtask chaos`: the long tiers of the fault tests, on nodes that are there for the run.
//!
//! What strikes and how it is judged is in `tests/src/chaos`; here the programs are built and the nodes are started
//! and ended. The fast tier is a test like any other.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::broker::{self, Broker, Share, exit_code};
use crate::failure::{Failure, Result};
use crate::lock::Lock;
use crate::test_run::{Watcher, copy_of_this_program, end_broker, run_lock};
use crate::workspace::{cargo, node_folder, root};

#[derive(Debug, PartialEq, Eq)]
struct Options {
    minutes: u64,
    seed: Option<u64>,
    cluster: bool,
    report: Option<PathBuf>,
}

pub(crate) fn run(arguments: &[&str]) -> Result<ExitCode> {
    let options = Options::read(arguments)?;
    build()?;
    let folders: Vec<PathBuf> = if options.cluster {
        ["a", "b", "c"].iter().map(|node| node_folder("chaos-cluster").join(node)).collect()
    } else {
        vec![node_folder("chaos")]
    };
    let mut watched = Vec::new();
    for folder in &folders {
        let lock = Lock::take(&run_lock(folder), Duration::from_secs(1))?;
        let control = copy_of_this_program(folder)?;
        let watcher = Watcher::start(&control, folder, lock.holder())?;
        watched.push((lock, watcher));
    }
    let outcome = run_with_nodes(&options, &folders);
    let ended: Vec<Result<()>> = folders.iter().map(|folder| end_broker(folder)).collect();
    for (_, watcher) in watched {
        watcher.dismiss();
    }
    let code = outcome?;
    ended.into_iter().collect::<Result<()>>()?;
    Ok(code)
}

impl Options {
    fn read(arguments: &[&str]) -> Result<Self> {
        let mut options = Self { minutes: 10, seed: None, cluster: false, report: None };
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| Failure::new(format!("`{name}` wants a value")));
            let number = |text: &str| {
                text.parse().map_err(|_| Failure::new(format!("`{text}` after `{name}` is not a whole number")))
            };
            match *name {
                "--minutes" => options.minutes = number(value()?)?,
                "--seed" => options.seed = Some(number(value()?)?),
                "--report" => options.report = Some(value()?.into()),
                "--cluster" => options.cluster = true,
                other => {
                    return Err(Failure::new(format!(
                        "`{other}` is not an option of `chaos`; see `cargo xtask --help`"
                    )));
                }
            }
        }
        Ok(options)
    }
}

fn building(verb: &str) -> Command {
    let mut command = cargo();
    command.args([verb, "--release", "--package", "tests"]).current_dir(root());
    command
}

fn build() -> Result<()> {
    match building("build").arg("--bins").status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("cargo build: {status}"))),
        Err(error) => Err(Failure::new(format!("cannot run cargo build: {error}"))),
    }
}

fn run_with_nodes(options: &Options, folders: &[PathBuf]) -> Result<ExitCode> {
    for folder in folders {
        end_broker(folder)?;
    }
    let first = folders.first().ok_or_else(|| Failure::new("no folder for a node"))?;
    if options.cluster {
        broker::start_cluster(folders)?;
    } else {
        let _lock = broker::lock(first)?;
        Broker::start_new(first, false, Share::Small)?.ok_or_else(|| Failure::new("no broker to disturb"))?;
    }
    // From the clock, so that each run is another; the report tells it.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seed = options.seed.unwrap_or(now);
    eprintln!("xtask: chaos for {} minutes on {} node(s), seed {seed}", options.minutes, folders.len());
    let mut command = building("run");
    command.args(["--quiet", "--bin", "chaos", "--"]);
    command.arg(options.minutes.to_string()).arg(seed.to_string()).args(folders);
    command.env(broker::URL, url(first)?).env(broker::TEST_BROKER, first.join(control_name()));
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| Failure::new(format!("cannot run the chaos: {error}")))?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    if let Some(file) = &options.report {
        std::fs::write(file, &output.stdout).map_err(Failure::on("write", file))?;
    }
    Ok(exit_code(output.status))
}

fn control_name() -> String {
    format!("xtask{}", std::env::consts::EXE_SUFFIX)
}

fn url(folder: &Path) -> Result<String> {
    Broker::open(folder)?.map(|broker| broker.url()).ok_or_else(|| Failure::new("the node is gone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_in_any_order() -> Result<()> {
        let read = Options::read(&["--cluster", "--seed", "7", "--minutes", "20"])?;
        assert_eq!(read, Options { minutes: 20, seed: Some(7), cluster: true, report: None });
        assert_eq!(Options::read(&[])?, Options { minutes: 10, seed: None, cluster: false, report: None });
        Ok(())
    }

    #[test]
    fn an_option_that_cannot_be_read_is_told() {
        for wrong in [&["--minutes"][..], &["--minutes", "many"], &["--hours", "1"]] {
            assert!(Options::read(wrong).is_err(), "{wrong:?}");
        }
    }
}
