//! `cargo xtask lowest`: does the library build with the lowest versions that it states of what it depends on?
//!
//! A build takes the newest versions that fit, so a lower bound that is too low goes unnoticed until somebody's lock file
//! has just that version. Only the library's own bounds are meant: what its dependencies state is theirs.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::broker::exit_code;
use crate::failure::{Failure, Result};
use crate::workspace::{cargo, root, target_folder};

/// What somebody who depends on the library gets of this workspace.
const PACKAGES: [&str; 2] = ["asyncworker", "asyncworker-macros"];

pub(crate) fn run() -> Result<ExitCode> {
    let folder = target_folder().join("lowest");
    lay_out(&folder)?;
    let cargo_there = || {
        let mut command = cargo();
        command.current_dir(&folder).env("CARGO_TARGET_DIR", folder.join("target"));
        command
    };
    let mut resolve = cargo_there();
    // The flag is unstable, and only chooses versions: what it chose is built without it.
    resolve.args(["update", "--quiet", "-Z", "direct-minimal-versions"]).env("RUSTC_BOOTSTRAP", "1");
    if !ran(&mut resolve)?.success() {
        return Err(Failure::new("a bound is lower than what another dependency asks for: raise it to that one"));
    }
    let checked = ran(cargo_there().args(["check", "--package", PACKAGES[0], "--all-features", "--locked"]))?;
    if checked.success() {
        println!("lowest versions: checked, all features.");
    }
    Ok(exit_code(checked))
}

/// A workspace of the packages alone, so that the bounds of tests and benchmarks do not count.
fn lay_out(folder: &Path) -> Result<()> {
    let cannot = |error| Failure::new(format!("cannot write {}: {error}", folder.display()));
    for package in PACKAGES {
        let to = folder.join(package);
        if to.exists() {
            fs::remove_dir_all(&to).map_err(cannot)?;
        }
        copy(&root().join(package), &to).map_err(cannot)?;
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).map_err(cannot)?;
    fs::write(folder.join("Cargo.toml"), of_these(&manifest)).map_err(cannot)
}

/// The workspace's manifest, with these packages as its only members.
fn of_these(manifest: &str) -> String {
    let line = |line: &str| match line.split_once(" = ") {
        Some(("members", _)) => format!("members = {PACKAGES:?}\n"),
        Some(("default-members", _)) => String::new(),
        _ => format!("{line}\n"),
    };
    manifest.lines().map(line).collect()
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

fn ran(command: &mut Command) -> Result<std::process::ExitStatus> {
    command.status().map_err(|error| Failure::new(format!("cannot run cargo: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_keeps_all_but_its_members() {
        let manifest =
            "[workspace]\nmembers = [\"asyncworker\", \"tests\"]\ndefault-members = [\"tests\"]\n\n[a]\nb = 1\n";
        let expected = "[workspace]\nmembers = [\"asyncworker\", \"asyncworker-macros\"]\n\n[a]\nb = 1\n";
        assert_eq!(of_these(manifest), expected);
    }
}
