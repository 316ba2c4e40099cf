//! `cargo xtask test`: every test of the workspace, with a broker that is there for the run.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use crate::broker::{self, Broker, Share};
use crate::browser;
use crate::failure::{Failure, Result};
use crate::lock::{Lock, is_held_by};
use crate::process::{Process, in_own_group};
use crate::workspace::{cargo, node_folder, root, variable};

/// The hidden task that cleans up after a run that was interrupted.
pub(crate) const WATCH: &str = "watch-test-run";
const ENDED: &[u8] = b"ended";

pub(crate) fn run(arguments: &[&str]) -> Result<ExitCode> {
    let folder = node_folder("test");
    let lock = Lock::take(&run_lock(&folder), Duration::from_secs(1)).map_err(|failure| {
        Failure::new(format!(
            "another `cargo xtask test` runs in this checkout, or has just been interrupted: {failure}"
        ))
    })?;
    let control = copy_of_this_program(&folder)?;
    let watcher = Watcher::start(&control, &folder, lock.holder())?;
    let outcome = run_with_broker(&folder, &control, arguments);
    let ended = end_broker(&folder);
    watcher.dismiss();
    let code = outcome?;
    ended?;
    Ok(code)
}

fn run_with_broker(folder: &Path, control: &Path, arguments: &[&str]) -> Result<ExitCode> {
    end_broker(folder)?;
    let given = variable(broker::URL);
    let node = {
        let _lock = broker::lock(folder)?;
        Broker::start_new(folder, given.is_some(), Share::Small)?
    };
    let url = match (given, &node) {
        (Some(url), Some(_)) => {
            eprintln!("xtask: testing with the broker in {}; faults with a node of this run", broker::URL);
            url
        }
        (Some(url), None) => {
            eprintln!(
                "xtask: testing with the broker in {}. Tests that kill or restart a node need one of their own and \
                 will fail: install rabbitmq-server or start Docker for those.",
                broker::URL
            );
            url
        }
        (None, Some(node)) => {
            let url = node.url();
            eprintln!("xtask: testing with {url}");
            url
        }
        (None, None) => return Err(Failure::new("no broker to test with")),
    };
    // Without a choice of targets cargo builds the examples as programs, which tests start; chosen by
    // `--all-targets` they would be built as tests of themselves.
    let browser = if arguments.is_empty() { browser::find_or_install() } else { browser::find() };
    let arguments = if arguments.is_empty() { &["--workspace"] } else { arguments };
    Ok(broker::exit_code(cargo_test(folder, control, &url, &browser, arguments)?))
}

fn cargo_test(
    folder: &Path,
    control: &Path,
    url: &str,
    browser: &[(&str, PathBuf)],
    arguments: &[&str],
) -> Result<ExitStatus> {
    eprintln!("xtask: cargo test {}", arguments.join(" "));
    let mut command = cargo();
    command.arg("test").args(arguments).current_dir(root());
    command.env(broker::URL, url).env(broker::TEST_BROKER, control).env(broker::FOLDER, folder);
    command.envs(browser.iter().map(|(variable, program)| (variable, program)));
    command.status().map_err(|error| Failure::new(format!("cannot run cargo test: {error}")))
}

/// Ends whatever node there is, of this run or left by an earlier one, and deletes its data.
pub(crate) fn end_broker(folder: &Path) -> Result<()> {
    let _lock = broker::lock(folder)?;
    match Broker::open(folder)? {
        Some(mut broker) => broker.remove(),
        None => Ok(()),
    }
}

/// Tests call this copy: Cargo may rebuild the original while they run.
pub(crate) fn copy_of_this_program(folder: &Path) -> Result<PathBuf> {
    let original = env::current_exe().map_err(|error| Failure::new(format!("cannot tell where xtask is: {error}")))?;
    let copy = folder.join(format!("xtask{}", env::consts::EXE_SUFFIX));
    let new = folder.join("xtask.new");
    // Moved into place: a copy that still runs cannot be written to, but it can be replaced.
    fs::copy(&original, &new).map_err(Failure::on("write", &new))?;
    fs::rename(&new, &copy).map_err(Failure::on("write", &copy))?;
    Ok(copy)
}

pub(crate) fn run_lock(folder: &Path) -> PathBuf {
    folder.join("run.lock")
}

/// A process that outlives an interrupted run and ends its broker. The standard library cannot catch Ctrl-C; but
/// however this process ends, the system closes its end of the watcher's pipe.
pub(crate) struct Watcher(Child);

impl Watcher {
    pub(crate) fn start(control: &Path, folder: &Path, run: &Process) -> Result<Self> {
        let mut command = Command::new(control);
        command.arg(WATCH).arg(run.to_string()).env(broker::FOLDER, folder);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        in_own_group(&mut command).spawn().map(Self).map_err(Failure::on("run", control))
    }

    pub(crate) fn dismiss(mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            // Where it cannot be told it finds no broker to end, and the same comes of it.
            let _ = pipe.write_all(ENDED);
        }
        let _ = self.0.wait();
    }
}

/// The watcher's own part: waits for the end of the run.
pub(crate) fn watch(run: &str) -> Result<ExitCode> {
    let run: Process = run.parse()?;
    let mut told = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut told);
    let folder = broker::folder();
    // Where a later run holds the lock, the node is that run's, which has ended ours.
    if told != ENDED && is_held_by(&run_lock(&folder), &run) {
        eprintln!("xtask: the run was interrupted; ending its broker");
        end_broker(&folder)?;
    }
    Ok(ExitCode::SUCCESS)
}
