//! The tiers that take their time: `cargo xtask chaos` starts the nodes and calls this with them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::process::ExitCode;
use std::time::Duration;
use tests::Node;
use tests::chaos::{Fault, Mode, Plan, Programs, Schedule, run};

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [minutes, seed, folders @ ..] = &arguments[..] else { panic!("chaos MINUTES SEED FOLDER-OF-NODE..") };
    let minutes: u64 = minutes.parse().expect("minutes");
    let folder = std::env::current_exe().expect("where this program is");
    let program = |name: &str| folder.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let faults = if folders.len() > 1 { Fault::CLUSTER.to_vec() } else { Fault::SINGLE.to_vec() };
    let report = run(Plan {
        seed: seed.parse().expect("a seed"),
        schedule: Schedule::Random { faults, duration: Duration::from_secs(60 * minutes) },
        nodes: folders.iter().map(Node::in_folder).collect(),
        programs: Programs { publisher: program("chaos-publisher"), worker: program("chaos-worker") },
        mode: Mode::True,
        // Each strikes once in every few minutes.
        least: 1 + minutes as usize / 15,
        least_confirmed: 10_000 * minutes,
        messages: None,
        folder: None,
    })
    .await;
    println!("{report}");
    if report.reasons().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
