//! The rooms have walls: what may be named where.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../asyncworker/src")
}

/// Every Rust file below a folder, or the file itself.
fn sources(of: &Path) -> Vec<PathBuf> {
    if of.is_file() {
        return vec![of.to_path_buf()];
    }
    let entries = fs::read_dir(of).unwrap_or_else(|error| panic!("{}: {error}", of.display()));
    let mut found: Vec<_> = entries.flat_map(|entry| sources(&entry.unwrap().path())).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    found.sort();
    assert!(!found.is_empty() || of.read_dir().unwrap().next().is_none(), "no source in {}", of.display());
    found
}

/// The lines that name one of these words outside comments, with their places.
fn naming(words: &[&str], files: impl IntoIterator<Item = PathBuf>) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if words.iter().any(|word| names(code, word)) {
                found.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
            }
        }
    }
    found
}

/// Whether the word stands there as a whole path or identifier.
fn names(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

#[test]
fn lapin_is_named_only_in_the_amqp_backend() {
    let home = library().join("backend/amqp");
    assert!(!naming(&["lapin"], sources(&home)).is_empty(), "this test looks in the wrong place");
    // Telemetry names it as text: the target whose lines it leaves out.
    let elsewhere =
        sources(&library()).into_iter().filter(|file| !file.starts_with(&home) && !file.ends_with("telemetry.rs"));
    assert_eq!(naming(&["lapin"], elsewhere), Vec::<String>::new());
    let paths = naming(&["lapin::", "use lapin"], [library().join("telemetry.rs")]);
    let code: Vec<_> = paths.iter().filter(|line| !line.contains('"')).collect();
    assert!(code.is_empty(), "{code:?}");
}

#[test]
fn the_engine_names_no_network_and_no_backend() {
    let engine = sources(&library().join("worker"));
    assert!(engine.len() >= 3, "this test looks in the wrong place: {engine:?}");
    let words = [
        "tokio::net",
        "std::net",
        "lapin",
        "amqp",
        "Amqp",
        "memory",
        "Memory",
        "backend::amqp",
        "backend::memory",
        "TcpStream",
    ];
    // Tests of the engine may run on the broker in memory.
    let engine = engine
        .into_iter()
        .filter(|file| !file.components().any(|part| part.as_os_str() == "tests") && !file.ends_with("tests.rs"));
    assert_eq!(naming(&words, engine), Vec::<String>::new());
}

/// Somebody sets the machine's clock: no pause, deadline or interval may feel that.
#[test]
fn the_wall_clock_is_read_only_for_times_that_are_told() {
    // When a message died, as RabbitMQ tells it in `x-death`; `Retry-After`, which may be a date; where the ids of task runs begin.
    let told = ["backend/memory/dead_letter.rs", "backend/sse/client.rs", "task/mod.rs"];
    let told = told.map(|file| library().join(file));
    assert!(!naming(&["SystemTime"], told.clone()).is_empty(), "this test looks in the wrong place");
    let others = sources(&library()).into_iter().filter(|file| !told.contains(file));
    assert_eq!(naming(&["SystemTime", "UNIX_EPOCH"], others), Vec::<String>::new());
}
