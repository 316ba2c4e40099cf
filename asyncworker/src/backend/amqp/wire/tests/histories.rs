//! Random histories of frames on several channels, cut anywhere.

use super::*;
use amq_protocol::protocol::{channel, exchange, queue};
use amq_protocol::types::{AMQPValue, FieldTable};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

/// Channels whose deliveries are taken, out of `0..=CHANNELS`; 0 is the connection's own.
const TAKEN: u16 = 3;
const CHANNELS: u16 = 5;

/// A run of frames that belongs together on its channel.
#[derive(Debug, Clone)]
enum Run {
    Delivery { names: (String, String), properties: Box<BasicProperties>, parts: Vec<Vec<u8>> },
    Return { body: Vec<u8> },
    Method(AMQPClass),
    Heartbeat,
}

fn properties() -> impl Strategy<Value = BasicProperties> {
    let header = prop_oneof![
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        "[a-zü]{0,9}".prop_map(|text| AMQPValue::LongString(text.into())),
    ];
    let headers = proptest::collection::btree_map("[a-z]{0,5}", header, 0..4);
    (any::<Option<u8>>(), any::<Option<bool>>(), any::<Option<u64>>(), proptest::option::of(headers)).prop_map(
        |(priority, kind, timestamp, headers)| {
            let mut properties = BasicProperties::default();
            if let Some(priority) = priority {
                properties = properties.with_priority(priority);
            }
            if kind.is_some() {
                properties = properties.with_type("an order".into());
            }
            if let Some(timestamp) = timestamp {
                properties = properties.with_timestamp(timestamp);
            }
            if let Some(headers) = headers {
                let headers: BTreeMap<_, _> = headers.into_iter().map(|(name, value)| (name.into(), value)).collect();
                properties = properties.with_headers(FieldTable::from(headers));
            }
            properties
        },
    )
}

fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop_oneof![
        4 => vec(vec(any::<u8>(), 1..200), 0..2),
        1 => vec(vec(any::<u8>(), 0..50), 0..5),
        1 => (0usize..3000, 1usize..4).prop_map(|(length, number)| vec![vec![0xCE; length]; number]),
        1 => (8_000usize..20_000).prop_map(|length| vec![vec![1; length]]),
    ]
}

fn run() -> impl Strategy<Value = Run> {
    let names = prop_oneof![Just((String::new(), "orders".to_owned())), ("[a-z]{0,4}", "[a-zü.]{0,20}")];
    let methods = prop_oneof![
        Just(AMQPClass::Channel(channel::AMQPMethod::FlowOk(channel::FlowOk { active: true }))),
        Just(AMQPClass::Exchange(exchange::AMQPMethod::DeclareOk(exchange::DeclareOk {}))),
        Just(AMQPClass::Basic(basic::AMQPMethod::QosOk(basic::QosOk {}))),
        Just(AMQPClass::Basic(basic::AMQPMethod::Ack(basic::Ack { delivery_tag: 60, multiple: true }))),
        "[a-z]{0,9}".prop_map(|queue| {
            let queue = queue.into();
            AMQPClass::Queue(queue::AMQPMethod::DeclareOk(queue::DeclareOk {
                queue,
                message_count: 60,
                consumer_count: 1,
            }))
        }),
    ];
    prop_oneof![
        6 => (names, properties().prop_map(Box::new), parts())
            .prop_map(|(names, properties, parts)| Run::Delivery { names, properties, parts }),
        1 => vec(any::<u8>(), 0..60).prop_map(|body| Run::Return { body }),
        2 => methods.prop_map(Run::Method),
        1 => Just(Run::Heartbeat),
    ]
}

/// What was put in on a channel that is taken.
#[derive(Debug, PartialEq)]
struct Put {
    tag: u64,
    names: (String, String),
    properties: BasicProperties,
    body: Vec<u8>,
}

