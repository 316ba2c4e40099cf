//! Apps and what they show, read by a parser of somebody else's.

#![allow(clippy::unwrap_used)]

use super::Metrics;
use super::table::ALL;
use crate::http::{Endpoint, Http, Method, Path, StatusCode};
use crate::prelude::*;
use crate::{Publish, Running};
use nom_openmetrics::MetricDescriptor;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::sleep;

const LIMIT: Duration = Duration::from_secs(600);

/// A page of metrics as somebody else reads it.
struct Page {
    types: BTreeMap<String, String>,
    helps: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Page {
    fn of(app: &Running) -> Self {
        Self::read(&app.metrics())
    }

    fn read(text: &str) -> Self {
        let (_, families) = nom_openmetrics::parser::prometheus(text).unwrap();
        let (mut types, mut helps, mut samples) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for family in families {
            for descriptor in family.descriptors {
                let name = descriptor.metric().to_owned();
                let before = match descriptor {
                    MetricDescriptor::Type { r#type, .. } => {
                        types.insert(name.clone(), r#type.to_string().to_ascii_lowercase())
                    }
                    MetricDescriptor::Help { help, .. } => helps.insert(name.clone(), help),
                    MetricDescriptor::Unit { .. } => None,
                };
                assert_eq!(before, None, "{name} is there twice");
            }
            samples.extend(family.samples.iter().map(|sample| Sample {
                name: sample.name().to_owned(),
                labels: sample.labels().iter().map(|label| (label.name.to_owned(), label.value.clone())).collect(),
                value: sample.number(),
            }));
        }
        Self { types, helps, samples }
    }

    /// The samples of a metric; those of a histogram are its buckets.
    fn samples(&self, metric: &str) -> Vec<&Sample> {
        let bucket = format!("{metric}_bucket");
        self.samples.iter().filter(|sample| sample.name == metric || sample.name == bucket).collect()
    }

    /// The one sample of exactly these labels.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: BTreeMap<_, _> = labels.iter().map(|(label, value)| ((*label).into(), (*value).into())).collect();
        let of_name: Vec<_> = self.samples.iter().filter(|sample| sample.name == name).collect();
        let found: Vec<_> = of_name.iter().filter(|sample| sample.labels == wanted).collect();
        let [sample] = found[..] else { panic!("not one {name} with {labels:?} but {of_name:?}") };
        sample.value
    }

    /// The buckets of a histogram that something is in: their bounds, and how many are in each.
    fn buckets(&self, metric: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let mut below = 0.0;
        let mut buckets = Vec::new();
        for sample in self.samples(metric) {
            let has = |(label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|has| has == value);
            if labels.iter().all(has) && sample.value > below {
                buckets.push((sample.labels["le"].parse().unwrap(), sample.value - below));
                below = sample.value;
            }
        }
        buckets
    }
}

/// Waits, in virtual time, until the page is such.
async fn until(app: &Running, such: impl Fn(&Page) -> bool) -> Page {
    let waiting = async {
        while !such(&Page::of(app)) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(LIMIT, waiting).await.is_err() {
        panic!("it stays\n{}", app.metrics());
    }
    Page::of(app)
}

/// Waits until so many messages of `orders` took this action.
async fn processed(app: &Running, action: &str, messages: f64) -> Page {
    let labels = [("queue_name", "orders"), ("action", action)];
    until(app, |page| page.value("asyncworker_amqp_processed_messages", &labels) == messages).await
}

/// What the quickstart does: marks of all kinds, bodies that break off, and here a failure too.
async fn index(orders: Batch<Message>) -> Result<(), Failure> {
    for order in &orders {
        match order.body().map(|body| body.as_str()) {
            Ok(Some("reject")) => order.reject(),
            Ok(Some("requeue")) if !order.redelivered() => order.requeue(),
            Ok(Some("slow")) => sleep(Duration::from_millis(150)).await,
            Ok(Some("hang")) => std::future::pending().await,
            Ok(Some("fail")) if !order.redelivered() => return Err(Failure::new("told to")),
            _ => {}
        }
    }
    Ok(())
}

fn app(broker: &Memory, bulk_size: usize) -> App {
    let options = RouteOptions::new()
        .bulk_size(bulk_size)
        .bulk_flush_interval(Duration::from_secs(2))
        .max_body_size(100)
        .prefetch(10);
    let route = Route::amqp(["orders", "orders.late"]).name("index").options(options).handler(index);
    App::new().connect(broker.clone()).shutdown_timeout(Duration::from_secs(4)).route(route)
}

fn push(broker: &Memory, queue: &str, bodies: &[&str]) {
    for body in bodies {
        broker.push(queue, (*body).to_owned());
    }
}

const ORDERS: [(&str, &str); 1] = [("queue_name", "orders")];
const INDEX: [(&str, &str); 1] = [("route", "index")];
const CONNECTION: [(&str, &str); 1] = [("connection", "default")];

#[tokio::test(start_paused = true)]
async fn every_metric_of_the_table_is_there_with_its_labels_and_no_other() {
    let broker = Memory::new();
    let schedule = Schedule::every(Duration::from_secs(1)).handler(async || {});
    let running = app(&broker, 2).http(Http::unbound()).mount([schedule]).start().await.unwrap();
    push(&broker, "orders", &["1", r#""reject""#, r#""requeue""#, "{", r#""fail""#, "2"]);
    push(&broker, "orders.late", &["3"]);
    running.publisher().publish(Publish::raw("4").to("orders")).await.unwrap();
    assert!(broker.empty("orders").await && broker.empty("orders.late").await);

    // The first time already.
    let page = scrape(&running).await;
    for definition in ALL {
        let name = format!("asyncworker_{}", definition.name);
        assert_eq!(page.types.get(&name).map(String::as_str), Some(definition.kind.word()), "{name}");
        assert_eq!(page.helps.get(&name).map(String::as_str), Some(definition.help), "{name}");
        let labels: BTreeSet<_> = definition.labels.iter().copied().collect();
        let samples = page.samples(&name);
        assert!(!samples.is_empty(), "{name} has no sample");
        for sample in samples {
            let known = sample.labels.keys().map(String::as_str).filter(|label| *label != "le").collect();
            assert_eq!(labels, known, "{name}");
        }
    }
    let known: BTreeSet<_> = ALL.iter().map(|definition| format!("asyncworker_{}", definition.name)).collect();
    let shown = page.types.into_keys().filter(|name| name.starts_with("asyncworker_")).collect();
    assert_eq!(known, shown);
    running.shutdown().await.unwrap();
}

#[test]
fn the_guide_has_the_table() {
    let guide = include_str!("../../../docs/guide.md");
    for definition in ALL.iter().filter(|definition| !definition.name.starts_with("process_")) {
        let labels = definition.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let begin = format!("| `{}` | {} | {labels}", definition.name, definition.kind.word());
        assert!(guide.lines().any(|line| line.starts_with(begin.trim_end())), "no line begins with {begin}");
    }
    for definition in ALL.iter().filter(|definition| definition.name.starts_with("process_")) {
        let name = definition.name.trim_start_matches("process_");
        assert!(guide.contains(&format!("`{name}`")), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_counted_by_queue_and_by_what_became_of_them() {
    let broker = Memory::new();
    let running = app(&broker, 1).start().await.unwrap();
    push(&broker, "orders", &["1", "2", r#""reject""#, r#""requeue""#, "{", "[", &"9".repeat(101)]);
    push(&broker, "orders.late", &["3"]);
    let page = processed(&running, "ack", 3.0).await;
    let processed =
        |queue, action| page.value("asyncworker_amqp_processed_messages", &[("queue_name", queue), ("action", action)]);
    assert_eq!(["ack", "reject", "requeue"].map(|action| processed("orders", action)), [3.0, 4.0, 1.0]);
    assert_eq!(["ack", "reject", "requeue"].map(|action| processed("orders.late", action)), [1.0, 0.0, 0.0]);
    assert_eq!(page.value("asyncworker_amqp_decode_errors", &ORDERS), 2.0);
    assert_eq!(page.value("asyncworker_amqp_unread_messages", &ORDERS), 1.0);
    assert_eq!(page.value("asyncworker_amqp_active_consumers", &ORDERS), 1.0);
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn bulks_are_counted_by_how_they_came_about_and_how_they_ended() {
    let broker = Memory::new();
    let running = app(&broker, 2).start().await.unwrap();
    push(&broker, "orders", &["1", "2", r#""slow""#, "3", "4"]);
    processed(&running, "ack", 5.0).await;
    push(&broker, "orders", &[r#""fail""#]);
    let page = processed(&running, "ack", 6.0).await;
    // Two were full, one waited for another message, and one failed alone and came again alone.
    assert_eq!(page.value("asyncworker_amqp_filled_buckets", &INDEX), 2.0);
    assert_eq!(page.value("asyncworker_amqp_flushed_buckets", &INDEX), 3.0);
    assert_eq!(page.value("asyncworker_amqp_failed_buckets", &INDEX), 1.0);
    assert_eq!(page.buckets("asyncworker_amqp_bulk_size", &INDEX), [(1.0, 3.0), (2.0, 2.0)]);
    assert_eq!(page.value("asyncworker_amqp_bulk_size_sum", &INDEX), 7.0);
    assert_eq!(page.buckets("asyncworker_amqp_bucket_handle", &INDEX), [(10.0, 4.0), (200.0, 1.0)]);
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_from_its_arrival_to_its_handlers_start() {
    let broker = Memory::new();
    let running = app(&broker, 2).start().await.unwrap();
    push(&broker, "orders", &["1", "2", "3"]);
    let page = processed(&running, "ack", 3.0).await;
    // One waited for its bulk to fill, in vain and for as long as it may.
    let waited = "asyncworker_amqp_queue_to_handler_ms";
    assert_eq!(page.buckets(waited, &INDEX), [(10.0, 2.0), (5_000.0, 1.0)]);
    assert_eq!(page.value(&format!("{waited}_sum"), &INDEX), 2_000.0);
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_shown_until_it_is_settled() {
    let broker = Memory::new();
    let running = app(&broker, 1).start().await.unwrap();
    push(&broker, "orders", &[r#""hang""#, "1"]);
    let page = processed(&running, "ack", 1.0).await;
    assert_eq!(page.value("asyncworker_amqp_in_flight", &INDEX), 1.0);
    sleep(Duration::from_secs(30)).await;
    let page = Page::of(&running);
    assert!(page.value("asyncworker_amqp_oldest_in_flight_ms", &INDEX) >= 30_000.0);
    assert!(page.value("asyncworker_amqp_settle_frames", &INDEX) >= 1.0);
    running.shutdown().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn publishes_are_counted_by_how_they_ended() {
    let broker = Memory::new();
    broker.declare(Queue::new("orders")).unwrap();
    let running = app(&broker, 1).start().await.unwrap();
    let publisher = running.publisher();
    publisher.publish(Publish::raw("1").to("orders")).await.unwrap();
    publisher.publish(Publish::raw("1").to("nowhere")).await.unwrap_err();
    let page = Page::of(&running);
    for outcome in ["confirmed", "unroutable"] {
        let labels = [("connection", "default"), ("outcome", outcome)];
        assert_eq!(page.value("asyncworker_amqp_publish_ms_count", &labels), 1.0, "{outcome}");
    }
    assert_eq!(page.value("asyncworker_amqp_active_connections", &CONNECTION), 1.0);
    assert_eq!(page.value("asyncworker_amqp_reconnects", &CONNECTION), 0.0);
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn routes_of_events_have_names_of_their_own() {
    let broker = Memory::new();
    let route = Route::sse(["/events"]).name("watch").handler(async || ());
    let running = App::new().connect(broker.clone()).route(route).start().await.unwrap();
    push(&broker, "/events", &["1"]);
    assert!(broker.empty("/events").await);
    let page = Page::of(&running);
    let labels = [("queue_name", "/events"), ("action", "ack")];
    assert_eq!(page.value("asyncworker_sse_processed_messages", &labels), 1.0);
    assert_eq!(page.value("asyncworker_sse_filled_buckets", &[("route", "watch")]), 1.0);
    assert!(page.samples("asyncworker_amqp_processed_messages").is_empty());
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn apps_of_one_process_count_apart() {
    let (one, other) = (Memory::new(), Memory::new());
    let running = app(&one, 1).metrics(Metrics::new().prefix("one").buckets([1.0, 2.0])).start().await.unwrap();
    let named = Metrics::new().namespace("shop").prefix("");
    let beside = app(&other, 1).metrics(named).start().await.unwrap();
    push(&one, "orders", &["1"]);
    push(&other, "orders", &["1", "2"]);
    assert!(one.empty("orders").await && other.empty("orders").await);
    let labels = [("queue_name", "orders"), ("action", "ack")];
    assert_eq!(Page::of(&running).value("asyncworker_one_amqp_processed_messages", &labels), 1.0);
    assert_eq!(Page::of(&beside).value("shop_amqp_processed_messages", &labels), 2.0);
    assert_eq!(Page::of(&running).buckets("asyncworker_one_amqp_bucket_handle", &INDEX), [(1.0, 1.0)]);
    assert!(!beside.metrics().contains("asyncworker"));
    running.shutdown().await.unwrap();
    beside.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn runs_of_schedules_are_counted_by_their_outcome_and_so_are_skipped_ticks() {
    async fn refresh(State(runs): State<Arc<AtomicUsize>>) -> Result<(), Failure> {
        match runs.fetch_add(1, Relaxed) {
            0 | 1 => {}
            2 => return Err(Failure::new("told to")),
            // Over two ticks.
            _ => sleep(Duration::from_millis(2_500)).await,
        }
        Ok(())
    }
    let runs = Arc::new(AtomicUsize::new(0));
    let schedule = Schedule::every(Duration::from_secs(1)).name("refresh").handler(refresh);
    let running = App::new().state(Arc::clone(&runs)).mount([schedule]).start().await.unwrap();
    // The ticks 0 to 5, and a bit: two runs end well, one fails, the fourth goes on.
    sleep(Duration::from_millis(5_200)).await;
    let page = Page::of(&running);
    assert_eq!(runs.load(Relaxed), 4);
    for (outcome, runs) in [("completed", 2.0), ("failed", 1.0)] {
        let labels = [("schedule", "refresh"), ("outcome", outcome)];
        assert_eq!(page.value("asyncworker_schedule_runs", &labels), runs, "{outcome}");
    }
    assert_eq!(page.value("asyncworker_schedule_skipped_ticks", &[("schedule", "refresh")]), 2.0);
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_the_program_records_and_what_it_appends_is_on_the_page() {
    let broker = Memory::new();
    let metrics = Metrics::new().append(|| "# TYPE other gauge\nother 7".to_owned());
    let running = app(&broker, 1).metrics(metrics).start().await.unwrap();
    metrics::describe_counter!("shop_orders", "Orders seen");
    metrics::counter!("shop_orders", "kind" => "late").increment(3);
    metrics::histogram!("shop_total").record(60.0);
    // The page has this name itself.
    metrics::counter!("asyncworker_process_threads").increment(3);
    let page = Page::of(&running);
    assert_eq!(page.value("shop_orders", &[("kind", "late")]), 3.0);
    assert_eq!(page.helps["shop_orders"], "Orders seen");
    assert_eq!(page.buckets("shop_total", &[]), [(100.0, 1.0)]);
    assert_eq!(page.value("other", &[]), 7.0);
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_timed_is_a_histogram_by_root_transaction_and_outcome() {
    let running = app(&Memory::new(), 1).start().await.unwrap();
    let timeit = Timeit::new("import", |_: TimeitReport| async {});
    let timed = async {
        timeit.child("wait").run(sleep(Duration::from_millis(250))).await;
        Err::<(), _>(Failure::new("full"))
    };
    assert!(timeit.try_run(timed).await.is_err());
    let page = Page::of(&running);
    for (transaction, outcome) in [("wait", "completed"), ("import", "failed")] {
        let labels = [("timeit", "import"), ("transaction", transaction), ("outcome", outcome)];
        assert_eq!(page.value("timeit_ms_count", &labels), 1.0);
        assert_eq!(page.value("timeit_ms_sum", &labels), 250.0);
    }
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_a_name_or_buckets_is_an_error_at_start() {
    for (metrics, what) in [
        (Metrics::new().namespace("my-shop"), "namespace"),
        (Metrics::new().prefix("my shop"), "prefix"),
        (Metrics::new().buckets([]), "buckets"),
        (Metrics::new().buckets([2.0, 1.0]), "buckets"),
        (Metrics::new().path("metrics"), "path"),
    ] {
        let error = App::new().metrics(metrics).start().await.unwrap_err().to_string();
        assert!(error.contains(&format!("the metrics' {what} is")), "{error}");
    }
}

/// What is served at `/metrics` to somebody in the process.
async fn scrape(app: &Running) -> Page {
    let answer = app.http_client().get("/metrics").send().await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    Page::read(&answer.text())
}

fn orders(id: &str, endpoint: &str) -> [Endpoint; 2] {
    let body = id.repeat(150);
    [Endpoint::get("/orders/{id}", async move |Path(_): Path<u64>| body), Endpoint::post(endpoint, async || ())]
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_by_the_paths_the_app_knows() {
    let running = App::new().http(Http::unbound()).mount(orders("x", "/orders")).start().await.unwrap();
    let client = running.http_client();
    for path in ["/orders/1", "/orders/2", "/orders/seven", "/nowhere", "/nowhere/else"] {
        client.get(path).send().await;
    }
    client.request(Method::from_bytes(b"PURGE").unwrap(), "/orders/1").send().await;
    client.put("/orders").send().await;

    let page = scrape(&running).await;
    let answers = |method, path, status| {
        let labels = [("method", method), ("path", path), ("status", status)];
        page.value("asyncworker_http_request_duration_ms_count", &labels)
    };
    assert_eq!(answers("GET", "/orders/{id}", "200"), 2.0);
    assert_eq!(answers("GET", "/orders/{id}", "400"), 1.0);
    assert_eq!(answers("GET", "unmatched", "404"), 2.0);
    assert_eq!(answers("other", "/orders/{id}", "405"), 1.0);
    assert_eq!(answers("PUT", "/orders", "405"), 1.0);
    let labels = [("method", "GET"), ("path", "/orders/{id}"), ("status", "200")];
    assert_eq!(page.buckets("asyncworker_http_response_size_bytes", &labels), [(1_000.0, 2.0)]);
    assert_eq!(page.value("asyncworker_http_response_size_bytes_sum", &labels), 300.0);
    // The one that asks.
    assert_eq!(page.value("asyncworker_http_requests_in_progress", &[]), 1.0);
    assert_eq!(Page::of(&running).value("asyncworker_http_requests_in_progress", &[]), 0.0);
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_at_the_path_of_the_metrics_is_an_error_at_start() {
    let app = || App::new().http(Http::unbound()).endpoint(Endpoint::get("/metrics", async || ()));
    let error = app().start().await.unwrap_err().to_string();
    assert!(error.contains("/metrics") && error.contains("Metrics::path"), "{error}");
    for metrics in [Metrics::new().path("/internal"), Metrics::new().enabled(false), Metrics::bind("127.0.0.1:0")] {
        app().metrics(metrics).start().await.unwrap().shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_path_is_served_as_it_is_set() {
    let app = |metrics| App::new().http(Http::unbound()).metrics(metrics).start();
    for (metrics, path, status) in [
        (Metrics::new(), "/metrics", StatusCode::OK),
        (Metrics::new().path("/internal"), "/internal", StatusCode::OK),
        (Metrics::new().path("/internal"), "/metrics", StatusCode::NOT_FOUND),
        (Metrics::new().enabled(false), "/metrics", StatusCode::NOT_FOUND),
    ] {
        let running = app(metrics).await.unwrap();
        assert_eq!(running.http_client().get(path).send().await.status(), status, "{path}");
        running.shutdown().await.unwrap();
    }
}
