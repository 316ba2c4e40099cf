//! AMQP 0-9-1 by hand: for what no client library would send.

use crate::broker_address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

/// What it agrees to with the broker, in octets.
const LARGEST_FRAME: usize = 0x2_0000;

/// Property flag of `content_type`.
pub const CONTENT_TYPE: u16 = 1 << 15;
/// Property flag of `headers`.
pub const HEADERS: u16 = 1 << 13;

/// A connection with one channel, on the default virtual host, as `guest`.
pub struct Raw {
    stream: TcpStream,
}

/// A short string of any bytes.
pub fn short(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8], bytes].concat()
}

/// A long string, or a table's bytes.
pub fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

impl Raw {
    /// # Panics
    /// The broker does not answer as it should.
    pub async fn connect() -> Self {
        Self::connect_to(&broker_address(), "/").await
    }

    /// As [`connect`](Self::connect), to a node and a virtual host.
    pub async fn connect_to(address: &str, vhost: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("a broker: see `cargo xtask test`");
        stream.set_nodelay(true).expect("a socket");
        let mut raw = Self { stream };
        raw.stream.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
        raw.reply().await;
        let start_ok = [long(b""), short(b"PLAIN"), long(b"\0guest\0guest"), short(b"en_US")].concat();
        raw.method(0, 10, 11, &start_ok).await;
        raw.reply().await;
        raw.method(0, 10, 31, &[0, 100, 0, 2, 0, 0, 0, 0]).await;
        raw.method(0, 10, 40, &[short(vhost.as_bytes()), short(b""), vec![0]].concat()).await;
        raw.reply().await;
        raw.method(1, 20, 10, &short(b"")).await;
        raw.reply().await;
        raw
    }

    async fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let head = [&[kind][..], &channel.to_be_bytes(), &(payload.len() as u32).to_be_bytes()].concat();
        self.stream.write_all(&[&head, payload, &[0xce]].concat()).await.unwrap();
    }

    async fn method(&mut self, channel: u16, class: u16, method: u16, arguments: &[u8]) {
        let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
        self.frame(METHOD, channel, &payload).await;
    }

    /// From now on what is published is confirmed.
    pub async fn confirm_select(&mut self) {
        self.method(1, 85, 10, &[0]).await;
        self.reply().await;
    }

    /// As [`publish`](Self::publish), and waits for the confirm.
    pub async fn publish_confirmed(&mut self, queue: &str, flags: u16, properties: &[u8], body: &[u8]) {
        self.publish(queue, flags, properties, body).await;
        self.confirmed().await;
    }

    /// Waits for the confirm of one message.
    pub async fn confirmed(&mut self) {
        assert_eq!(self.reply().await[..4], [0, 60, 0, 80], "a message was not taken");
    }

    /// Reads one frame; gives its payload.
    async fn reply(&mut self) -> Vec<u8> {
        let mut head = [0; 7];
        self.stream.read_exact(&mut head).await.expect("a reply");
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        let mut payload = vec![0; length + 1];
        self.stream.read_exact(&mut payload).await.expect("a reply");
        payload.truncate(length);
        payload
    }

    /// Takes the next message of a queue, whatever is in its header; gives its body.
    pub async fn take(&mut self, queue: &str) -> Option<Vec<u8>> {
        // Without an ack: what was taken is gone.
        let arguments = [vec![0, 0], short(queue.as_bytes()), vec![1]].concat();
        self.method(1, 60, 70, &arguments).await;
        match self.reply().await[..4] {
            [0, 60, 0, 71] => {}
            [0, 60, 0, 72] => return None,
            _ => panic!("basic.get of {queue} was not answered"),
        }
        let header = self.reply().await;
        let length = u64::from_be_bytes(*header[4..].first_chunk().expect("a content header")) as usize;
        let mut body = Vec::new();
        while body.len() < length {
            body.extend(self.reply().await);
        }
        Some(body)
    }

    /// Publishes to a queue, with the properties that `flags` names as they are.
    pub async fn publish(&mut self, queue: &str, flags: u16, properties: &[u8], body: &[u8]) {
        self.publish_to("", queue.as_bytes(), flags, properties, body).await;
    }

    /// As [`publish`](Self::publish), to an exchange and with any octets for a routing key.
    pub async fn publish_to(&mut self, exchange: &str, key: &[u8], flags: u16, properties: &[u8], body: &[u8]) {
        let arguments = [vec![0, 0], short(exchange.as_bytes()), short(key), vec![0]].concat();
        self.method(1, 60, 40, &arguments).await;
        let length = (body.len() as u64).to_be_bytes();
        let header = [&[0, 60, 0, 0][..], &length, &flags.to_be_bytes(), properties].concat();
        self.frame(HEADER, 1, &header).await;
        for part in body.chunks(LARGEST_FRAME - 8) {
            self.frame(BODY, 1, part).await;
        }
    }
}
