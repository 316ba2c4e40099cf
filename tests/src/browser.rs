//! A real browser, without a window.

use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::{Child, Command};

/// Chromium on one page, with a profile of its own. Dropped, it is killed.
pub struct Browser {
    process: Child,
    profile: PathBuf,
}

impl Browser {
    /// Opens this page. `cargo xtask test` names the browser in `CHROMIUM`, or else it is looked for on PATH.
    ///
    /// # Panics
    /// There is none.
    pub fn open(url: &str) -> Self {
        let program = std::env::var_os("CHROMIUM").unwrap_or_else(|| "chromium".into());
        let profile = std::env::temp_dir().join(crate::unique("asyncworker-browser"));
        let mut command = Command::new(&program);
        // Nothing of the world but this page; no sandbox, which containers do not allow.
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--remote-debugging-port=0",
        ]);
        command.arg(format!("--user-data-dir={}", profile.display())).arg(url);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let process = command.spawn().unwrap_or_else(|error| {
            panic!("no browser, {}: {error}; `cargo xtask test` installs one", program.to_string_lossy())
        });
        Self { process, profile }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.start_kill();
        // It may still write; what is left is in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
