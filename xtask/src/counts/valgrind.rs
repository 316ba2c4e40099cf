//! Running a program under callgrind, and what is read from the profile it writes.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::{Failure, Result};
use crate::packages::{self, Package};
use crate::workspace::on_path;

const VALGRIND: Package = Package::called("valgrind");
/// What the global allocator of Rust programs calls.
const ALLOCATING: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

/// Finds or installs it.
pub(super) fn have() -> Result<()> {
    if on_path("valgrind").is_some() {
        return Ok(());
    }
    if !cfg!(target_os = "linux") {
        return Err(Failure::new(
            "counts are taken by valgrind, which is not on PATH and is hardly to be had on this system. \
             Nothing was counted; Linux can (CI does).",
        ));
    }
    let missing = |why: &str| {
        Failure::new(format!(
            "counts are taken by valgrind, and there is none on PATH, {why}.\n\
             Install the package valgrind and try again."
        ))
    };
    packages::install(&VALGRIND).map_err(|why| missing(&why))?;
    on_path("valgrind").map(|_| ()).ok_or_else(|| missing("and the package manager did not install it"))
}

/// What one run took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Profile {
    /// Instructions of the program and what is linked into it.
    pub(super) program: u64,
    /// Instructions of shared objects: the C library, the loader.
    pub(super) elsewhere: u64,
    /// Calls of the program that allocate.
    pub(super) allocations: u64,
}

impl Profile {
    /// Runs the program and keeps the profile in this file.
    pub(super) fn of(program: &Path, arguments: &[&str], file: &Path) -> Result<Self> {
        let mut out = std::ffi::OsString::from("--callgrind-out-file=");
        out.push(file);
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--compress-strings=no", "--compress-pos=no"]).arg(out);
        let output = command.arg(program).args(arguments).stdin(Stdio::null()).output();
        let output = output.map_err(|error| Failure::new(format!("cannot run valgrind: {error}")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let run = arguments.join(" ");
            return Err(Failure::new(format!("`counts {run}` under valgrind: {}\n{said}", output.status)));
        }
        let text = std::fs::read(file).map_err(Failure::on("read", file))?;
        let profile = Self::read(&String::from_utf8_lossy(&text), program);
        if profile.program == 0 || profile.allocations == 0 {
            return Err(Failure::new(format!("{} does not tell what the program did", file.display())));
        }
        Ok(profile)
    }

    /// Reads callgrind's format: `ob=` and `fn=` name what the lines of costs below them are of. The line of costs after
    /// a `calls=` is what was called, to which `cob=` and `cfn=` before it belong; it has lines of its own elsewhere.
    fn read(text: &str, program: &Path) -> Self {
        let mut profile = Self::default();
        let mut in_program = false;
        let mut called = "";
        let mut is_call = false;
        for line in text.lines() {
            if let Some(object) = line.strip_prefix("ob=") {
                in_program = Path::new(object) == program;
            } else if let Some(function) = line.strip_prefix("cfn=") {
                called = function;
            } else if let Some(calls) = line.strip_prefix("calls=") {
                is_call = true;
                if in_program && ALLOCATING.contains(&called) {
                    profile.allocations += first_number(calls);
                }
            } else if line.starts_with(|first: char| first.is_ascii_digit()) {
                let cost = line.split_once(' ').map_or(0, |(_, cost)| first_number(cost));
                match (is_call, in_program) {
                    (true, _) => {}
                    (false, true) => profile.program += cost,
                    (false, false) => profile.elsewhere += cost,
                }
                is_call = false;
            }
        }
        profile
    }
}

fn first_number(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
# callgrind format
version: 1
positions: line
events: Ir
summary: 1000

ob=/target/counts
fl=???
fn=main
0 7
12 3
cob=/lib/libc.so.6
cfi=malloc.c
cfn=malloc
calls=4 100
0 600
0 5
cob=/lib/libc.so.6
cfn=free
calls=4 100
0 300
cfn=other
calls=2 0
0 20

fn=other
0 20

ob=/lib/libc.so.6
fn=malloc
0 600
cfn=malloc
calls=9 100
0 50

fn=free
0 300
totals: 1000
";

    #[test]
    fn own_instructions_calls_and_all_others_are_told_apart() {
        let profile = Profile::read(SAMPLE, Path::new("/target/counts"));
        assert_eq!(profile, Profile { program: 35, elsewhere: 900, allocations: 4 });
    }
}
