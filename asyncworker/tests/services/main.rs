//! Services: how they start, are found, are kept running and stop, all in virtual time.

#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod configuration;
mod finding;
mod lifecycle;
mod queue;
mod supervision;

use asyncworker::prelude::*;
use asyncworker::{Running, Service, ServiceContext, ServiceState, ServiceStatus};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(600);
const SECOND: Duration = Duration::from_secs(1);

/// What has happened, in its order.
#[derive(Debug, Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A service that does what a function says, and notes that it was stopped. Each function makes a type of its own.
struct Script<F> {
    name: &'static str,
    notes: Notes,
    run: F,
}

fn script<F, Fut>(name: &'static str, notes: &Notes, run: F) -> Script<F>
where
    F: Fn(ServiceContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send,
{
    Script { name, notes: notes.clone(), run }
}

#[asyncworker::async_trait]
impl<F, Fut> Service for Script<F>
where
    F: Fn(ServiceContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send,
{
    async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
        (self.run)(context).await
    }

    async fn stop(&self) -> Result<(), Failure> {
        self.notes.note(format!("{} stopped", self.name));
        Ok(())
    }
}

/// Is ready at once, and ends when it is told to.
async fn serve(context: ServiceContext) -> Result<(), Failure> {
    context.ready();
    context.told_to_stop().await;
    Ok(())
}

/// Where the service of this name stands.
fn status(app: &Running, name: &str) -> ServiceStatus {
    app.status().services.into_iter().find(|service| service.name == name).expect("no such service")
}

async fn until(app: &Running, name: &str, state: ServiceState) -> ServiceStatus {
    let waiting = async {
        while status(app, name).state != state {
            sleep(Duration::from_millis(10)).await;
        }
        status(app, name)
    };
    timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("it stays {:?}", status(app, name)))
}
