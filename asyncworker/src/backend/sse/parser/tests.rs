//! The rules one by one, at chunks of several sizes; and any input at any chunking against a reading of the whole.

use super::fuzzing::{oracle, parse};
use super::{Event, Item, Parser};
use proptest::prelude::*;
use std::time::Duration;

const LARGEST: usize = 64;

/// What chunks of 1, 2 and 7 bytes and the whole give alike.
fn items(input: &[u8]) -> Vec<Item> {
    let whole = parse(input, &[usize::MAX], LARGEST);
    for size in [1, 2, 7] {
        assert_eq!(parse(input, &[size], LARGEST), whole, "in chunks of {size}");
    }
    whole
}

/// Name, data and id of each event; nothing else may come.
fn events(input: impl AsRef<[u8]>) -> Vec<(String, String, String)> {
    let event = |item| match item {
        Item::Event(Event { name, data, id, too_large: false, .. }) => {
            (name, String::from_utf8(data.to_vec()).unwrap(), id.to_string())
        }
        other => panic!("{other:?}"),
    };
    items(input.as_ref()).into_iter().map(event).collect()
}

fn data(input: impl AsRef<[u8]>) -> Vec<String> {
    events(input).into_iter().map(|(_, data, _)| data).collect()
}

#[test]
fn one_byte_order_mark_is_stripped_from_the_beginning_and_no_other() {
    assert_eq!(data("\u{feff}data:1\n\ndata:2\n\n"), ["1", "2"]);
    assert_eq!(data("\u{feff}\u{feff}data:1\n\ndata:2\n\n\u{feff}data:3\n\n"), ["2"]);
    assert_eq!(data("data:\u{feff}1\n\n"), ["\u{feff}1"]);
}

#[test]
fn lines_end_in_cr_lf_or_crlf_and_each_is_one_end() {
    assert_eq!(data("data:1\n\ndata:2\r\rdata:3\r\n\r\n"), ["1", "2", "3"]);
    assert_eq!(data("data:1\rdata:2\r\ndata:3\ndata:4\r\n\r"), ["1\n2\n3\n4"]);
    assert_eq!(data("data:1\n\rdata:2\r\n\n"), ["1", "2"]);
}

#[test]
fn names_of_fields_are_case_sensitive_and_unknown_ones_are_ignored() {
    assert_eq!(data("Data:1\nDATA:2\ndata :3\n data:4\ndatas:5\n:data:6\ndata:7\n\n"), ["7"]);
}

#[test]
fn a_field_without_a_colon_is_empty_and_one_space_is_stripped() {
    assert_eq!(data("data\n\ndata\ndata\n\ndata:\n\n"), ["", "\n", ""]);
    assert_eq!(data("data:  1\ndata: 2 \ndata:\t3\ndata: 4\n\n"), [" 1\n2 \n\t3\n4"]);
    assert_eq!(data("data:a:b: c\n\n"), ["a:b: c"]);
}

#[test]
fn comments_say_nothing() {
    assert_eq!(data(format!(":\n: x\ndata:1\n:{}\ndata:2\n:x\n\n:end\n\n", "long".repeat(100))), ["1\n2"]);
}

#[test]
fn without_data_there_is_no_event_and_the_name_is_forgotten() {
    assert_eq!(events("event:lost\n\ndata:1\n\n"), [("message".into(), "1".into(), String::new())]);
    assert_eq!(data("\n\n\ndata:1\n\n\n\n"), ["1"]);
}

#[test]
fn a_name_holds_for_one_event_and_an_empty_one_is_message() {
    let names = |input: &str| events(input).into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
    assert_eq!(names("event:a\ndata:1\n\ndata:2\n\nevent:b\nevent:c\ndata:3\n\n"), ["a", "message", "c"]);
    assert_eq!(
        names("event:\ndata:1\n\nevent: x\nevent\ndata:2\n\nevent:  y\ndata:3\n\n"),
        ["message", "message", " y"]
    );
}

#[test]
fn an_id_stays_until_another_an_empty_one_clears_it_and_one_with_nul_is_ignored() {
    let ids = |input: &str| events(input).into_iter().map(|(.., id)| id).collect::<Vec<_>>();
    assert_eq!(
        ids("id:1\ndata:a\n\ndata:b\n\nid:\ndata:c\n\nid: 2\ndata:d\n\nid\ndata:e\n\n"),
        ["1", "1", "", "2", ""]
    );
    assert_eq!(ids("id:1\ndata:a\n\nid:2\0\ndata:b\n\nid:\0\ndata:c\n\n"), ["1", "1", "1"]);
    assert_eq!(ids("id:…\ndata:a\n\n"), ["…"]);
}

#[test]
fn an_id_counts_from_the_blank_line_on_also_without_an_event() {
    assert_eq!(items(b"id:5\n\nid:6\n"), [Item::Id("5".into())]);
    assert_eq!(items(b"id:5\n\nid:5\n\nid\n\n"), [Item::Id("5".into()), Item::Id("".into())]);
}