fn frames(channel: u16, tag: u64, run: &Run) -> Vec<AMQPFrame> {
    match run {
        Run::Delivery { names: (exchange, routing_key), properties, parts } => {
            let length = parts.iter().map(|part| part.len() as u64).sum();
            // A body of no octets has no frames; a frame of none may come before the last octet only.
            let mut parts: Vec<_> = parts.iter().filter(|_| length > 0).collect();
            while parts.last().is_some_and(|part| part.is_empty()) {
                parts.pop();
            }
            let mut frames =
                vec![deliver(channel, tag, exchange, routing_key), header(channel, length, (**properties).clone())];
            frames.extend(parts.into_iter().map(|part| AMQPFrame::Body(channel, part.clone())));
            frames
        }
        Run::Return { body } => {
            let returned = basic::Return {
                reply_code: 312,
                reply_text: "NO_ROUTE".into(),
                exchange: "".into(),
                routing_key: "orders".into(),
            };
            let method = AMQPClass::Basic(basic::AMQPMethod::Return(returned));
            let mut frames = vec![
                AMQPFrame::Method(channel, method),
                header(channel, body.len() as u64, BasicProperties::default()),
            ];
            if !body.is_empty() {
                frames.push(AMQPFrame::Body(channel, body.clone()));
            }
            frames
        }
        Run::Method(method) => vec![AMQPFrame::Method(channel, method.clone())],
        Run::Heartbeat => vec![AMQPFrame::Heartbeat],
    }
}

/// The octets on the wire, what is to be taken from each channel, and what is to pass.
fn wire(runs: Vec<(u16, Run)>, picks: &[u16]) -> (Vec<u8>, BTreeMap<u16, Vec<Put>>, Vec<u8>) {
    let mut put: BTreeMap<u16, Vec<Put>> = BTreeMap::new();
    let mut waiting: BTreeMap<u16, VecDeque<(AMQPFrame, bool)>> = BTreeMap::new();
    for (tag, (channel, run)) in (1..).zip(runs) {
        let taken = matches!(run, Run::Delivery { .. }) && (1..=TAKEN).contains(&channel);
        let frames = frames(channel, tag, &run);
        waiting.entry(channel).or_default().extend(frames.into_iter().map(|frame| (frame, taken)));
        if let (true, Run::Delivery { names, properties, parts }) = (taken, run) {
            put.entry(channel).or_default().push(Put { tag, names, properties: *properties, body: parts.concat() });
        }
    }
    // Frames of different channels interleave as the picks say.
    let (mut sent, mut passed) = (Vec::new(), Vec::new());
    let mut picks = picks.iter().cycle();
    while !waiting.is_empty() {
        let nth = usize::from(*picks.next().unwrap_or(&0)) % waiting.len();
        let channel = *waiting.keys().nth(nth).unwrap();
        let frames = waiting.get_mut(&channel).unwrap();
        let (frame, taken) = frames.pop_front().unwrap();
        if frames.is_empty() {
            waiting.remove(&channel);
        }
        let octets = octets([&frame]);
        sent.extend_from_slice(&octets);
        if !taken {
            passed.extend_from_slice(&octets);
        }
    }
    (sent, put, passed)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_deliveries_put_in_come_out_and_all_else_passes_in_order(
        runs in vec((0..=CHANNELS, run()), 1..12),
        picks in vec(any::<u16>(), 1..20),
        cuts in vec(prop_oneof![1usize..4, 1usize..300, 1usize..30_000], 1..30),
    ) {
        // No deliveries on channel 0, whoever sends them.
        let runs = runs.into_iter().map(|(channel, run)| match run {
            Run::Delivery { .. } | Run::Return { .. } => (channel.max(1), run),
            Run::Heartbeat => (0, run),
            Run::Method(_) => (channel, run),
        });
        let (sent, put, passed) = wire(runs.collect(), &picks);
        let mut bench = Bench::new(1..=TAKEN);
        bench.read_cut(&sent, &cuts);
        prop_assert!(bench.input.is_empty());
        prop_assert!(bench.passed == passed, "what passed differs");
        for channel in 1..=TAKEN {
            let expected = put.get(&channel).map(Vec::as_slice).unwrap_or_default();
            let taken = bench.taken(channel);
            prop_assert_eq!(taken.len(), expected.len());
            for (taken, put) in taken.iter().zip(expected) {
                prop_assert_eq!(taken.malformed, None);
                prop_assert_eq!(taken.tag, put.tag);
                prop_assert_eq!(taken.published(), (&*put.names.0, &*put.names.1));
                prop_assert!(taken.body == put.body, "a body differs");
                let expected = super::properties::expected(&put.properties);
                prop_assert_eq!(taken.properties.get().cloned().unwrap_or_default(), expected);
            }
        }
    }
}
