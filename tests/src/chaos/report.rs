//! The verdict and the report of a run, in Markdown.

use super::faults::{Again, Fault, Struck};
use super::ledger::{Counts, Strike, Violations};
use super::stage::Memory;
use super::{HEARTBEAT, PREFETCH};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What came of the faults of one kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    struck: usize,
    duplicates: u64,
    most: u64,
    running: u64,
    /// More came again than were running, or than the broker lets be in flight.
    beyond: Vec<String>,
    recoveries: Vec<Duration>,
    noticed: Vec<Duration>,
}

impl Row {
    pub(super) fn add(&mut self, struck: &Struck) {
        self.struck += 1;
        self.recoveries.extend(struck.recovery);
        self.noticed.extend(struck.noticed);
    }

    pub(super) fn count(&mut self, strike: &Strike, again: Again) {
        self.duplicates += strike.duplicates;
        self.most = self.most.max(strike.duplicates);
        self.running = self.running.max(strike.running);
        let in_flight = u64::from(PREFETCH) * strike.lost_channels;
        let most = match again {
            Again::Told => u64::MAX,
            Again::Running => strike.running.min(in_flight),
            Again::Never => 0,
        };
        if strike.duplicates > most {
            let (duplicates, running) = (strike.duplicates, strike.running);
            self.beyond.push(format!("{duplicates} handled again; {running} were running, {in_flight} in flight"));
        }
    }
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Report {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    pub(super) took: Duration,
    pub counts: Counts,
    /// Confirmed, and nowhere.
    pub lost: Violations,
    /// Rejected, and not among the dead letters.
    pub undead: Violations,
    /// Found in the main queue and among the dead letters.
    pub(super) left: u64,
    pub(super) dead: u64,
    pub(super) foreign: u64,
    pub(super) foreign_dead: u64,
    pub(super) rows: BTreeMap<Fault, Row>,
    pub(super) least: usize,
    pub(super) least_confirmed: u64,
    pub(super) longest_gap: Duration,
    pub(super) memory: Memory,
    pub(super) drains: Vec<Duration>,
    pub(super) starved: usize,
    pub problems: Vec<String>,
}

impl Report {
    /// Why it is red; nothing where it is green.
    pub fn reasons(&self) -> Vec<String> {
        let (counts, cluster, none) = (&self.counts, self.nodes > 1, Violations::default());
        let mut reasons: Vec<String> = [
            ("lost", &self.lost),
            ("rejected and not dead-lettered", &self.undead),
            ("settled before the handler's end", &counts.early),
            ("handled and never attempted", &counts.unexpected),
            ("handled again though no fault struck while it was handled", &counts.late),
            ("handled in part", &counts.partial),
            // What a cluster gives again after another node has become leader is not the worker's doing.
            ("settled, and given again by the broker", if cluster { &none } else { &counts.given_again }),
            ("more in flight than the prefetch", if cluster { &none } else { &counts.over_prefetch }),
            ("handled again and not marked as redelivered", &counts.untold),
        ]
        .into_iter()
        .filter(|(_, violations)| violations.count > 0)
        .map(|(what, violations)| format!("{what}: {} ({})", violations.count, violations.first.join("; ")))
        .collect();
        for (fault, row) in &self.rows {
            if row.struck < self.least {
                let (name, struck, least) = (fault.name(), row.struck, self.least);
                reasons.push(format!("too few faults: {name} struck {struck} times, fewer than {least}"));
            }
            reasons.extend(row.beyond.iter().map(|beyond| format!("{}: {beyond}", fault.name())));
        }
        if counts.confirmed < self.least_confirmed {
            reasons.push(format!("too few messages: {} confirmed of {}", counts.confirmed, self.least_confirmed));
        }
        if self.left > 0 {
            reasons.push(format!("{} messages were left in the queue", self.left));
        }
        if self.foreign != self.foreign_dead {
            let (foreign, dead) = (self.foreign, self.foreign_dead);
            reasons.push(format!("broken messages: {foreign} published, {dead} dead-lettered"));
        }
        if self.memory.peak > self.memory.bound() {
            reasons.push(format!("memory: {} KiB, more than {}", self.memory.peak, self.memory.bound()));
        }
        reasons.extend(self.problems.iter().cloned());
        reasons
    }
}

/// The smallest that so many of a hundred are not above.
fn percentile(sorted: &[Duration], of_hundred: usize) -> Duration {
    let at = (sorted.len() * of_hundred).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

fn seconds(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let reasons = self.reasons();
        let verdict = if reasons.is_empty() { "green" } else { "RED" };
        writeln!(f, "## Chaos, {} node(s), seed {}: {verdict}\n", self.nodes, self.seed)?;
        for reason in &reasons {
            writeln!(f, "- **{reason}**")?;
        }
        if !reasons.is_empty() {
            writeln!(f)?;
        }
        let took = self.took.as_secs();
        let struck: usize = self.rows.values().map(|row| row.struck).sum();
        let duplicates: u64 = self.rows.values().map(|row| row.duplicates).sum();
        let mut recoveries: Vec<Duration> = self.rows.values().flat_map(|row| row.recoveries.clone()).collect();
        recoveries.sort_unstable();
        let drains = self.drains.iter().max().copied().unwrap_or_default();
        writeln!(f, "| | |\n|---|---|")?;
        for (what, value) in [
            ("time", format!("{} min {} s", took / 60, took % 60)),
            ("faults", struck.to_string()),
            ("ids attempted", counts.attempted.to_string()),
            ("ids confirmed", counts.confirmed.to_string()),
            (
                "publishes nacked, returned, unknown (and tried again)",
                format!("{}, {}, {}", counts.nacked, counts.returned, counts.unknown),
            ),
            ("runs of a handler over a message", counts.runs.to_string()),
            ("ids accepted, rejected on purpose", format!("{}, {}", counts.accepted, counts.rejected)),
            ("found afterwards in the queue, among the dead letters", format!("{}, {}", self.left, self.dead)),
            ("**lost**", self.lost.count.to_string()),
            ("handled and never attempted", counts.unexpected.count.to_string()),
            ("settled on the wire before the handler's end, of settlements", {
                format!("{} of {}", counts.early.count, counts.settled)
            }),
            ("handled again by a fault", duplicates.to_string()),
            ("handled again though not running when one struck", counts.late.count.to_string()),
            ("settled, and given again by the broker", counts.given_again.count.to_string()),
            ("handled again because a handler asked for it", counts.wanted_again.to_string()),
            ("ids that the publisher sent twice, handled again for that", {
                format!("{}, {}", counts.sent_twice, counts.runs_of_sent_twice)
            }),
            (
                "recovery p50, p99, max (s)",
                format!(
                    "{}, {}, {}",
                    seconds(percentile(&recoveries, 50)),
                    seconds(percentile(&recoveries, 99)),
                    seconds(percentile(&recoveries, 100))
                ),
            ),
            ("longest time without a handled message (s)", seconds(self.longest_gap)),
            ("peak memory of the worker, bound (MiB)", {
                format!("{:.1}, {:.1}", self.memory.peak as f64 / 1024.0, self.memory.bound() as f64 / 1024.0)
            }),
            ("drains, the longest (s)", format!("{}, {}", self.drains.len(), seconds(drains))),
            ("channels given up because messages waited and none came", self.starved.to_string()),
        ] {
            writeln!(f, "| {what} | {value} |")?;
        }
        writeln!(
            f,
            "\n| fault | struck | handled again | most at once | running then | recovery median, max (s) | noticed (s) |\n\
             |---|---|---|---|---|---|---|"
        )?;
        for (fault, row) in &self.rows {
            let mut recoveries = row.recoveries.clone();
            recoveries.sort_unstable();
            let recovery = match recoveries.last() {
                Some(longest) => format!("{}, {}", seconds(percentile(&recoveries, 50)), seconds(*longest)),
                None => String::new(),
            };
            let noticed = row.noticed.iter().max().map(|noticed| seconds(*noticed)).unwrap_or_default();
            let Row { struck, duplicates, most, running, .. } = row;
            let name = fault.name();
            writeln!(f, "| {name} | {struck} | {duplicates} | {most} | {running} | {recovery} | {noticed} |")?;
        }
        writeln!(
            f,
            "\nPrefetch {PREFETCH}, heartbeat {HEARTBEAT} s; \"running then\" is the most handlers' runs that were under \
             way between a fault's call and its end."
        )
    }
}
