//! Services: a notifier that works off a queue, the rota that it depends on, and a page that shows where they stand.
use crate::feed::Deployment;
use asyncworker as app;
use asyncworker::http::ws::{CheckedOrigin, Message as Frame};
use asyncworker::http::{StatusCode, WebSocket};
use asyncworker::prelude::*;
use asyncworker::{QueueService, Scope, Service, ServiceContext, ServiceStatus, Status, Supervised};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Whoever is to be told, wherever that is known from.
pub trait Directory: Send + Sync {
    fn on_call(&self) -> &'static str;
}

/// As which it is found.
pub type OnCall = Arc<dyn Directory>;

/// Takes turns.
#[derive(Default)]
pub struct Rota(AtomicUsize);

impl Directory for Rota {
    fn on_call(&self) -> &'static str {
        ["ada", "grace", "edsger"][self.0.load(Relaxed) % 3]
    }
}

#[app::async_trait]
impl Service for Rota {
    async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
        context.ready();
        loop {
            tokio::select! {
                () = context.told_to_stop() => return Ok(()),
                () = tokio::time::sleep(Duration::from_secs(60)) => self.0.fetch_add(1, Relaxed),
            };
        }
    }
}

/// Tells who is on call of each deployment, one after the other.
pub struct Notifier {
    queue: QueueService<Deployment>,
    crash: Notify,
}

async fn deliver(deployment: Deployment, directory: State<OnCall>) {
    tokio::time::sleep(Duration::from_millis(400)).await; // a mail server, say
    tracing::debug!(to = directory.on_call(), app = deployment.app, state = deployment.state, "told of a deployment");
}

/// How it is kept: quickly there again, however often its button is pressed.
pub fn notifier() -> Supervised<Notifier> {
    Supervised::new(Notifier { queue: QueueService::new(100, deliver), crash: Notify::new() })
        .name("notifier")
        .depends_on::<OnCall>()
        .backoff(Duration::from_secs(1), Duration::from_secs(2))
        .intensity(60, Duration::from_secs(60))
}

#[app::async_trait]
impl Service for Notifier {
    async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
        tokio::select! {
            ended = self.queue.run(context) => ended,
            () = self.crash.notified() => Err(Failure::new("somebody pressed the button")),
        }
    }

    async fn stop(&self) -> Result<(), Failure> {
        self.queue.stop().await
    }

    fn resolve(&self, scope: &Scope<'_>) -> Result<(), String> {
        self.queue.resolve(scope)
    }

    fn depth(&self) -> Option<usize> {
        Some(self.queue.depth())
    }
}

/// Of what was deployed. Where there is no room, it waits, and so does the queue that the deployment came from.
pub async fn notify(deployment: Deployment, notifier: State<Arc<Notifier>>) -> Result<(), Failure> {
    Ok(notifier.queue.put(deployment).await?)
}

#[app::post("/services/notifier/crash")]
pub async fn crash(notifier: State<Arc<Notifier>>, _: CheckedOrigin) -> StatusCode {
    notifier.crash.notify_waiters();
    StatusCode::NO_CONTENT
}

/// Where the services stand.
pub type Seen = watch::Sender<Vec<ServiceStatus>>;

/// More often than a service is restarted, so that each of its states is seen.
#[app::run_every("100ms")]
pub async fn look(status: Status, seen: State<Seen>) {
    seen.send_if_modified(|seen| {
        let changed = *seen != status.services;
        *seen = status.services;
        changed
    });
}

/// A page, which is shown every change.
#[app::ws("/services/live")]
pub async fn live(mut socket: WebSocket, seen: State<Seen>, _: CheckedOrigin) -> Result<(), Failure> {
    let mut seen = seen.subscribe();
    loop {
        let services = serde_json::to_string(&*seen.borrow_and_update())?;
        socket.send(Frame::text(services)).await?;
        tokio::select! {
            changed = seen.changed() => changed?,
            received = socket.recv() => if received.transpose()?.is_none() { return Ok(()) },
        }
    }
}
