//! Events inside the app.

use super::App;
use super::hooks::Context;
use super::parts::{Part, Times};
use crate::emitter::{Emitter, Subscription};
use crate::handler::ItemHandler;
use async_trait::async_trait;
use tokio::time::Instant;

impl App {
    /// Runs this handler whenever something of the app emits an event of the type of its first argument, by
    /// [`Emitter::emit`](crate::Emitter::emit), which waits for it. An event may have any number of handlers.
    ///
    /// The arguments after the first are [`State`](crate::State), [`Publisher`](crate::Publisher),
    /// [`Emitter`](crate::Emitter) or any other that is not made of messages. Of a function that is generic over its event
    /// the type is written here: `.on::<OrderPlaced, _>(log)`. A closure writes it for its argument.
    #[must_use]
    pub fn on<E: Clone + Send + Sync + 'static, A>(mut self, handler: impl ItemHandler<E, A>) -> Self {
        self.subscriptions.push(Subscription::new(handler, false));
        self
    }

    /// As [`on`](Self::on), but nobody who emits the event waits for this handler. What it fails over is logged. A
    /// shutdown waits for it, within its time.
    #[must_use]
    pub fn on_detached<E: Clone + Send + Sync + 'static, A>(mut self, handler: impl ItemHandler<E, A>) -> Self {
        self.subscriptions.push(Subscription::new(handler, true));
        self
    }
}

#[async_trait]
impl Part for Emitter {
    /// Before services stop, because handlers of events may use them.
    async fn drain(&mut self, until: Instant) -> Vec<String> {
        self.ended(until).await;
        Vec::new()
    }

    /// And after, because services emit events, too.
    async fn stop(&mut self, _: &Context, times: Times) -> Vec<String> {
        match self.ended(times.stragglers).await {
            0 => Vec::new(),
            left => {
                self.abandon().cancel();
                vec![format!("{left} handlers of events did not end in time")]
            }
        }
    }
}
