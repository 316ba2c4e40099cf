//! Property lists: what lapin's generator writes, and what nobody should.

pub(super) use super::super::fuzzing::oracle::expected;
use super::super::properties::{DEEPEST, check, decode, read};
use crate::backend::amqp::wire::encode::properties;
use crate::message::{HeaderValue, Headers, Properties};
use amq_protocol::frame::WriteContext;
use amq_protocol::protocol::BasicProperties;
use amq_protocol::protocol::basic::{gen_properties, parse_properties};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

pub(super) fn list(properties: &BasicProperties) -> Vec<u8> {
    let mut room = vec![0; 65_536];
    let length = gen_properties(properties)(WriteContext::from(&mut room[..])).unwrap().into_inner().1;
    room.truncate(usize::try_from(length).unwrap());
    room
}

/// The list as we write it.
fn written(ours: &Properties) -> Vec<u8> {
    let mut list = Vec::new();
    properties(ours, &mut list).unwrap();
    list
}

fn values() -> impl Strategy<Value = HeaderValue> {
    let leaf = prop_oneof![
        Just(HeaderValue::Null),
        any::<bool>().prop_map(HeaderValue::Bool),
        any::<i64>().prop_map(HeaderValue::Int),
        proptest::num::f64::NORMAL.prop_map(HeaderValue::Float),
        (any::<u8>(), any::<u32>()).prop_map(|(scale, value)| HeaderValue::Decimal { scale, value }),
        ".{0,20}".prop_map(HeaderValue::Text),
        vec(any::<u8>(), 0..20).prop_map(|bytes| HeaderValue::Bytes(bytes.into())),
        any::<u64>().prop_map(HeaderValue::Timestamp),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(HeaderValue::List),
            btree_map("[a-zü]{0,6}", inner, 0..4).prop_map(HeaderValue::Table),
        ]
    })
}

prop_compose! {
    pub(super) fn any_properties()(
        texts in vec(proptest::option::of("[a-zü/]{0,20}"), 8),
        headers in btree_map("[a-zü]{0,6}", values(), 0..4),
        numbers in (any::<Option<u8>>(), any::<Option<u8>>(), any::<Option<u64>>()),
    ) -> Properties {
        let mut texts = texts.into_iter();
        let mut text = || texts.next().flatten();
        Properties {
            content_type: text(), content_encoding: text(), headers, delivery_mode: numbers.0, priority: numbers.1,
            correlation_id: text(), reply_to: text(), expiration: text(), message_id: text(), timestamp: numbers.2,
            kind: text(), user_id: text(), app_id: None,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn properties_and_headers_come_back_as_they_went(ours in any_properties()) {
        let list = written(&ours);
        let (rest, theirs) = parse_properties(&list[..]).unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(&expected(&theirs), &ours);
        prop_assert_eq!(check(&list), Ok(()));
        prop_assert_eq!(decode(&list), ours.clone());
        // And as lapin writes them.
        prop_assert_eq!(decode(&self::list(&theirs)), ours);
    }

    /// Octets of a list changed, cut off and added: what passes the check decodes, and what decodes is
    /// what lapin's parser makes of it.
    #[test]
    fn the_check_lets_through_what_decodes_and_nothing_else(
        ours in any_properties(),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
        more in vec(any::<u8>(), 0..3),
    ) {
        let mut list = written(&ours);
        for (place, octet) in changes {
            *place.get_mut(&mut list) = octet;
        }
        if let Some(cut) = cut {
            list.truncate(cut.index(list.len()));
        }
        list.extend(more);
        let read = read(&list);
        prop_assert_eq!(check(&list).err(), read.as_ref().err().copied());
        if let Ok(read) = read {
            let (rest, theirs) = parse_properties(&list[..]).unwrap();
            // The cluster id it reads and keeps; we do not keep it.
            prop_assert!(rest.is_empty());
            // NaN is unlike itself.
            prop_assert_eq!(format!("{read:?}"), format!("{:?}", expected(&theirs)));
        }
    }

    #[test]
    fn noise_does_not_panic(noise in vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(check(&noise).is_ok(), read(&noise).is_ok());
    }
}

/// The flag of the headers, and a table of these octets.
pub(super) fn headers(entries: &[u8]) -> Vec<u8> {
    [&[0x20, 0][..], &table(entries)].concat()
}

pub(super) fn table(entries: &[u8]) -> Vec<u8> {
    [&u32::try_from(entries.len()).unwrap().to_be_bytes()[..], entries].concat()
}

#[test]
fn values_that_lapin_does_not_write_are_read_as_rabbitmq_does() {
    let entries = b"\x01aL\0\0\0\0\0\0\0\x01\x01bU\xff\xff\x01cB\xff\x01db\xff\x01eu\xff\xff\x01fi\xff\xff\xff\xff\x01gI\xff\xff\xff\xff\x01hs\xff\xfe\x01if\x3f\x80\0\0";
    let headers = decode(&headers(entries)).headers;
    let int = |name: &str| headers[name].as_i64();
    let ints = ["a", "b", "c", "d", "e", "f", "g", "h"].map(int);
    assert_eq!(ints, [1, -1, 255, -1, 65535, 4_294_967_295, -1, -2].map(Some));
    assert_eq!(headers["i"], HeaderValue::Float(1.0));
}

#[test]
fn text_that_is_not_utf_8_is_bytes_but_a_name_must_be() {
    let read = decode(&headers(b"\x01aS\0\0\0\x02\xff\xfe"));
    assert_eq!(read.headers, Headers::from([("a".into(), HeaderValue::Bytes(vec![0xff, 0xfe].into()))]));
    assert!(check(&headers(b"\x01\xffV")).is_err());
    // A content type.
    assert!(check(b"\x80\0\x01\xff").is_err());
}

#[test]
fn tables_and_arrays_nest_32_deep_and_no_deeper() {
    for open in [&b"\x01aF"[..], b"\x01aA"] {
        let nested = |levels: usize| {
            let mut entries = Vec::new();
            for level in 1..levels {
                // Within an array there are no names.
                let open = if open[2] == b'A' && level + 1 < levels { &open[2..] } else { open };
                entries = [open, &table(&entries)].concat();
            }
            headers(&entries)
        };
        assert_eq!(check(&nested(DEEPEST)), Ok(()));
        assert!(check(&nested(DEEPEST + 1)).is_err());
        assert!(check(&nested(20_000)).is_err());
        assert_eq!(decode(&nested(20_000)), Properties::default());
    }
}

#[test]
fn sizes_that_lie_are_refused() {
    for list in [
        &b"\x20\0\xff\xff\xff\xff"[..],
        b"\x20\0\0\0\0\x09\x01aS\xff\xff\xff\xff\0\0",
        b"\x20\0\0\0\0\x07\x01aA\0\0\0\x09",
        b"\x80\0\xffabc",
        b"\x80",
        b"",
        // After the end; flags that there are not; a type that there is not.
        b"\0\0\0",
        b"\0\x01",
        b"\0\x02",
        b"\x20\0\0\0\0\x03\x01aZ",
    ] {
        assert!(check(list).is_err(), "{list:?}");
        assert!(read(list).is_err(), "{list:?}");
    }
}
