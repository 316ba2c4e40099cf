//! A RabbitMQ node for daily use and for fault tests: `cargo xtask broker <verb>`.
//!
//! A node lives in a folder (see [`folder`]): what it is and where it listens stands in the file `state` there, so that
//! each call of a verb finds the same node again, also after it was killed.

mod choice;
mod compose;
mod install;
mod net;
mod private;
mod state;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use crate::failure::{Failure, Result};
use crate::lock::Lock;
use crate::workspace::{node_folder, root, variable};
use choice::Choice;
pub(crate) use private::Share;
use state::State;

pub(crate) const FOLDER: &str = "XTASK_BROKER_DIR";
pub(crate) const TEST_BROKER: &str = "XTASK_BROKER";
pub(crate) const URL: &str = "AMQP_URL";
const CTL: &str = "RABBITMQCTL";

/// `status` of a node that does not run, as service managers report it.
const NOT_RUNNING: u8 = 3;

/// A broker that xtask runs.
#[derive(Debug)]
pub(crate) enum Broker {
    Private(private::Node),
    Compose(compose::Service),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Running,
    Paused,
    Stopped,
}

/// What a verb acts on.
#[derive(Debug)]
enum Target {
    /// A node of ours, which may be down.
    Ours(Broker),
    /// The broker in `AMQP_URL`, which somebody else runs.
    Given(String),
    /// Nothing yet: `start` will choose.
    Nothing,
}

/// The folder of the node that the verbs act on.
pub(crate) fn folder() -> PathBuf {
    variable(FOLDER).map_or_else(|| node_folder("daily"), |folder| root().join(folder))
}

