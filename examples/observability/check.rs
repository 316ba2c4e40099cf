//! Whether the dashboard and the alerts ask for what an app exposes: each name, and each label.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../metrics.rs"]
mod example;

use asyncworker::Memory;
use asyncworker::http::Http;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The words of PromQL, and of Grafana's `label_values`, that these expressions use.
const WORDS: [&str; 10] =
    ["by", "histogram_quantile", "increase", "label_values", "max", "min", "or", "rate", "sum", "time"];
/// Labels that Prometheus itself gives to what it reads.
const GIVEN: [&str; 2] = ["instance", "job"];

/// The names of samples that the example exposes after some work, and the labels of each.
async fn exposed() -> BTreeMap<String, BTreeSet<String>> {
    let broker = Memory::new();
    let running = example::app(&broker).http(Http::unbound()).start().await.unwrap();
    let client = running.http_client();
    assert_eq!(client.post("/orders/9.5").send().await.status(), 200);
    broker.push("orders", "{");
    assert!(broker.empty("orders").await);
    let page = client.get("/metrics").send().await.text();
    running.shutdown().await.unwrap();
    let (_, families) = nom_openmetrics::parser::prometheus(&page).unwrap();
    let samples = families.iter().flat_map(|family| &family.samples);
    let labels = |labels: &[nom_openmetrics::Label<'_>]| labels.iter().map(|label| label.name.to_owned()).collect();
    samples.map(|sample| (sample.name().to_owned(), labels(sample.labels()))).collect()
}

/// All expressions of the dashboard and of the alerts.
fn expressions() -> Vec<String> {
    fn find(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(text) if matches!(&**name, "expr" | "definition") => found.push(text.clone()),
                        value => find(value, found),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| find(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    find(&serde_json::from_str(include_str!("grafana/dashboards/asyncworker.json")).unwrap(), &mut found);
    let alerts = include_str!("alerts.yml").lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    found.extend(alerts.map(str::to_owned));
    found
}

/// What an expression asks for.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    metrics: BTreeSet<String>,
    labels: BTreeSet<String>,
}

/// Tells metrics from labels: these stand in braces, and in parentheses after `by`, and as what `label_values` gives.
fn asked(expression: &str) -> Asked {
    let mut asked = Asked::default();
    let mut of_labels = false;
    let mut last = String::new();
    // Texts, ranges and Grafana's variables are neither.
    let mut rest = expression.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' => while rest.next_if(|c| *c != '"').is_some() {},
            '[' => while rest.next_if(|c| *c != ']').is_some() {},
            '{' => of_labels = true,
            '(' => of_labels = last == "by",
            '}' | ')' => of_labels = false,
            c if c.is_ascii_alphabetic() || c == '_' => {
                let mut word = String::from(c);
                while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':')) {
                    word.push(c);
                }
                if of_labels || GIVEN.contains(&&*word) {
                    asked.labels.insert(word.clone());
                } else if !WORDS.contains(&&*word) {
                    asked.metrics.insert(word.clone());
                }
                last = word;
            }
            c if c.is_ascii_digit() || c == '.' => while rest.next_if(|c| c.is_ascii_digit() || *c == '.').is_some() {},
            _ => {}
        }
        if c == '"' || c == '[' {
            rest.next();
        }
    }
    asked
}

#[test]
fn metrics_and_labels_of_an_expression_are_told_apart() {
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let expression =
        r#"histogram_quantile(0.5, sum by (le, a) (rate(x_bucket{b=~"$c", d="e"}[$__rate_interval]))) / 3600 > y"#;
    let expected = Asked { metrics: set(&["x_bucket", "y"]), labels: set(&["le", "a", "b", "d"]) };
    assert_eq!(asked(expression), expected);
    let expected = Asked { metrics: set(&["x"]), labels: set(&["instance"]) };
    assert_eq!(asked("label_values(x, instance)"), expected);
}

#[tokio::test(start_paused = true)]
async fn dashboard_and_alerts_ask_for_what_an_app_exposes_and_for_all_of_it() {
    let exposed = exposed().await;
    let mut all = BTreeSet::new();
    for expression in expressions() {
        let Asked { metrics, labels } = asked(&expression);
        assert!(!metrics.is_empty(), "no metric in {expression}");
        for metric in &metrics {
            let Some(known) = exposed.get(metric) else { panic!("no app exposes {metric}: {expression}") };
            for label in labels.iter().filter(|label| !GIVEN.contains(&label.as_str())) {
                assert!(known.contains(label), "{metric} has no label {label}: {expression}");
            }
        }
        all.extend(metrics);
    }
    for name in exposed.keys().filter(|name| name.starts_with("asyncworker_")) {
        let metric = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(all.iter().any(|asked| asked.starts_with(metric)), "no panel shows {name}");
    }
}
