//! What is known of one service: its supervisor writes it, and who asks or waits reads it.

use super::Service;
use crate::error::{Error, ErrorKind};
use crate::status::{ServiceState, ServiceStatus};
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// Where a service stands.
pub(crate) struct Board {
    name: Arc<str>,
    service: Arc<dyn Service>,
    standing: watch::Sender<Standing>,
}

#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) state: ServiceState,
    /// The number of the run, so that what is left of an earlier one says nothing of this one.
    run: u64,
    restarts: u64,
    last_error: Option<Arc<str>>,
    /// Why it is not run again, where it has failed.
    given_up: Option<String>,
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("name", &self.name).field("standing", &*self.standing.borrow()).finish()
    }
}

impl Board {
    pub(super) fn new(name: &str, service: Arc<dyn Service>) -> Self {
        let standing = Standing { state: ServiceState::Waiting, run: 0, restarts: 0, last_error: None, given_up: None };
        Self { name: name.into(), service, standing: watch::Sender::new(standing) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn service(&self) -> &Arc<dyn Service> {
        &self.service
    }

    pub(super) fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// A run begins. Gives its number.
    pub(super) fn begin(&self) -> u64 {
        let mut run = 0;
        self.standing.send_modify(|standing| {
            standing.run += 1;
            run = standing.run;
            standing.restarts += u64::from(run > 1);
            standing.state = ServiceState::Starting;
        });
        run
    }

    /// What this run says of itself; after its end it says nothing.
    pub(super) fn say_ready(&self, run: u64, ready: bool) {
        let (before, now) = match ready {
            true => (ServiceState::Starting, ServiceState::Ready),
            false => (ServiceState::Ready, ServiceState::Starting),
        };
        self.standing.send_if_modified(|standing| {
            let is_news = standing.run == run && standing.state == before;
            if is_news {
                standing.state = now;
            }
            is_news
        });
    }

    pub(super) fn enter(&self, state: ServiceState) {
        self.standing.send_modify(|standing| standing.state = state);
    }

    /// Something went wrong, and nothing follows from it yet.
    pub(super) fn note(&self, error: &str) {
        self.standing.send_modify(|standing| standing.last_error = Some(error.into()));
    }

    /// It is not run again.
    pub(super) fn give_up(&self, why: String) {
        self.standing.send_modify(|standing| {
            standing.state = ServiceState::Failed;
            standing.given_up = Some(why);
        });
    }

    /// Something that is wrong with it, with its last error as the cause.
    pub(super) fn error(&self, what: &str) -> Error {
        let error = Error::new(ErrorKind::Service, format!("service `{}` {what}", self.name));
        match &self.standing.borrow().last_error {
            Some(cause) => error.because(cause.to_string()),
            None => error,
        }
    }

    /// Why it is not run again.
    pub(super) fn failure(&self) -> Option<Error> {
        let why = self.standing.borrow().given_up.clone()?;
        Some(self.error(&why))
    }

    pub(crate) fn status(&self) -> ServiceStatus {
        let depth = self.service.depth();
        let standing = self.standing.borrow();
        ServiceStatus {
            name: self.name.as_ref().to_owned(),
            state: standing.state,
            restarts: standing.restarts,
            last_error: standing.last_error.as_deref().map(str::to_owned),
            depth,
        }
    }
}
