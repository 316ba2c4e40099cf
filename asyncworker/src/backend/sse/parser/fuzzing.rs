//! The parser against a reading of the whole input at once.

use super::{Event, Item, Parser};
use crate::fuzzing::Choices;
use std::time::Duration;

/// Reads the octets as a limit, sizes of chunks and a stream in these chunks. What comes of that is what comes of the
/// whole, by the rules; where there is a limit, no event is over it.
pub fn events(octets: &[u8]) {
    let mut choices = Choices(octets);
    let largest = match choices.octet() {
        0 => usize::MAX,
        limit => limit.into(),
    };
    let sizes: Vec<_> = (0..choices.octet() % 8).map(|_| choices.octet().into()).collect();
    let input = choices.0;
    let whole = parse(input, &[usize::MAX], largest);
    assert_eq!(parse(input, &sizes, largest), whole);
    if largest == usize::MAX {
        assert_eq!(whole, oracle(input));
    }
    for item in &whole {
        if let Item::Event(event) = item {
            assert!(event.data.len() <= largest && (event.data.is_empty() || !event.too_large), "{event:?}");
        }
    }
}

/// Reads the input in chunks of these sizes, the last of them for the rest.
pub(super) fn parse(input: &[u8], sizes: &[usize], largest: usize) -> Vec<Item> {
    let mut parser = Parser::new(largest, "".into());
    let mut items = Vec::new();
    let mut sizes = sizes.iter().copied();
    let mut size = 1;
    let mut rest = input;
    while !rest.is_empty() {
        size = sizes.next().unwrap_or(size).clamp(1, rest.len());
        let (mut chunk, behind) = rest.split_at(size);
        while let Some(item) = parser.next(&mut chunk) {
            items.push(item);
        }
        assert!(chunk.is_empty());
        rest = behind;
    }
    items
}

/// The rules over the whole input at once, as simply as they can be put.
pub(super) fn oracle(input: &[u8]) -> Vec<Item> {
    let text = String::from_utf8_lossy(input).replace("\r\n", "\n").replace('\r', "\n");
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut items = Vec::new();
    let (mut name, mut data, mut id, mut last, mut numbered) = ("", Vec::new(), "", "", false);
    for line in if text.contains('\n') { complete.split('\n').collect() } else { Vec::new() } {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => {
                let data_of_it = data.join("\n");
                if !data.is_empty() {
                    items.push(Item::Event(Event {
                        name: if name.is_empty() { "message".into() } else { name.into() },
                        id: id.into(),
                        numbered,
                        data: data_of_it.into(),
                        too_large: false,
                    }));
                } else if last != id {
                    items.push(Item::Id(id.into()));
                }
                (name, data, last, numbered) = ("", Vec::new(), id, false);
            }
            "data" => data.push(value),
            "event" => name = value,
            "id" if !value.contains('\0') => (id, numbered) = (value, !value.is_empty()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                items.push(Item::Retry(Duration::from_millis(value.parse().unwrap_or(u64::MAX))));
            }
            _ => {}
        }
    }
    items
}
