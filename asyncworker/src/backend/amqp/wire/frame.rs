//! Where a frame begins and ends, and what its first octets say.

/// Type, channel and size.
pub(super) const HEADER: usize = 7;
/// Header and end octet.
pub(super) const AROUND: usize = HEADER + 1;
pub(super) const END: u8 = 0xCE;

pub(super) const METHOD: u8 = 1;
pub(super) const CONTENT_HEADER: u8 = 2;
pub(super) const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
/// A heartbeat as a broker sends it.
pub(super) const A_HEARTBEAT: [u8; AROUND] = [HEARTBEAT, 0, 0, 0, 0, 0, 0, END];

/// A method by its class and its own number.
pub(super) const BASIC: u16 = 60;
pub(super) const PUBLISH: (u16, u16) = (BASIC, 40);
pub(super) const RETURN: (u16, u16) = (BASIC, 50);
pub(super) const DELIVER: (u16, u16) = (BASIC, 60);
pub(super) const ACK: (u16, u16) = (BASIC, 80);
pub(super) const REJECT: (u16, u16) = (BASIC, 90);
pub(super) const NACK: (u16, u16) = (BASIC, 120);
pub(super) const CHANNEL_CLOSE: (u16, u16) = (20, 40);
pub(super) const CHANNEL_CLOSE_OK: (u16, u16) = (20, 41);
pub(super) const CONNECTION_TUNE_OK: (u16, u16) = (10, 31);
pub(super) const CONNECTION_CLOSE: (u16, u16) = (10, 50);
pub(super) const CONNECTION_CLOSE_OK: (u16, u16) = (10, 51);

/// What stands at the beginning of some octets.
pub(super) enum Seen {
    /// A whole frame.
    Whole(Frame),
    /// Its beginning, with so many octets missing at least.
    Part(usize),
    /// No frame, or one that is larger than both sides agreed on.
    Broken,
}

#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) channel: u16,
    /// Of its payload.
    pub(super) size: usize,
}

impl Frame {
    pub(super) fn at(octets: &[u8], frame_max: usize) -> Seen {
        let &[kind, c0, c1, s0, s1, s2, s3, ..] = octets else { return Seen::Part(AROUND - octets.len().min(HEADER)) };
        let size = usize::try_from(u32::from_be_bytes([s0, s1, s2, s3])).unwrap_or(usize::MAX);
        let Some(length) = size.checked_add(AROUND).filter(|length| *length <= frame_max) else { return Seen::Broken };
        if !matches!(kind, METHOD | CONTENT_HEADER | BODY | HEARTBEAT) {
            return Seen::Broken;
        }
        match octets.get(length - 1) {
            Some(&END) => Seen::Whole(Self { kind, channel: u16::from_be_bytes([c0, c1]), size }),
            Some(_) => Seen::Broken,
            None => Seen::Part(length - octets.len()),
        }
    }

    /// What these octets begin, of which [`at`](Self::at) has said that it is a part of a frame.
    pub(super) fn begun(octets: &[u8]) -> Option<Self> {
        let &[kind, c0, c1, s0, s1, s2, s3, ..] = octets else { return None };
        let size = usize::try_from(u32::from_be_bytes([s0, s1, s2, s3])).ok()?;
        Some(Self { kind, channel: u16::from_be_bytes([c0, c1]), size })
    }

    /// Its first octets.
    pub(super) fn header(&self) -> [u8; HEADER] {
        let [c0, c1] = self.channel.to_be_bytes();
        let [s0, s1, s2, s3] = u32::try_from(self.size).unwrap_or(u32::MAX).to_be_bytes();
        [self.kind, c0, c1, s0, s1, s2, s3]
    }

    /// The frame at the beginning, if it is there as a whole, of this type and on this channel.
    pub(super) fn whole(octets: &[u8], frame_max: usize, kind: u8, channel: u16) -> Option<Self> {
        match Self::at(octets, frame_max) {
            Seen::Whole(frame) if frame.kind == kind && frame.channel == channel => Some(frame),
            _ => None,
        }
    }

    /// From its first octet to its end octet.
    pub(super) fn length(&self) -> usize {
        self.size + AROUND
    }

    /// Its payload, of octets that begin with it.
    pub(super) fn payload<'a>(&self, octets: &'a [u8]) -> &'a [u8] {
        octets.get(HEADER..HEADER + self.size).unwrap_or_default()
    }
}

/// Which method a payload is.
pub(super) fn method(payload: &[u8]) -> Option<(u16, u16)> {
    let &[c0, c1, m0, m1, ..] = payload else { return None };
    Some((u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1])))
}
