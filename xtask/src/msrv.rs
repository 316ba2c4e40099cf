//! `cargo xtask msrv`: does the workspace build with the Rust version that it states?
//!
//! Two checks, and it says which of them were done:
//!
//! * what the library depends on states no higher version itself; this needs no toolchain but the present one;
//! * the workspace compiles with that version, where its toolchain is installed or can be.
//!
//! Clippy's `incompatible_msrv` covers a third: a function of the standard library that came later.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::broker::exit_code;
use crate::failure::{Failure, Result};
use crate::process::{run_within, succeeds_within};
use crate::workspace::root;

/// The package whose users the promise is for.
const LIBRARY: &str = "asyncworker";
const INSTALL_LIMIT: Duration = Duration::from_secs(300);

pub(crate) fn run() -> Result<ExitCode> {
    let metadata = metadata()?;
    let dependencies = Dependencies::of(&metadata, LIBRARY)?;
    let newer = dependencies.newer_than_stated();
    if !newer.is_empty() {
        for package in &newer {
            eprintln!("xtask: {package}");
        }
        return Err(Failure::new(format!(
            "{} of the dependencies of {LIBRARY} need a newer Rust than {}",
            newer.len(),
            dependencies.stated
        )));
    }
    println!(
        "dependencies: checked. None of the {} that {LIBRARY} builds with states a Rust version above {}; {} state none.",
        dependencies.versions.len(),
        dependencies.stated,
        dependencies.versions.values().filter(|version| version.is_none()).count(),
    );
    check_with_toolchain(&dependencies.stated)
}

fn check_with_toolchain(version: &str) -> Result<ExitCode> {
    if let Err(why) = have_toolchain(version) {
        println!("compilation with Rust {version}: NOT CHECKED, {why}.");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("xtask: rustup run {version} cargo check --workspace --all-features");
    let status = Command::new("rustup")
        .args(["run", version, "cargo", "check", "--workspace", "--all-features"])
        // Cargo sets these for what it runs, and they name the present toolchain.
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN")
        .current_dir(root())
        .status()
        .map_err(|error| Failure::new(format!("cannot run rustup: {error}")))?;
    if status.success() {
        println!("compilation with Rust {version}: checked, all features.");
    } else {
        println!("compilation with Rust {version}: FAILED.");
    }
    Ok(exit_code(status))
}

/// Finds or installs the toolchain; the error tells why there is none.
fn have_toolchain(version: &str) -> std::result::Result<(), String> {
    let rustup = || Command::new("rustup");
    let limit = Duration::from_secs(20);
    if !succeeds_within(limit, rustup().arg("--version")) {
        return Err("for want of rustup".to_owned());
    }
    if succeeds_within(limit, rustup().args(["which", "--toolchain", version, "cargo"])) {
        return Ok(());
    }
    eprintln!("xtask: rustup toolchain install {version} --profile minimal");
    let mut install = rustup();
    install.args(["toolchain", "install", version, "--profile", "minimal"]).stdout(Stdio::null());
    match run_within(INSTALL_LIMIT, &mut install) {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("its toolchain cannot be installed (rustup: {status})")),
        None => Err(format!("its toolchain was not installed within {} s", INSTALL_LIMIT.as_secs())),
    }
}

