//! The result as Markdown.

use std::fmt::Write;

use crate::measure::{Figure, Rounds, Spread, ratio, spread};
use crate::workload::{Worker, Workload};

type Column = (&'static str, Figure, fn(f64) -> String);

const COLUMNS: [Column; 7] = [
    ("msg/s", |s| s.rate, thousands),
    ("CPU s / 1M", |s| s.cpu_a_million, |v| format!("{v:.2}")),
    ("peak MiB", |s| s.peak_mib, |v| format!("{v:.1}")),
    ("broker CPU s / 1M", |s| s.broker_cpu_a_million, |v| format!("{v:.1}")),
    ("settle frames / message", |s| s.frames_a_message, |v| format!("{v:.4}")),
    ("p50 us", |s| s.p50_us, |v| format!("{v:.0}")),
    ("p99 us", |s| s.p99_us, |v| format!("{v:.0}")),
];

/// What is compared, and with whom.
const RATIOS: [(&str, Figure); 4] =
    [("rate", |s| s.rate), ("CPU", |s| s.cpu_a_million), ("p50", |s| s.p50_us), ("p99", |s| s.p99_us)];
const RIVALS: [Worker; 3] = [Worker::LapinUsual, Worker::LapinBest, Worker::RabbitmqC];

/// The table of a workload.
pub(crate) fn table(workload: &Workload, rounds: &Rounds) -> String {
    let mut head = vec!["worker".to_owned()];
    let mut rows: Vec<Vec<String>> = rounds.keys().map(|worker| vec![worker.name().to_owned()]).collect();
    for (name, figure, format) in COLUMNS {
        column(&mut head, &mut rows, name.to_owned(), rounds, |worker| {
            spread(rounds, worker, figure).map(|spread| with_range(spread, format))
        });
    }
    for (what, figure) in RATIOS {
        for rival in RIVALS {
            column(&mut head, &mut rows, format!("{what} x {}", rival.name()), rounds, |worker| {
                let ratio = ratio(rounds, worker, rival, figure)?;
                Some(if worker == rival { "1".to_owned() } else { format!("{:.2}", ratio.median) })
            });
        }
    }
    let mut text = format!("## {}\n\n", workload.title);
    if !workload.note.is_empty() {
        let _ = writeln!(text, "{}\n", workload.note);
    }
    let rule = head.iter().map(|_| "---".to_owned()).collect();
    for row in [head, rule].into_iter().chain(rows) {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    for (worker, samples) in rounds {
        let failed = samples.iter().filter(|sample| sample.is_none()).count();
        if failed > 0 {
            let _ = writeln!(text, "\n**{}: {failed} of {} runs failed.**", worker.name(), samples.len());
        }
    }
    text
}

/// Adds a column, unless no worker has anything to say in it.
fn column(
    head: &mut Vec<String>,
    rows: &mut [Vec<String>],
    name: String,
    rounds: &Rounds,
    cell: impl Fn(Worker) -> Option<String>,
) {
    let cells: Vec<_> = rounds.keys().map(|worker| cell(*worker)).collect();
    if cells.iter().all(Option::is_none) {
        return;
    }
    head.push(name);
    for (row, cell) in rows.iter_mut().zip(cells) {
        row.push(cell.unwrap_or_default());
    }
}

fn with_range(spread: Spread, format: fn(f64) -> String) -> String {
    format!("{} ({}..{})", format(spread.median), format(spread.least), format(spread.greatest))
}

/// 12345.6 as `12.3k`, 2345678 as `2,346k`.
fn thousands(value: f64) -> String {
    let thousand = value / 1e3;
    if thousand < 1e3 {
        return format!("{thousand:.1}k");
    }
    let digits = format!("{thousand:.0}");
    let (head, tail) = digits.split_at(digits.len() - 3);
    format!("{head},{tail}k")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Sample;
    use crate::workload::WORKLOADS;

    #[test]
    fn a_table_has_only_columns_with_figures() {
        let sample = |rate| Some(Sample { rate: Some(rate), ..Sample::default() });
        let rounds = Rounds::from([
            (Worker::Asyncworker, vec![sample(50_000.0), sample(60_000.0)]),
            (Worker::LapinUsual, vec![sample(10_000.0), None]),
        ]);
        let [first, ..] = &WORKLOADS;
        assert_eq!(
            table(first, &rounds),
            format!(
                "## {}\n\n\
                 | worker | msg/s | rate x lapin-usual |\n\
                 | --- | --- | --- |\n\
                 | asyncworker | 55.0k (50.0k..60.0k) | 5.00 |\n\
                 | lapin-usual | 10.0k (10.0k..10.0k) | 1 |\n\
                 \n**lapin-usual: 1 of 2 runs failed.**\n",
                first.title
            )
        );
    }

    #[test]
    fn large_numbers_are_readable() {
        assert_eq!([12_345.6, 999_940.0, 2_345_678.0].map(thousands), ["12.3k", "999.9k", "2,346k"]);
    }
}
