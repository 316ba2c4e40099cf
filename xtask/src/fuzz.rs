//! `cargo xtask fuzz`: builds the targets in `fuzz/` and runs them, with neither cargo-fuzz nor a nightly compiler.
//!
//! libFuzzer needs no sanitizer: the compiler's own coverage counters are what guides it, and stable has them.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use crate::broker::exit_code;
use crate::failure::{Failure, Result};
use crate::packages::{self, Package};
use crate::processors;
use crate::workspace::{cargo, on_path, root, target_folder, variable};

const TARGETS: [&str; 5] = ["reader", "properties", "events", "window", "bucket"];

/// What `cargo fuzz build --sanitizer none` sets.
const FLAGS: [&str; 9] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg",
    "fuzzing",
    "-Ccodegen-units=1",
    "-Cdebug-assertions=yes",
];

/// So many lines of a log tell what went wrong.
const TOLD: usize = 12;
const BACKTRACE: &str = "stack backtrace:";

/// libFuzzer is written in C++.
const COMPILER: Package = Package { dnf: "gcc-c++", pacman: "gcc", brew: "gcc", ..Package::called("g++") };

#[derive(Debug, PartialEq, Eq)]
struct Options<'a> {
    seconds: u32,
    seed: u32,
    targets: Vec<&'a str>,
    replay: Option<&'a str>,
    keep: bool,
}

impl<'a> Options<'a> {
    fn of(arguments: &[&'a str]) -> Result<Self> {
        let mut options = Self { seconds: 60, seed: 1, targets: TARGETS.to_vec(), replay: None, keep: false };
        let mut arguments = arguments.iter().copied();
        while let Some(option) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| Failure::new(format!("{option} wants a value")));
            match option {
                "--seconds" => options.seconds = number(option, value()?)?,
                "--seed" => options.seed = number(option, value()?)?,
                "--target" => options.targets = vec![value()?],
                "--replay" => options.replay = Some(value()?),
                "--keep" => options.keep = true,
                _ => return Err(Failure::new(format!("`{option}` is not an option of `fuzz`"))),
            }
        }
        if let Some(unknown) = options.targets.iter().find(|target| !TARGETS.contains(target)) {
            return Err(Failure::new(format!("`{unknown}` is not a target: {}", TARGETS.join(", "))));
        }
        if options.replay.is_some() && options.targets.len() != 1 {
            return Err(Failure::new("--replay wants a --target"));
        }
        Ok(options)
    }
}

/// Not 0: libFuzzer would run without end, or take a seed of its own.
fn number(option: &str, value: &str) -> Result<u32> {
    let number = value.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| Failure::new(format!("{option} wants a whole number from 1, not `{value}`")))
}