fn metadata() -> Result<Value> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--all-features"])
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::new(format!("cannot run cargo metadata: {error}")))?;
    if !output.status.success() {
        return Err(Failure::new(format!("cargo metadata: {}", output.status)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| Failure::new(format!("cargo metadata: {error}")))
}

/// What a package builds with, tests left out, and the Rust version that each states.
#[derive(Debug)]
struct Dependencies {
    stated: String,
    versions: BTreeMap<String, Option<String>>,
}

impl Dependencies {
    fn of(metadata: &Value, library: &str) -> Result<Self> {
        let packages = by_id(&metadata["packages"]);
        let nodes = by_id(&metadata["resolve"]["nodes"]);
        let members = metadata["workspace_members"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let root = members.into_iter().find(|id| packages.get(id).is_some_and(|package| package["name"] == library));
        let root = root.ok_or_else(|| Failure::new(format!("the workspace has no package {library}")))?;
        let stated = packages.get(root).and_then(|package| package["rust_version"].as_str());
        let stated = stated.ok_or_else(|| Failure::new(format!("{library} states no rust-version")))?;

        let mut seen = BTreeSet::from([root]);
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            let dependencies = nodes.get(id).and_then(|node| node["deps"].as_array());
            for dependency in dependencies.into_iter().flatten().filter(|dependency| is_built_with(dependency)) {
                let id = dependency["pkg"].as_str().filter(|id| seen.insert(id));
                open.extend(id);
            }
        }
        seen.remove(root);
        let versions = seen.into_iter().filter_map(|id| packages.get(id)).map(|package| {
            let name = format!("{} {}", text(&package["name"]), text(&package["version"]));
            (name, package["rust_version"].as_str().map(str::to_owned))
        });
        Ok(Self { stated: stated.to_owned(), versions: versions.collect() })
    }

    fn newer_than_stated(&self) -> Vec<String> {
        let stated = numbers(&self.stated);
        let states = self.versions.iter().filter_map(|(name, version)| Some((name, version.as_deref()?)));
        let newer = states.filter(|(_, version)| numbers(version) > stated);
        newer.map(|(name, version)| format!("{name} needs Rust {version}")).collect()
    }
}

fn by_id(list: &Value) -> BTreeMap<&str, &Value> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(|item| Some((item["id"].as_str()?, item))).collect()
}

/// Normal and build dependencies; those for tests are not a matter of users.
fn is_built_with(dependency: &Value) -> bool {
    let kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
    kinds.into_iter().any(|kind| kind["kind"] != "dev")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

/// `1.88` and `1.88.0` are the same version.
fn numbers(version: &str) -> [u64; 3] {
    let release = version.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = [0; 3];
    for (number, part) in numbers.iter_mut().zip(release.split('.')) {
        *number = part.parse().unwrap_or(0);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, rust_version: Option<&str>) -> Value {
        json!({"id": name, "name": name, "version": "1.0.0", "rust_version": rust_version})
    }

    fn dependency(on: &str, kind: Option<&str>) -> Value {
        json!({"pkg": on, "dep_kinds": [{"kind": kind}]})
    }

    fn sample() -> Value {
        json!({
            "workspace_members": ["other", "asyncworker"],
            "packages": [
                package("asyncworker", Some("1.88")),
                package("other", Some("1.88")),
                package("direct", Some("1.88.0")),
                package("built", None),
                package("far", Some("1.90")),
                package("tests-only", Some("1.99")),
            ],
            "resolve": {"nodes": [
                {"id": "asyncworker", "deps": [
                    dependency("direct", None), dependency("built", Some("build")), dependency("tests-only", Some("dev")),
                ]},
                {"id": "other", "deps": [dependency("tests-only", None)]},
                {"id": "direct", "deps": [dependency("far", None)]},
                {"id": "built", "deps": [dependency("direct", None)]},
            ]},
        })
    }

    #[test]
    fn dependencies_of_dependencies_count_and_those_for_tests_do_not() -> Result<()> {
        let dependencies = Dependencies::of(&sample(), "asyncworker")?;
        let names: Vec<&str> = dependencies.versions.keys().map(String::as_str).collect();
        assert_eq!(names, ["built 1.0.0", "direct 1.0.0", "far 1.0.0"]);
        assert_eq!(dependencies.newer_than_stated(), ["far 1.0.0 needs Rust 1.90"]);
        Ok(())
    }

    #[test]
    fn a_package_outside_the_workspace_is_not_its_library() {
        assert!(Dependencies::of(&sample(), "direct").is_err());
    }

    #[test]
    fn versions_compare_by_number() {
        assert_eq!(numbers("1.88"), numbers("1.88.0"));
        assert!(numbers("1.100") > numbers("1.88"));
        assert!(numbers("1.88.0-beta.1") <= numbers("1.88"));
    }
}
