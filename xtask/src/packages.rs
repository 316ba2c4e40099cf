//! Installing what a task needs with the system's package manager, without asking anything.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::succeeds_within;
use crate::workspace::on_path;

/// What package managers call a thing.
pub(crate) struct Package {
    pub(crate) apt: &'static str,
    pub(crate) dnf: &'static str,
    pub(crate) apk: &'static str,
    pub(crate) pacman: &'static str,
    pub(crate) brew: &'static str,
    /// What Debian's package starts by itself. It is stopped again: nobody asked for it, and it would hold a port.
    pub(crate) service: Option<&'static str>,
}

impl Package {
    /// One that is called so everywhere.
    pub(crate) const fn called(name: &'static str) -> Self {
        Self { apt: name, dnf: name, apk: name, pacman: name, brew: name, service: None }
    }
}

/// A package manager: its program, the arguments that refresh its list of packages, and those that install.
struct Manager {
    program: &'static str,
    refresh: &'static [&'static str],
    install: &'static [&'static str],
    name: fn(&Package) -> &'static str,
    starts_services: bool,
    /// Homebrew refuses to run as root; the others need to.
    as_root: bool,
}

/// What most of them have in common.
const USUAL: Manager = Manager {
    program: "",
    refresh: &[],
    install: &["install", "-y"],
    name: |package| package.apt,
    starts_services: false,
    as_root: true,
};

const MANAGERS: &[Manager] = &[
    Manager {
        program: "apt-get",
        refresh: &["update"],
        install: &["install", "-y", "--no-install-recommends"],
        starts_services: true,
        ..USUAL
    },
    Manager { program: "dnf", name: |package| package.dnf, ..USUAL },
    Manager { program: "apk", install: &["add", "--no-cache"], name: |package| package.apk, ..USUAL },
    Manager { program: "pacman", install: &["-Sy", "--noconfirm"], name: |package| package.pacman, ..USUAL },
    Manager { program: "brew", install: &["install"], name: |package| package.brew, as_root: false, ..USUAL },
];

/// How this user becomes root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    Already,
    Sudo,
    No,
}

/// Runs what installs the package; whether it is there then, the caller has to see. The error tells why nothing ran.
pub(crate) fn install(package: &Package) -> Result<(), String> {
    let manager = MANAGERS.iter().find(|manager| on_path(manager.program).is_some());
    let manager = manager.ok_or("and no package manager that xtask knows")?;
    let commands = commands(manager, package, root()).ok_or_else(|| {
        format!("and {} needs root, which this user cannot become without a password", manager.program)
    })?;
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
    let name = (manager.name)(package);
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

    const BROKER: Package = Package::called("rabbitmq-server");

    fn manager(program: &str) -> Option<&'static Manager> {
        MANAGERS.iter().find(|manager| manager.program == program)
    }

    #[test]
    fn apt_refreshes_its_list_before_it_installs() {
        let commands =
            manager("apt-get").and_then(|manager| commands(manager, &BROKER, Root::Sudo)).unwrap_or_default();
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
            assert_eq!(commands(manager, &BROKER, Root::No).is_some(), manager.program == "brew");
        }
        assert_eq!(manager("brew").and_then(|manager| commands(manager, &BROKER, Root::Already)), None);
    }
}
