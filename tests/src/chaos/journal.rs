//! The logs that publisher and worker append to, and the message body they speak of.
//!
//! A line is one short record, and what belongs together is one write. A process that ends at once may leave a part of a
//! line; the next life begins on a new one.
//!
//! | line | written by | when |
//! |---|---|---|
//! | `A id attempt` | publisher | before it publishes |
//! | `C id attempt`, `N`, `R`, `U` | publisher | confirmed, nacked, returned, unknown |
//! | `W pid life` | worker | at its start |
//! | `S id run redelivered ms` | worker | a handler starts on a message |
//! | `E id run outcome ms` | worker | before the handler ends: `a`ccepted, `r`ejected, `q` requeued, `f`ailed, `p`anicked, `t` dropped |
//! | `X id` | worker | a body that is not whole |
//! | `P name what` | worker | a probe of the side route `start`s, `end`s |

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;

/// Octets of every body of the main queue.
pub const BODY: usize = 200;

/// A body: its id, what the worker is told to do with it, and octets that follow from both.
pub fn body(id: u64, command: u8) -> Vec<u8> {
    let mut body = Vec::with_capacity(BODY);
    body.extend_from_slice(&id.to_be_bytes());
    body.push(command);
    body.extend((body.len()..BODY).map(|at| filling(id, at)));
    body
}

fn filling(id: u64, at: usize) -> u8 {
    (id as u8).wrapping_mul(31).wrapping_add(at as u8)
}

/// The id and the command of a body that is as it was made.
pub fn read_body(body: &[u8]) -> Result<(u64, u8), Option<u64>> {
    let id = body.first_chunk().map(|id| u64::from_be_bytes(*id)).ok_or(None)?;
    let whole = body.len() == BODY && body.iter().enumerate().skip(9).all(|(at, octet)| *octet == filling(id, at));
    if whole { Ok((id, body[8])) } else { Err(Some(id)) }
}

/// The commands of a body: the handler waits until it is released, or nothing.
pub const NONE: u8 = 0;
pub const HOLD: u8 = 1;

/// What the worker does with a message that it sees for the first time, by its id alone.
pub mod habit {
    pub fn rejects(id: u64) -> bool {
        id % 1_000 == 7
    }

    pub fn requeues(id: u64) -> bool {
        id % 500 == 11
    }

    /// The whole bulk with it.
    pub fn fails(id: u64) -> bool {
        id % 4_001 == 13
    }

    /// The whole bulk with it.
    pub fn panics(id: u64) -> bool {
        id % 6_007 == 17
    }
}

/// An append-only log.
#[derive(Debug)]
pub struct Journal(Mutex<File>);

impl Journal {
    pub fn open(path: impl AsRef<Path>) -> Self {
        let file = File::options().create(true).append(true).open(path).expect("open the log");
        Self(Mutex::new(file))
    }

    /// Appends lines, all or none.
    pub fn append(&self, lines: &str) {
        if !lines.is_empty() {
            self.0
                .lock()
                .unwrap_or_else(|error| error.into_inner())
                .write_all(lines.as_bytes())
                .expect("write the log");
        }
    }
}

/// Lines to append.
#[derive(Debug, Default)]
pub struct Lines(pub String);

impl Lines {
    pub fn attempt(&mut self, id: u64, attempt: u32) {
        let _ = writeln!(self.0, "A {id} {attempt}");
    }

    pub fn published(&mut self, how: char, id: u64, attempt: u32) {
        let _ = writeln!(self.0, "{how} {id} {attempt}");
    }

    pub fn start(&mut self, id: u64, run: u64, redelivered: bool, ms: u128) {
        let _ = writeln!(self.0, "S {id} {run} {} {ms}", u8::from(redelivered));
    }

    pub fn end(&mut self, id: u64, run: u64, outcome: char, ms: u128) {
        let _ = writeln!(self.0, "E {id} {run} {outcome} {ms}");
    }
}

/// A log, read as it grows.
#[derive(Debug)]
pub(super) struct Tail {
    file: File,
    /// Read so far, in octets.
    at: u64,
    rest: Vec<u8>,
}

impl Tail {
    pub(super) fn open(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        File::options().create(true).append(true).open(path).expect("create the log");
        Self { file: File::open(path).expect("open the log"), at: 0, rest: Vec::new() }
    }

    /// Its length now.
    pub(super) fn length(&self) -> u64 {
        self.file.metadata().expect("the length of the log").len()
    }

    /// The whole lines that are new in its first `length` octets.
    pub(super) fn read_to(&mut self, length: u64) -> io::Result<String> {
        let new = length.saturating_sub(self.at);
        if new == 0 {
            return Ok(String::new());
        }
        self.file.seek(SeekFrom::Start(self.at))?;
        self.at += (&self.file).take(new).read_to_end(&mut self.rest)? as u64;
        let whole = self.rest.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
        let rest = self.rest.split_off(whole);
        let lines = std::mem::replace(&mut self.rest, rest);
        Ok(String::from_utf8(lines).expect("a log of text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_was_cut_or_changed_is_not_whole() {
        let whole = body(7, HOLD);
        assert_eq!(read_body(&whole), Ok((7, HOLD)));
        assert_eq!(read_body(&whole[..BODY - 1]), Err(Some(7)));
        assert_eq!(read_body(&whole[..4]), Err(None));
        let mut changed = whole;
        changed[100] ^= 1;
        assert_eq!(read_body(&changed), Err(Some(7)));
    }
}
