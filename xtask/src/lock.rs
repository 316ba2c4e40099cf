//! A lock between processes: a file that names its holder.
//!
//! The standard library's file locks are younger than the workspace's minimum Rust version.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::{Failure, Result};
use crate::process::{Process, wait_until};

/// Held until dropped. A holder that dies without dropping it loses it to the next who asks.
#[derive(Debug)]
pub(crate) struct Lock {
    file: PathBuf,
    holder: Process,
}

impl Lock {
    /// Takes the lock, waiting at most this long for another living process to give it back.
    pub(crate) fn take(file: &Path, limit: Duration) -> Result<Self> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(Failure::on("create the folder", folder))?;
        }
        let holder = Process::current().ok_or_else(|| Failure::new("cannot tell when this process started"))?;
        let mut tried = Ok(false);
        wait_until(limit, || {
            tried = try_take(file, &holder);
            !matches!(tried, Ok(false))
        });
        if tried? {
            return Ok(Self { file: file.to_path_buf(), holder });
        }
        let holder = fs::read_to_string(file).unwrap_or_default();
        let pid = holder.split(' ').next().unwrap_or_default();
        Err(Failure::new(format!("process {pid} is using this broker (it holds {})", file.display())))
    }

    pub(crate) fn holder(&self) -> &Process {
        &self.holder
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if is_held_by(&self.file, &self.holder) {
            // A lock file left behind names a dead process, and the next one takes it over.
            let _ = fs::remove_file(&self.file);
        }
    }
}

pub(crate) fn is_held_by(file: &Path, process: &Process) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text == process.to_string())
}

fn try_take(file: &Path, holder: &Process) -> Result<bool> {
    // Written first and linked into place then: whoever sees the lock also sees who holds it.
    let own = file.with_extension(format!("{}.new", holder.pid()));
    fs::write(&own, holder.to_string()).map_err(Failure::on("write", &own))?;
    let linked = fs::hard_link(&own, file);
    let _ = fs::remove_file(&own);
    match linked {
        Ok(()) => return Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Failure::on("create", file)(error)),
    }
    let Ok(text) = fs::read_to_string(file) else {
        return Ok(false);
    };
    if text.parse().is_ok_and(|process: Process| process.is_alive()) {
        return Ok(false);
    }
    take_away(file, &text, holder);
    Ok(false)
}

/// Removes the lock of a dead process, unless somebody else has done so and taken the lock meanwhile.
fn take_away(file: &Path, stale: &str, holder: &Process) {
    let aside = file.with_extension(format!("{}.stale", holder.pid()));
    if fs::rename(file, &aside).is_err() {
        return;
    }
    if fs::read_to_string(&aside).is_ok_and(|text| text != stale) {
        let _ = fs::hard_link(&aside, file);
    }
    let _ = fs::remove_file(&aside);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock_file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("xtask-{}-{name}.lock", std::process::id()))
    }

    #[test]
    fn a_lock_is_taken_once_and_again_after_it_is_dropped() -> Result<()> {
        let file = lock_file("once");
        let first = Lock::take(&file, Duration::ZERO)?;
        assert!(Lock::take(&file, Duration::ZERO).is_err());
        drop(first);
        drop(Lock::take(&file, Duration::ZERO)?);
        assert!(!file.exists());
        Ok(())
    }

    #[test]
    fn the_lock_of_a_dead_process_is_taken_over() -> Result<()> {
        let file = lock_file("dead");
        let written = fs::write(&file, format!("{} boot other tick 1", std::process::id()));
        written.map_err(Failure::on("write", &file))?;
        drop(Lock::take(&file, Duration::from_secs(5))?);
        assert!(!file.exists());
        Ok(())
    }
}
