//! Chromium and the driver that tests steer it by: found on this machine, or installed.

use std::path::{Path, PathBuf};

use crate::packages::{self, Package};
use crate::workspace::{on_path, variable};

/// A program that tests in a browser need.
struct Program {
    /// Names it, for users who have it elsewhere and to the tests.
    variable: &'static str,
    /// What it is, for the person at the terminal.
    what: &'static str,
    names: &'static [&'static str],
    /// Where it is, where it is not on PATH.
    elsewhere: &'static [&'static str],
    package: Package,
}

/// The driver has to be of the browser's version: distributions that have Chromium have the driver of the same build.
const PROGRAMS: [Program; 2] = [
    Program {
        variable: "CHROMIUM",
        what: "a Chromium or Chrome",
        names: &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
        // macOS.
        elsewhere: &[
            "/Applications/Chromium.app/Contents/MacOS/Chromium",
            "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        ],
        package: Package::called("chromium"),
    },
    Program {
        variable: "CHROMEDRIVER",
        what: "the ChromeDriver of the same version",
        // The second is in the snap of Chromium.
        names: &["chromedriver", "chromium.chromedriver"],
        elsewhere: &["/usr/lib/chromium/chromedriver", "/usr/lib/chromium-browser/chromedriver"],
        package: Package {
            apt: "chromium-driver",
            apk: "chromium-chromedriver",
            // Arch has both in one.
            pacman: "chromium",
            ..Package::called("chromedriver")
        },
    },
];

impl Program {
    fn find(&self) -> Option<PathBuf> {
        let given = variable(self.variable).map(PathBuf::from);
        let elsewhere =
            || self.elsewhere.iter().map(Path::new).find(|program| program.is_file()).map(Path::to_path_buf);
        given.or_else(|| self.names.iter().find_map(|name| on_path(name))).or_else(elsewhere)
    }

    fn find_or_install(&self) -> Option<PathBuf> {
        let found = self.find();
        if found.is_some() {
            return found;
        }
        let tried = packages::install(&self.package);
        let installed = self.find();
        if installed.is_none() {
            let why = tried.err().unwrap_or_else(|| "and the package manager did not install it".to_owned());
            let (name, package, variable) = (self.names[0], self.package.apt, self.variable);
            eprintln!(
                "xtask: there is no {name} on PATH {why}; tests in a browser will fail.\n\
                 Install it (Debian's package is called {package}) or set {variable} to {}, and try again.",
                self.what
            );
        }
        installed
    }
}

/// What is there of the browser and its driver, by the variables that tell tests where.
pub(crate) fn find() -> Vec<(&'static str, PathBuf)> {
    all(Program::find)
}

/// As [`find`], and what was not there is installed. Where that may not be, what to do is said, and that tests will fail.
pub(crate) fn find_or_install() -> Vec<(&'static str, PathBuf)> {
    all(Program::find_or_install)
}

fn all(find: fn(&Program) -> Option<PathBuf>) -> Vec<(&'static str, PathBuf)> {
    PROGRAMS.iter().filter_map(|program| Some((program.variable, find(program)?))).collect()
}
