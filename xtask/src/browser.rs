//! Chromium, for tests that hold the library against a real browser: found on this machine, or installed.

use std::path::{Path, PathBuf};

use crate::packages::{self, Package};
use crate::workspace::{on_path, variable};

/// Names the browser, for users who have it elsewhere and to the tests.
pub(crate) const BROWSER: &str = "CHROMIUM";

const CHROMIUM: Package = Package::called("chromium");
const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// Where macOS has what is not on PATH.
const BUNDLES: [&str; 2] = [
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/// The browser that is there.
pub(crate) fn find() -> Option<PathBuf> {
    let given = variable(BROWSER).map(PathBuf::from);
    let bundles = || BUNDLES.iter().map(Path::new).find(|program| program.is_file()).map(Path::to_path_buf);
    given.or_else(|| PROGRAMS.iter().find_map(|program| on_path(program))).or_else(bundles)
}

/// The browser, installed where there was none. Where that may not be, what to do is said, and that tests will fail.
pub(crate) fn find_or_install() -> Option<PathBuf> {
    let missing = |why: &str| {
        eprintln!(
            "xtask: there is no Chromium on PATH {why}; tests in a browser will fail.\n\
             Install it (its package is called chromium) or set {BROWSER} to a Chromium or Chrome, and try again."
        );
    };
    if let Some(browser) = find() {
        return Some(browser);
    }
    if let Err(why) = packages::install(&CHROMIUM) {
        missing(&why);
        return None;
    }
    let installed = find();
    if installed.is_none() {
        missing("and the package manager did not install it");
    }
    installed
}
