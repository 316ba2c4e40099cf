//! The connections: accepted, bounded, and ended in order.

use super::body::{sent, timely};
use super::linger::Lingering;
use super::site::Site;
use super::traffic::Traffic;
use crate::error::one_line;
use axum::extract::ConnectInfo;
use futures_util::FutureExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// After the system could not accept: most likely it is out of file descriptors, and some come free.
const PAUSE: Duration = Duration::from_millis(200);

/// What a client may take of the app.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) header_read_timeout: Duration,
    pub(super) body_read_timeout: Duration,
    pub(super) max_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_read_timeout: Duration::from_secs(75),
            body_read_timeout: Duration::from_secs(30),
            max_connections: 1024,
        }
    }
}

/// A site that is served, if only to a client within the process. Dropped without [`stop`](Self::stop), it ends at once.
#[derive(Debug)]
pub(crate) struct Server {
    site: Site,
    address: Option<SocketAddr>,
    connections: TaskTracker,
    /// No more connections, and no more requests on those there are.
    close: CancellationToken,
    _at_once: [DropGuard; 3],
}

impl Server {
    /// Serves from now on.
    pub(super) fn start(listener: Option<TcpListener>, site: Site, limits: Limits) -> Self {
        let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let connections = TaskTracker::new();
        let close = CancellationToken::new();
        if let Some(listener) = listener {
            if let Some(address) = address {
                tracing::info!(%address, "serving HTTP");
            }
            tokio::spawn(accept(listener, site.clone(), limits, connections.clone(), close.clone()));
        }
        let ends = [&close, site.shared().stopping(), site.shared().abandon()];
        let _at_once = ends.map(|token| token.clone().drop_guard());
        Self { site, address, connections, close, _at_once }
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// Where it is bound.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Accepts nothing more and lets what is under way end until then. Gives what did not.
    pub(crate) async fn stop(self, until: Instant) -> Vec<String> {
        let sockets = self.site.shared().sockets();
        self.close.cancel();
        self.connections.close();
        sockets.close();
        let ended = async { tokio::join!(self.connections.wait(), sockets.wait()) };
        if timeout_at(until, ended).await.is_ok() {
            return Vec::new();
        }
        let left = [(self.connections.len(), "HTTP connections"), (sockets.len(), "websockets")];
        self.site.shared().abandon().cancel();
        left.iter()
            .filter(|(left, _)| *left > 0)
            .map(|(left, what)| format!("{left} {what} did not end in time"))
            .collect()
    }
}

async fn accept(listener: TcpListener, site: Site, limits: Limits, connections: TaskTracker, close: CancellationToken) {
    let permits = Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS)));
    let mut failed = false;
    let accepting = async {
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    failed = false;
                    let (abandon, site) = (site.shared().abandon().clone(), site.clone());
                    let (limits, close) = (limits.clone(), close.clone());
                    connections.spawn(async move {
                        abandon.run_until_cancelled(connection(stream, peer, site, limits, close)).await;
                        drop(permit);
                    });
                }
                // That of one client, which has gone already.
                Err(error) if is_of_client(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(%error, "cannot accept HTTP connections; trying again");
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    };
    close.run_until_cancelled(accepting).await;
}

fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// One connection, to its end or to its upgrade.
async fn connection(stream: TcpStream, peer: SocketAddr, site: Site, limits: Limits, close: CancellationToken) {
    // Answers are written whole; waiting for more to send with them only costs time.
    let _ = stream.set_nodelay(true);
    let traffic = Arc::new(Traffic::default());
    let stream = TokioIo::new(Lingering::new(stream, Arc::clone(&traffic)));
    let service = service_fn(|request: hyper::Request<_>| {
        let answering = traffic.answering();
        let mut request = request.map(|body| timely(body, limits.body_read_timeout, &traffic));
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(Arc::clone(&traffic));
        let site = site.clone();
        async move { Ok::<_, Infallible>(site.answer(request).await.map(|body| sent(body, answering))) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header_read_timeout);
    let mut connection = pin!(http.serve_connection(stream, service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = close.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // Once, for a request that is there and not read yet.
            match connection.as_mut().now_or_never() {
                Some(ended) => ended,
                // Who is slow with a head does not hold up the stop.
                None if traffic.is_quiet() => return,
                None => connection.await,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error = one_line(&error), "an HTTP connection ended early");
    }
}
