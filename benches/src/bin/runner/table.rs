//! The result as Markdown.

use std::fmt::Write;

use crate::measure::{Figure, Rounds, Spread, ratio, spread};
use crate::workload::{Worker, Workload};

type Column = (&'static str, Figure, fn(f64) -> String);

const COLUMNS: [Column; 12] = [
    ("msg/s", |s| s.rate, thousands),
    ("CPU s / 1M", |s| s.cpu_a_million, |v| format!("{v:.2}")),
    ("peak MiB at a tenth", |s| s.early_peak_mib, |v| format!("{v:.1}")),
    ("peak MiB", |s| s.peak_mib, |v| format!("{v:.1}")),
    ("broker CPU s / 1M", |s| s.broker_cpu_a_million, |v| format!("{v:.1}")),
    ("settle frames / message", |s| s.frames_a_message, |v| format!("{v:.4}")),
    ("p50 us", |s| s.p50_us, |v| format!("{v:.0}")),
    ("p99 us", |s| s.p99_us, |v| format!("{v:.0}")),
    ("start ms", |s| s.start_ms, |v| format!("{v:.1}")),
    ("KiB / route", |s| s.kib_a_route, |v| format!("{v:.1}")),
    ("wake-ups / min", |s| s.wake_ups_a_minute, |v| format!("{v:.0}")),
    ("CPU ms / min", |s| s.cpu_ms_a_minute, |v| format!("{v:.1}")),
];

/// What is compared, and with whom.
const RATIOS: [(&str, Figure); 4] =
    [("rate", |s| s.rate), ("CPU", |s| s.cpu_a_million), ("p50", |s| s.p50_us), ("p99", |s| s.p99_us)];
const RIVALS: [Worker; 4] = [Worker::LapinUsual, Worker::LapinBest, Worker::RabbitmqC, Worker::Python];

/// The table of a workload, from the rounds at each of its points.
pub(crate) fn table(workload: &Workload, results: &[Rounds]) -> String {
    let rows: Vec<Row<'_>> = workload
        .points
        .iter()
        .zip(results)
        .flat_map(|((label, _), rounds)| rounds.keys().map(move |&worker| Row { label, worker, rounds }))
        .collect();
    let mut table = Table { head: Vec::new(), cells: vec![Vec::new(); rows.len()] };
    if workload.points.len() > 1 {
        table.column(workload.varies.to_owned(), &rows, |row| Some(row.label.to_owned()));
    }
    table.column("worker".to_owned(), &rows, |row| Some(row.worker.name().to_owned()));
    for (name, figure, format) in COLUMNS {
        table.column(name.to_owned(), &rows, |row| {
            spread(row.rounds, row.worker, figure).map(|spread| with_range(spread, format))
        });
    }
    // With whom nobody else is compared is not worth a column.
    let rivals = RIVALS.into_iter().filter(|_| workload.workers.len() > 1);
    for (what, figure) in RATIOS {
        for rival in rivals.clone() {
            table.column(format!("{what} x {}", rival.name()), &rows, |row| {
                let ratio = ratio(row.rounds, row.worker, rival, figure)?;
                Some(if row.worker == rival { "1".to_owned() } else { format!("{:.2}", ratio.median) })
            });
        }
    }
    let mut text = format!("## {}\n\n", workload.title);
    if !workload.note.is_empty() {
        let _ = writeln!(text, "{}\n", workload.note);
    }
    let rule = table.head.iter().map(|_| "---".to_owned()).collect();
    for line in [table.head, rule].into_iter().chain(table.cells) {
        let _ = writeln!(text, "| {} |", line.join(" | "));
    }
    for row in rows {
        let samples = row.rounds.get(&row.worker).map(Vec::as_slice).unwrap_or_default();
        let failed = samples.iter().filter(|sample| sample.is_none()).count();
        if failed > 0 {
            let who = format!("{} {}", row.worker.name(), row.label);
            let _ = writeln!(text, "\n**{}: {failed} of {} runs failed.**", who.trim(), samples.len());
        }
    }
    text
}

struct Row<'a> {
    label: &'a str,
    worker: Worker,
    rounds: &'a Rounds,
}

struct Table {
    head: Vec<String>,
    cells: Vec<Vec<String>>,
}

impl Table {
    /// Adds a column, unless no row has anything to say in it.
    fn column(&mut self, name: String, rows: &[Row<'_>], cell: impl Fn(&Row<'_>) -> Option<String>) {
        let cells: Vec<_> = rows.iter().map(cell).collect();
        if cells.iter().all(Option::is_none) {
            return;
        }
        self.head.push(name);
        for (row, cell) in self.cells.iter_mut().zip(cells) {
            row.push(cell.unwrap_or_default());
        }
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
    use crate::workload::SUITE;

    #[test]
    fn a_table_has_only_columns_with_figures() {
        let sample = |rate| Some(Sample { rate: Some(rate), ..Sample::default() });
        let rounds = Rounds::from([
            (Worker::Asyncworker, vec![sample(50_000.0), sample(60_000.0)]),
            (Worker::LapinUsual, vec![sample(10_000.0), None]),
        ]);
        let [first, ..] = &SUITE;
        assert_eq!(
            table(first, &[rounds]),
            format!(
                "## {}\n\n{}\n\n\
                 | worker | msg/s | rate x lapin-usual |\n\
                 | --- | --- | --- |\n\
                 | asyncworker | 55.0k (50.0k..60.0k) | 5.00 |\n\
                 | lapin-usual | 10.0k (10.0k..10.0k) | 1 |\n\
                 \n**lapin-usual: 1 of 2 runs failed.**\n",
                first.title, first.note
            )
        );
    }

    #[test]
    fn large_numbers_are_readable() {
        assert_eq!([12_345.6, 999_940.0, 2_345_678.0].map(thousands), ["12.3k", "999.9k", "2,346k"]);
    }
}
