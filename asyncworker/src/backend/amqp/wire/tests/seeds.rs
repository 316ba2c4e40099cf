//! What the fuzzer begins with: frames and property lists as they are in life, and nested ones as they are not.

use super::properties::{headers, list, table};
use super::*;
use amq_protocol::protocol::channel;
use amq_protocol::types::{AMQPValue, FieldTable};
use std::fs;
use std::path::Path;

/// Octets as they are, on registered channels 0 to 3, in reads of 40 octets and of 256.
const HEAD: [u8; 4] = [0b1111_0100, 2, 39, 255];

fn write(target: &str, name: &str, seed: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    fs::write(folder.join(format!("seed-{name}")), seed).unwrap();
}

fn in_life() -> BasicProperties {
    let death = FieldTable::default();
    let mut table = FieldTable::default();
    table.insert("x-delivery-count".into(), AMQPValue::LongLongInt(3));
    table.insert("x-death".into(), AMQPValue::FieldArray(vec![AMQPValue::FieldTable(death)].into()));
    table.insert("trace".into(), AMQPValue::LongString("00-4bf92f35".into()));
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_headers(table)
        .with_delivery_mode(2)
        .with_priority(3)
        .with_correlation_id("7".into())
        .with_message_id("m".into())
        .with_timestamp(1_700_000_000)
        .with_app_id("shop".into())
}

#[test]
#[ignore = "writes into fuzz/corpus"]
fn seeds_are_written() {
    let mut frames = vec![AMQPFrame::Heartbeat, deliver(1, 1, "events", "order.paid"), header(1, 300, in_life())];
    frames.extend([100, 200].map(|length| AMQPFrame::Body(1, vec![7; length])));
    frames.extend(delivery(2, 1, &[b"{}"]));
    let close = channel::Close { reply_code: 404, reply_text: "NOT_FOUND".into(), class_id: 0, method_id: 0 };
    frames.push(AMQPFrame::Method(2, AMQPClass::Channel(channel::AMQPMethod::Close(close))));
    frames.extend(delivery(2, 1, &[b"of nobody"]));
    write("reader", "frames", &[&HEAD[..], &octets(&frames)].concat());
    // A large delivery: by choice, as its octets would be many.
    write("reader", "large-bodies", &[0b1111_0101, 0b1101_0111, 0x60, 0, 1, 0, 0, 0, 0b0101_0111, 0x7f, 0, 2]);

    write("properties", "in-life", &list(&in_life()));
    for depth in [32, 33, 600] {
        let entries = (1..depth).fold(Vec::new(), |inner, _| [&b"\x01aF"[..], &table(&inner)].concat());
        write("properties", &format!("tables-{depth}-deep"), &headers(&entries));
        let items = (2..depth).fold(Vec::new(), |inner, _| [&b"A"[..], &table(&inner)].concat());
        let entries = [&b"\x01aA"[..], &table(&items)].concat();
        write("properties", &format!("arrays-{depth}-deep"), &headers(&entries));
    }
}
