//! The little that xtask says over TCP itself: is a broker there, and may the port mapper go.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::failure::{Failure, Result};

/// Where ports for nodes come from: below every system's range for outgoing connections. From within that range, a
/// client's connection could take the port while the node is down, and a client that retries could connect to itself.
const PORTS: std::ops::Range<u16> = 15_700..32_000;

/// Whether a broker answers the opening of AMQP 0-9-1 on this port.
pub(super) fn accepts_amqp(port: u16) -> bool {
    // The answer is a method frame (type 1) on channel 0 with connection.start (class 10, method 10).
    let opened = exchange(port, b"AMQP\x00\x00\x09\x01", 11);
    opened.is_ok_and(|frame| frame.starts_with(&[1, 0, 0]) && frame.ends_with(&[0, 10, 0, 10]))
}

/// Asks Erlang's port mapper to end. It refuses, with false, while a node is registered with it.
pub(super) fn end_port_mapper(port: u16) -> bool {
    const KILL_REQUEST: &[u8] = &[0, 1, b'k'];
    match exchange(port, KILL_REQUEST, 2) {
        Ok(answer) => answer == b"OK",
        // Nobody listens there: it has ended.
        Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
    }
}

fn exchange(port: u16, request: &[u8], answer: usize) -> io::Result<Vec<u8>> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&local(port), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(request)?;
    let mut bytes = vec![0; answer];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind(local(port)).is_ok()
}

/// The first free port from a preferred one on, other than those already taken for the same node.
pub(super) fn free_port(preferred: u16, taken: &[u16]) -> Result<u16> {
    let from = preferred.clamp(PORTS.start, PORTS.end);
    let mut ports = (from..PORTS.end).chain(PORTS.start..from);
    let free = ports.find(|port| !taken.contains(port) && is_free(*port));
    free.ok_or_else(|| Failure::new("no free port on 127.0.0.1"))
}

/// Spreads nodes over the range, so that two which start at once do not choose the same ports.
pub(super) fn preferred_port(fingerprint: u32) -> u16 {
    let spread = fingerprint % u32::from(PORTS.end - PORTS.start);
    // The remainder is below the length of a range of u16.
    u16::try_from(spread).map_or(PORTS.start, |spread| PORTS.start + spread)
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preferred_port_is_in_the_range() {
        for fingerprint in [0, 1, 16_299, 16_300, u32::MAX] {
            assert!(PORTS.contains(&preferred_port(fingerprint)));
        }
    }

    #[test]
    fn a_port_in_use_is_passed_over() -> Result<()> {
        let taken = free_port(20_000, &[])?;
        let listener = TcpListener::bind(local(taken)).map_err(|error| Failure::new(error.to_string()))?;
        assert_ne!(free_port(taken, &[])?, taken);
        drop(listener);
        assert_ne!(free_port(taken, &[taken])?, taken);
        Ok(())
    }

    #[test]
    fn a_listener_that_is_not_a_broker_does_not_accept_amqp() -> Result<()> {
        let listener = TcpListener::bind(local(0)).map_err(|error| Failure::new(error.to_string()))?;
        let port = listener.local_addr().map_err(|error| Failure::new(error.to_string()))?.port();
        let server = std::thread::spawn(move || {
            if let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            }
        });
        assert!(!accepts_amqp(port));
        let _ = server.join();
        Ok(())
    }
}
