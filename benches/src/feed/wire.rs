//! The frames of AMQP 0-9-1, as far as the feed needs them.

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const END: u8 = 0xce;

/// A frame as it came.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) channel: u16,
    pub(super) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Class, method and arguments of a method's frame; `None` for contents and heartbeats.
    pub(super) fn method(&self) -> Option<(u16, u16, &'a [u8])> {
        let (numbers, arguments) = self.payload.split_at_checked(4)?;
        let &[class, class_low, method, method_low] = numbers else { return None };
        let method = u16::from_be_bytes([method, method_low]);
        (self.kind == METHOD).then_some((u16::from_be_bytes([class, class_low]), method, arguments))
    }
}

/// The tag and the `multiple` bit of a settling method.
pub(super) fn tag(arguments: &[u8]) -> Option<(u64, bool)> {
    let (tag, bits) = arguments.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*tag), bits.first()? & 1 == 1))
}

/// The short strings from this place on.
pub(super) fn short_string(arguments: &[u8], place: usize) -> Option<&[u8]> {
    let (length, rest) = arguments.get(place..)?.split_first()?;
    rest.get(..usize::from(*length))
}

/// The whole frames at the front of what was read.
pub(super) struct Frames<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let &[kind, channel, channel_low, a, b, c, d] = self.rest.first_chunk::<7>()?;
        let size = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
        let payload = self.rest.get(7..7 + size)?;
        self.rest = self.rest.get(7 + size + 1..)?;
        Some(Frame { kind, channel: u16::from_be_bytes([channel, channel_low]), payload })
    }
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [&[kind], &channel.to_be_bytes()[..], &size.to_be_bytes(), payload, &[END]].concat()
}

/// The frame of a method.
pub(super) fn method(channel: u16, class: u16, method: u16, arguments: &[u8]) -> Vec<u8> {
    frame(METHOD, channel, &[&class.to_be_bytes(), &method.to_be_bytes(), arguments].concat())
}

/// A delivery whose frames differ from the next one's in nothing but the tag.
#[derive(Debug)]
pub(super) struct Template {
    bytes: Vec<u8>,
    tag: usize,
}

impl Template {
    pub(super) fn new(channel: u16, consumer: &[u8], queue: &[u8], body: &[u8], frame_max: usize) -> Self {
        let short = |text: &[u8]| [&[u8::try_from(text.len()).unwrap_or(u8::MAX)], text].concat();
        // Tag 0 stands where each delivery's own is written; then: not redelivered, the default exchange.
        let arguments = [&short(consumer)[..], &[0; 8], &[0], &short(b""), &short(queue)].concat();
        let mut bytes = method(channel, 60, 60, &arguments);
        let size = body.len() as u64;
        bytes.extend(frame(HEADER, channel, &[&[0, 60, 0, 0], &size.to_be_bytes()[..], &[0, 0]].concat()));
        for part in body.chunks(frame_max - 8) {
            bytes.extend(frame(BODY, channel, part));
        }
        Self { bytes, tag: 7 + 4 + 1 + consumer.len() }
    }

    /// Appends deliveries with ascending tags.
    pub(super) fn append(&self, out: &mut Vec<u8>, first: u64, count: u64) {
        for tag in first..first + count {
            let place = out.len() + self.tag;
            out.extend_from_slice(&self.bytes);
            if let Some(bytes) = out.get_mut(place..place + 8) {
                bytes.copy_from_slice(&tag.to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_whole_frames_with_its_tag() {
        let mut out = Vec::new();
        Template::new(1, b"tag", b"queue", &[b'x'; 10], 14).append(&mut out, 7, 2);
        let frames: Vec<_> = Frames { rest: &out }.collect();
        assert_eq!(frames.iter().map(|frame| frame.kind).collect::<Vec<_>>(), [1, 2, 3, 3, 1, 2, 3, 3]);
        let tags = frames.iter().filter_map(Frame::method).map(|(_, _, arguments)| tag(&arguments[4..]));
        assert_eq!(tags.flatten().map(|(tag, _)| tag).collect::<Vec<_>>(), [7, 8]);
    }

    #[test]
    fn half_a_frame_stays() {
        let whole = method(0, 10, 31, &[1, 2, 3]);
        let mut frames = Frames { rest: &whole[..whole.len() - 1] };
        assert!(frames.next().is_none());
        assert_eq!(frames.rest.len(), whole.len() - 1);
    }
}
