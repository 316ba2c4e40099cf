//! The event stream format: WHATWG HTML, "Server-sent events", "Parsing an event stream" and "Interpreting an event
//! stream". It reads bytes in chunks of any size and does no input or output.
//!
//! Lines are found in bytes: CR and LF are never part of another character in UTF-8. A line is decoded by itself, which
//! gives the same U+FFFDs as decoding the whole, because a line's end ends a sequence that is cut short, too.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;

/// What a stream said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Event(Event),
    /// A block without data: no event, but from now on this is the last id.
    Id(Arc<str>),
    /// The reconnection time.
    Retry(Duration),
}

/// An event. Two are equal when nothing tells them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// `message` where the server gave none.
    pub(super) name: String,
    /// The last id so far.
    pub(super) id: Arc<str>,
    /// Whether the id came with this event, and is not empty.
    pub(super) numbered: bool,
    /// UTF-8. Empty where it was too large.
    pub(super) data: Bytes,
    pub(super) too_large: bool,
}

/// Room for a line of data beside the data: a byte order mark, the name of the field, the colon and a space.
const BESIDE_DATA: usize = 16;

/// A reader of one stream.
#[derive(Debug)]
pub(super) struct Parser {
    /// Bytes of an event's data at the most.
    largest: usize,
    first_line: bool,
    after_carriage_return: bool,
    /// The line so far, or as much of it as can matter.
    line: Vec<u8>,
    /// Whether the line is longer than that.
    cut: bool,
    data: Vec<u8>,
    name: String,
    /// What the id will be at the next blank line.
    next_id: Arc<str>,
    id: Arc<str>,
    numbered: bool,
    too_large: bool,
}

impl Parser {
    /// A reader of a stream that resumes after the event of this id, which is the last id until the stream gives one.
    pub(super) fn new(largest: usize, id: Arc<str>) -> Self {
        Self {
            largest,
            first_line: true,
            after_carriage_return: false,
            line: Vec::new(),
            cut: false,
            data: Vec::new(),
            name: String::new(),
            next_id: Arc::clone(&id),
            id,
            numbered: false,
            too_large: false,
        }
    }

    /// Reads to the end of the next item, and moves `input` behind it; `None` when all of it is read.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Option<Item> {
        while let Some(first) = input.first() {
            if std::mem::take(&mut self.after_carriage_return) && *first == b'\n' {
                *input = &input[1..];
                continue;
            }
            let end = input.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            self.keep(&input[..end.unwrap_or(input.len())]);
            let Some(end) = end else {
                *input = &[];
                return None;
            };
            self.after_carriage_return = input[end] == b'\r';
            *input = &input[end + 1..];
            if let Some(item) = self.end_of_line() {
                return Some(item);
            }
        }
        None
    }

    fn keep(&mut self, part: &[u8]) {
        let room = self.largest.saturating_add(BESIDE_DATA) - self.line.len();
        self.cut |= part.len() > room;
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end_of_line(&mut self) -> Option<Item> {
        let mut buffer = std::mem::take(&mut self.line);
        let mut line = &buffer[..];
        if std::mem::take(&mut self.first_line) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        let cut = std::mem::take(&mut self.cut);
        let item = if line.is_empty() { self.dispatch() } else { self.field(line, cut) };
        buffer.clear();
        // One long line does not hold its memory for the life of the stream.
        buffer.shrink_to(4096);
        self.line = buffer;
        item
    }

    fn field(&mut self, line: &[u8], cut: bool) -> Option<Item> {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" | b"event" | b"id" if cut => self.too_large = true,
            b"data" => self.data(value),
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            b"id" if !value.contains(&0) => {
                self.next_id = String::from_utf8_lossy(value).into();
                self.numbered = !value.is_empty();
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let digits = std::str::from_utf8(value).unwrap_or_default();
                return Some(Item::Retry(Duration::from_millis(digits.parse().unwrap_or(u64::MAX))));
            }
            // A comment, or a field that the standard does not know.
            _ => {}
        }
        None
    }

    fn data(&mut self, value: &[u8]) {
        let value = String::from_utf8_lossy(value);
        // The line feed at the end of the last line is not part of it.
        if self.too_large || self.data.len() + value.len() > self.largest {
            self.too_large = true;
            self.data = Vec::new();
            return;
        }
        self.data.extend_from_slice(value.as_bytes());
        self.data.push(b'\n');
    }

    fn dispatch(&mut self) -> Option<Item> {
        let id_is_new = self.id != self.next_id;
        self.id = Arc::clone(&self.next_id);
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        let numbered = std::mem::take(&mut self.numbered);
        let too_large = std::mem::take(&mut self.too_large);
        if data.pop().is_none() && !too_large {
            return id_is_new.then(|| Item::Id(Arc::clone(&self.id)));
        }
        Some(Item::Event(Event {
            name: if name.is_empty() { "message".into() } else { name },
            id: Arc::clone(&self.id),
            numbered,
            data: if too_large { Bytes::new() } else { data.into() },
            too_large,
        }))
    }
}
