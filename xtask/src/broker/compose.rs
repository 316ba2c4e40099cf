//! The broker as the service of docker-compose.yml.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::state::State;
use super::{Condition, delete, fingerprint, net};
use crate::failure::{Failure, Result};
use crate::process::succeeds_within;
use crate::workspace::root;

pub(super) const MODE: &str = "compose";
pub(super) const SERVICE: &str = "rabbitmq";

#[derive(Debug)]
pub(crate) struct Service {
    folder: PathBuf,
    /// Compose's project: containers and networks of another checkout are of another project.
    project: String,
    amqp_port: u16,
    management_port: u16,
}

/// Whether a Docker engine answers here and has Compose. The command line alone, without an engine, is common.
pub(super) fn engine_answers() -> bool {
    let limit = Duration::from_secs(15);
    succeeds_within(limit, Command::new("docker").arg("info"))
        && succeeds_within(limit, Command::new("docker").args(["compose", "version"]))
}

impl Service {
    /// A service that was not started yet, on the usual ports where they are free.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        let fingerprint = fingerprint(folder);
        let port = |usual: u16| {
            if net::is_free(usual) { Ok(usual) } else { net::free_port(net::preferred_port(fingerprint), &[]) }
        };
        let amqp_port = port(5672)?;
        let management_port = if net::is_free(15_672) { 15_672 } else { net::free_port(amqp_port, &[amqp_port])? };
        let project = format!("asyncworker-{fingerprint:08x}");
        Ok(Self { folder: folder.to_path_buf(), project, amqp_port, management_port })
    }

    pub(super) fn from_state(folder: &Path, state: &State) -> Result<Self> {
        Ok(Self {
            folder: folder.to_path_buf(),
            project: state.text("project")?.to_owned(),
            amqp_port: state.value("amqp_port")?,
            management_port: state.value("management_port")?,
        })
    }

    fn to_state(&self) -> State {
        let state = State::default().with("mode", MODE).with("project", &self.project);
        state.with("amqp_port", self.amqp_port).with("management_port", self.management_port)
    }

    pub(super) fn amqp_port(&self) -> u16 {
        self.amqp_port
    }

    /// `up` starts the same container again, with its data, where it was stopped or killed.
    pub(super) fn start(&mut self) -> Result<()> {
        self.to_state().write(&self.folder)?;
        if self.condition() == Condition::Paused {
            self.run(&["unpause", SERVICE])?;
        }
        self.run(&["up", "-d", "--wait", "--wait-timeout", "300", SERVICE])
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        if self.condition() == Condition::Stopped {
            return Ok(());
        }
        self.run(&["kill", SERVICE])
    }

    pub(super) fn remove(&mut self) -> Result<()> {
        self.run(&["down", "-v"])?;
        delete(&State::file(&self.folder))
    }

    pub(super) fn ctl(&self) -> Command {
        let mut command = self.compose();
        command.args(["exec", "-T", SERVICE, "rabbitmqctl", "--quiet"]);
        command
    }

    pub(super) fn condition(&self) -> Condition {
        let output = |command: &mut Command| {
            let output = command.stderr(Stdio::null()).output().ok()?;
            Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let container = output(self.compose().args(["ps", "-a", "-q", SERVICE])).unwrap_or_default();
        let status = output(Command::new("docker").args(["inspect", "-f", "{{.State.Status}}", &container]));
        match status.as_deref() {
            Some("running") => Condition::Running,
            Some("paused") => Condition::Paused,
            _ => Condition::Stopped,
        }
    }

    pub(super) fn details(&self) -> String {
        format!("project: {}\nmanagement: http://127.0.0.1:{}", self.project, self.management_port)
    }

    /// Runs a verb of Compose. Its account goes to the standard error: the standard output is for our own answer.
    pub(super) fn run(&self, verb: &[&str]) -> Result<()> {
        let status = self.compose().args(verb).stdin(Stdio::null()).stdout(std::io::stderr()).status();
        let call = format!("docker compose {}", verb.join(" "));
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::new(format!("`{call}` failed: {status}"))),
            Err(error) => Err(Failure::new(format!("cannot run `{call}`: {error}"))),
        }
    }

    fn compose(&self) -> Command {
        let mut command = Command::new("docker");
        command.args(["compose", "-p", &self.project, "-f"]).arg(root().join("docker-compose.yml"));
        command.env("AMQP_PORT", self.amqp_port.to_string());
        command.env("MANAGEMENT_PORT", self.management_port.to_string());
        command
    }
}
