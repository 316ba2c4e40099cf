//! Finding rabbitmq-server on this machine, and installing it where there is none.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};
use crate::packages::{self, Package};
use crate::workspace::on_path;

const RABBITMQ: Package = Package {
    pacman: "rabbitmq",
    brew: "rabbitmq",
    service: Some("rabbitmq-server"),
    ..Package::called("rabbitmq-server")
};

/// The folder with the package's own `rabbitmq-server` and `rabbitmqctl`.
///
/// The scripts that distributions put on PATH switch to the system's user; those that they wrap do not.
pub(super) fn find() -> Option<PathBuf> {
    let fixed = [
        "/usr/lib/rabbitmq/bin",
        "/usr/local/sbin",
        "/usr/local/opt/rabbitmq/sbin",
        "/opt/homebrew/sbin",
        "/opt/homebrew/opt/rabbitmq/sbin",
        "/opt/rabbitmq/sbin",
    ];
    let on_path = on_path("rabbitmq-server").and_then(|script| script.parent().map(Path::to_path_buf));
    let mut folders = versions(Path::new("/usr/lib/rabbitmq/lib"));
    folders.extend(fixed.iter().map(PathBuf::from));
    folders.extend(on_path);
    folders.iter().find_map(|folder| own_scripts(folder))
}

/// The `sbin` of each version in this folder, the newest first.
fn versions(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path().join("sbin")).collect();
    folders.sort_by_key(|folder| std::cmp::Reverse(version_numbers(folder)));
    folders
}

fn version_numbers(path: &Path) -> Vec<u64> {
    let text = path.to_string_lossy();
    text.split(|character: char| !character.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// The folder that the scripts in this one come from, where they are the package's own.
fn own_scripts(folder: &Path) -> Option<PathBuf> {
    let script = fs::canonicalize(folder.join("rabbitmq-server")).ok()?;
    // `rabbitmq-env` stands beside the package's scripts and not beside a distribution's wrappers.
    let environment = fs::canonicalize(script.parent()?.join("rabbitmq-env")).ok()?;
    let own = environment.parent()?;
    let complete = ["rabbitmq-server", "rabbitmqctl"].iter().all(|script| own.join(script).is_file());
    complete.then(|| own.to_path_buf())
}

pub(super) fn install() -> Result<()> {
    packages::install(&RABBITMQ).map_err(|why| no_broker(&why))?;
    if find().is_none() {
        return Err(no_broker("and the package manager did not install one"));
    }
    Ok(())
}

fn no_broker(why: &str) -> Failure {
    Failure::new(format!(
        "no broker: AMQP_URL is not set, no Docker engine with Compose answers, there is no rabbitmq-server {why}.\n\
         Do one of these and try again:\n  \
         - install RabbitMQ (its package is called rabbitmq-server, with Homebrew rabbitmq)\n  \
         - start Docker\n  \
         - set AMQP_URL to a broker, e.g. amqp://guest:guest@127.0.0.1:5672"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_version_has_the_higher_numbers() {
        let numbers = |name: &str| version_numbers(Path::new(name));
        assert!(numbers("rabbitmq_server-3.13.7/sbin") > numbers("rabbitmq_server-3.9.27/sbin"));
    }

    #[test]
    fn a_folder_without_the_scripts_is_not_taken() {
        assert_eq!(own_scripts(&std::env::temp_dir()), None);
    }
}
