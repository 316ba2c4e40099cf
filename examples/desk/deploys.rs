//! Deployments: from the feed into the queue, and from the queue to the pages.
use crate::chat::User;
use crate::feed::{Deployment, Feed};
use asyncworker as app;
use asyncworker::http::ws::CheckedOrigin;
use asyncworker::http::{Json, Path, StatusCode, WebSocket};
use asyncworker::prelude::*;
use asyncworker::{PublishError, RoomMessage, Rooms};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

pub static EXCHANGE: LazyLock<String> = LazyLock::new(|| named("deployments"));
pub static QUEUE: LazyLock<String> = LazyLock::new(|| named("deployments.shown"));

fn named(name: &str) -> String {
    format!("{}.{name}", std::env::var("DESK_PREFIX").unwrap_or("desk".into()))
}

/// What was shown of late, the oldest first. A clone is the same.
#[derive(Clone, Default)]
pub struct Deploys(Arc<Mutex<VecDeque<Deployment>>>);

impl Deploys {
    const KEPT: usize = 1_000;

    /// False for one that is there already: what was not confirmed is published again, and what was not settled comes
    /// again, so that each may come twice.
    pub fn add(&self, deployment: &Deployment) -> bool {
        let mut deployments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if deployments.iter().any(|known| known.id == deployment.id) {
            return false;
        }
        deployments.push_back(deployment.clone());
        if deployments.len() > Self::KEPT {
            deployments.pop_front();
        }
        true
    }

    pub fn all(&self) -> Vec<Deployment> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// From the feed into the queue. How long that takes is told to the pages.
#[app::sse("/deployments", bulk_size = 20, bulk_flush_interval = "200ms")]
pub async fn forward(
    events: Batch<Event<Deployment>>,
    publisher: Publisher,
    State(rooms): State<Rooms>,
) -> Result<(), Failure> {
    let count = events.len();
    let timeit = Timeit::new("forward", move |report: TimeitReport| {
        let ms: Vec<_> = report.transactions.iter().map(|(name, took)| (name, took.as_secs_f64() * 1000.0)).collect();
        rooms.broadcast("timing", json!({ "events": count, "ms": ms }));
        std::future::ready(())
    });
    timeit
        .try_run(async {
            let messages = timeit.child("decode").try_run(async { messages(&events) }).await?;
            timeit.child("publish").try_run(publisher.publish_all(messages)).await
        })
        .await?;
    Ok(())
}

fn messages(events: &[Event<Deployment>]) -> Result<Vec<Publish>, PublishError> {
    let deployments = events.iter().filter(|event| event.name() == "deployment").filter_map(|event| {
        // What cannot be read is rejected, alone; and without an id it could not be known again.
        let deployment = event.body().ok().filter(|_| !event.id().is_empty())?;
        Some(Deployment { id: event.id().to_owned(), ..deployment.clone() })
    });
    deployments
        .map(|deployment| Ok(Publish::json(&deployment)?.exchange(EXCHANGE.as_str()).routing_key("deployment")))
        .collect()
}

/// From the queue to whoever wants to know. One bulk after the other, so that they are shown in order.
#[app::route([QUEUE.as_str()], bulk_size = 20, bulk_flush_interval = "200ms", concurrency = 1)]
pub async fn show(
    messages: Batch<Message<Deployment>>,
    deploys: State<Deploys>,
    emitter: Emitter,
) -> Result<(), Failure> {
    for deployment in messages.iter().filter_map(|message| message.body().ok()) {
        if deploys.add(deployment) {
            emitter.emit(deployment.clone()).await?;
        }
    }
    Ok(())
}

/// Into the room.
pub async fn post(deployment: Deployment, rooms: State<Rooms>) -> Result<(), Failure> {
    rooms.broadcast("deploys", RoomMessage::json(&deployment)?);
    Ok(())
}

/// What a page that is opened begins with: the newest last.
#[app::get("/deploys")]
pub async fn list(deploys: State<Deploys>) -> Json<Vec<Deployment>> {
    Json(deploys.all())
}

/// What comes while it is open.
#[app::ws("/deploys/live/{user}")]
pub async fn live(socket: WebSocket, Path(user): Path<User>, rooms: State<Rooms>, _: CheckedOrigin) {
    let me = rooms.enter(user);
    me.join("deploys");
    me.join("timing");
    let mut socket = me.attach(socket);
    while socket.recv().await.is_some() {}
}

/// What the feed has sent, the newest last; 404 where it is not the desk's own.
#[app::get("/feed")]
pub async fn fed(State(feed): State<Option<Feed>>) -> Result<Json<Vec<String>>, StatusCode> {
    feed.map(|feed| Json(feed.ids())).ok_or(StatusCode::NOT_FOUND)
}

/// Breaks the feed's stream in the middle of an event.
#[app::post("/cut")]
pub async fn cut(State(feed): State<Option<Feed>>, _: CheckedOrigin) -> StatusCode {
    match feed {
        Some(feed) => {
            feed.cut();
            StatusCode::NO_CONTENT
        }
        None => StatusCode::NOT_FOUND,
    }
}
