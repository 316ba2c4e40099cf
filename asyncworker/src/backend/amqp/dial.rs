//! One attempt to connect: the socket, TLS, our stream below lapin, and the login.

use super::convert::short;
use super::uri::Endpoint;
use super::wire::{self, Stream, Wire};
use crate::backend::report::FailureHook;
use crate::error::BoxError;
use crate::meter::ConnectionMeter;
use async_compat::Compat;
use lapin::ConnectionProperties;
use lapin::tcp::{AsyncTcpStream, OwnedIdentity, OwnedTLSConfig};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use std::net::Shutdown;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// lapin keeps two buffers of 32 frames: with 128 KiB frames, RabbitMQ's own default, these are 8 MiB,
/// and its unlimited default is no larger. Body frames are split at this size.
pub(super) const FRAME_MAX: u32 = 131_072;

/// What a connection is for. RabbitMQ stops reading from a connection that publishes when memory or disk
/// run short, and acks must still flow then: so consuming has a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    Consume,
    Publish,
}

/// How to connect.
pub(super) struct Config {
    /// The app's name, for the broker's management pages.
    pub(super) app: String,
    /// This machine's name, likewise.
    pub(super) host: String,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) heartbeat: u16,
    pub(super) frame_max: Option<u32>,
    pub(super) channel_max: Option<u16>,
    pub(super) connect_timeout: Duration,
    pub(super) backoff: (Duration, Duration),
    /// How often a consumer looks whether it starves.
    pub(super) look_every: Duration,
    pub(super) ca_certificates: Option<String>,
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
    pub(super) on_connection_failure: Option<FailureHook>,
    pub(super) meter: ConnectionMeter,
}

/// A second handle of the socket, to shut it down from outside lapin.
#[derive(Clone, Default)]
pub(super) struct Socket(Arc<Mutex<Option<std::net::TcpStream>>>);

impl Socket {
    fn keep(&self, stream: std::net::TcpStream) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
    }

    /// lapin's I/O thread sees the end of the stream, and ends.
    pub(super) fn shut_down(&self) {
        if let Some(stream) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // An error means that it is shut down already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// One attempt to connect to a virtual host, TLS and login included.
pub(super) async fn dial(
    config: &Config,
    endpoint: &Endpoint,
    vhost: &str,
    purpose: Purpose,
) -> Result<(lapin::Connection, Wire, Socket), BoxError> {
    let socket = Socket::default();
    let limit = config.connect_timeout;
    let wire = Wire::new(config.frame_max.unwrap_or(FRAME_MAX));
    let logging_in = log_in(config, endpoint, vhost, purpose, socket.clone(), wire.clone());
    match tokio::time::timeout(limit, logging_in).await {
        Ok(Ok(connection)) => Ok((connection, wire, socket)),
        Ok(Err(error)) => {
            socket.shut_down();
            Err(error.into())
        }
        Err(_) => {
            socket.shut_down();
            Err(format!("the broker did not open the connection within {limit:?}").into())
        }
    }
}

async fn log_in(
    config: &Config,
    endpoint: &Endpoint,
    vhost: &str,
    purpose: Purpose,
    socket: Socket,
    wire: Wire,
) -> lapin::Result<lapin::Connection> {
    let uri = AMQPUri {
        scheme: if endpoint.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username: endpoint.user.clone(), password: endpoint.password.clone() },
            host: endpoint.host.clone(),
            port: endpoint.port(),
        },
        vhost: vhost.to_owned(),
        query: AMQPQueryString {
            heartbeat: Some(config.heartbeat),
            frame_max: Some(config.frame_max.unwrap_or(FRAME_MAX)),
            channel_max: config.channel_max,
            ..AMQPQueryString::default()
        },
    };
    let tls = OwnedTLSConfig {
        cert_chain: config.ca_certificates.clone(),
        identity: config.identity.clone().map(|(pem, key)| OwnedIdentity::PKCS8 { pem, key }),
    };
    let limit = config.connect_timeout;
    // lapin calls this on a thread of its own, so it has a limit of its own: that thread must end
    // even when nobody waits for it any more.
    let connect = async move |uri: AMQPUri, _runtime| {
        let AMQPAuthority { host, port, .. } = uri.authority;
        let open = async {
            let stream = tokio::net::TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            let stream = stream.into_std()?;
            socket.keep(stream.try_clone()?);
            let stream = tokio::net::TcpStream::from_std(stream)?;
            let (read, write) = match uri.scheme {
                AMQPScheme::AMQP => wire::halves(stream),
                AMQPScheme::AMQPS => {
                    let stream = AsyncTcpStream::Plain(Compat::new(stream));
                    wire::split(Compat::new(stream.into_tls(&host, tls.as_ref()).await?))
                }
            };
            let stream = Stream::new(read, write, wire.clone());
            std::io::Result::Ok(AsyncTcpStream::Plain(Compat::new(stream)))
        };
        match tokio::time::timeout(limit, open).await {
            Ok(opened) => Ok(opened?),
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    };
    let purpose = match purpose {
        Purpose::Consume => "consume",
        Purpose::Publish => "publish",
    };
    let properties = ConnectionProperties::default()
        .with_connection_name(format!("{}@{} {purpose}", config.app, config.host).into())
        .with_client_property(short("product"), "asyncworker".into())
        .with_client_property(short("version"), env!("CARGO_PKG_VERSION").into());
    lapin::Connection::connector(uri, wire::runtime(), connect, properties).await
}
