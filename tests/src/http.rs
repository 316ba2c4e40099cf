//! HTTP/1.1 octet by octet: a client that can be slow, rude or quiet.

use crate::LIMIT;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// One connection.
pub struct Http {
    pub stream: TcpStream,
    read: Vec<u8>,
}

/// An answer: its status, its head as text, and its body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Http {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.expect("connect"), read: Vec::new() }
    }

    pub async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).await.expect("send");
    }

    /// A request without a body.
    pub async fn request(&mut self, method: &str, path: &str) {
        self.send(format!("{method} {path} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.request("GET", path).await;
        self.answer().await
    }

    /// The next answer, whose body has a length.
    pub async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("an answer before the end of the connection")
    }

    /// The next answer; `None` where the connection ends before it.
    pub async fn try_answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(place) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break place + 4;
            }
            if !self.more().await {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.read[..end]).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .map_or(0, |length| length.trim().parse::<usize>().expect("a length"));
        while self.read.len() < end + length {
            assert!(self.more().await, "the body breaks off: {head}");
        }
        let body = String::from_utf8_lossy(&self.read[end..end + length]).into_owned();
        self.read.drain(..end + length);
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Some(Answer { status, head, body })
    }

    /// The next octets of a connection that is not HTTP any more.
    pub async fn octets(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert!(self.more().await, "the connection ends before it");
        }
        self.read.drain(..length).collect()
    }

    /// Waits for the end of the connection, by whatever it comes.
    pub async fn until_closed(&mut self) {
        while self.more().await {}
    }

    /// Reads on; false at the end of the connection.
    async fn more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let read = timeout(LIMIT, self.stream.read(&mut buffer)).await.expect("octets or the end in time");
        match read {
            Ok(length @ 1..) => {
                self.read.extend_from_slice(&buffer[..length]);
                true
            }
            _ => false,
        }
    }
}
