//! The broker as a private node: a rabbitmq-server of our own, with its own name, ports, cookie, data and log, apart from
//! any that the system runs.

use std::collections::hash_map::RandomState;
use std::env;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::state::State;
use super::{Condition, delete, fingerprint, install, net};
use crate::failure::{Failure, Result};
use crate::process::{Process, in_own_group, wait_until};

pub(super) const MODE: &str = "private";
const WHOLE: &str = "whole";

/// A node listens after about 5 s; a slow machine and a long log of messages to read back make it much more.
const START_LIMIT: Duration = Duration::from_secs(180);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// For what the system does by itself once a process has ended.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// How much of the machine a node may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// One scheduler that does not spin: a node that idles beside a build or a test costs next to nothing.
    Small,
    /// All that RabbitMQ takes by itself: what is measured is measured against this.
    Whole,
}

#[derive(Debug)]
pub(crate) struct Node {
    folder: PathBuf,
    share: Share,
    name: String,
    amqp_port: u16,
    dist_port: u16,
    epmd_port: u16,
    /// Other nodes are registered with the port mapper: they find each other by it.
    in_cluster: bool,
    /// Erlang's virtual machine, which is the whole node; `None` before its first start.
    process: Option<Process>,
}

impl Node {
    /// A node that was not started yet. Its ports are chosen now and stay: clients find it again after a restart.
    pub(super) fn new(folder: &Path, share: Share) -> Result<Self> {
        let fingerprint = fingerprint(folder);
        let preferred = net::preferred_port(fingerprint);
        let amqp_port = net::free_port(preferred, &[])?;
        let dist_port = net::free_port(amqp_port, &[amqp_port])?;
        let epmd_port = net::free_port(dist_port, &[amqp_port, dist_port])?;
        let name = format!("aw{fingerprint:08x}@localhost");
        let folder = folder.to_path_buf();
        let node = Self { folder, share, name, amqp_port, dist_port, epmd_port, in_cluster: false, process: None };
        // What an earlier node left must not come back in a new one.
        delete(&node.path("data"))?;
        delete(&node.path("log"))?;
        Ok(node)
    }

    /// A node that is to be of a cluster with this one, or its first.
    pub(super) fn new_in_cluster(folder: &Path, first: Option<&Self>) -> Result<Self> {
        let mut node = Self { in_cluster: true, ..Self::new(folder, Share::Small)? };
        if let Some(first) = first {
            node.epmd_port = first.epmd_port;
            // Nodes let each other in by the same secret.
            let (home, cookie) = (node.path("home"), Path::new("home").join(".erlang.cookie"));
            delete(&home)?;
            fs::create_dir_all(&home).map_err(Failure::on("create the folder", &home))?;
            let file = node.folder.join(&cookie);
            fs::copy(first.folder.join(&cookie), &file).map_err(Failure::on("write", &file))?;
        }
        Ok(node)
    }

    /// Joins the cluster of another node.
    pub(super) fn join(&self, other: &Self) -> Result<()> {
        for arguments in [&["stop_app"][..], &["join_cluster", &other.name], &["start_app"]] {
            let status = self.ctl()?.args(arguments).stdout(Stdio::null()).status();
            if !status.is_ok_and(|status| status.success()) {
                return Err(Failure::new(format!("rabbitmqctl {} failed", arguments.join(" "))));
            }
        }
        Ok(())
    }

    pub(super) fn from_state(folder: &Path, state: &State) -> Result<Self> {
        Ok(Self {
            folder: folder.to_path_buf(),
            share: if state.text("share").is_ok_and(|share| share == WHOLE) { Share::Whole } else { Share::Small },
            name: state.text("name")?.to_owned(),
            amqp_port: state.value("amqp_port")?,
            dist_port: state.value("dist_port")?,
            epmd_port: state.value("epmd_port")?,
            in_cluster: state.optional("in_cluster")?.unwrap_or_default(),
            process: state.optional("process")?,
        })
    }

    fn save(&self) -> Result<()> {
        let state = State::default().with("mode", MODE).with("name", &self.name);
        let state = state.with("amqp_port", self.amqp_port).with("dist_port", self.dist_port);
        let state = state.with("epmd_port", self.epmd_port).with("in_cluster", self.in_cluster);
        let state = match self.share {
            Share::Whole => state.with("share", WHOLE),
            Share::Small => state,
        };
        let state = match &self.process {
            Some(process) => state.with("process", process),
            None => state,
        };
        state.write(&self.folder)
    }

    pub(super) fn amqp_port(&self) -> u16 {
        self.amqp_port
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.running().map(Process::pid)
    }

