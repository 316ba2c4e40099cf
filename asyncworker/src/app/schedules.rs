//! The schedules of an app: checked, run, drained.

use super::hooks::Context;
use super::parts::{Part, drained};
use crate::error::Error;
use crate::handler::Scope;
use crate::meter::Meters;
use crate::schedule::{Schedule, Scheduler, Tally};
use crate::worker::Stop;
use async_trait::async_trait;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument;

/// The schedules: each has a scheduler.
pub(super) struct Schedules {
    planned: Vec<Scheduler>,
    /// Each gives the number of runs it had to abandon.
    running: JoinSet<usize>,
    stop: Stop,
}

impl Schedules {
    /// Checks them; each goes by its name.
    ///
    /// # Errors
    /// What is wrong with a schedule, by its name.
    pub(super) fn plan(
        schedules: Vec<Schedule>,
        scope: &Scope<'_>,
        meters: &Meters,
        stop: Stop,
    ) -> Result<Self, Error> {
        let mut names = HashSet::new();
        let mut planned = Vec::new();
        for schedule in schedules {
            let name: Arc<str> = schedule.label().into();
            if !names.insert(Arc::clone(&name)) {
                return Err(Error::configuration(format!(
                    "two schedules are named `{name}`; give one of them another name by `name = \"..\"` or `.name(..)`"
                )));
            }
            let scheduler = Scheduler::new(name, schedule.plan(scope)?, scope.publisher.clone(), stop.clone());
            meters.schedule(scheduler.name(), &scheduler.tally());
            planned.push(scheduler);
        }
        Ok(Self { planned, running: JoinSet::new(), stop })
    }

    /// What can be seen of those that were planned.
    pub(super) fn observed(&self) -> Vec<(Arc<str>, Arc<Tally>)> {
        self.planned.iter().map(|planned| (Arc::clone(planned.name()), planned.tally())).collect()
    }
}

#[async_trait]
impl Part for Schedules {
    async fn start(&mut self, _: &Context) -> Result<(), Error> {
        for scheduler in std::mem::take(&mut self.planned) {
            let span = tracing::info_span!("schedule", schedule = &**scheduler.name());
            self.running.spawn(scheduler.run().instrument(span));
        }
        Ok(())
    }

    async fn drain(&mut self, until: Instant) -> Vec<String> {
        match drained(&mut self.running, &self.stop, until).await {
            0 => Vec::new(),
            abandoned => vec![format!("{abandoned} runs of schedules did not end in time")],
        }
    }
}
