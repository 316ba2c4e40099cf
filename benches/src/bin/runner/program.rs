//! The programs that the runner starts.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use benches::feed::Fed;
use benches::{Error, Job, Report};

use crate::workload::Worker;

/// No run takes this long.
const LIMIT: Duration = Duration::from_secs(180);

/// Where the programs are: beside this one.
pub(crate) fn folder() -> Result<PathBuf, Error> {
    let own = std::env::current_exe()?;
    Ok(own.parent().ok_or("this program is in no folder")?.to_path_buf())
}

/// Compiles the worker on rabbitmq-c. The error says why there is none.
pub(crate) fn compile_rabbitmq_c(folder: &Path) -> Result<(), String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/worker.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-D_GNU_SOURCE", "-o"]).arg(program(folder, Worker::RabbitmqC)).arg(source).arg("-lrabbitmq");
    let compiled = compiler.output().map_err(|error| format!("there is no C compiler: {error}"))?;
    if compiled.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&compiled.stderr);
    let first = errors.lines().find(|line| line.contains("error")).unwrap_or_default();
    Err(format!("it does not compile; its library is librabbitmq-dev on Debian ({})", first.trim()))
}

/// Whether there is a Python that has async-worker. The error says why there is none.
pub(crate) fn find_python() -> Result<(), String> {
    let found = python().args(["-c", "import asyncworker"]).stderr(Stdio::null()).status();
    match found {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("this Python does not have it; `pip install async-worker` gets it".to_owned()),
        Err(error) => Err(format!("there is no Python: {error}")),
    }
}

fn python() -> Command {
    Command::new(std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into()))
}

fn program(folder: &Path, worker: Worker) -> PathBuf {
    folder.join(format!("worker-{}", worker.name()))
}

fn command(folder: &Path, worker: Worker) -> Command {
    if worker != Worker::Python {
        return Command::new(program(folder, worker));
    }
    let mut command = python();
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python/worker.py"));
    command
}

/// A worker at work. Dropped, it is ended.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(folder: &Path, worker: Worker, job: &Job) -> Result<Self, Error> {
        let mut command = command(folder, worker);
        command.args(job.to_args()).stdin(Stdio::null()).stdout(Stdio::piped());
        Ok(Self(command.spawn()?))
    }

    /// Waits for its end and takes its figures.
    pub(crate) async fn report(mut self) -> Result<Report, Error> {
        let deadline = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.0.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                return Err(format!("it did not end within {} s", LIMIT.as_secs()).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let mut line = String::new();
        self.0.stdout.take().ok_or("it has no output")?.read_to_string(&mut line)?;
        if !status.success() {
            return Err(format!("it ended with {status}").into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The loopback server for one run.
pub(crate) struct Feed {
    child: Running,
    output: BufReader<std::process::ChildStdout>,
    pub(crate) port: u16,
}

impl Feed {
    pub(crate) fn start(folder: &Path, messages: u64, body: usize) -> Result<Self, Error> {
        let mut command = Command::new(folder.join("feed"));
        command.args([format!("messages={messages}"), format!("body={body}")]);
        let mut child = Running(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
        let mut output = BufReader::new(child.0.stdout.take().ok_or("the feed has no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        Ok(Self { port: line.trim().parse()?, child, output })
    }

    /// What it has fed, once its worker has closed the connection.
    pub(crate) fn fed(mut self) -> Result<Fed, Error> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let fed = serde_json::from_str(&line)?;
        drop(self.child);
        Ok(fed)
    }
}