    pub(super) fn condition(&self) -> Condition {
        let Some(process) = self.running() else {
            return Condition::Stopped;
        };
        if process.is_stopped() { Condition::Paused } else { Condition::Running }
    }

    pub(super) fn details(&self) -> String {
        let pid = self.running().map_or_else(|| "none".to_owned(), |process| process.pid().to_string());
        format!("name: {}\npid: {pid}\nlog: {}", self.name, self.path("log").display())
    }

    /// Starts the node, with the data that it left, and waits until it accepts connections.
    pub(super) fn start(&mut self) -> Result<()> {
        if self.goes_on()? {
            return Ok(());
        }
        self.write_files()?;
        for port in [self.amqp_port, self.dist_port] {
            if !wait_until(SETTLE_LIMIT, || net::is_free(port)) {
                return Err(Failure::new(format!(
                    "port {port} of the node was taken by another program while it was down; \
                     `cargo xtask broker remove` gives it up, and its data"
                )));
            }
        }
        let mut child = self.spawn()?;
        self.process = Process::find(child.id());
        self.save()?;
        let mut ended = None;
        let listens = wait_until(START_LIMIT, || {
            ended = child.try_wait().ok().flatten();
            ended.is_some() || net::accepts_amqp(self.amqp_port)
        });
        if ended.is_some() || !listens {
            let why = ended.map_or_else(|| "does not listen".to_owned(), |status| format!("ended: {status}"));
            let log = self.end_of_log();
            self.kill()?;
            self.end_port_mapper();
            return Err(Failure::new(format!("the node {why}\n{log}")));
        }
        // The scripts of some version may not make the virtual machine our child itself; the node knows its pid.
        let pid = fs::read_to_string(self.path("node.pid")).ok().and_then(|text| text.trim().parse().ok());
        if let Some(process) = pid.and_then(Process::find) {
            self.process = Some(process);
        }
        self.save()
    }

    /// Whether the node runs already, perhaps still starting. One that does not answer any more is ended.
    fn goes_on(&self) -> Result<bool> {
        let Some(process) = self.running() else {
            return Ok(false);
        };
        process.signal("CONT")?;
        wait_until(START_LIMIT, || !process.is_alive() || net::accepts_amqp(self.amqp_port));
        if process.is_alive() && net::accepts_amqp(self.amqp_port) {
            return Ok(true);
        }
        self.kill()?;
        Ok(false)
    }

    /// Ends the node as a service manager would: it closes its connections and writes down what it holds.
    pub(super) fn stop(&self) -> Result<()> {
        if let Some(process) = self.running() {
            process.signal("TERM")?;
            // A paused process takes its signals once it goes on.
            process.signal("CONT")?;
            if !process.wait_for_end(STOP_LIMIT) {
                eprintln!("xtask: the node did not stop within {} s and is killed", STOP_LIMIT.as_secs());
                self.kill()?;
            }
        }
        self.end_port_mapper();
        Ok(())
    }

    /// Ends the node as a crash would. The port mapper stays, as it does after a crash.
    pub(super) fn kill(&self) -> Result<()> {
        let Some(process) = self.running() else {
            return Ok(());
        };
        process.signal("KILL")?;
        if !process.wait_for_end(SETTLE_LIMIT) {
            return Err(Failure::new(format!("process {} of the node does not end", process.pid())));
        }
        Ok(())
    }

    pub(super) fn remove(&mut self) -> Result<()> {
        self.kill()?;
        self.end_port_mapper();
        delete(&self.path("data"))?;
        delete(&State::file(&self.folder))
    }

    pub(super) fn signal(&self, name: &str) -> Result<()> {
        let process = self.running().ok_or_else(|| self.down())?;
        process.signal(name)
    }

    pub(super) fn ctl(&self) -> Result<Command> {
        // Asking a node that is down would start a port mapper, which nobody would end.
        self.running().ok_or_else(|| self.down())?;
        let mut command = self.command("rabbitmqctl")?;
        // One scheduler: the tool waits for the node most of its time, and starts faster.
        command.env("RABBITMQ_CTL_ERL_ARGS", "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none");
        command.args(["--quiet", "--node", &self.name]);
        Ok(command)
    }

    fn down(&self) -> Failure {
        Failure::new("the node does not run: `cargo xtask broker start` starts it")
    }

