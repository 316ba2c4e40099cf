//! Installing what a task needs with the system's package manager, without asking anything.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::succeeds_within;
use crate::workspace::on_path;

/// Something to install.
#[derive(Debug)]
pub(crate) struct Package {
    /// As most package managers call it.
    pub(crate) name: &'static str,
    /// As pacman and Homebrew call it.
    pub(crate) short_name: &'static str,
    /// The service that Debian's package starts by itself. It is stopped again: nobody asked for it.
    pub(crate) service: Option<&'static str>,
}

/// A package manager: its program, the arguments that refresh its list of packages, and those that install.
struct Manager {
    program: &'static str,
    refresh: &'static [&'static str],
    install: &'static [&'static str],
    short_names: bool,
    starts_services: bool,
    /// Homebrew refuses to run as root; the others need to.
    as_root: bool,
}

const PLAIN: Manager = Manager {
    program: "",
    refresh: &[],
    install: &["install", "-y"],
    short_names: false,
    starts_services: false,
    as_root: true,
};

const MANAGERS: &[Manager] = &[
    Manager {
        program: "apt-get",
        refresh: &["update"],
        install: &["install", "-y", "--no-install-recommends"],
        starts_services: true,
        ..PLAIN
    },
    Manager { program: "dnf", ..PLAIN },
    Manager { program: "apk", install: &["add", "--no-cache"], ..PLAIN },
    Manager { program: "pacman", install: &["-Sy", "--noconfirm"], short_names: true, ..PLAIN },
    Manager { program: "brew", install: &["install"], short_names: true, as_root: false, ..PLAIN },
];

/// How this user becomes root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    Already,
    Sudo,
    No,
}

/// Has the package manager install it; whether that worked, the caller has to look. The error tells why nothing was
/// tried.
pub(crate) fn install(package: &Package) -> Result<(), String> {
    let Some(manager) = MANAGERS.iter().find(|manager| on_path(manager.program).is_some()) else {
        return Err("no package manager that xtask knows".to_owned());
    };
    let Some(commands) = commands(manager, package, root()) else {
        return Err(format!("{} needs root, which this user cannot become without a password", manager.program));
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
    Ok(())
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
fn commands(manager: &Manager, package: &Package, root: Root) -> Option<Vec<Vec<&'static str>>> {
    let before: &[&str] = match (manager.as_root, root) {
        (true, Root::Already) => &["env", "DEBIAN_FRONTEND=noninteractive"],
        (true, Root::Sudo) => &["sudo", "-n", "env", "DEBIAN_FRONTEND=noninteractive"],
        (false, Root::No | Root::Sudo) => &[],
        (true, Root::No) | (false, Root::Already) => return None,
    };
    let name = if manager.short_names { package.short_name } else { package.name };
    let mut commands = Vec::new();
    if !manager.refresh.is_empty() {
        commands.push([before, &[manager.program], manager.refresh].concat());
    }
    commands.push([before, &[manager.program], manager.install, &[name]].concat());
    // Without systemd (in a container, say) no service is started.
    if let Some(service) = package.service
        && manager.starts_services
        && on_path("systemctl").is_some()
    {
        commands.push([before, &["systemctl", "disable", "--now", service]].concat());
    }
    Some(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKER: Package =
        Package { name: "rabbitmq-server", short_name: "rabbitmq", service: Some("rabbitmq-server") };

    fn manager(program: &str) -> Option<&'static Manager> {
        MANAGERS.iter().find(|manager| manager.program == program)
    }

    fn lines(program: &str, root: Root) -> Vec<String> {
        let commands = manager(program).and_then(|manager| commands(manager, &BROKER, root)).unwrap_or_default();
        commands.iter().map(|words| words.join(" ")).collect()
    }

    #[test]
    fn apt_refreshes_its_list_before_it_installs() {
        let sudo = "sudo -n env DEBIAN_FRONTEND=noninteractive";
        assert_eq!(
            lines("apt-get", Root::Sudo)[..2],
            [
                format!("{sudo} apt-get update"),
                format!("{sudo} apt-get install -y --no-install-recommends rabbitmq-server"),
            ]
        );
    }

    #[test]
    fn homebrew_knows_the_short_name() {
        assert_eq!(lines("brew", Root::No), ["brew install rabbitmq"]);
    }

    #[test]
    fn without_root_nothing_but_homebrew_installs() {
        for manager in MANAGERS {
            assert_eq!(commands(manager, &BROKER, Root::No).is_some(), manager.program == "brew");
        }
        assert_eq!(manager("brew").and_then(|manager| commands(manager, &BROKER, Root::Already)), None);
    }
}
