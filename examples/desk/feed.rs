//! A feed of deployments beside the desk: a small server of events, which resumes after `Last-Event-ID`.
//!
//! `GET /deployments` is a stream of events named `deployment`, each with an id that no other has and JSON such as
//! `{"app": "shop", "version": "1.4.2", "state": "succeeded"}`.
use asyncworker as app;
use asyncworker::Running;
use asyncworker::http::{Body, HeaderMap, IntoResponse, header};
use asyncworker::prelude::*;
use futures_util::stream::{self, Stream, StreamExt};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Something was deployed. The feed has the id beside the data, in the event's `id`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    #[serde(default)]
    pub id: String,
    pub app: String,
    pub version: String,
    pub state: String,
}

/// What was deployed, for any number of readers. A clone is the same feed.
#[derive(Clone)]
pub struct Feed(watch::Sender<Log>);

/// The numbers of the deployments that can be read, and how often streams were to break.
#[derive(Clone)]
struct Log {
    numbers: Range<u64>,
    cuts: u64,
}

/// Makes up the deployment of this number.
fn deployment(number: u64) -> Deployment {
    let app = ["shop", "search", "billing", "login", "mail"][(number % 5) as usize];
    let (round, chance) = (number / 5, number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60);
    let state = match chance {
        0 => "failed",
        1 | 2 => "rolled back",
        _ => "succeeded",
    };
    let version = format!("{}.{}.{}", 1 + number % 5, round / 20 % 10, round % 20);
    Deployment { id: number.to_string(), app: app.to_owned(), version, state: state.to_owned() }
}

impl Default for Feed {
    fn default() -> Self {
        // A queue outlives the process: its next one must not give the same ids again.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        Self(watch::Sender::new(Log { numbers: now..now, cuts: 0 }))
    }
}

impl Feed {
    /// Something was deployed. The last thousand can be read.
    pub fn add(&self) {
        self.0.send_modify(|log| {
            log.numbers.end += 1;
            log.numbers.start = log.numbers.start.max(log.numbers.end.saturating_sub(1_000));
        });
    }

    /// Breaks every stream in the middle of an event, for which it does not wait.
    pub fn cut(&self) {
        self.0.send_modify(|log| log.cuts += 1);
        self.add();
    }

    /// The ids of what can be read, the oldest first.
    pub fn ids(&self) -> Vec<String> {
        self.0.borrow().numbers.clone().map(|number| number.to_string()).collect()
    }

    /// The text of the stream, from the event after this one on.
    pub fn read(&self, last: u64) -> impl Stream<Item = Result<String, Infallible>> + use<> {
        let log = self.0.subscribe();
        let cuts = log.borrow().cuts;
        // Who was cut off may come back soon.
        let retry = stream::iter([Ok("retry: 250\n\n".to_owned())]);
        retry.chain(stream::unfold(Reader { log, last, cuts, broken: false }, Reader::next))
    }
}

/// One who reads the feed.
struct Reader {
    log: watch::Receiver<Log>,
    last: u64,
    /// Those that were before.
    cuts: u64,
    broken: bool,
}

impl Reader {
    /// The next piece of the stream.
    async fn next(mut self) -> Option<(Result<String, Infallible>, Self)> {
        if self.broken {
            return None;
        }
        let next = self.last.saturating_add(1);
        let log = self.log.wait_for(|log| next < log.numbers.end).await.ok()?.clone();
        self.last = next.max(log.numbers.start);
        let Deployment { id, app, version, state } = deployment(self.last);
        let data = serde_json::json!({ "app": app, "version": version, "state": state });
        let mut text = format!("id: {id}\nevent: deployment\ndata: {data}\n\n");
        if log.cuts > self.cuts {
            self.broken = true;
            text.truncate(text.len() / 2);
        }
        Some((Ok(text), self))
    }
}

#[app::get("/deployments")]
async fn deployments(State(feed): State<Feed>, headers: HeaderMap) -> impl IntoResponse {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok()).unwrap_or(0);
    let head = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (head, Body::from_stream(feed.read(last)))
}

#[app::run_every("1s")]
async fn deploy(State(feed): State<Feed>) {
    feed.add();
}

/// Serves it on a free port, until what is given is dropped. Gives its base URL, too.
pub async fn serve(feed: &Feed) -> Result<(Running, String), app::Error> {
    let app = App::new().name("feed").http(Http::bind("127.0.0.1:0")).state(feed.clone());
    let running = app.mount(routes![deployments, deploy]).start().await?;
    let url = running.http_address().map(|address| format!("http://{address}/")).unwrap_or_default();
    Ok((running, url))
}