    fn running(&self) -> Option<&Process> {
        self.process.as_ref().filter(|process| process.is_alive())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A script of RabbitMQ in the node's own environment.
    fn command(&self, script: &str) -> Result<Command> {
        let scripts = install::find().ok_or_else(|| Failure::new("rabbitmq-server is no longer on this machine"))?;
        let mut command = Command::new(scripts.join(script));
        // What the environment says of another node is not for this one.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("RABBITMQ_") {
                command.env_remove(name);
            }
        }
        command.env("HOME", self.path("home"));
        command.env("ERL_EPMD_ADDRESS", "127.0.0.1").env("ERL_EPMD_PORT", self.epmd_port.to_string());
        command.env("RABBITMQ_NODENAME", &self.name);
        command.env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
        Ok(command)
    }

    fn spawn(&self) -> Result<Child> {
        let output_file = self.path("log").join("output.log");
        let output = File::create(&output_file).map_err(Failure::on("create", &output_file))?;
        let errors = output.try_clone().map_err(Failure::on("write", &output_file))?;
        let schedulers = match self.share {
            Share::Small => "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
            Share::Whole => "",
        };
        let mut command = self.command("rabbitmq-server")?;
        command
            .env("RABBITMQ_NODE_PORT", self.amqp_port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", self.path("data"))
            .env("RABBITMQ_LOG_BASE", self.path("log"))
            .env("RABBITMQ_PID_FILE", self.path("node.pid"))
            .env("RABBITMQ_CONFIG_FILE", self.path("rabbitmq"))
            .env("RABBITMQ_CONFIG_FILES", self.path("more.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", self.path("advanced.config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.path("enabled_plugins"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", self.path("data").join("config"))
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                format!("{schedulers} -kernel inet_dist_use_interface {{127,0,0,1}}"),
            )
            // Makes the script become the virtual machine rather than its parent, so that there is one process to end.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        in_own_group(&mut command).spawn().map_err(Failure::on("run the server in", &self.folder))
    }

    fn write_files(&self) -> Result<()> {
        for folder in ["home", "log", "data"] {
            let folder = self.path(folder);
            fs::create_dir_all(&folder).map_err(Failure::on("create the folder", &folder))?;
        }
        let port = self.amqp_port;
        // What RabbitMQ advises where queues are replicated, so that no node goes on beside the others.
        let partitions = if self.in_cluster { "cluster_partition_handling = pause_minority\n" } else { "" };
        let configuration = format!(
            "# Written by `cargo xtask broker start`.\n\
             listeners.tcp.default = 127.0.0.1:{port}\n\
             loopback_users.guest = true\n\
             consumer_timeout = 1800000\n\
             vm_memory_high_watermark.absolute = 1GB\n\
             disk_free_limit.absolute = 50MB\n\
             log.file.level = warning\n{partitions}"
        );
        for (name, text) in [("rabbitmq.conf", configuration.as_str()), ("enabled_plugins", "[].\n")] {
            let file = self.path(name);
            fs::write(&file, text).map_err(Failure::on("write", &file))?;
        }
        delete(&self.path("node.pid"))?;
        write_cookie(&self.path("home").join(".erlang.cookie"))
    }

    /// Ends the port mapper that the node (or its `rabbitmqctl`) started on the node's own port.
    fn end_port_mapper(&self) {
        if self.in_cluster {
            // It goes with the last of them.
            net::end_port_mapper(self.epmd_port);
            return;
        }
        if !wait_until(SETTLE_LIMIT, || net::end_port_mapper(self.epmd_port)) {
            eprintln!("xtask: epmd on port {} does not end: a tool still talks to the node", self.epmd_port);
        }
    }

    fn end_of_log(&self) -> String {
        const LINES: usize = 15;
        let log = self.path("log");
        let files = [log.join("output.log"), log.join(format!("{}.log", self.name))];
        let ends = files.iter().filter_map(|file| {
            let text = fs::read_to_string(file).ok()?;
            let lines: Vec<&str> = text.lines().collect();
            let end = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n");
            Some(format!("the end of {}:\n{end}\n", file.display()))
        });
        ends.collect()
    }
}

/// The secret that lets `rabbitmqctl` in. Erlang takes only one that no other user can read.
fn write_cookie(file: &Path) -> Result<()> {
    if file.exists() {
        return Ok(());
    }
    // Each RandomState brings fresh random keys of the system.
    let secret: String = (0..4).map(|_| format!("{:016X}", RandomState::new().build_hasher().finish())).collect();
    fs::write(file, secret).map_err(Failure::on("write", file))?;
    #[cfg(unix)]
    {
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o400);
        fs::set_permissions(file, owner_only).map_err(Failure::on("protect", file))?;
    }
    Ok(())
}
