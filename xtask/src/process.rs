//! Processes that are not our children: recognising them, signalling them, waiting for them.

use std::fmt;
use std::fs;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Result};

/// A process, recognised again only if it is the very same one.
///
/// A pid alone is not enough: the system gives it to another process once its first owner has ended, and we must never
/// signal a stranger. The time of its start (and the boot that the time counts from) makes it unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pid: u32,
    started: String,
}

impl Process {
    /// The process with this pid, or `None` where none runs.
    pub(crate) fn find(pid: u32) -> Option<Self> {
        let started = started(pid)?;
        Some(Self { pid, started })
    }

    pub(crate) fn current() -> Option<Self> {
        Self::find(std::process::id())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn is_alive(&self) -> bool {
        Self::find(self.pid).as_ref() == Some(self)
    }

    /// Whether the process is held by a stop signal.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_alive() && state(self.pid).is_some_and(|state| state.starts_with(['T', 't']))
    }

    /// Sends a signal, named as `kill` names it: `TERM`, `KILL`, `STOP`, `CONT`. A process that has ended gets none.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        // The standard library signals only its own children; `kill` is built into every POSIX shell.
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &self.pid.to_string()])
            .stderr(Stdio::null())
            .status();
        match sent {
            Ok(status) if status.success() => Ok(()),
            // It may have ended between the look and the signal.
            _ if !self.is_alive() => Ok(()),
            Ok(status) => Err(Failure::new(format!("cannot send {name} to process {}: kill {status}", self.pid))),
            Err(error) => Err(Failure::new(format!("cannot send {name} to process {}: {error}", self.pid))),
        }
    }

    /// Waits for the end of the process; false where it still runs after this long.
    pub(crate) fn wait_for_end(&self, limit: Duration) -> bool {
        wait_until(limit, || !self.is_alive())
    }
}

impl fmt::Display for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.pid, self.started)
    }
}

impl FromStr for Process {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.trim().split_once(' ').filter(|(_, started)| !started.is_empty());
        let parsed = parts.and_then(|(pid, started)| Some((pid.parse().ok()?, started)));
        let (pid, started) = parsed.ok_or_else(|| Failure::new(format!("`{text}` does not name a process")))?;
        Ok(Self { pid, started: started.to_owned() })
    }
}

/// When the process started, as text that is only ever compared. `None` where it has ended, zombies included.
fn started(pid: u32) -> Option<String> {
    if let Ok(boot) = fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let ticks = start_ticks(&stat)?;
        return Some(format!("boot {} tick {ticks}", boot.trim()));
    }
    let output = Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()]).output().ok()?;
    let line = String::from_utf8_lossy(&output.stdout);
    let (state, started) = line.trim().split_once(' ')?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}

/// The letters in which the system tells what the process does.
fn state(pid: u32) -> Option<String> {
    if let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) {
        return stat.rsplit_once(')').map(|(_, fields)| fields.trim().to_owned());
    }
    let output = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The start time in a line of `/proc/<pid>/stat`.
fn start_ticks(stat: &str) -> Option<&str> {
    // The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)).flatten()
}

/// Looks every 20 ms whether something has come true; false where it has not within the limit.
pub(crate) fn wait_until(limit: Duration, mut is_true: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if is_true() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command for at most this long. `None` where it cannot be started or was ended for taking longer.
pub(crate) fn run_within(limit: Duration, command: &mut Command) -> Option<ExitStatus> {
    let mut child = command.stdin(Stdio::null()).spawn().ok()?;
    let mut status = None;
    wait_until(limit, || {
        status = child.try_wait().ok().flatten();
        status.is_some()
    });
    if status.is_none() {
        end(&mut child);
    }
    status
}

/// As [`run_within`], without the command's output; true where it succeeded.
pub(crate) fn succeeds_within(limit: Duration, command: &mut Command) -> bool {
    let status = run_within(limit, command.stdout(Stdio::null()).stderr(Stdio::null()));
    status.is_some_and(|status| status.success())
}

/// Ends a child at once. That it has ended already is not an error.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Keeps the terminal's Ctrl-C, which goes to a whole process group, from the command.
pub(crate) fn in_own_group(command: &mut Command) -> &mut Command {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a ) b (c)) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3";
        assert_eq!(start_ticks(stat), Some("987654"));
    }

    #[test]
    fn a_zombie_counts_as_ended() {
        let stat = "42 (beam.smp) Z 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3";
        assert_eq!(start_ticks(stat), None);
    }

    #[test]
    fn a_process_is_recognised_from_its_text() -> Result<()> {
        let current = Process::current().ok_or_else(|| Failure::new("this process runs"))?;
        let read: Process = current.to_string().parse()?;
        assert_eq!(read, current);
        assert!(read.is_alive());
        Ok(())
    }

    #[test]
    fn another_process_with_the_same_pid_is_a_stranger() -> Result<()> {
        let stranger: Process = format!("{} boot other tick 1", std::process::id()).parse()?;
        assert!(!stranger.is_alive());
        Ok(())
    }

    #[test]
    fn text_without_a_start_names_no_process() {
        assert!("42".parse::<Process>().is_err());
        assert!("42 ".parse::<Process>().is_err());
        assert!("x boot y".parse::<Process>().is_err());
    }
}
