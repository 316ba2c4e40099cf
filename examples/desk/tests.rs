//! What the desk has of logic, without a network.
#![allow(dead_code, clippy::unwrap_used)]

mod chat;
mod deploys;
mod feed;

use feed::{Deployment, Feed};
use futures_util::StreamExt;
use std::pin::pin;

fn deployment(id: &str) -> Deployment {
    let text = |text: &str| text.to_owned();
    Deployment { id: text(id), app: text("shop"), version: text("1.0.0"), state: text("succeeded") }
}

#[test]
fn a_deployment_that_comes_twice_is_shown_once() {
    let deploys = deploys::Deploys::default();
    let added: Vec<bool> = ["1", "2", "1", "3", "2"].map(|id| deploys.add(&deployment(id))).into();
    assert_eq!(added, [true, true, false, true, false]);
    assert_eq!(deploys.all(), ["1", "2", "3"].map(deployment));
}

#[test]
fn a_name_is_short_and_one_word() {
    let fits = |name: &str| chat::User::try_from(name.to_owned()).is_ok();
    assert!(fits("ann") && fits("Zoë") && fits(&"x".repeat(32)));
    assert!(!fits("") && !fits("ann smith") && !fits(&"x".repeat(33)));
}

#[tokio::test]
async fn the_feed_breaks_in_the_middle_of_an_event_and_resumes_after_the_one_before() {
    let feed = Feed::default();
    feed.add();
    let mut stream = pin!(feed.read(0));
    assert_eq!(stream.next().await.unwrap().unwrap(), "retry: 250\n\n");
    let first = stream.next().await.unwrap().unwrap();
    assert!(first.starts_with(&format!("id: {}\nevent: deployment\ndata: {{", feed.ids()[0])), "{first}");
    assert!(first.ends_with("}\n\n"), "{first}");

    feed.cut();
    let half = stream.next().await.unwrap().unwrap();
    assert_eq!(stream.next().await, None);

    let mut resumed = pin!(feed.read(feed.ids()[0].parse().unwrap()).skip(1));
    let whole = resumed.next().await.unwrap().unwrap();
    assert!(whole.starts_with(&half) && whole.len() > half.len() && whole.ends_with("}\n\n"), "{half}, {whole}");
    assert!(whole.contains(&feed.ids()[1]), "{whole}");
}
