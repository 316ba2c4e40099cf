//! A worker that is a process of its own.

use crate::until;
use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A program of `examples/`.
///
/// # Panics
/// It is not built; how to do that is said.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test's own path");
    let folder = test.ancestors().nth(2).map(|folder| folder.join("examples")).expect("target/debug");
    let program = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        program.is_file(),
        "there is no {}: `cargo build -p examples --examples` (or `cargo xtask test`) makes it",
        program.display()
    );
    program
}

/// A child process with everything it prints. Dropped, it is killed; and it is when the test's own process is.
pub struct Worker {
    child: Child,
    /// `None` once it has ended.
    watcher: Option<Watcher>,
    input: Option<ChildStdin>,
    printed: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a program; the variables `ASYNCWORKER_*` are those given here.
    pub fn start<A: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = Self::command(program);
        command.args(arguments).envs(environment.iter().copied());
        Self::run(command)
    }

    /// To be changed and run: a program without the variables `ASYNCWORKER_*` of the tests.
    pub fn command(program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ASYNCWORKER_") {
                command.env_remove(name);
            }
        }
        command
    }

    pub fn run(mut command: Command) -> Self {
        // One pipe for both streams: what it prints to either is in the order in which it does.
        let (output, end) = std::io::pipe().expect("a pipe");
        command.stdin(Stdio::piped()).stdout(end.try_clone().expect("a pipe")).stderr(end).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        // It has the end that is written to; where only the child has it, there is an end to what is read.
        drop(command);
        let watcher = child.id().map(Watcher::of);
        let (input, printed) = (child.stdin.take(), Arc::default());
        let output = Receiver::from_owned_fd(output.into()).expect("a pipe");
        let reader = Some(tokio::spawn(read(output, Arc::clone(&printed))));
        Self { child, watcher, input, printed, reader }
    }

    /// Its standard input, once.
    pub fn take_input(&mut self) -> ChildStdin {
        self.input.take().expect("a pipe that was not taken yet")
    }

    /// All that it printed so far, on both streams, in order.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&self.printed.lock().unwrap()).into_owned()
    }

    /// Waits until it has printed this.
    pub async fn until_printed(&self, text: &str) {
        self.until_printed_within(text, crate::LIMIT).await;
    }

    pub async fn until_printed_within(&self, text: &str, limit: Duration) {
        let found = timeout(limit, until("", limit + crate::LIMIT, || self.printed().contains(text))).await;
        assert!(found.is_ok(), "not printed within {limit:?}: {text:?}; it printed\n{}", self.printed());
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("the process has ended already")
    }

    /// Sends it a signal, by name.
    pub async fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().await;
        assert!(sent.expect("kill").success());
    }

    /// Waits for its end, at most so long. Gives how it ended.
    pub async fn end(&mut self, limit: Duration) -> ExitStatus {
        let ended = timeout(limit, self.child.wait()).await;
        let status =
            ended.unwrap_or_else(|_| panic!("it did not end within {limit:?}; it printed\n{}", self.printed()));
        self.watcher = None;
        if let Some(reader) = self.reader.take() {
            let _ = reader.await;
        }
        status.expect("wait for the process")
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its number of threads.
    pub fn threads(&self) -> usize {
        self.status("Threads:")
    }

    /// Its memory in kibibytes: what it has, and the most that it ever had.
    pub fn memory(&self) -> (usize, usize) {
        (self.status("VmRSS:"), self.status("VmHWM:"))
    }

    fn status(&self, what: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("/proc");
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_else(|| panic!("no {what}"));
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

async fn read(mut from: Receiver, to: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        to.lock().unwrap().extend_from_slice(&buffer[..length]);
    }
}

/// A shell that kills a process when this one is gone without a word: however it ends, the system closes the shell's input.
struct Watcher(std::process::Child);

impl Watcher {
    fn of(process: u32) -> Self {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "read -r _ || kill -KILL \"$0\"", &process.to_string()]).stdin(Stdio::piped());
        Self(shell.stdout(Stdio::null()).spawn().expect("a shell"))
    }
}

impl Drop for Watcher {
    /// The word.
    fn drop(&mut self) {
        let _ = self.0.stdin.take().map(|mut input| input.write_all(b"\n"));
        let _ = self.0.wait();
    }
}
