//! Where things are in this checkout.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// Where Cargo puts what it builds, and the tasks what they keep.
pub(crate) fn target_folder() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty());
    // Cargo reads a relative CARGO_TARGET_DIR from where it was called; one fixed place serves us better.
    target.map_or_else(|| root().join("target"), |value| root().join(value))
}

/// The folder of a node: its state, its data, its log. Everything in it may be deleted while the node is down.
pub(crate) fn node_folder(name: &str) -> PathBuf {
    target_folder().join("broker").join(name)
}

/// Cargo, as if it were called from a terminal: what it tells this program of its own package would have the build
/// scripts that ask for it (ring's) run again, and most of the workspace built again, at each change of caller.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// A variable that is set and says something.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The first program of this name on PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