pub(crate) fn run(verb: &str, arguments: &[&str]) -> Result<ExitCode> {
    let folder = folder();
    match (verb, arguments) {
        ("url", []) => return print_url(&folder),
        ("status", []) => return print_status(&folder),
        ("start" | "stop" | "restart" | "kill" | "pause" | "resume" | "remove", []) | ("restart", ["--graceful"]) => {}
        _ => {
            let call = [&[verb], arguments].concat().join(" ");
            return Err(Failure::new(format!("`broker {call}` is not a verb; see `cargo xtask --help`")));
        }
    }
    let _lock = lock(&folder)?;
    let mut broker = match Target::find(&folder)? {
        Target::Given(_) => {
            return Err(Failure::new(format!(
                "{URL} is set: that broker is not ours to {verb}. Unset {URL} for a node that xtask runs."
            )));
        }
        Target::Ours(broker) => broker,
        Target::Nothing if matches!(verb, "start" | "restart") => {
            let broker = Broker::start_new(&folder, false, Share::Small)?.ok_or_else(no_node)?;
            println!("{}", broker.url());
            return Ok(ExitCode::SUCCESS);
        }
        Target::Nothing if verb == "remove" => return Ok(ExitCode::SUCCESS),
        Target::Nothing => return Err(no_node()),
    };
    match verb {
        "start" => broker.start()?,
        "stop" => broker.stop()?,
        "kill" => broker.kill()?,
        "pause" => broker.pause()?,
        "resume" => broker.resume()?,
        "remove" => broker.remove()?,
        _ => {
            if arguments.is_empty() {
                broker.kill()?;
            } else {
                broker.stop()?;
            }
            broker.start()?;
        }
    }
    if matches!(verb, "start" | "restart") {
        println!("{}", broker.url());
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts private nodes in these folders, where none were, and joins them to one cluster.
pub(crate) fn start_cluster(folders: &[PathBuf]) -> Result<()> {
    if install::find().is_none() {
        install::install()?;
    }
    let mut first: Option<private::Node> = None;
    for folder in folders {
        let _lock = lock(folder)?;
        let mut node = private::Node::new_in_cluster(folder, first.as_ref())?;
        node.start()?;
        match &first {
            Some(first) => node.join(first)?,
            None => first = Some(node),
        }
    }
    Ok(())
}

/// Runs `rabbitmqctl`, without the lock of the other verbs: a fault test asks questions while a node restarts.
pub(crate) fn ctl(arguments: &[&str]) -> Result<ExitCode> {
    let mut command = match Target::find(&folder())? {
        Target::Nothing => return Err(no_node()),
        Target::Ours(broker) => broker.ctl()?,
        Target::Given(_) => {
            let mut shell = Command::new("sh");
            let line = variable(CTL).unwrap_or_else(|| "rabbitmqctl".to_owned());
            shell.args(["-c", &format!("{line} \"$@\""), "sh"]);
            shell
        }
    };
    let status = command.args(arguments).status();
    status.map(exit_code).map_err(|error| Failure::new(format!("cannot run rabbitmqctl: {error}")))
}

/// One verb at a time on a node: two starters must not both start it.
pub(crate) fn lock(folder: &Path) -> Result<Lock> {
    Lock::take(&folder.join("verbs.lock"), Duration::from_secs(300))
}

/// The code that a shell would give for how a command ended.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

fn print_url(folder: &Path) -> Result<ExitCode> {
    match Target::find(folder)? {
        Target::Ours(broker) => println!("{}", broker.url()),
        Target::Given(url) => println!("{url}"),
        Target::Nothing => return Err(no_node()),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_status(folder: &Path) -> Result<ExitCode> {
    let broker = match Target::find(folder)? {
        Target::Ours(broker) => broker,
        Target::Given(_) => {
            println!("mode: given by {URL}\nverbs: ctl, url, status");
            return Ok(ExitCode::SUCCESS);
        }
        Target::Nothing => {
            println!("mode: none\nnode: never started");
            return Ok(ExitCode::from(NOT_RUNNING));
        }
    };
    let (node, code) = match broker.condition() {
        Condition::Running => ("running", ExitCode::SUCCESS),
        Condition::Paused => ("paused", ExitCode::SUCCESS),
        Condition::Stopped => ("stopped", ExitCode::from(NOT_RUNNING)),
    };
    let mode = match &broker {
        Broker::Private(_) => "private node",
        Broker::Compose(_) => "docker compose",
    };
    println!("mode: {mode}\nnode: {node}\nurl: {}\n{}", broker.url(), broker.details());
    Ok(code)
}

fn no_node() -> Failure {
    Failure::new("no node was started yet: `cargo xtask broker start` starts one")
}

impl Target {
    fn find(folder: &Path) -> Result<Self> {
        // A test run names its broker in AMQP_URL and controls its own node nevertheless.
        let in_test_run = variable(TEST_BROKER).is_some();
        Ok(match (Broker::open(folder)?, variable(URL)) {
            (Some(ours), None) => Self::Ours(ours),
            (Some(ours), Some(url)) if in_test_run || url == ours.url() => Self::Ours(ours),
            (_, Some(url)) => Self::Given(url),
            (None, None) => Self::Nothing,
        })
    }
}

impl Broker {
    /// The node of this folder, where one was started before.
    pub(crate) fn open(folder: &Path) -> Result<Option<Self>> {
        let Some(state) = State::read(folder)? else {
            return Ok(None);
        };
        Ok(Some(match state.text("mode")? {
            private::MODE => Self::Private(private::Node::from_state(folder, &state)?),
            compose::MODE => Self::Compose(compose::Service::from_state(folder, &state)?),
            other => {
                return Err(Failure::new(format!("{} names an unknown mode: {other}", folder.display())));
            }
        }))
    }

    /// Starts a node where there was none, by the first means that this machine offers (see [`choice::choose`]).
    ///
    /// `None` where a broker is given and this machine has nothing to run another with.
    pub(crate) fn start_new(folder: &Path, given: bool, share: Share) -> Result<Option<Self>> {
        match choice::choose(given, compose::engine_answers, || install::find().is_some()) {
            Choice::Nothing => return Ok(None),
            Choice::Compose => {
                let mut service = compose::Service::new(folder)?;
                let Err(failure) = service.start() else {
                    return Ok(Some(Self::Compose(service)));
                };
                // An engine that answers may still be unable to fetch the image.
                eprintln!("xtask: {failure}; trying a rabbitmq-server of this machine instead");
                service.remove()?;
                if install::find().is_none() {
                    install::install()?;
                }
            }
            Choice::Install => install::install()?,
            Choice::Installed => {}
        }
        let mut node = private::Node::new(folder, share)?;
        node.start()?;
        Ok(Some(Self::Private(node)))
    }

    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.amqp_port())
    }

    pub(crate) fn amqp_port(&self) -> u16 {
        match self {
            Self::Private(node) => node.amqp_port(),
            Self::Compose(service) => service.amqp_port(),
        }
    }

    /// The process that is the node, where it is one of this machine's own.
    pub(crate) fn pid(&self) -> Option<u32> {
        match self {
            Self::Private(node) => node.pid(),
            Self::Compose(_) => None,
        }
    }

    /// The version of RabbitMQ that runs.
    pub(crate) fn version(&self) -> Option<String> {
        let output = self.ctl().ok()?.arg("version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.split_whitespace().last().map(str::to_owned)
    }

    /// Starts the node and waits until it accepts connections. Does nothing where it runs already.
    pub(crate) fn start(&mut self) -> Result<()> {
        match self {
            Self::Private(node) => node.start(),
            Self::Compose(service) => service.start(),
        }
    }

    /// Ends the node and deletes its data; its log stays.
    pub(crate) fn remove(&mut self) -> Result<()> {
        match self {
            Self::Private(node) => node.remove(),
            Self::Compose(service) => service.remove(),
        }
    }

    fn stop(&mut self) -> Result<()> {
        match self {
            Self::Private(node) => node.stop(),
            Self::Compose(service) => service.run(&["stop", compose::SERVICE]),
        }
    }

    fn kill(&mut self) -> Result<()> {
        match self {
            Self::Private(node) => node.kill(),
            Self::Compose(service) => service.kill(),
        }
    }

    fn pause(&mut self) -> Result<()> {
        match self {
            Self::Private(node) => node.signal("STOP"),
            Self::Compose(service) => service.run(&["pause", compose::SERVICE]),
        }
    }

    fn resume(&mut self) -> Result<()> {
        match self {
            Self::Private(node) => node.signal("CONT"),
            Self::Compose(service) => service.run(&["unpause", compose::SERVICE]),
        }
    }

    fn ctl(&self) -> Result<Command> {
        match self {
            Self::Private(node) => node.ctl(),
            Self::Compose(service) => Ok(service.ctl()),
        }
    }

    fn condition(&self) -> Condition {
        match self {
            Self::Private(node) => node.condition(),
            Self::Compose(service) => service.condition(),
        }
    }

    fn details(&self) -> String {
        match self {
            Self::Private(node) => node.details(),
            Self::Compose(service) => service.details(),
        }
    }
}

/// Deletes a file or a folder with all that is in it. That there is none is not an error.
fn delete(path: &Path) -> Result<()> {
    let deleted = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match deleted {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::on("delete", path)(error)),
        _ => Ok(()),
    }
}

/// A number that tells this node from those of other checkouts on the machine (FNV-1a of its folder).
fn fingerprint(folder: &Path) -> u32 {
    let path = env::current_dir().unwrap_or_default().join(folder);
    path.to_string_lossy().bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_different_folders_have_different_fingerprints() {
        assert_ne!(fingerprint(Path::new("/a/target/broker/daily")), fingerprint(Path::new("/a/target/broker/test")));
        assert_eq!(fingerprint(Path::new("/a")), fingerprint(Path::new("/a")));
    }
}
