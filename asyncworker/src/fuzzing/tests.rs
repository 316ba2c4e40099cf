//! Every input in `fuzz/corpus/` once more, without libFuzzer: what it found stays found.

use std::fs;
use std::path::Path;

fn replay(target: &str, judge: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().path();
        // Shown when the test fails: the last one is the input that did it.
        eprintln!("{}", file.display());
        judge(&fs::read(&file).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "no inputs in {}", folder.display());
}

#[test]
#[cfg(feature = "amqp")]
fn reader() {
    replay("reader", super::reader);
}

#[test]
#[cfg(feature = "amqp")]
fn properties() {
    replay("properties", super::properties);
}

#[test]
#[cfg(feature = "sse")]
fn events() {
    replay("events", super::events);
}

#[test]
fn window() {
    replay("window", super::window);
}

#[test]
fn bucket() {
    replay("bucket", super::bucket);
}
