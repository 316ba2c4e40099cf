//! The client's end of a websocket.

use crate::{Http, LIMIT};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// A websocket that a test opened.
pub struct Socket(pub WebSocketStream<TcpStream>);

impl Socket {
    pub async fn connect(address: SocketAddr, path: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("connect");
        Self(client_async(format!("ws://{address}{path}"), stream).await.expect("upgrade").0)
    }

    pub async fn next(&mut self) -> Option<Message> {
        let next = timeout(LIMIT, self.0.next()).await.expect("a message or the end in time");
        next.and_then(Result::ok)
    }

    /// The next message that is no ping: those come whenever enough time has passed.
    async fn said(&mut self) -> Message {
        let said = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Ping(_))) => {}
                    Some(Ok(message)) => return message,
                    other => panic!("no message but {other:?}"),
                }
            }
        };
        timeout(LIMIT, said).await.expect("a message in time")
    }

    pub async fn text(&mut self) -> String {
        match self.said().await {
            Message::Text(text) => text.to_string(),
            other => panic!("no text but {other:?}"),
        }
    }

    pub async fn json(&mut self) -> Value {
        serde_json::from_str(&self.text().await).expect("JSON")
    }

    pub async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("send");
    }

    /// The body of the next message in a room, with who said it. Who comes and goes is passed over.
    pub async fn hears(&mut self) -> (Value, Value) {
        loop {
            let mut event = self.json().await;
            if event["type"] == "message" {
                return (event["from"].take(), event["body"].take());
            }
        }
    }

    /// The code that the server closes with, as the next thing it says.
    pub async fn closed_with(&mut self) -> u16 {
        match self.said().await {
            Message::Close(Some(frame)) => frame.code.into(),
            other => panic!("no close with a code but {other:?}"),
        }
    }

    /// The code that the server closes with, whatever it says before.
    pub async fn closed_at_last_with(&mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.said().await {
                return frame.expect("a close with a code").code.into();
            }
        }
    }
}

/// The same octet by octet: a client that answers nothing, and sends what no library would.
pub struct RawSocket(pub Http);

impl RawSocket {
    pub async fn connect(address: SocketAddr, path: &str) -> Self {
        let mut http = Http::connect(address).await;
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        http.send(head).await;
        assert_eq!(http.answer().await.status, 101);
        Self(http)
    }

    /// The next frame: its first octet (0x81 is a text, 0x88 a close, 0x89 a ping) and what is in it.
    pub async fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.0.octets(2).await;
        let length = match head[1] {
            126 => self.0.octets(2).await.into_iter().fold(0, |length, octet| length << 8 | usize::from(octet)),
            127 => self.0.octets(8).await.into_iter().fold(0, |length, octet| length << 8 | usize::from(octet)),
            length => usize::from(length),
        };
        (head[0], self.0.octets(length).await)
    }

    /// Code and reason of the close, whatever comes before it.
    pub async fn closed_with(&mut self) -> (u16, String) {
        loop {
            if let (0x88, payload) = self.frame().await {
                let (code, reason) = payload.split_at(2);
                return (u16::from_be_bytes([code[0], code[1]]), String::from_utf8_lossy(reason).into_owned());
            }
        }
    }
}
