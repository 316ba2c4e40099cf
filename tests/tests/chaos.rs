//! The fast tier of the chaos runs, and the proof that the checker goes red when it ought to. They disturb every
//! connection of the node: one after the other, and cargo runs no other test binary beside this one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::path::PathBuf;
use tests::Node;
use tests::chaos::{Fault, Mode, Plan, Programs, Report, Schedule, run};
use tokio::sync::Mutex;

static ALONE: Mutex<()> = Mutex::const_new(());

fn plan(mode: Mode, faults: &[Fault], due: &[Fault]) -> Plan {
    let program = |path: &str| PathBuf::from(path);
    Plan {
        seed: 20_261_125,
        schedule: Schedule::Each { faults: faults.to_vec(), due: due.to_vec() },
        nodes: vec![Node::default()],
        programs: Programs {
            publisher: program(env!("CARGO_BIN_EXE_chaos-publisher")),
            worker: program(env!("CARGO_BIN_EXE_chaos-worker")),
        },
        mode,
        least: 1,
        least_confirmed: 1_000,
        messages: None,
        folder: None,
    }
}

fn is_red_for(report: &Report, reason: &str) {
    let reasons = report.reasons();
    assert!(reasons.iter().any(|found| found.starts_with(reason)), "not {reason:?} but {reasons:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_confirmed_message_is_lost_under_any_fault_of_the_table() {
    let _alone = ALONE.lock().await;
    let report = run(plan(Mode::True, &Fault::SINGLE, &Fault::SINGLE)).await;
    println!("{report}");
    assert_eq!(report.reasons(), Vec::<String>::new());
}

/// A handler that ends before its work does: what it was at when the worker was ended is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checker_finds_out_a_worker_that_acks_first() {
    let _alone = ALONE.lock().await;
    let faults = [Fault::TermTwice];
    let report = run(plan(Mode::AcksFirst, &faults, &faults)).await;
    is_red_for(&report, "settled before the handler's end");
    is_red_for(&report, "lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checker_finds_out_a_worker_that_drops_what_it_says_it_requeues() {
    let _alone = ALONE.lock().await;
    let report = run(plan(Mode::DropsRequeue, &[Fault::ResetToBroker], &[Fault::ResetToBroker])).await;
    is_red_for(&report, "lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checker_is_not_content_with_too_few_faults() {
    let _alone = ALONE.lock().await;
    let report = run(plan(Mode::True, &[Fault::ResetToBroker], &[Fault::ResetToBroker, Fault::BlackHole])).await;
    assert_eq!(report.reasons().len(), 1, "{report}");
    is_red_for(&report, "too few faults: black hole");
}