pub(crate) fn run(arguments: &[&str]) -> Result<ExitCode> {
    let options = Options::of(arguments)?;
    have_compiler()?;
    let fuzzer = Fuzzer::build()?;
    if let Some(file) = options.replay {
        return fuzzer.replay(options.targets[0], file);
    }
    let fuzzed = processors::on_all(&options.targets, |name| fuzzer.fuzz(name, &options));
    let failures: Vec<Failure> = fuzzed.into_iter().filter_map(Result::err).collect();
    for failure in &failures {
        eprintln!("xtask: {failure}");
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn have_compiler() -> Result<()> {
    let is_there = || variable("CXX").is_some() || on_path("c++").is_some();
    let missing = |why: &str| {
        let why = format!("no C++ compiler to build libFuzzer with: CXX is not set, there is no `c++` on PATH {why}");
        Failure::new(why + ".\nInstall one (its package is called g++ or gcc-c++) and try again")
    };
    if !is_there() {
        packages::install(&COMPILER).map_err(|why| missing(&why))?;
    }
    if is_there() { Ok(()) } else { Err(missing("and the package manager did not install one")) }
}

/// The programs, and where they keep what they find.
struct Fuzzer {
    programs: PathBuf,
    folder: PathBuf,
}

impl Fuzzer {
    fn build() -> Result<Self> {
        let host = host()?;
        let folder = target_folder().join("fuzz");
        let mut command = cargo();
        command.args(["build", "--release", "--package", "fuzz", "--bins", "--target-dir"]).arg(&folder);
        // With a target named, cargo keeps the flags from build scripts and macros, which know no libFuzzer.
        command.args(["--target", &host]).env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}")).current_dir(root());
        let status = command.status().map_err(|error| Failure::new(format!("cannot run cargo build: {error}")))?;
        if !status.success() {
            return Err(Failure::new(format!("cargo build: {status}")));
        }
        Ok(Self { programs: folder.join(host).join("release"), folder })
    }

    fn program(&self, name: &str) -> Command {
        Command::new(self.programs.join(format!("{name}{}", env::consts::EXE_SUFFIX)))
    }

    fn replay(&self, name: &str, file: &str) -> Result<ExitCode> {
        self.program(name).arg(file).status().map(exit_code).map_err(Failure::on("run", &self.programs.join(name)))
    }

    fn fuzz(&self, name: &str, options: &Options<'_>) -> Result<()> {
        // What is found stays for the next run, but out of the repository.
        let found = self.folder.join("corpus").join(name);
        let kept = root().join("fuzz/corpus").join(name);
        let artifacts = root().join("fuzz/artifacts").join(name);
        for folder in [&found, &artifacts] {
            fs::create_dir_all(folder).map_err(Failure::on("make", folder))?;
        }
        let Options { seconds, seed, .. } = options;
        println!("fuzz {name}: {seconds} s from seed {seed}");
        let mut command = self.program(name);
        command.args([format!("-max_total_time={seconds}"), format!("-seed={seed}")]);
        command.args(["-timeout=10", "-print_final_stats=1"]);
        command.arg(format!("-artifact_prefix={}/", artifacts.display())).args([&found, &kept]);
        let (status, log) = self.logged(name, &mut command)?;
        if !status.success() {
            return Err(failed(name, &log, status));
        }
        let executions = stat(&log, "number_of_executed_units");
        let a_second = stat(&log, "average_exec_per_sec");
        println!("fuzz {name}: {executions} executions, {a_second} a second; nothing found");
        if options.keep {
            let mut command = self.program(name);
            // By the code that is reached, not by how often: hundreds of files more would say little more.
            command.args(["-merge=1", "-use_counters=0"]).args([&kept, &found]);
            let (status, log) = self.logged(name, &mut command)?;
            if !status.success() {
                return Err(failed(name, &log, status));
            }
        }
        Ok(())
    }

    /// Runs the command with its output in a file: several run at a time.
    fn logged(&self, name: &str, command: &mut Command) -> Result<(ExitStatus, String)> {
        let file = self.folder.join(format!("{name}.log"));
        let log = File::create(&file).map_err(Failure::on("write", &file))?;
        let same = log.try_clone().map_err(Failure::on("write", &file))?;
        let status = command.stdout(log).stderr(same).status().map_err(Failure::on("run", Path::new(name)))?;
        let log = fs::read(&file).map_err(Failure::on("read", &file))?;
        // It prints parts of inputs.
        Ok((status, String::from_utf8_lossy(&log).into_owned()))
    }
}

/// What went wrong, and how to see it again.
fn failed(name: &str, log: &str, status: ExitStatus) -> Failure {
    let lines: Vec<&str> = log.lines().collect();
    // What follows on a panic is libFuzzer's account of it; without one (too slow, say) that is all there is.
    let panic = lines.iter().position(|line| line.contains("panicked at"));
    let begin = panic.unwrap_or(lines.len().saturating_sub(TOLD));
    let told: Vec<&str> = lines.iter().skip(begin).take(TOLD).copied().take_while(|line| *line != BACKTRACE).collect();
    let told = told.join("\n");
    let again = match artifact(log) {
        Some(input) => format!(
            "the input is {input}\nrun it again by\n    cargo xtask fuzz --target {name} --replay {input}\n\
             and once the cause is mended, put it into fuzz/corpus/{name}/, where `cargo test` replays it"
        ),
        None => "it left no input".to_owned(),
    };
    Failure::new(format!("fuzz {name}: {status}\n{told}\n{again}"))
}

/// The input that a run ended over.
fn artifact(log: &str) -> Option<&str> {
    log.lines().rev().find_map(|line| Some(line.split_once("Test unit written to ")?.1.trim()))
}

fn stat<'a>(log: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':');
    log.lines().find_map(value).map_or("?", str::trim)
}

fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "host-tuple"]).output();
    let output = output.map_err(|error| Failure::new(format!("cannot run rustc: {error}")))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_wrong_ones_refused() -> Result<()> {
        let options = Options::of(&["--target", "window", "--seconds", "5", "--seed", "9"])?;
        assert_eq!((options.seconds, options.seed, &options.targets[..]), (5, 9, &["window"][..]));
        assert_eq!(Options::of(&[])?.targets, TARGETS);
        for wrong in [&["--target", "door"][..], &["--seconds"], &["--seconds", "0"], &["--replay", "file"], &["now"]] {
            assert!(Options::of(wrong).is_err(), "{wrong:?}");
        }
        Ok(())
    }

    #[test]
    fn a_failure_tells_the_panic_and_not_what_follows_it() {
        let log = "#1 NEW\nthread panicked at window.rs:1:\nleft: 1\nstack backtrace:\n 0: main\n";
        let failure = failed("window", log, ExitStatus::default()).to_string();
        assert!(failure.contains("window.rs:1:\nleft: 1\nit left no input"), "{failure}");
    }

    #[test]
    fn a_log_tells_of_its_numbers_and_its_input() {
        let log = "#9 DONE\nstat::number_of_executed_units: 270902\nartifact_prefix='fuzz/'; Test unit written to fuzz/crash-1\nBase64: AA==\n";
        assert_eq!(stat(log, "number_of_executed_units"), "270902");
        assert_eq!(artifact(log), Some("fuzz/crash-1"));
        assert_eq!((stat("", "number_of_executed_units"), artifact("")), ("?", None));
    }
}
