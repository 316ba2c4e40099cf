//! The services of an app: started one after the other, stopped in reverse.

use super::Board;
use super::supervised::Options;
use super::supervisor::{GivenUp, Supervisor};
use crate::app::Context;
use crate::error::Error;
use crate::handler::{Failure, Scope};
use crate::status::ServiceState;
use futures_util::FutureExt;
use std::fmt;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

/// The services of an app, in the order they start. Dropped, they end at once.
pub(crate) struct Services {
    members: Vec<Member>,
    given_up: Arc<GivenUp>,
}

struct Member {
    board: Arc<Board>,
    options: Options,
    /// Of one that was started.
    supervision: Option<Supervision>,
}

struct Supervision {
    stop: CancellationToken,
    supervisor: AbortOnDropHandle<Result<(), Failure>>,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.members.iter().map(|member| &member.board)).finish()
    }
}

impl Services {
    /// These, in the order they are to start.
    pub(super) fn new(services: impl IntoIterator<Item = (Arc<Board>, Options)>) -> Self {
        let member = |(board, options)| Member { board, options, supervision: None };
        Self { members: services.into_iter().map(member).collect(), given_up: Arc::new(watch::Sender::new(None)) }
    }

    /// Lets each look up what it needs of the app.
    ///
    /// # Errors
    /// Names the service and what is missing.
    pub(crate) fn resolve(&self, scope: &Scope<'_>) -> Result<(), Error> {
        for Member { board, .. } in &self.members {
            let resolved = board.service().resolve(scope);
            resolved.map_err(|missing| Error::configuration(format!("service `{}`: {missing}", board.name())))?;
        }
        Ok(())
    }

    /// What is known of each.
    pub(crate) fn boards(&self) -> Arc<[Arc<Board>]> {
        self.members.iter().map(|member| Arc::clone(&member.board)).collect()
    }

    /// Starts one after the other, each when the one before is ready.
    ///
    /// # Errors
    /// One was not ready in time, or failed for good. Those that were started run on, until [`stop`](Self::stop).
    ///
    /// # Cancel safety
    /// Dropped halfway, those that were started run on as well.
    pub(crate) async fn start(&mut self, app: &Context) -> Result<(), Error> {
        for member in &mut self.members {
            member.start(app.clone(), Arc::clone(&self.given_up));
            member.ready().await?;
        }
        Ok(())
    }

    /// Ends when a service has failed past its restart limit, with an error that names it.
    pub(crate) fn failed(&self) -> impl Future<Output = Error> + Send + 'static {
        let mut given_up = self.given_up.subscribe();
        async move {
            let board = given_up.wait_for(Option::is_some).await.ok().and_then(|board| board.clone());
            match board.and_then(|board| board.failure()) {
                Some(error) => error,
                None => pending().await,
            }
        }
    }

    /// The error of [`failed`](Self::failed), if there is one already.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.given_up.borrow().as_ref()?.failure()
    }

    /// Stops one after the other, the last one first, each within its own time. At the limit all that are left are told
    /// at once, and have until `end`. Gives what went wrong.
    pub(crate) async fn stop(&mut self, limit: Instant, end: Instant) -> Vec<String> {
        let mut complaints = Vec::new();
        for place in (0..self.members.len()).rev() {
            let now = Instant::now();
            let until = if now < limit {
                (now + self.members[place].options.stop_timeout).min(limit)
            } else {
                self.members.iter().for_each(Member::tell_to_stop);
                end
            };
            complaints.extend(self.members[place].stop(until).await);
        }
        complaints
    }
}

impl Member {
    fn start(&mut self, app: Context, given_up: Arc<GivenUp>) {
        let Self { board, options, supervision } = self;
        let stop = CancellationToken::new();
        let supervisor =
            Supervisor { board: Arc::clone(board), options: options.clone(), app, stop: stop.clone(), given_up };
        let span = tracing::info_span!("service", service = board.name());
        let supervisor = AbortOnDropHandle::new(tokio::spawn(supervisor.run().instrument(span)));
        *supervision = Some(Supervision { stop, supervisor });
    }

    /// Waits until it is ready, or has ended in order.
    async fn ready(&self) -> Result<(), Error> {
        let (name, limit) = (self.board.name(), self.options.start_timeout);
        let mut standing = self.board.watch();
        let decided = standing.wait_for(|standing| {
            matches!(standing.state, ServiceState::Ready | ServiceState::Ended | ServiceState::Failed)
        });
        let decided = timeout(limit, decided).await.map(|_| ());
        if let Some(error) = self.board.failure() {
            return Err(error);
        }
        if decided.is_err() {
            return Err(self.board.error(&format!("was not ready within {limit:?}; it says so by `context.ready()`")));
        }
        tracing::info!(service = name, "the service is ready");
        Ok(())
    }

    fn tell_to_stop(&self) {
        if let Some(Supervision { stop, supervisor }) = &self.supervision
            && !stop.is_cancelled()
        {
            if !supervisor.is_finished() {
                self.board.enter(ServiceState::Stopping);
            }
            stop.cancel();
        }
    }

    /// Gives what went wrong.
    async fn stop(&mut self, until: Instant) -> Vec<String> {
        self.tell_to_stop();
        let Some(Supervision { supervisor, .. }) = self.supervision.take() else { return Vec::new() };
        let name = self.board.name();
        let mut complaints = Vec::new();
        match timeout_at(until, supervisor).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(failure))) => complaints.push(format!("service `{name}` failed while it stopped: {failure}")),
            Ok(Err(error)) => complaints.push(format!("service `{name}` was lost: {error}")),
            Err(_) => complaints.push(format!("service `{name}` did not stop in time")),
        }
        // It gets a turn even when the run has used up the time: most need next to none.
        let stopped = AssertUnwindSafe(self.board.service().stop()).catch_unwind();
        match timeout_at(until, stopped).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(failure))) => complaints.push(format!("service `{name}` could not stop: {failure}")),
            Ok(Err(panic)) => {
                complaints.push(format!("service `{name}` could not stop: {}", Failure::panicked(&*panic)));
            }
            Err(_) => complaints.push(format!("`stop` of service `{name}` did not end in time")),
        }
        complaints
    }
}
