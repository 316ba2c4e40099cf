//! From the octets of an input to the octets of a connection.

use crate::fuzzing::Choices;

/// All that a broker sends, and how it comes.
pub(super) struct Script {
    pub(super) frame_max: usize,
    pub(super) octets: Vec<u8>,
    /// Where reads end, the last one at the end; with the channel that is registered then, if one is.
    pub(super) reads: Vec<(usize, Option<u16>)>,
}

/// More octets would only be slow.
const LONGEST: usize = 64 * 1024;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

impl Script {
    /// The first octet says which channels are registered from the beginning, how large a frame may be, and
    /// whether what follows is the octets themselves or choices of frames.
    pub(super) fn of(input: &[u8]) -> Self {
        let mut choices = Choices(input);
        let head = choices.octet();
        let frame_max = [4096, 16_384, 131_072, usize::MAX][usize::from(head >> 1 & 3)];
        let first = (0..4).filter(|channel| head >> (4 + channel) & 1 == 1).map(|channel| (0, Some(channel)));
        let mut script = Self { frame_max, octets: Vec::new(), reads: first.collect() };
        if head & 1 == 0 {
            script.raw(choices);
        } else {
            while !choices.is_empty() && script.octets.len() < LONGEST {
                script.step(&mut choices);
            }
        }
        script.reads.sort_by_key(|(until, _)| *until);
        script.reads.push((script.octets.len(), None));
        script
    }

    /// How long reads are, over and over, and then what is read.
    fn raw(&mut self, mut choices: Choices<'_>) {
        let number = usize::from(choices.octet() % 8);
        let lengths = choices.octets(number);
        self.octets.extend_from_slice(choices.0);
        let mut until = 0;
        for length in lengths.iter().cycle() {
            until += 1 + usize::from(*length);
            if until >= self.octets.len() {
                break;
            }
            self.reads.push((until, None));
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let choice = choices.octet();
        let channel = u16::from(choice >> 4 & 3);
        let variant = choice >> 6;
        match choice & 15 {
            0 => self.deliver(channel, choices),
            1 => self.header(channel, choices.octet().into(), &[0, 0]),
            2 => {
                let (length, size) = (choices.octet(), choices.octet());
                self.header(channel, length.into(), choices.octets(size.into()));
            }
            // A size that may lie.
            3 => self.header(channel, choices.number(), &[0, 0]),
            4 => self.frame(BODY, channel, &vec![choice; choices.octet().into()]),
            5 => self.frame(BODY, channel, &vec![0xCE; large(choices)]),
            6 => {
                let parts: Vec<_> = (0..variant).map(|_| choices.octet().into()).collect();
                self.delivery(channel, &parts, choices);
            }
            7 => {
                let part = large(choices);
                self.delivery(channel, &vec![part; variant.into()], choices);
            }
            // A content that is no delivery: `basic.return`, or `basic.get-ok` that does not add up.
            8 => {
                let method = [0, 60, 0, [50, 71][usize::from(variant % 2)], 1, 56, 0, 0, 0];
                self.frame(METHOD, channel, &method);
                self.header(channel, 1, &[0, 0]);
                self.frame(BODY, channel, &[choice]);
            }
            // `channel.close`, `channel.close-ok`, and their neighbours.
            9 => self.frame(METHOD, channel, &[0, 20, 0, 40 + variant, 0, 0, 0, 0, 0, 0, 0]),
            10 => self.frame(HEARTBEAT, channel, &[]),
            11 => {
                let size = choices.octet();
                self.frame(1 + variant, channel, choices.octets(size.into()));
            }
            12 => self.reads.push((self.octets.len(), Some(channel))),
            13 => self.reads.push((self.octets.len().saturating_sub(choices.octet().into()), None)),
            14 => {
                let size = choices.octet();
                self.octets.extend_from_slice(choices.octets(size.into()));
            }
            _ => {
                let back = 1 + usize::from(choices.octet());
                let by = choices.octet();
                if let Some(octet) = self.octets.len().checked_sub(back).and_then(|place| self.octets.get_mut(place)) {
                    *octet ^= by;
                }
            }
        }
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        self.octets.push(kind);
        self.octets.extend(channel.to_be_bytes());
        self.octets.extend((payload.len() as u32).to_be_bytes());
        self.octets.extend_from_slice(payload);
        self.octets.push(0xCE);
    }

    /// `basic.deliver` with a tag and names that the input says.
    fn deliver(&mut self, channel: u16, choices: &mut Choices<'_>) {
        let mut payload = vec![0, 60, 0, 60, 1, b'c'];
        payload.extend(u64::from(choices.octet()).to_be_bytes());
        payload.push(choices.octet());
        for _ in 0..2 {
            let length = choices.octet() % 16;
            let name = choices.octets(length.into());
            payload.push(name.len() as u8);
            payload.extend_from_slice(name);
        }
        self.frame(METHOD, channel, &payload);
    }

    fn header(&mut self, channel: u16, length: u64, list: &[u8]) {
        let payload = [&[0, 60, 0, 0][..], &length.to_be_bytes(), list].concat();
        self.frame(HEADER, channel, &payload);
    }

    /// All of a delivery, with a body in parts of these sizes.
    fn delivery(&mut self, channel: u16, parts: &[usize], choices: &mut Choices<'_>) {
        self.deliver(channel, choices);
        self.header(channel, parts.iter().sum::<usize>() as u64, &[0, 0]);
        parts.iter().for_each(|part| self.frame(BODY, channel, &vec![*part as u8; *part]));
    }
}

/// Up to 32 KiB: bodies of all the kinds that the reader tells apart by size.
fn large(choices: &mut Choices<'_>) -> usize {
    usize::from(u16::from_be_bytes([choices.octet(), choices.octet()]) >> 1)
}
