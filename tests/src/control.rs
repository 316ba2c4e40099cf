//! The broker that the tests were given, and the program that controls its node.

use lapin::uri::AMQPUri;
use std::env;
use std::ffi::OsString;
use std::process::Output;
use tokio::process::Command;

/// Where the broker is.
///
/// # Panics
/// It was not said; how to do that is.
pub fn amqp_url() -> String {
    env::var("AMQP_URL").expect("no broker to test with: AMQP_URL is not set. `cargo xtask test` sets up everything")
}

/// The broker's host and port.
pub fn broker_address() -> String {
    let uri: AMQPUri = amqp_url().parse().expect("AMQP_URL");
    format!("{}:{}", uri.authority.host, uri.authority.port)
}

/// The URI of the broker by way of another address (of a relay), with what follows the port.
pub fn url_to(address: &str, rest: &str) -> String {
    let uri: AMQPUri = amqp_url().parse().expect("AMQP_URL");
    let user = uri.authority.userinfo;
    format!("amqp://{}:{}@{address}{rest}", user.username, user.password)
}

/// A node that xtask runs.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// `None`: that of the tests.
    folder: Option<OsString>,
}

impl Node {
    /// The node in this folder of xtask's.
    pub fn in_folder(folder: impl Into<OsString>) -> Self {
        Self { folder: Some(folder.into()) }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let program: OsString = env::var_os("XTASK_BROKER").expect(
            "nothing to control the broker with: XTASK_BROKER is not set. `cargo xtask test` sets up everything",
        );
        let mut command = Command::new(program);
        if let Some(folder) = &self.folder {
            command.env("XTASK_BROKER_DIR", folder);
        }
        command.arg("broker").args(arguments).kill_on_drop(true).output().await.expect("run the broker's control")
    }

    /// `kill`, `start`, `stop`, ..: does it to the node. Gives what xtask printed.
    ///
    /// # Panics
    /// It did not work.
    pub async fn control(&self, verb: &str) -> String {
        let output = self.run(&[verb]).await;
        assert!(output.status.success(), "broker {verb}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Host and port.
    pub async fn address(&self) -> String {
        let uri: AMQPUri = self.control("url").await.parse().expect("the URL of the node");
        format!("{}:{}", uri.authority.host, uri.authority.port)
    }

    /// `rabbitmqctl`; gives what it printed, and whether it worked.
    pub async fn try_ctl(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.run(&[&["ctl"], arguments].concat()).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(text) } else { Err(text + &String::from_utf8_lossy(&output.stderr)) }
    }

    /// As [`try_ctl`](Self::try_ctl).
    ///
    /// # Panics
    /// It did not work.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        let done = self.try_ctl(arguments).await;
        done.unwrap_or_else(|error| panic!("rabbitmqctl {arguments:?}: {error}; `cargo xtask test` sets up a node"))
    }
}

/// `kill`, `start`, `stop`, ..: does it to the node of the tests.
///
/// # Panics
/// It did not work.
pub async fn control(verb: &str) {
    Node::default().control(verb).await;
}

/// `rabbitmqctl`; gives what it printed, and whether it worked.
pub async fn try_ctl(arguments: &[&str]) -> Result<String, String> {
    Node::default().try_ctl(arguments).await
}

/// As [`try_ctl`].
///
/// # Panics
/// It did not work.
pub async fn ctl(arguments: &[&str]) -> String {
    Node::default().ctl(arguments).await
}

/// Closes the connections of an app as an operator would; gives their number.
///
/// # Panics
/// There are none.
pub async fn close_connections_of(app: &str) -> usize {
    let listed = ctl(&["list_connections", "-q", "pid", "client_properties"]).await;
    let ours = listed.lines().filter(|line| line.contains(&format!("{app}@")));
    let pids: Vec<&str> = ours.filter_map(|line| line.split('\t').next()).collect();
    assert!(!pids.is_empty(), "no connection of {app}: {listed}");
    for pid in &pids {
        ctl(&["close_connection", pid, "closed by a test"]).await;
    }
    pids.len()
}

/// Messages of a queue that were delivered and are not settled, as the broker has it.
///
/// # Panics
/// There is no such queue.
pub async fn unsettled(queue: &str) -> usize {
    let listed = ctl(&["list_queues", "-q", "--no-table-headers", "name", "messages_unacknowledged"]).await;
    let line = listed.lines().find_map(|line| line.strip_prefix(queue)?.strip_prefix('\t'));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("{queue} is not among\n{listed}"))
}
