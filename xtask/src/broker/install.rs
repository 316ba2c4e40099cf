//! Finding rabbitmq-server on this machine, and installing it where there is none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::failure::{Failure, Result};
use crate::process::succeeds_within;
use crate::workspace::on_path;

/// A package manager: its program, the arguments that refresh its list of packages, and those that install.
struct Manager {
    program: &'static str,
    refresh: &'static [&'static str],
    install: &'static [&'static str],
    /// What ends the service that the package starts by itself.
    stop_service: &'static [&'static str],
    /// Homebrew refuses to run as root; the others need to.
    as_root: bool,
}

const MANAGERS: &[Manager] = &[
    Manager {
        program: "apt-get",
        refresh: &["update"],
        install: &["install", "-y", "--no-install-recommends", "rabbitmq-server"],
        stop_service: &["systemctl", "disable", "--now", "rabbitmq-server"],
        as_root: true,
    },
    Manager {
        program: "dnf",
        refresh: &[],
        install: &["install", "-y", "rabbitmq-server"],
        stop_service: &[],
        as_root: true,
    },
    Manager {
        program: "apk",
        refresh: &[],
        install: &["add", "--no-cache", "rabbitmq-server"],
        stop_service: &[],
        as_root: true,
    },
    Manager {
        program: "pacman",
        refresh: &[],
        install: &["-Sy", "--noconfirm", "rabbitmq"],
        stop_service: &[],
        as_root: true,
    },
    Manager { program: "brew", refresh: &[], install: &["install", "rabbitmq"], stop_service: &[], as_root: false },
];

/// How this user becomes root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    Already,
    Sudo,
    No,
}

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

/// Installs rabbitmq-server, without asking anything.
///
/// The service that Debian's package starts is stopped again: nobody asked for it, and it would hold the port
/// that brokers have by default.
pub(super) fn install() -> Result<()> {
    let Some(manager) = MANAGERS.iter().find(|manager| on_path(manager.program).is_some()) else {
        return Err(no_broker("and no package manager that xtask knows"));
    };
    let Some(commands) = commands(manager, root()) else {
        return Err(no_broker(&format!(
            "and {} needs root, which this user cannot become without a password",
            manager.program
        )));
    };
    for words in &commands {
        eprintln!("xtask: {}", words.join(" "));
        let Some((program, arguments)) = words.split_first() else {
            continue;
        };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(std::io::stderr());
        // A refresh fails on any one broken source; the install tells whether that matters.
        if !command.status().is_ok_and(|status| status.success()) {
            eprintln!("xtask: `{}` failed", words.join(" "));
        }
    }
    if find().is_none() {
        return Err(no_broker(&format!("and {} did not install one", manager.program)));
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

fn root() -> Root {
    let id = Command::new("id").arg("-u").output();
    if id.is_ok_and(|output| output.stdout.trim_ascii() == b"0") {
        return Root::Already;
    }
    let sudo = succeeds_within(Duration::from_secs(10), Command::new("sudo").args(["-n", "true"]));
    if sudo { Root::Sudo } else { Root::No }
}

/// What to run, in order; `None` where this user may not.
fn commands(manager: &Manager, root: Root) -> Option<Vec<Vec<&'static str>>> {
    let before: &[&str] = match (manager.as_root, root) {
        (true, Root::Already) => &["env", "DEBIAN_FRONTEND=noninteractive"],
        (true, Root::Sudo) => &["sudo", "-n", "env", "DEBIAN_FRONTEND=noninteractive"],
        (false, Root::No | Root::Sudo) => &[],
        (true, Root::No) | (false, Root::Already) => return None,
    };
    let packages = [manager.refresh, manager.install];
    let packages = packages.into_iter().filter(|arguments| !arguments.is_empty());
    let mut commands: Vec<_> = packages.map(|arguments| [before, &[manager.program], arguments].concat()).collect();
    let stop = manager.stop_service;
    // Without systemd (in a container, say) no service is started.
    commands.extend(stop.first().and_then(|program| on_path(program)).map(|_| [before, stop].concat()));
    Some(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(program: &str) -> Option<&'static Manager> {
        MANAGERS.iter().find(|manager| manager.program == program)
    }

    #[test]
    fn apt_refreshes_its_list_before_it_installs() {
        let commands = manager("apt-get").and_then(|manager| commands(manager, Root::Sudo)).unwrap_or_default();
        let lines: Vec<String> = commands.iter().map(|words| words.join(" ")).collect();
        let sudo = "sudo -n env DEBIAN_FRONTEND=noninteractive";
        assert_eq!(
            lines[..2],
            [
                format!("{sudo} apt-get update"),
                format!("{sudo} apt-get install -y --no-install-recommends rabbitmq-server"),
            ]
        );
    }

    #[test]
    fn without_root_nothing_but_homebrew_installs() {
        for manager in MANAGERS {
            assert_eq!(commands(manager, Root::No).is_some(), manager.program == "brew");
        }
        assert_eq!(manager("brew").and_then(|manager| commands(manager, Root::Already)), None);
    }

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
