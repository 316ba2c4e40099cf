//! One run: the faults of its schedule, quiet, and the count.

use super::Mode;
use super::faults::{Fault, Struck};
use super::report::{Report, Row};
use super::stage::Stage;
use crate::Node;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What is run and on what.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub schedule: Schedule,
    /// One, or the nodes of a cluster.
    pub nodes: Vec<Node>,
    pub programs: Programs,
    pub mode: Mode,
    /// How often each fault of the schedule has to strike: a run with fewer proves nothing.
    pub least: usize,
    /// Ids that have to be confirmed.
    pub least_confirmed: u64,
    /// Ids to publish at the most.
    pub messages: Option<u64>,
    /// For the logs; `None` for one that is deleted when all is well.
    pub folder: Option<PathBuf>,
}

/// Which faults strike.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// Each once, in this order; and no fewer than those in `due`.
    Each { faults: Vec<Fault>, due: Vec<Fault> },
    /// Any of these, drawn from the seed, for so long.
    Random { faults: Vec<Fault>, duration: Duration },
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    pub publisher: PathBuf,
    pub worker: PathBuf,
}

impl Plan {
    fn due(&self) -> &[Fault] {
        match &self.schedule {
            Schedule::Each { due, .. } => due,
            Schedule::Random { faults, .. } => faults,
        }
    }
}

/// Runs it.
///
/// # Panics
/// What it is played on cannot be had: no node, no program. What the worker does wrong is in the report.
pub async fn run(plan: Plan) -> Report {
    let began = Instant::now();
    let cluster = plan.nodes.len() > 1;
    let mut stage = Stage::set_up(plan.clone()).await;
    let mut rows: BTreeMap<Fault, Row> = plan.due().iter().map(|fault| (*fault, Row::default())).collect();
    let mut struck: Vec<(Fault, Struck)> = Vec::new();
    match &plan.schedule {
        Schedule::Each { faults, .. } => {
            for fault in faults {
                struck.push((*fault, one(&mut stage, *fault, began).await));
            }
        }
        Schedule::Random { faults, duration } => {
            // Drawn without putting back, so that each kind has struck before any strikes again.
            let mut left = Vec::new();
            while began.elapsed() < *duration {
                if left.is_empty() {
                    left.clone_from(faults);
                    stage.random.shuffle(&mut left);
                }
                let fault = left.pop().expect("a schedule of some faults");
                struck.push((fault, one(&mut stage, fault, began).await));
                // Between faults there is time in which messages only flow.
                let pause = Duration::from_millis(stage.random.u64(500..4_000));
                tokio::time::sleep(pause).await;
                stage.weigh();
            }
        }
    }
    stage.weigh();
    stage.quiet().await;
    let [left, dead, foreign_dead] = stage.count_what_is_left().await;
    for (fault, struck) in struck {
        let row = rows.entry(fault).or_default();
        row.add(&struck);
        for number in struck.faults {
            row.count(stage.ledger.read().strike(number), fault.again(cluster));
        }
    }
    let report = told(&stage, &plan, rows, [left, dead, foreign_dead], began.elapsed());
    let red = !report.reasons().is_empty();
    stage.tear_down(red && plan.mode == Mode::True).await;
    report
}

async fn one(stage: &mut Stage, fault: Fault, began: Instant) -> Struck {
    let since = Instant::now();
    let problems = stage.problems.len();
    let struck = stage.strike(fault).await;
    let counts = stage.ledger.read().counts().clone();
    eprintln!(
        "chaos: {:>5} s  {:<42} {:>5.1} s  {} accepted{}",
        began.elapsed().as_secs(),
        fault.name(),
        since.elapsed().as_secs_f64(),
        counts.accepted,
        if stage.problems.len() > problems { "  PROBLEM" } else { "" }
    );
    if !stage.worker.runs() {
        let printed = super::stage::tail(&stage.worker.printed());
        stage.problem(format!("the worker ended by itself at {}: {printed}", fault.name()));
        stage.restart_worker();
    }
    struck
}

fn told(
    stage: &Stage,
    plan: &Plan,
    rows: BTreeMap<Fault, Row>,
    [left, dead, foreign_dead]: [u64; 3],
    took: Duration,
) -> Report {
    let books = stage.ledger.read();
    let (lost, undead) = books.missing();
    Report {
        seed: plan.seed,
        nodes: plan.nodes.len(),
        took,
        counts: books.counts().clone(),
        lost,
        undead,
        left,
        dead,
        foreign: stage.foreign,
        foreign_dead,
        rows,
        least: plan.least,
        least_confirmed: plan.least_confirmed,
        longest_gap: books.longest_gap(),
        memory: stage.memory,
        drains: stage.drains.clone(),
        starved: stage.starved(),
        problems: stage.problems.clone(),
    }
}
