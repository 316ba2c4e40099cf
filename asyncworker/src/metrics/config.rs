//! What of the metrics can be set, by code or by the environment, and how each value is read.

use crate::meter::MILLISECONDS;
use std::sync::Arc;

/// Metrics as they are set.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    /// `ASYNCWORKER_METRICS_NAMESPACE`: what every name begins with.
    pub(crate) namespace: String,
    /// `ASYNCWORKER_METRICS_APPPREFIX`: what follows it, of this app's own.
    pub(crate) prefix: String,
    /// `ASYNCWORKER_METRICS_ROUTE_PATH`.
    pub(crate) path: String,
    /// `ASYNCWORKER_METRICS_ROUTE_ENABLED`: whether the path is served.
    pub(crate) enabled: bool,
    /// `ASYNCWORKER_METRICS_DEFAULT_HISTOGRAM_BUCKETS_IN_MS`: ascending, without the infinite one.
    pub(crate) buckets: Arc<[f64]>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespace: "asyncworker".into(),
            prefix: String::new(),
            path: "/metrics".into(),
            enabled: true,
            buckets: MILLISECONDS.into(),
        }
    }
}

/// A part of a metric's name, or none.
///
/// # Errors
/// What it has to be. Prometheus keeps colons for its own rules.
pub(crate) fn name(value: &str) -> Result<String, &'static str> {
    let begins = value.is_empty() || value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if begins && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Ok(value.to_owned())
    } else {
        Err("letters, digits and underscores, and begin with none of the digits")
    }
}

/// A path that is served.
///
/// # Errors
/// What it has to be.
pub(crate) fn path(value: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '{' | '}' | '?' | '#' | '%');
    if value.starts_with('/') && value.chars().all(plain) {
        Ok(value.to_owned())
    } else {
        Err("a path such as /metrics, without parameters")
    }
}

/// Yes or no.
///
/// # Errors
/// What it has to be.
pub(crate) fn switch(value: &str) -> Result<bool, &'static str> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "on" | "yes" => Ok(true),
        "0" | "false" | "off" | "no" => Ok(false),
        _ => Err("true or false"),
    }
}

const ASCENDING: &str = "ascending numbers above 0 and at most 100 of them, such as 10,50,100,inf";

/// Bounds of histograms as text: numbers with commas between them, in brackets or not.
///
/// # Errors
/// What they have to be.
pub(crate) fn buckets(value: &str) -> Result<Arc<[f64]>, &'static str> {
    let list = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(value);
    let numbers = list.split(',').map(|number| number.trim().trim_matches('"').parse());
    bounds(numbers.collect::<Result<Vec<f64>, _>>().map_err(|_| ASCENDING)?)
}

/// Bounds of histograms; the infinite one, which each has, may be among them.
///
/// # Errors
/// What they have to be.
pub(crate) fn bounds(mut bounds: Vec<f64>) -> Result<Arc<[f64]>, &'static str> {
    if bounds.last() == Some(&f64::INFINITY) {
        bounds.pop();
    }
    let positive = bounds.first().is_some_and(|first| *first > 0.0);
    let finite = bounds.iter().all(|bound| bound.is_finite());
    if positive && finite && bounds.is_sorted_by(|one, next| one < next) && bounds.len() <= 100 {
        Ok(bounds.into())
    } else {
        Err(ASCENDING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_such_as_prometheus_takes() {
        for good in ["", "shop", "_shop2", "Shop_"] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in ["2shop", "my-shop", "shop:", "größe", "a b"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_have_no_parameters_and_no_query() {
        assert_eq!(path("/internal/metrics").as_deref(), Ok("/internal/metrics"));
        for bad in ["", "metrics", "/metrics?x=1", "/{id}", "/a b", "/m%20"] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn buckets_are_read_with_and_without_brackets_and_the_infinite_one() {
        for good in
            ["10,50.5,100", "[10, 50.5, 100]", "10,50.5,100,inf", r#"[10, 50.5, 100, "inf"]"#, "10,50.5,100,+Inf"]
        {
            assert_eq!(buckets(good).as_deref(), Ok(&[10.0, 50.5, 100.0][..]), "{good}");
        }
        for bad in ["", "[]", "inf", "0,1", "-1", "2,1", "1,1", "1,nan", "1,inf,2", "a"] {
            assert!(buckets(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn switches_are_read_in_the_usual_words() {
        for (text, value) in [("true", true), ("1", true), ("Off", false), ("no", false)] {
            assert_eq!(switch(text), Ok(value));
        }
        assert!(switch("maybe").is_err());
    }
}
