//! AMQP 0-9-1 as it passes by: where a frame ends, and what is said of messages.

use std::collections::HashMap;

/// Which way octets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToBroker,
    ToClient,
}

/// The first octets of a body: enough to know a message by.
pub type Start = [u8; 8];

/// What one side says to the other about consumers and messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Consume {
        queue: String,
    },
    Delivered {
        tag: u64,
        start: Option<Start>,
    },
    /// `requeue` of `basic.reject` and `basic.nack`.
    Settled {
        tag: u64,
        multiple: bool,
        requeue: bool,
    },
    Published {
        start: Option<Start>,
    },
    ChannelEnds,
}

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

/// Octets of a frame that are looked at: no method that matters is longer.
const LOOKED_AT: usize = 1024;

/// Follows one direction of a connection.
pub struct Walker {
    direction: Direction,
    /// Of the protocol header, which is no frame.
    preamble: usize,
    head: Vec<u8>,
    payload: Vec<u8>,
    /// Of the frame, its end octet included.
    left: usize,
    /// By channel: what the method said whose content comes.
    contents: HashMap<u16, Said>,
    frames: u64,
}

impl Walker {
    pub fn new(direction: Direction) -> Self {
        let preamble = if direction == Direction::ToBroker { 8 } else { 0 };
        let (head, payload) = (Vec::with_capacity(7), Vec::with_capacity(LOOKED_AT));
        Self { direction, preamble, head, payload, left: 0, contents: HashMap::new(), frames: 0 }
    }

    /// Frames that have passed whole.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Takes the next octets. Gives the place behind the last frame that ends in them, if one does.
    pub fn walk(&mut self, octets: &[u8], mut on: impl FnMut(u16, Said)) -> Option<usize> {
        let (mut at, mut end) = (0, None);
        while let Some(rest) = octets.get(at..).filter(|rest| !rest.is_empty()) {
            if self.preamble > 0 {
                let taken = self.preamble.min(rest.len());
                self.preamble -= taken;
                at += taken;
            } else if self.head.len() < 7 {
                let taken = (7 - self.head.len()).min(rest.len());
                self.head.extend_from_slice(&rest[..taken]);
                at += taken;
                if self.head.len() == 7 {
                    self.left =
                        u32::from_be_bytes([self.head[3], self.head[4], self.head[5], self.head[6]]) as usize + 1;
                }
            } else {
                let taken = self.left.min(rest.len());
                let looked = (LOOKED_AT - self.payload.len()).min(taken);
                self.payload.extend_from_slice(&rest[..looked]);
                self.left -= taken;
                at += taken;
                if self.left == 0 {
                    self.frame(&mut on);
                    end = Some(at);
                }
            }
        }
        end
    }

    fn frame(&mut self, on: &mut impl FnMut(u16, Said)) {
        let channel = u16::from_be_bytes([self.head[1], self.head[2]]);
        let mut payload = std::mem::take(&mut self.payload);
        let length = u32::from_be_bytes([self.head[3], self.head[4], self.head[5], self.head[6]]) as usize;
        payload.truncate(length);
        match self.head[0] {
            METHOD => match method(self.direction, &payload) {
                Some(said @ (Said::Delivered { .. } | Said::Published { .. })) => {
                    self.contents.insert(channel, said);
                }
                Some(said) => on(channel, said),
                None => {}
            },
            // A body of no octets has no frame.
            HEADER if payload.get(4..12) == Some(&[0; 8]) => {
                self.contents.remove(&channel).into_iter().for_each(|said| on(channel, said));
            }
            BODY => {
                if let Some(said) = self.contents.remove(&channel) {
                    let start = payload.first_chunk::<8>().copied();
                    on(
                        channel,
                        match said {
                            Said::Delivered { tag, .. } => Said::Delivered { tag, start },
                            _ => Said::Published { start },
                        },
                    );
                }
            }
            _ => {}
        }
        self.frames += 1;
        payload.clear();
        self.payload = payload;
        self.head.clear();
    }
}

