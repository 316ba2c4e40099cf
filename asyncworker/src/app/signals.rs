//! Running until a signal says stop.

use super::App;
use crate::error::{Error, ErrorKind};
use crate::settings::Settings;
use std::sync::mpsc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long after the shutdown timeout the process is ended from outside the runtime.
const GRACE: Duration = Duration::from_millis(500);

pub(super) async fn run(app: App) -> Result<(), Error> {
    crate::telemetry::init_unless_set();
    let mut signals = Signals::listen()?;
    let interrupt = CancellationToken::new();
    let launched = {
        let launch = app.launch(Settings::from_env()?, interrupt.clone());
        tokio::pin!(launch);
        tokio::select! {
            launched = &mut launch => launched,
            signal = signals.next() => {
                tracing::info!(signal = signal.name, "stopping before the app has started");
                interrupt.cancel();
                tokio::select! {
                    launched = &mut launch => launched,
                    signal = signals.next() => end_at_once(signal),
                }
            }
        }
    };
    let running = match launched {
        Ok(running) => running,
        // Nothing had begun, and what the startup hooks made is cleaned up: that is in order.
        Err(error) if interrupt.is_cancelled() && error.kind() == ErrorKind::Shutdown => return Ok(()),
        Err(error) => return Err(error),
    };
    if !interrupt.is_cancelled() {
        tokio::select! {
            signal = signals.next() => tracing::info!(signal = signal.name, "stopping"),
            // Its reason was told, and is what the shutdown gives.
            _ = running.failed() => tracing::info!("stopping for want of a service"),
        }
    }

    let watchdog = Watchdog::start(running.shutdown_timeout + GRACE);
    let stopped = tokio::select! {
        stopped = running.shutdown() => stopped,
        signal = signals.next() => end_at_once(signal),
    };
    match stopped {
        Ok(()) => drop(watchdog),
        // A handler that blocks its thread would hold up the end of the runtime after `main`.
        Err(_) => std::mem::forget(watchdog),
    }
    stopped
}

fn end_at_once(signal: Signal) -> ! {
    tracing::warn!(signal = signal.name, "second signal: ending at once");
    std::process::exit(128 + signal.number)
}

/// Ends the process when the runtime cannot: a handler that blocks its thread blocks the exit too.
struct Watchdog {
    _disarm: mpsc::Sender<()>,
}

impl Watchdog {
    fn start(limit: Duration) -> Self {
        let (disarm, disarmed) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            if disarmed.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                tracing::error!("a handler blocks its thread beyond the shutdown timeout; ending the process");
                std::process::exit(1);
            }
        });
        Self { _disarm: disarm }
    }
}

#[derive(Debug, Clone, Copy)]
struct Signal {
    name: &'static str,
    number: i32,
}

const INTERRUPT: Signal = Signal { name: "SIGINT", number: 2 };

#[cfg(unix)]
struct Signals {
    received: tokio::sync::mpsc::UnboundedReceiver<Signal>,
}

#[cfg(unix)]
impl Signals {
    /// On a thread of its own: a handler that blocks the only thread of its runtime, as there is on one processor, keeps
    /// the runtime from hearing of signals.
    fn listen() -> Result<Self, Error> {
        use tokio::signal::unix::{SignalKind, signal};
        let cannot = |error| Error::configuration("cannot listen for signals").because(error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(cannot)?;
        let listen = |kind| {
            let _here = runtime.enter();
            signal(kind).map_err(cannot)
        };
        let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        let (told, received) = tokio::sync::mpsc::unbounded_channel();
        let listening = async move {
            loop {
                let signal = tokio::select! {
                    _ = interrupt.recv() => INTERRUPT,
                    _ = terminate.recv() => Signal { name: "SIGTERM", number: 15 },
                    () = told.closed() => return,
                };
                let _ = told.send(signal);
            }
        };
        let thread = std::thread::Builder::new().name("asyncworker-signals".into());
        thread.spawn(move || runtime.block_on(listening)).map_err(cannot)?;
        Ok(Self { received })
    }

    async fn next(&mut self) -> Signal {
        match self.received.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Result<Self, Error> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        INTERRUPT
    }
}
