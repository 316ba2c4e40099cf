//! Why a websocket ends, where that is not what its handler returned.

use super::{CloseCode, Error, close_code};
use crate::http::traffic::Traffic;
use std::error::Error as _;
use std::sync::{Arc, OnceLock};
use tungstenite::error::{Error as Fault, ProtocolError};

/// The client has answered nothing for too long.
///
/// Source: IANA, "WebSocket Close Code Number Registry". RFC 6455 §7.4.1 has none for it: 1002 would blame a client of
/// breaking the protocol whose network broke, and 1008 is said of what was received.
const TIMEOUT: CloseCode = 3008;

/// What its client is told by the close. The first reason is the one.
#[derive(Debug, Clone)]
pub(crate) struct Ending(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    said: OnceLock<(CloseCode, &'static str)>,
    /// Of the connection; none without a network.
    traffic: Option<Arc<Traffic>>,
}

impl Ending {
    pub(super) fn new(traffic: Option<Arc<Traffic>>) -> Self {
        Self(Arc::new(Inner { said: OnceLock::new(), traffic }))
    }

    /// The client does not read as fast as it would have to. 1013 (try again later) would say that the server is
    /// overloaded, and that a person should decide when to come back; it is the client, and it may come back at once. So
    /// it is the generic 1008 (policy violation), with a reason.
    pub(crate) fn slow(&self) {
        self.say(close_code::POLICY, "the client does not keep up");
    }

    /// The client answers no ping.
    pub(crate) fn idle(&self) {
        self.say(TIMEOUT, "the client answers no ping");
    }

    /// What was read is not to be gone on with, where that is the client's doing.
    pub(super) fn fault(&self, error: &Error) {
        let Some(fault) = error.source().and_then(|source| source.downcast_ref::<Fault>()) else { return };
        match fault {
            Fault::Capacity(_) => self.say(close_code::SIZE, "the message is over the limit"),
            Fault::Utf8(_) => self.say(close_code::INVALID, "a text is not UTF-8"),
            // It has gone, without a close.
            Fault::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return,
            Fault::Protocol(_) => self.say(close_code::PROTOCOL, "the protocol was broken"),
            _ => return,
        }
        // What follows may be as long as the client likes, and nobody reads it: closed over that, the connection would be
        // reset, and the close would not arrive.
        if let Some(traffic) = &self.0.traffic {
            traffic.leave_senseless();
        }
    }

    fn say(&self, code: CloseCode, reason: &'static str) {
        let _ = self.0.said.set((code, reason));
    }

    pub(super) fn said(&self) -> Option<(CloseCode, &'static str)> {
        self.0.said.get().copied()
    }
}
