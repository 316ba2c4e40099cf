//! `cargo xtask counts`: what a message costs in instructions and allocations, against a budget that is checked in.
//!
//! Times on a machine that does other things as well say little; counts say the same each time. `benches/counts` runs a
//! scenario under valgrind, once with few messages and once with many, and the difference by the messages between is
//! what one of them costs: start and end cancel out.

mod budget;
mod valgrind;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::processors;
use crate::workspace::{cargo, root, target_folder};
use budget::{ALLOCATIONS, Budget, Comparison, Cost, INSTRUCTIONS, Origin, Verdict};
use valgrind::Profile;

const HELP: &str = "\
What a message costs in the engine, in instructions and allocations, against a budget.

    cargo xtask counts             measure, compare with benches/counts/budget.txt; fails where a figure is more
                                   than 3% above its budget (of allocations: and more than 0.005)
    cargo xtask counts --accept    measure, and write the figures to that file as the new budget

Needs valgrind, and installs it with the system's package manager where this user may. It counts on Linux; CI does so
on x86_64.

The scenarios, with bodies of 120 bytes and a prefetch of 256:
    memory-single      a queue of the broker in memory is drained, a message a call of the handler
    memory-bulk-100    the same by bulks of 100
    memory-publish     messages are published to the broker in memory, one after the other
    reader-single      frames as a broker writes them, through the reader and the engine, and settled by frames
    reader-bulk-100    the same by bulks of 100

What is counted:
    instructions       of the program itself with all that is linked into it. They depend on the compiler: where it
                       is not the one of the file, they are shown and not judged.
    allocations        calls of malloc, calloc, realloc and their like. They are judged everywhere.
    C library          instructions of malloc, memcpy and their like. They depend on the system and on its processor,
                       and are never judged; when they grow, something is copied or allocated more.

Each run also measures a scenario with a handler that wastes on purpose, and fails where the comparison does not see
it.

The profiles stay in target/callgrind: `callgrind_annotate target/callgrind/reader-single.many` tells which functions
the instructions are of.
";

const SCENARIOS: [&str; 5] = ["memory-single", "memory-bulk-100", "memory-publish", "reader-single", "reader-bulk-100"];
/// The scenario in which waste has to be noticed.
const CONTROL: &str = "memory-bulk-100";
/// Whole bulks of 100, and enough that buffers have grown to their size.
const FEW: u32 = 5_000;
const MANY: u32 = 25_000;

pub(crate) fn run(arguments: &[&str]) -> Result<ExitCode> {
    let accept = match arguments {
        [] => false,
        ["--accept"] => true,
        ["-h" | "--help"] => {
            print!("{HELP}");
            return Ok(ExitCode::SUCCESS);
        }
        _ => return Err(Failure::new(format!("`counts {}` is not a task\n\n{HELP}", arguments.join(" ")))),
    };
    valgrind::have()?;
    let program = build()?;
    let folder = target_folder().join("callgrind");
    std::fs::create_dir_all(&folder).map_err(Failure::on("make", &folder))?;
    let origin = origin()?;

    // Counts are the same whatever else runs.
    let runs = SCENARIOS.map(|scenario| (scenario, &[][..])).into_iter().chain([(CONTROL, &["--waste"][..])]);
    let runs: Vec<(&str, &[&str])> = runs.collect();
    let costs = processors::on_all(&runs, |(scenario, options)| {
        eprintln!("xtask: counting {scenario} {}", options.concat());
        measure(&program, &folder, scenario, options)
    });
    let mut costs = costs.into_iter().collect::<Result<Vec<Cost>>>()?;
    let wasteful = costs.pop().ok_or_else(|| Failure::new("nothing was counted"))?;
    let costs = SCENARIOS.map(str::to_owned).into_iter().zip(costs).collect();
    let measured = Budget { origin, costs };
    check_control(wasteful, &measured)?;

    let file = root().join("benches/counts/budget.txt");
    if accept {
        std::fs::write(&file, measured.to_string()).map_err(Failure::on("write", &file))?;
        print!("{measured}");
        return Ok(ExitCode::SUCCESS);
    }
    let text = std::fs::read_to_string(&file).map_err(Failure::on("read", &file))?;
    let budget = text.parse()?;
    let comparison = Comparison::of(&measured, &budget)?;
    print!("{comparison}");
    Ok(if comparison.is_dearer() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The program, as `benches/counts` makes it.
fn build() -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--profile", "counts", "--package", "counts"]);
    command.args(["--message-format", "json-render-diagnostics"]).current_dir(root());
    // What somebody sets for a processor of their own would change the counts.
    command.env_remove("RUSTFLAGS").stderr(Stdio::inherit());
    let output = command.output().map_err(|error| Failure::new(format!("cannot run cargo build: {error}")))?;
    if !output.status.success() {
        return Err(Failure::new(format!("cargo build: {}", output.status)));
    }
    let messages = output.stdout.split(|octet| *octet == b'\n');
    let messages = messages.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let mut programs = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    let program = programs.next_back().ok_or_else(|| Failure::new("cargo build made no program"))?;
    // As valgrind will name it.
    std::fs::canonicalize(&program).map_err(Failure::on("find", &program))
}

/// The compiler and the system that it builds for.
fn origin() -> Result<Origin> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").current_dir(root()).output();
    let output = output.map_err(|error| Failure::new(format!("cannot run rustc: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    match (value("rustc "), value("host: ")) {
        (Some(rustc), Some(target)) => Ok(Origin { rustc, target }),
        _ => Err(Failure::new("`rustc -vV` does not tell its version")),
    }
}

fn measure(program: &Path, folder: &Path, scenario: &str, options: &[&str]) -> Result<Cost> {
    let run = |messages: u32, name: &str| {
        let file = folder.join(format!("{scenario}{}.{name}", options.concat()));
        let messages = messages.to_string();
        let arguments = [&[scenario, &messages], options].concat();
        Profile::of(program, &arguments, &file)
    };
    let (few, many) = (run(FEW, "few")?, run(MANY, "many")?);
    let each = |count: fn(&Profile) -> u64| {
        // Counts of some millions: a float holds them exactly.
        let difference = count(&many) as f64 - count(&few) as f64;
        difference / f64::from(MANY - FEW)
    };
    Ok(Cost {
        instructions: each(|profile| profile.program),
        allocations: each(|profile| profile.allocations),
        c_library: each(|profile| profile.elsewhere),
    })
}

/// What a handler costs that wastes has to be noticed: a comparison that lets waste pass would let everything pass.
fn check_control(cost: Cost, measured: &Budget) -> Result<()> {
    let mut wasteful = measured.clone();
    wasteful.costs.insert(CONTROL.to_owned(), cost);
    let comparison = Comparison::of(&wasteful, measured)?;
    let noticed = |name| {
        let mut figures = comparison.figures();
        figures.any(|figure| (figure.scenario, figure.name, figure.verdict()) == (CONTROL, name, Verdict::Dearer))
    };
    if noticed(INSTRUCTIONS) && noticed(ALLOCATIONS) {
        return Ok(());
    }
    Err(Failure::new(format!("waste was not noticed: the counts or their comparison are wrong.\n\n{comparison}")))
}
