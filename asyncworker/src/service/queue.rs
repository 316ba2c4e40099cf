//! A bounded queue within the process, and the service that works it off.

use super::{Service, ServiceContext};
use crate::handler::{BoundItemHandler, Failure, ItemHandler, Scope};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::any::type_name;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::{Mutex, mpsc};

/// A bounded queue within the process, and the service that works it off: for what a handler need not wait for.
///
/// What is put in is handled in its order, one at a time unless [`concurrency`](Self::concurrency) says more. An item whose
/// handler fails or panics is told and left; the next is handled. At shutdown nothing more goes in, and what is in it is
/// handled within the service's time to stop. It is kept nowhere: what must not be lost is a message.
///
/// The handler may take the queue itself as a `State`, to put more in, and does it by [`try_put`](Self::try_put): where the queue
/// is full, a `put` of its own would wait for room that it alone can make.
///
/// A service of yours may have one within it, and calls its methods of [`Service`] in its own. Should that one's run end
/// before this one's does, its next run goes on with the items that were being handled.
///
/// ```
/// use asyncworker::prelude::*;
/// use asyncworker::QueueService;
/// use std::sync::Arc;
///
/// struct Mail(String);
///
/// async fn send(Mail(to): Mail) -> Result<(), Failure> {
///     println!("a mail to {to}");
///     Ok(())
/// }
///
/// async fn greet(Body(name): Body<String>, mails: State<Arc<QueueService<Mail>>>) -> Result<(), Failure> {
///     Ok(mails.put(Mail(name)).await?)
/// }
///
/// let app = App::new().service(QueueService::new(100, send)).route(Route::amqp(["people"]).handler(greet));
/// ```
pub struct QueueService<T> {
    capacity: usize,
    concurrency: usize,
    /// What it gives is kept by a run alone: the handler may have taken this very queue, and would keep it for ever.
    bind: Box<Bind<T>>,
    sender: mpsc::Sender<T>,
    /// Of the run that is under way.
    work: Mutex<Work<T>>,
    /// Items that were put in and are not handled.
    depth: AtomicUsize,
    /// There is no next run.
    stopped: AtomicBool,
}

/// What is there to be done. It outlives a run, so that a run that ends halfway loses nothing.
struct Work<T> {
    items: mpsc::Receiver<T>,
    running: FuturesUnordered<BoxFuture<'static, Result<(), Failure>>>,
}

/// Dropped when a run has let go of the work: one that was cut off may do so after the stop only.
struct AfterRun<'a, T>(&'a QueueService<T>);

impl<T> Drop for AfterRun<'_, T> {
    fn drop(&mut self) {
        if self.0.stopped.load(Ordering::SeqCst) {
            self.0.drop_running();
        }
    }
}

type Bind<T> = dyn Fn(&Scope<'_>) -> Result<BoundItemHandler<T>, String> + Send + Sync;

impl<T> fmt::Debug for QueueService<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueService")
            .field("item", &type_name::<T>())
            .field("capacity", &self.capacity)
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

impl<T> QueueService<T> {
    /// Drops the items whose handlers run, with all that the handlers have taken. A run that is not dropped yet has them, and
    /// does this itself then.
    fn drop_running(&self) {
        if let Ok(mut work) = self.work.try_lock() {
            work.running.clear();
        }
    }
}

impl<T: Send + 'static> QueueService<T> {
    /// A queue in which this many items can wait, and their handler: an `async fn` of an item, and of up to seven things
    /// of the app. A capacity of 0 is refused at start.
    pub fn new<A>(capacity: usize, handler: impl ItemHandler<T, A>) -> Self {
        let room = capacity.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        let (sender, items) = mpsc::channel(room);
        Self {
            capacity,
            concurrency: 1,
            bind: Box::new(move |scope| handler.clone().bind_item(scope)),
            sender,
            work: Mutex::new(Work { items, running: FuturesUnordered::new() }),
            depth: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// Items that are handled side by side at the most. Default 1; 0 is refused at start.
    #[must_use]
    pub fn concurrency(mut self, items: usize) -> Self {
        self.concurrency = items;
        self
    }

    /// Puts an item in, and waits for room as long as there is none.
    ///
    /// # Errors
    /// [`PutError::Closed`], with the item: the app is stopping.
    ///
    /// # Cancel safety
    /// Dropped halfway, the item is not put in and is dropped.
    pub async fn put(&self, item: T) -> Result<(), PutError<T>> {
        match self.sender.reserve().await {
            Ok(room) => {
                self.fill(room, item);
                Ok(())
            }
            Err(_) => Err(PutError::Closed(item)),
        }
    }

    /// Puts an item in, if there is room.
    ///
    /// # Errors
    /// The item, and why it was refused: there is no room, or the app is stopping.
    pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
        match self.sender.try_reserve() {
            Ok(room) => {
                self.fill(room, item);
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(())) => Err(PutError::Full(item)),
            Err(mpsc::error::TrySendError::Closed(())) => Err(PutError::Closed(item)),
        }
    }

    /// Counted first, so that it is never handled before it was counted.
    fn fill(&self, room: mpsc::Permit<'_, T>, item: T) {
        self.depth.fetch_add(1, Ordering::Relaxed);
        room.send(item);
    }

    /// Items that were put in and are not handled: those that wait, and those whose handler runs.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    fn bound(&self, scope: &Scope<'_>) -> Result<BoundItemHandler<T>, String> {
        if self.capacity == 0 {
            return Err("its capacity is 0; it must be at least 1".into());
        }
        if self.concurrency == 0 {
            return Err("its concurrency is 0; it must be at least 1".into());
        }
        (self.bind)(scope)
    }
}

#[async_trait]
impl<T: Send + 'static> Service for QueueService<T> {
    async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
        let handler = self.bound(&context.scope()).map_err(Failure::new)?;
        let _after = AfterRun(self);
        let mut work = self.work.lock().await;
        let Work { items, running } = &mut *work;
        let mut more = true;
        context.ready();
        while more || !running.is_empty() {
            tokio::select! {
                Some(ended) = running.next(), if !running.is_empty() => {
                    self.depth.fetch_sub(1, Ordering::Relaxed);
                    if let Err(failure) = ended {
                        tracing::warn!(error = %failure, "an item of the queue failed");
                        context.note(&failure);
                    }
                }
                item = items.recv(), if more && running.len() < self.concurrency => match item {
                    Some(item) => running.push(handler(item)),
                    None => more = false,
                },
                () = context.told_to_stop(), if !items.is_closed() => items.close(),
            }
        }
        Ok(())
    }

    async fn stop(&self) -> Result<(), Failure> {
        self.stopped.store(true, Ordering::SeqCst);
        self.drop_running();
        match self.depth() {
            0 => Ok(()),
            left => Err(Failure::new(format!("{left} items of its queue were not handled"))),
        }
    }

    fn resolve(&self, scope: &Scope<'_>) -> Result<(), String> {
        self.bound(scope).map(|_| ())
    }

    fn depth(&self) -> Option<usize> {
        Some(Self::depth(self))
    }
}

/// An item that was not put into a [`QueueService`].
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PutError<T> {
    /// There is no room.
    #[error("the queue is full")]
    Full(T),
    /// The app is stopping, and the queue takes nothing more.
    #[error("the app is stopping, and the queue takes nothing more")]
    Closed(T),
}

impl<T> PutError<T> {
    /// The item.
    pub fn into_item(self) -> T {
        match self {
            Self::Full(item) | Self::Closed(item) => item,
        }
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}
