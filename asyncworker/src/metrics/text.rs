//! Prometheus's text format, version 0.0.4.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use super::table::Kind;
use crate::meter::Snapshot;
use std::fmt::{self, Display, Write};

/// What the format is called where HTTP asks for it.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Labels and their values.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// A float in the format's words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number(pub(super) f64);

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            number => number.fmt(f), // Not a number is `NaN` there and here.
        }
    }
}

/// A page of metrics that is being written. Writing to a string does not fail.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// Begins a metric; its samples follow.
    pub(super) fn metric<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Metric<'a> {
        if !help.is_empty() {
            let help = help.replace('\\', "\\\\").replace('\n', "\\n");
            let _ = writeln!(self.0, "# HELP {name} {help}");
        }
        let _ = writeln!(self.0, "# TYPE {name} {}", kind.word());
        Metric { page: &mut self.0, name }
    }

    /// Adds what somebody else has written.
    pub(super) fn append(&mut self, text: &str) {
        self.0.push_str(text);
        if !text.is_empty() && !text.ends_with('\n') {
            self.0.push('\n');
        }
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// A metric whose samples are being written.
#[derive(Debug)]
pub(super) struct Metric<'a> {
    page: &'a mut String,
    name: &'a str,
}

impl Metric<'_> {
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.line("", labels, None, value);
    }

    pub(super) fn histogram(&mut self, labels: Labels<'_>, snapshot: &Snapshot) {
        for (bound, count) in &snapshot.buckets {
            self.line("_bucket", labels, Some(bound), count);
        }
        self.line("_bucket", labels, Some(&"+Inf"), snapshot.count);
        self.line("_sum", labels, None, Number(snapshot.sum));
        self.line("_count", labels, None, snapshot.count);
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&dyn Display>, value: impl Display) {
        let Self { page, name } = self;
        let _ = write!(page, "{name}{suffix}");
        let mut between = '{';
        for (label, value) in labels {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(page, "{between}{label}=\"{value}\"");
            between = ',';
        }
        if let Some(bound) = bound {
            let _ = write!(page, "{between}le=\"{bound}\"");
            between = ',';
        }
        let end = if between == '{' { "" } else { "}" };
        let _ = writeln!(page, "{end} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_line_is_escaped() {
        let mut page = Page::default();
        page.metric("a", Kind::Counter, "one\\\ntwo").sample(&[("queue", "x\"\\\ny"), ("b", "")], 7);
        page.append("more 1");
        let expected = "# HELP a one\\\\\\ntwo\n# TYPE a counter\na{queue=\"x\\\"\\\\\\ny\",b=\"\"} 7\nmore 1\n";
        assert_eq!(page.into_text(), expected);
    }

    #[test]
    fn what_is_no_finite_number_is_in_the_words_of_the_format() {
        let numbers = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1.5, 3.0, 1e21];
        let words = numbers.map(|number| Number(number).to_string());
        assert_eq!(words, ["+Inf", "-Inf", "NaN", "1.5", "3", "1000000000000000000000"]);
    }

    #[test]
    fn a_histogram_has_its_buckets_its_sum_and_its_count() {
        let mut page = Page::default();
        let snapshot = Snapshot { buckets: vec![(0.5, 1), (10.0, 3)], count: 4, sum: 21.25 };
        page.metric("h", Kind::Histogram, "").histogram(&[("r", "x")], &snapshot);
        page.metric("i", Kind::Histogram, "").histogram(&[], &snapshot);
        let expected = "\
            # TYPE h histogram\n\
            h_bucket{r=\"x\",le=\"0.5\"} 1\n\
            h_bucket{r=\"x\",le=\"10\"} 3\n\
            h_bucket{r=\"x\",le=\"+Inf\"} 4\n\
            h_sum{r=\"x\"} 21.25\n\
            h_count{r=\"x\"} 4\n\
            # TYPE i histogram\n\
            i_bucket{le=\"0.5\"} 1\n\
            i_bucket{le=\"10\"} 3\n\
            i_bucket{le=\"+Inf\"} 4\n\
            i_sum 21.25\n\
            i_count 4\n";
        assert_eq!(page.into_text(), expected);
    }
}