fn method(direction: Direction, payload: &[u8]) -> Option<Said> {
    let (ids, arguments) = payload.split_first_chunk::<4>()?;
    let tag = |at: usize| Some(u64::from_be_bytes(*arguments.get(at..)?.first_chunk()?));
    let flags = |at: usize| arguments.get(at).copied().unwrap_or_default();
    let short = |at: usize| arguments.get(at + 1..at + 1 + usize::from(*arguments.get(at)?));
    Some(match (direction, *ids) {
        (_, [0, 20, 0, 40]) => Said::ChannelEnds,
        (Direction::ToBroker, [0, 60, 0, 20]) => {
            Said::Consume { queue: String::from_utf8_lossy(short(2)?).into_owned() }
        }
        (Direction::ToBroker, [0, 60, 0, 40]) => Said::Published { start: None },
        (Direction::ToClient, [0, 60, 0, 60]) => Said::Delivered { tag: tag(1 + short(0)?.len())?, start: None },
        (Direction::ToBroker, [0, 60, 0, 80]) => settled(tag(0)?, flags(8) & 1, 0),
        (Direction::ToBroker, [0, 60, 0, 90]) => settled(tag(0)?, 0, flags(8) & 1),
        (Direction::ToBroker, [0, 60, 0, 120]) => settled(tag(0)?, flags(8) & 1, flags(8) & 2),
        _ => return None,
    })
}

fn settled(tag: u64, multiple: u8, requeue: u8) -> Said {
    Said::Settled { tag, multiple: multiple != 0, requeue: requeue != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&[kind], &channel.to_be_bytes()[..], &length, payload, &[0xce]].concat()
    }

    fn content(body: &[u8]) -> Vec<u8> {
        let header = [&[0, 60, 0, 0][..], &(body.len() as u64).to_be_bytes(), &[0, 0]].concat();
        let body = if body.is_empty() { Vec::new() } else { frame(BODY, 3, body) };
        [frame(HEADER, 3, &header), body].concat()
    }

    fn all(direction: Direction, octets: &[u8], slice: usize) -> Vec<(u16, Said)> {
        let (mut walker, mut said) = (Walker::new(direction), Vec::new());
        for slice in octets.chunks(slice) {
            walker.walk(slice, |channel, what| said.push((channel, what)));
        }
        said
    }

    #[test]
    fn what_is_said_does_not_depend_on_how_it_is_sliced() {
        let deliver = |tag: u64| [&[0, 60, 0, 60, 2][..], b"ct", &tag.to_be_bytes(), &[0, 0, 1], b"q"].concat();
        let to_client = [
            frame(METHOD, 3, &deliver(7)),
            content(b"12345678 and more"),
            frame(8, 0, b""),
            frame(METHOD, 3, &deliver(8)),
            content(b""),
            frame(METHOD, 3, &[0, 20, 0, 40, 0, 200, 0, 0, 0, 0, 0]),
        ]
        .concat();
        for slice in [1, 2, 7, 13, to_client.len()] {
            let expected = vec![
                (3, Said::Delivered { tag: 7, start: Some(*b"12345678") }),
                (3, Said::Delivered { tag: 8, start: None }),
                (3, Said::ChannelEnds),
            ];
            assert_eq!(all(Direction::ToClient, &to_client, slice), expected);
        }
        let settle = |method: u8, flags: u8| [&[0, 60, 0, method][..], &9_u64.to_be_bytes(), &[flags]].concat();
        let to_broker = [
            b"AMQP\0\0\x09\x01".to_vec(),
            frame(METHOD, 3, &[&[0, 60, 0, 20, 0, 0, 1][..], b"q", &[0, 0, 0, 0, 0, 0]].concat()),
            frame(METHOD, 3, &settle(80, 1)),
            frame(METHOD, 3, &settle(90, 1)),
            frame(METHOD, 3, &settle(120, 3)),
            frame(METHOD, 4, &[0, 60, 0, 40, 0, 0, 0, 1, b'q', 0]),
            frame(HEADER, 4, &[&[0, 60, 0, 0][..], &8_u64.to_be_bytes(), &[0, 0]].concat()),
            frame(BODY, 4, b"abcdefgh"),
        ]
        .concat();
        for slice in [1, 5, to_broker.len()] {
            let expected = vec![
                (3, Said::Consume { queue: "q".to_owned() }),
                (3, settled(9, 1, 0)),
                (3, settled(9, 0, 1)),
                (3, settled(9, 1, 2)),
                (4, Said::Published { start: Some(*b"abcdefgh") }),
            ];
            assert_eq!(all(Direction::ToBroker, &to_broker, slice), expected);
        }
    }
}
