//! One service kept running: run, judged, restarted or given up.

use super::restarts::{Restarts, jittered};
use super::supervised::Options;
use super::{Board, Restart, ServiceContext};
use crate::app::Context;
use crate::handler::Failure;
use crate::status::ServiceState;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

/// Where the first service that is given up is told.
pub(super) type GivenUp = watch::Sender<Option<Arc<Board>>>;

pub(super) struct Supervisor {
    pub(super) board: Arc<Board>,
    pub(super) options: Options,
    pub(super) app: Context,
    pub(super) stop: CancellationToken,
    pub(super) given_up: Arc<GivenUp>,
}

impl Supervisor {
    /// Keeps the service running until it is told to stop or ends for good.
    ///
    /// # Errors
    /// The run that was told to stop failed. Other failures are on the board.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { board, options, app, stop, given_up } = self;
        let mut restarts = Restarts::new(options.limits.clone());
        loop {
            let context = ServiceContext::begin(app.clone(), Arc::clone(&board), stop.clone());
            let ended = run_once(&board, context).await;
            if stop.is_cancelled() {
                board.enter(ServiceState::Ended);
                return ended;
            }
            let failure = match (ended, options.restart) {
                (Ok(()), Restart::OnFailure | Restart::Never) => {
                    tracing::info!("the service has ended");
                    board.enter(ServiceState::Ended);
                    return Ok(());
                }
                (Ok(()), Restart::Always) => Failure::new("it ended without being told to"),
                (Err(failure), _) => failure,
            };
            board.note(&failure.to_string());
            if options.restart == Restart::Never {
                tracing::error!(error = %failure, "the service failed, and is not restarted");
                board.give_up("failed".into());
                return Ok(());
            }
            let Some(pause) = restarts.ask(Instant::now()) else {
                let (limit, period) = (options.limits.restarts, options.limits.period);
                tracing::error!(error = %failure, limit, ?period, "the service failed past its restart limit");
                board.give_up(format!("failed past its restart limit of {limit} within {period:?}"));
                given_up.send_if_modified(|first| {
                    let is_first = first.is_none();
                    first.get_or_insert_with(|| Arc::clone(&board));
                    is_first
                });
                return Ok(());
            };
            let pause = jittered(pause);
            tracing::warn!(error = %failure, ?pause, "the service failed, and is restarted");
            board.enter(ServiceState::Restarting);
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => {
                    board.enter(ServiceState::Ended);
                    return Ok(());
                }
            }
        }
    }
}

/// One run, in a task of its own: a run that blocks its thread then holds up nothing else. A panic is a failure.
async fn run_once(board: &Board, context: ServiceContext) -> Result<(), Failure> {
    let service = Arc::clone(board.service());
    let run = async move { service.run(context).await };
    match AbortOnDropHandle::new(tokio::spawn(run.in_current_span())).await {
        Ok(ended) => ended,
        Err(error) => Err(match error.try_into_panic() {
            Ok(panic) => Failure::panicked(&*panic),
            // Nobody aborts it but the runtime that goes down.
            Err(error) => Failure::new(error),
        }),
    }
}
