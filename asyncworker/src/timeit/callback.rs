//! Handing a report to its callback, whatever becomes of either.

use super::TimeitReport;
use crate::error::panic_message;
use crate::handler::IntoResult;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::runtime::Handle;
use tracing::Instrument;

/// A callback with its type forgotten, and its failures with it.
pub(super) struct Callback(Box<dyn Fn(TimeitReport) -> Reporting + Send + Sync>);

impl Callback {
    pub(super) fn new<C, Fut>(callback: C) -> Self
    where
        C: Fn(TimeitReport) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoResult> + Send,
    {
        let callback = Arc::new(callback);
        Self(Box::new(move |report| {
            let (callback, name) = (Arc::clone(&callback), report.name.clone());
            Reporting(Some(Box::pin(async move {
                // The call itself is inside, so that a panic in it is caught too.
                let called = async { callback(report).await.into_result() };
                match AssertUnwindSafe(called).catch_unwind().await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!(timeit = &*name, %error, "the callback failed"),
                    Err(panic) => {
                        tracing::error!(timeit = &*name, panic = panic_message(&*panic), "the callback panicked");
                    }
                }
            })))
        }))
    }

    pub(super) fn report(&self, report: TimeitReport) -> Reporting {
        (self.0)(report)
    }
}

/// A report on its way to the callback. Dropped before it is there, it goes on as a task.
pub(super) struct Reporting(Option<BoxFuture<'static, ()>>);

impl Reporting {
    pub(super) async fn ended(mut self) {
        if let Some(reporting) = &mut self.0 {
            reporting.await;
        }
        self.0 = None;
    }
}

impl Drop for Reporting {
    fn drop(&mut self) {
        let Some(reporting) = self.0.take() else { return };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(reporting.in_current_span())),
            Err(_) => tracing::error!("a report of a run that was dropped is lost: there is no runtime to make it on"),
        }
    }
}
