//! Where things are in this checkout.

use std::env;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// The folder of a node: its state, its data, its log. Everything in it may be deleted while the node is down.
pub(crate) fn node_folder(name: &str) -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty());
    // Cargo reads a relative CARGO_TARGET_DIR from where it was called; one fixed place serves us better.
    let target = target.map_or_else(|| root().join("target"), |value| root().join(value));
    target.join("broker").join(name)
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