#[test]
fn only_an_event_with_an_id_of_its_own_is_numbered() {
    let numbered = |item: &Item| matches!(item, Item::Event(event) if event.numbered);
    let items = items(b"id:1\ndata:a\n\ndata:b\n\nid\ndata:c\n\nid:1\ndata:d\n\n");
    assert_eq!(items.iter().map(numbered).collect::<Vec<_>>(), [true, false, false, true]);
}

#[test]
fn a_stream_that_resumes_has_the_id_it_resumed_after() {
    let mut parser = Parser::new(LARGEST, "7".into());
    let item = parser.next(&mut &b"data:x\n\n"[..]);
    assert!(matches!(item, Some(Item::Event(event)) if &*event.id == "7" && !event.numbered));
}

#[test]
fn the_reconnection_time_is_digits_and_nothing_else() {
    let retry = |milliseconds| Item::Retry(Duration::from_millis(milliseconds));
    assert_eq!(items(b"retry:3000\n"), [retry(3000)]);
    assert_eq!(items(b"retry: 07\nretry:0\n"), [retry(7), retry(0)]);
    assert_eq!(items(b"retry:99999999999999999999\n"), [retry(u64::MAX)]);
    for bogus in ["retry", "retry:", "retry:3000x", "retry:-1", "retry:1.5", "retry:  1", "retry:+1", "retry:\u{0661}"]
    {
        assert_eq!(items(format!("{bogus}\n").as_bytes()), [], "{bogus}");
    }
}

#[test]
fn what_is_no_utf_8_is_replaced() {
    assert_eq!(data(b"data:a\xffb\xe2\x82\ndata:\xe2\x82\xac\n\n"), ["a\u{fffd}b\u{fffd}\n€"]);
    assert_eq!(data("data:ok\0…\n\n"), ["ok\0…"]);
}

#[test]
fn an_event_that_is_not_ended_by_a_blank_line_is_no_event() {
    assert_eq!(data("data:1\n\ndata:2\n"), ["1"]);
    assert_eq!(data("data:1\n\ndata:2"), ["1"]);
    assert_eq!(items(b"id:5\ndata:1"), []);
}

#[test]
fn an_event_over_the_largest_is_told_as_such_and_the_stream_goes_on() {
    let sizes = |input: &str| -> Vec<(usize, bool, String)> {
        let size = |item| match item {
            Item::Event(Event { data, too_large, id, .. }) => (data.len(), too_large, id.to_string()),
            other => panic!("{other:?}"),
        };
        items(input.as_bytes()).into_iter().map(size).collect()
    };
    let full = "x".repeat(LARGEST);
    assert_eq!(sizes(&format!("data: {full}\n\n")), [(LARGEST, false, String::new())]);
    let expected = [(0, true, "1".to_owned()), (1, false, "2".to_owned())];
    assert_eq!(sizes(&format!("id:1\ndata: {full}y\n\nid:2\ndata:x\n\n")), expected);
    assert_eq!(sizes(&format!("data:{full}\ndata:\nid:1\n\nid:2\ndata:x\n\n")), expected);
    assert_eq!(sizes(&format!("data:{}\nid:1\ndata:y\n\nid:2\ndata:x\n\n", "z".repeat(10_000))), expected);
    assert_eq!(sizes(&format!("event:{}\nid:1\ndata:y\n\nid:2\ndata:x\n\n", "z".repeat(10_000))), expected);
    // What does not matter may be of any length.
    assert_eq!(sizes(&format!("x:{0}\n:{0}\n{0}\ndata:y\n\n", "z".repeat(10_000))), [(1, false, String::new())]);
}

#[test]
fn a_long_line_is_not_kept() {
    let mut parser = Parser::new(LARGEST, "".into());
    for _ in 0..1_000 {
        assert_eq!(parser.next(&mut &[b'x'; 1_000][..]), None);
    }
    assert!(parser.line.capacity() < 4 * LARGEST, "{}", parser.line.capacity());
}

fn part() -> impl Strategy<Value = Vec<u8>> {
    let parts: &[&[u8]] = &[
        b"\n",
        b"\n",
        b"\n\n",
        b"\r",
        b"\r\n",
        b":",
        b": ",
        b" ",
        b"data",
        b"data:",
        b"data: ",
        b"event:",
        b"id:",
        b"id",
        b"retry:",
        b"12",
        b"x",
        b"\0",
        b"\xff",
        b"\xe2\x82",
        b"\xac",
        b"\xef\xbb\xbf",
        b"\xef\xbb",
        b"DATA:",
        b"a longer text of some words",
    ];
    prop_oneof![9 => prop::sample::select(parts).prop_map(<[u8]>::to_vec), 1 => prop::collection::vec(any::<u8>(), 0..4)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_input_reads_alike_however_it_is_cut(
        parts in prop::collection::vec(part(), 0..40),
        sizes in prop::collection::vec(1_usize..9, 0..60),
    ) {
        let input = parts.concat();
        let expected = oracle(&input);
        prop_assert_eq!(&parse(&input, &[usize::MAX], usize::MAX), &expected);
        prop_assert_eq!(&parse(&input, &sizes, usize::MAX), &expected);
    }
}
