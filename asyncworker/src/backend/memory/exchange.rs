//! Exchanges: which queues a message goes to.

use super::queue::QueueId;
use crate::message::{HeaderValue, Headers};
use crate::topology;

pub(super) struct Exchange {
    pub(super) declared: topology::Exchange,
    kind: Kind,
    bindings: Vec<Bound>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Direct,
    Fanout,
    Topic,
    Headers,
}

#[derive(Debug, PartialEq)]
struct Bound {
    routing_key: String,
    arguments: Headers,
    queue: QueueId,
}

impl Exchange {
    /// None where the type is unknown.
    pub(super) fn new(declared: topology::Exchange) -> Option<Self> {
        let kind = match declared.kind.as_str() {
            "direct" => Kind::Direct,
            "fanout" => Kind::Fanout,
            "topic" => Kind::Topic,
            "headers" => Kind::Headers,
            _ => return None,
        };
        Some(Self { declared, kind, bindings: Vec::new() })
    }

    pub(super) fn bind(&mut self, routing_key: String, arguments: Headers, queue: QueueId) {
        let bound = Bound { routing_key, arguments, queue };
        if !self.bindings.contains(&bound) {
            self.bindings.push(bound);
        }
    }

    /// Takes the bindings of a queue away. True when the exchange goes with the last of them.
    pub(super) fn unbind(&mut self, queue: QueueId) -> bool {
        let before = self.bindings.len();
        self.bindings.retain(|bound| bound.queue != queue);
        self.declared.auto_delete && before > 0 && self.bindings.is_empty()
    }

    /// Adds the queues a message goes to, each once however many bindings lead to it.
    pub(super) fn route(&self, routing_key: &str, headers: &Headers, queues: &mut Vec<QueueId>) {
        for bound in &self.bindings {
            let fits = match self.kind {
                Kind::Fanout => true,
                Kind::Direct => bound.routing_key == routing_key,
                Kind::Topic => topic_fits(&bound.routing_key, routing_key),
                Kind::Headers => headers_fit(&bound.arguments, headers),
            };
            if fits && !queues.contains(&bound.queue) {
                queues.push(bound.queue);
            }
        }
    }

    pub(super) fn alternate(&self) -> Option<&str> {
        self.declared.arguments.get("alternate-exchange").and_then(HeaderValue::as_str)
    }
}

/// The words of a key; an empty key has none.
fn words(key: &str) -> Vec<&str> {
    if key.is_empty() { Vec::new() } else { key.split('.').collect() }
}

/// `*` is any one word, `#` any number of words.
fn topic_fits(pattern: &str, key: &str) -> bool {
    let (pattern, key) = (words(pattern), words(key));
    let (mut p, mut k) = (0, 0);
    // Where the last `#` stands and how far it reaches: only that one need ever take another word.
    let mut hash: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(p), key.get(k)) {
            (Some(&"#"), _) => {
                hash = Some((p, k));
                p += 1;
            }
            (Some(wanted), Some(word)) if *wanted == "*" || wanted == word => {
                p += 1;
                k += 1;
            }
            (None, None) => return true,
            _ => match hash {
                Some((at, reach)) if reach < key.len() => {
                    hash = Some((at, reach + 1));
                    p = at + 1;
                    k = reach + 1;
                }
                _ => return false,
            },
        }
    }
}

/// `x-match` says whether all must be equal or any; a name without a value need only be there. Names that
/// begin with `x-` count in the modes `..-with-x` only.
fn headers_fit(arguments: &Headers, headers: &Headers) -> bool {
    let mode = arguments.get("x-match").and_then(HeaderValue::as_str).unwrap_or("all");
    let (any, with_x) = match mode {
        "any" => (true, false),
        "any-with-x" => (true, true),
        "all-with-x" => (false, true),
        _ => (false, false),
    };
    let mut wanted =
        arguments.iter().filter(|(name, _)| name.as_str() != "x-match" && (with_x || !name.starts_with("x-")));
    let fits = |(name, wanted): (&String, &HeaderValue)| {
        headers.get(name).is_some_and(|value| *wanted == HeaderValue::Null || wanted == value)
    };
    if any { wanted.any(fits) } else { wanted.all(fits) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_patterns_fit_as_rabbitmqs_do() {
        for (pattern, key, fits) in [
            ("#", "", true),
            ("#", "a.b.c", true),
            ("*", "", false),
            ("*", "a", true),
            ("*", "a.b", false),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("a.#", "b.a", false),
            ("#.c", "c", true),
            ("#.c", "a.b.c", true),
            ("a.#.c", "a.c", true),
            ("a.#.c", "a.b.b.c", true),
            ("a.#.c", "a.b", false),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.c", false),
            ("#.a.#.b", "x.a.y.a.b", true),
            ("#.#", "a", true),
            ("a..b", "a..b", true),
            ("a.*.b", "a..b", true),
            ("a", "A", false),
        ] {
            assert_eq!(topic_fits(pattern, key), fits, "{pattern:?} and {key:?}");
        }
    }

    #[test]
    fn headers_fit_by_all_or_any() {
        let table = |entries: &[(&str, HeaderValue)]| -> Headers {
            entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        let message = table(&[("kind", "pdf".into()), ("pages", 3.into()), ("x-secret", true.into())]);
        for (arguments, fits) in [
            (table(&[("kind", "pdf".into()), ("pages", 3.into())]), true),
            (table(&[("kind", "pdf".into()), ("pages", 4.into())]), false),
            (table(&[("x-match", "any".into()), ("kind", "pdf".into()), ("pages", 4.into())]), true),
            (table(&[("x-match", "any".into()), ("kind", "doc".into())]), false),
            (table(&[("pages", HeaderValue::Null)]), true),
            (table(&[("author", HeaderValue::Null)]), false),
            (table(&[]), true),
            (table(&[("x-match", "any".into())]), false),
            (table(&[("x-secret", false.into())]), true),
            (table(&[("x-match", "all-with-x".into()), ("x-secret", false.into())]), false),
            (table(&[("x-match", "any-with-x".into()), ("x-secret", true.into())]), true),
        ] {
            assert_eq!(headers_fit(&arguments, &message), fits, "{arguments:?}");
        }
    }
}
