//! `cargo xtask bench`: the workloads of `benches/`, with a broker that is there for the run.
//!
//! What is measured and how is said there; here the programs are built and the broker is started and ended.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::broker::{self, Broker, Share, exit_code};
use crate::failure::{Failure, Result};
use crate::lock::Lock;
use crate::test_run::{Watcher, copy_of_this_program, end_broker, run_lock};
use crate::workspace::{cargo, node_folder, root};

pub(crate) fn run(arguments: &[&str]) -> Result<ExitCode> {
    if arguments.iter().any(|argument| matches!(*argument, "-h" | "--help")) {
        return runner(arguments);
    }
    let built = building(arguments).args(["build", "--release", "--package", "benches"]).current_dir(root()).status();
    match built {
        Ok(status) if status.success() => {}
        Ok(status) => return Ok(exit_code(status)),
        Err(error) => return Err(Failure::new(format!("cannot run cargo build: {error}"))),
    }
    let folder = node_folder("bench");
    let lock = Lock::take(&run_lock(&folder), Duration::from_secs(1))?;
    let control = copy_of_this_program(&folder)?;
    let watcher = Watcher::start(&control, &folder, lock.holder())?;
    let outcome = run_with_broker(&folder, arguments);
    let ended = end_broker(&folder);
    watcher.dismiss();
    let code = outcome?;
    ended?;
    Ok(code)
}

/// Always a node of this run: the workloads fill and delete queues, and want the broker for themselves.
fn run_with_broker(folder: &Path, arguments: &[&str]) -> Result<ExitCode> {
    end_broker(folder)?;
    let node = {
        let _lock = broker::lock(folder)?;
        Broker::start_new(folder, false, Share::Whole)?.ok_or_else(|| Failure::new("no broker to measure with"))?
    };
    let port = node.amqp_port().to_string();
    let version = node.version().unwrap_or_else(|| "of an unknown version".to_owned());
    let (pid, what) = match node.pid() {
        Some(pid) => (Some(pid.to_string()), format!("a private RabbitMQ {version} on loopback, all schedulers")),
        None => (None, format!("RabbitMQ {version} in a container")),
    };
    let mut given = vec!["--port", &port, "--broker", &what];
    if let Some(pid) = &pid {
        given.extend(["--broker-pid", pid]);
    }
    runner(&[&given, arguments].concat())
}

fn runner(arguments: &[&str]) -> Result<ExitCode> {
    // Cargo knows where it has put the program. The working directory stays the caller's: `--out` counts from there.
    let mut command = building(arguments);
    command.args(["run", "--quiet", "--release", "--package", "benches", "--bin", "runner", "--manifest-path"]);
    command.arg(root().join("Cargo.toml")).arg("--").args(arguments);
    command.status().map(exit_code).map_err(|error| Failure::new(format!("cannot run the benchmark: {error}")))
}

/// Cargo with every client at its best: without, lapin is a third slower. Not in the manifest, where it would slow
/// down each release build of the workspace; nor where nobody looks at the figures, because it takes minutes.
fn building(arguments: &[&str]) -> Command {
    let mut command = cargo();
    if !arguments.contains(&"--quick") {
        command.envs([("CARGO_PROFILE_RELEASE_LTO", "fat"), ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")]);
    }
    command
}
