//! What a user reads who wrote a handler of a wrong type: our words, at the type that is wrong. Mistakes in the
//! attribute itself are pinned in the macros' own tests.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::Path;
use std::process::Command;

const MISUSE: &str = r#"
use asyncworker as app;
use asyncworker::prelude::*;

struct Order;

#[app::route("a")]
async fn argument(_: Message, order: Order) { drop(order) }

#[app::route("b")]
async fn returned(_: Message) -> u8 { 1 }

#[app::route("c")]
async fn not_send(_: Message) {
    let shared = std::rc::Rc::new(1);
    tokio::task::yield_now().await;
    drop(shared);
}

#[app::route("d", bulk_size = BULK)]
async fn option(_: Message) {}
const BULK: &str = "ten";

fn main() {
    let _ = routes![argument, returned, not_send, option, forgotten];
}

async fn forgotten(_: Message) {}
"#;

/// The place of `needle`, as the compiler writes it.
fn place(needle: &str) -> String {
    let (line, text) = MISUSE.lines().enumerate().find(|(_, text)| text.contains(needle)).unwrap();
    format!("src/main.rs:{}:{}", line + 1, text.find(needle).unwrap() + 1)
}

#[test]
fn a_wrong_type_is_told_in_our_words_and_where_it_stands() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("type-errors");
    std::fs::create_dir_all(folder.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"misuse\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[dependencies]\n\
         asyncworker = {{ path = {:?}, default-features = false, features = [\"macros\", \"memory\"] }}\n\
         tokio = \"1\"\n[workspace]\n",
        workspace.join("asyncworker")
    );
    std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(folder.join("src/main.rs"), MISUSE).unwrap();
    // The same versions, which are on this machine already.
    std::fs::copy(workspace.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--message-format", "short", "--color", "never"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .output()
        .expect("run cargo");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{told}");
    for (at, message) in [
        (place("Order) {"), "a handler cannot take `Order`"),
        (place("u8 {"), "a handler cannot return `u8`"),
        (place("not_send(_"), "future cannot be sent between threads safely"),
        (place("BULK)]"), "mismatched types"),
        (place("forgotten]"), "forgotten"),
    ] {
        let found = told.lines().any(|line| line.starts_with(&format!("{at}:")) && line.contains(message));
        assert!(found, "no `{message}` at {at} in:\n{told}");
    }
}
