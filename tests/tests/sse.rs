//! Server-Sent Events on real sockets: how streams are asked for and read, and what answers mean.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::prelude::*;
use asyncworker::{Error, ErrorKind, Event, Running};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tests::{Browser, EventServer, EventSight, Events, Gate, LIMIT, Log, Reply, Request, holds, until};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::{TlsAcceptor, rustls};

const SOON: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));

fn connection(server: &EventServer) -> Sse {
    Sse::new(&server.url()).unwrap().backoff(SOON.0, SOON.1)
}

/// An app that notes every event of these paths.
async fn start(sse: Sse, paths: &[String], options: RouteOptions) -> (Running, Log<EventSight>) {
    let seen = Log::default();
    let log: Log<EventSight> = seen.clone();
    let handler = move |events: Batch<Event>| {
        for event in &events {
            log.push(event.into());
        }
        std::future::ready(())
    };
    let route = Route::sse(paths).name("events").options(options).handler(handler);
    (App::new().connect(sse).route(route).start().await.unwrap(), seen)
}

async fn one_path(sse: Sse) -> (Running, Log<EventSight>) {
    start(sse, &["/events".to_owned()], RouteOptions::new()).await
}

async fn until_seen(seen: &Log<EventSight>, events: usize) -> Vec<EventSight> {
    until(&format!("{events} events seen"), LIMIT, || seen.len() >= events).await;
    seen.all()
}

fn data(seen: &[EventSight]) -> Vec<&str> {
    seen.iter().map(|sight| &*sight.data).collect()
}

/// Waits until the log says this of a path at this address; as all tests of this file log, that must tell them apart.
async fn until_logged(events: &Events, parts: &[&str]) {
    until(&format!("logged: {parts:?}"), LIMIT, || !events.lines(parts).is_empty()).await;
}

/// Streams, and what comes of them: name, data and id of each event.
type Case = (&'static str, &'static [u8], &'static [(&'static str, &'static str, &'static str)]);

const CASES: &[Case] = &[
    ("bom", b"\xef\xbb\xbfdata:1\n\n\xef\xbb\xbfdata:2\n\ndata:3\n\n", &[("message", "1", ""), ("message", "3", "")]),
    ("two-boms", b"\xef\xbb\xbf\xef\xbb\xbfdata:1\n\ndata:2\n\n", &[("message", "2", "")]),
    ("comments", b"data:1\n:\0\n:\r\ndata:2\n:long comment\rdata:3\n:data:fail\r\rdata:4\n\n", &[
        ("message", "1\n2\n3", ""),
        ("message", "4", ""),
    ]),
    ("data-before-the-end", b"retry:1000\ndata:test1\n\nid:test\ndata:test2", &[("message", "test1", "")]),
    ("data", b"data:\n\ndata\ndata\n\ndata:test\n\n", &[("message", "", ""), ("message", "\n", ""), ("message", "test", "")]),
    ("event", b"event:test\ndata:x\n\ndata:y\n\n", &[("test", "x", ""), ("message", "y", "")]),
    ("event-empty", b"event: \ndata:data\n\nevent:lost\n\ndata:z\n\n", &[("message", "data", ""), ("message", "z", "")]),
    ("id", b"id: 1\ndata:a\n\ndata:b\n\nid:2\ndata:c\n\n", &[
        ("message", "a", "1"),
        ("message", "b", "1"),
        ("message", "c", "2"),
    ]),
    ("id-empty", b"id:1\ndata:a\n\nid:\ndata:b\n\nid\ndata:c\n\n", &[
        ("message", "a", "1"),
        ("message", "b", ""),
        ("message", "c", ""),
    ]),
    ("id-null", b"id:1\ndata:a\n\nid:2\0x\ndata:b\n\nid:\0\ndata:c\n\n", &[
        ("message", "a", "1"),
        ("message", "b", "1"),
        ("message", "c", "1"),
    ]),
    ("id-of-more-than-ascii", "id:\u{2026}\ndata:a\n\n".as_bytes(), &[("message", "a", "\u{2026}")]),
    ("parsing", b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n", &[(
        "message",
        "\0\n 2\n1\n3\n\n4",
        "",
    )]),
    ("retry-bogus", b"retry:3000\nretry:1000x\ndata:x\n\n", &[("message", "x", "")]),
    ("retry-empty", b"retry\nretry:\ndata:test\n\n", &[("message", "test", "")]),
    ("unknown", b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\n\n", &[("message", "test\n", "")]),
    ("leading-space", b"data:\ttest\rdata: \ndata:test\n\n", &[("message", "\ttest\n\ntest", "")]),
    ("newlines", b"data:test\r\ndata\ndata:test\r\n\r\ndata:cr\r\rdata:mixed\n\r", &[
        ("message", "test\n\ntest", ""),
        ("message", "cr", ""),
        ("message", "mixed", ""),
    ]),
    ("null-character", b"data:\0\n\n\n\n", &[("message", "\0", "")]),
    ("utf-8", "data:ok\u{2026}\n\n".as_bytes(), &[("message", "ok\u{2026}", "")]),
    ("no-utf-8", b"data:\xff\xe2\x82\ndata:\xe2\x82\xac\n\n", &[("message", "\u{fffd}\u{fffd}\n\u{20ac}", "")]),
    ("case", b"DATA:1\nEvent:x\ndata:2\n\n", &[("message", "2", "")]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rule_of_the_standard_holds_at_every_size_of_chunks() {
    let server = EventServer::start(|request| {
        let (name, size) = request.path[1..].split_once('/').unwrap();
        let (_, stream, _) = CASES.iter().find(|case| case.0 == name).unwrap();
        Reply::stream().chunks(stream, size.parse().unwrap()).hold()
    })
    .await;
    let sizes = [1, 2, 7, 100_000];
    let cases = || sizes.iter().flat_map(|size| CASES.iter().map(move |case| (format!("/{}/{size}", case.0), case)));
    let paths: Vec<String> = cases().map(|(path, _)| path).collect();
    let (running, seen) = start(connection(&server), &paths, RouteOptions::new()).await;
    let expected = cases().map(|(_, case)| case.2.len()).sum();
    let seen = until_seen(&seen, expected).await;
    for (path, (_, _, expected)) in cases() {
        let of_it: Vec<_> = seen.iter().filter(|sight| sight.path == path).collect();
        let of_it: Vec<_> = of_it.iter().map(|sight| (&*sight.name, &*sight.data, &*sight.id)).collect();
        assert_eq!(of_it, *expected, "{path}");
    }
    running.shutdown().await.unwrap();
    until("all streams are closed", LIMIT, || server.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defect_15_credentials_and_headers_are_sent_and_the_request_is_the_standards() {
    let server = EventServer::start(|_| Reply::stream().hold()).await;
    let base = server.url().replace("http://", "http://in:url@") + "v2/";
    let sse = Sse::new(&base).unwrap().basic_auth("user", "secret").header("X-Team", "asgard").unwrap();
    let (running, _) = start(sse, &["events?x=1".to_owned(), "/root".to_owned()], RouteOptions::new()).await;
    let request = server.wait("/v2/events?x=1", 1).await.remove(0);
    assert_eq!(request.method, "GET");
    assert_eq!(request.header("authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
    assert_eq!(request.header("x-team"), Some("asgard"));
    assert_eq!(request.header("accept"), Some("text/event-stream"));
    assert_eq!(request.header("cache-control"), Some("no-cache"));
    assert_eq!(request.header("accept-encoding"), Some("gzip"));
    assert_eq!(request.header("last-event-id"), None);
    assert!(request.header("user-agent").unwrap().starts_with("asyncworker/"));
    server.wait("/root", 1).await;
    running.shutdown().await.unwrap();

    let sse = Sse::new(&server.url().replace("http://", "http://in:u%2Fl@")).unwrap().gzip(false).last_event_id("7");
    let (running, _) = one_path(sse).await;
    let request = server.wait("/events", 1).await.remove(0);
    assert_eq!(request.header("authorization"), Some("Basic aW46dS9s"));
    assert_eq!(request.header("last-event-id"), Some("7"));
    assert_eq!(request.header("accept-encoding"), None);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_are_followed_and_what_is_for_one_origin_never_crosses_to_another() {
    let there = EventServer::start(|_| Reply::stream().send("data:there\n\n").hold()).await;
    let to = there.url();
    let here = EventServer::start(move |request| match request.path.trim_start_matches('/').split_once('/') {
        Some((status, "here")) => Reply::redirect(status.parse().unwrap(), "../target"),
        Some((status, "there")) => Reply::redirect(status.parse().unwrap(), format!("{to}target?from={status}")),
        Some(("loop", _)) => Reply::redirect(302, "/loop/x"),
        _ => Reply::stream().send("data:here\n\n").hold(),
    })
    .await;
    let paths: Vec<String> = [301, 302, 303, 307, 308]
        .iter()
        .flat_map(|status| [format!("/{status}/here"), format!("/{status}/there")])
        .collect();
    let sse = connection(&here).bearer_auth("secret").header("x-team", "asgard").unwrap().last_event_id("7");
    let (running, seen) = start(sse, &paths, RouteOptions::new()).await;
    let seen = until_seen(&seen, 10).await;
    assert_eq!(data(&seen).iter().filter(|data| **data == "here").count(), 5);
    for request in here.requests("/target") {
        assert_eq!(request.header("authorization"), Some("Bearer secret"));
        assert_eq!(request.header("x-team"), Some("asgard"));
    }
    for status in [301, 302, 303, 307, 308] {
        let request = there.wait(&format!("/target?from={status}"), 1).await.remove(0);
        assert_eq!((request.header("authorization"), request.header("x-team")), (None, None), "{request:?}");
        assert_eq!(request.header("last-event-id"), Some("7"));
        assert_eq!(request.header("accept"), Some("text/event-stream"));
        assert_eq!(request.header("referer"), None);
    }
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_left_home_does_not_come_back_with_credentials() {
    let home = Arc::new(std::sync::OnceLock::<String>::new());
    let back = Arc::clone(&home);
    let there = EventServer::start(move |_| Reply::redirect(307, format!("{}home", back.get().unwrap()))).await;
    let to = there.url();
    let here = EventServer::start(move |request| match &*request.path {
        "/events" => Reply::redirect(307, to.clone()),
        _ => Reply::stream().send("data:x\n\n").hold(),
    })
    .await;
    home.set(here.url()).unwrap();
    let (running, seen) = one_path(connection(&here).basic_auth("user", "secret")).await;
    until_seen(&seen, 1).await;
    assert!(here.requests("/events")[0].header("authorization").is_some());
    assert_eq!(here.requests("/home")[0].header("authorization"), None);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_in_a_circle_end_and_those_to_no_http_url_stop_the_path() {
    let events = Events::listen();
    let server = EventServer::start(|request| match &*request.path {
        "/loop" => Reply::redirect(302, "/loop"),
        _ => Reply::redirect(302, "ftp://127.0.0.1/x"),
    })
    .await;
    let paths = ["/loop".to_owned(), "/ftp-of-redirects".to_owned()];
    let (running, _) = start(connection(&server), &paths, RouteOptions::new()).await;
    server.wait("/loop", 42).await;
    until_logged(&events, &["path=\"/ftp-of-redirects\"", "ERROR", "no HTTP URL"]).await;
    assert_eq!(server.requests("/ftp-of-redirects").len(), 1);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defect_15_statuses_that_mean_no_stop_the_path_and_are_told() {
    let events = Events::listen();
    let failures = Log::<(String, u64)>::default();
    let statuses = [204, 205, 210, 299, 300, 304, 400, 401, 403, 404, 410];
    let server = EventServer::start(|request| match request.path.strip_prefix("/no/").map(str::parse) {
        Some(Ok(status)) => Reply::status(status).header("content-type", "text/event-stream").send("data:never\n\n"),
        _ => Reply::stream().send("data:other\n\n").hold(),
    })
    .await;
    let mut paths: Vec<String> = statuses.iter().map(|status| format!("/no/{status}")).collect();
    paths.push("/other".into());
    let told = failures.clone();
    let sse = connection(&server).on_connection_failure(move |error: &Error, failures| {
        assert_eq!(error.kind(), ErrorKind::Connection);
        told.push((format!("{error:?}"), failures));
    });
    let (running, seen) = start(sse, &paths, RouteOptions::new()).await;
    for status in statuses {
        let level = if status == 204 { " INFO " } else { "ERROR" };
        let path = format!("path=\"/no/{status}\"");
        until_logged(&events, &[&path, level, &status.to_string(), "any more"]).await;
    }
    assert_eq!(failures.len(), statuses.len() - 1, "{:?}", failures.all());
    assert!(
        failures
            .all()
            .iter()
            .any(|(error, failures)| error.contains("`/no/404`") && error.contains("404") && *failures == 1)
    );
    // Each was asked once, and the other path goes on.
    holds("no path is asked for again", SOON.0 * 10, || paths.iter().all(|path| server.requests(path).len() <= 1))
        .await;
    assert_eq!(data(&until_seen(&seen, 1).await), ["other"]);
    assert!(!running.status().is_ready());
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_that_mean_later_are_asked_again_and_not_before_the_server_wants_it() {
    let server = EventServer::start(|request| match (&*request.path, request.number) {
        ("/later", 0) => Reply::status(429).header("retry-after", "1"),
        ("/unavailable", 0..3) => Reply::status(503),
        ("/broken", 0) => Reply::status(500),
        _ => Reply::stream().send("data:x\n\n").hold(),
    })
    .await;
    let paths = ["/later", "/unavailable", "/broken"].map(str::to_owned);
    let (running, seen) = start(connection(&server), &paths, RouteOptions::new()).await;
    until_seen(&seen, 3).await;
    let later = server.requests("/later");
    let waited = later[1].at - later[0].at;
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    assert_eq!(server.requests("/unavailable").len(), 4);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn which_statuses_are_asked_again_can_be_said() {
    let events = Events::listen();
    let server = EventServer::start(|request| match (&*request.path, request.number) {
        ("/missing", 0) => Reply::status(404),
        ("/said-to-stop", _) => Reply::status(503),
        _ => Reply::stream().send("data:x\n\n").hold(),
    })
    .await;
    let paths = ["/missing", "/said-to-stop"].map(str::to_owned);
    let (running, seen) =
        start(connection(&server).retry_status(|status| status == 404), &paths, RouteOptions::new()).await;
    until_seen(&seen, 1).await;
    until_logged(&events, &["path=\"/said-to-stop\"", "ERROR", "503"]).await;
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defect_15_a_wrong_content_type_stops_the_path_and_parameters_do_not_matter() {
    const RIGHT: [&str; 5] = [
        "text/event-stream",
        "text/event-stream;",
        "text/event-stream;x bogus",
        "Text/Event-Stream; charset=utf-8",
        "text/event-stream;charset=windows-1252",
    ];
    const WRONG: [&str; 3] = ["x bogus", "text/html", "application/json; text/event-stream"];
    let events = Events::listen();
    let server = EventServer::start(|request| {
        let (kind, place) = request.path[1..].split_once('/').unwrap();
        let reply = match kind {
            "right" => Reply::status(200).header("content-type", RIGHT[place.parse::<usize>().unwrap()]),
            "wrong" => Reply::status(200).header("content-type", WRONG[place.parse::<usize>().unwrap()]),
            _ => Reply::status(200),
        };
        reply.send("data:ok\u{2026}\n\n").hold()
    })
    .await;
    let mut paths: Vec<String> = (0..RIGHT.len()).map(|place| format!("/right/{place}")).collect();
    paths.extend((0..WRONG.len()).map(|place| format!("/wrong/{place}")));
    paths.push("/without/type".into());
    let (running, seen) = start(connection(&server), &paths, RouteOptions::new()).await;
    let seen = until_seen(&seen, RIGHT.len()).await;
    assert!(seen.iter().all(|sight| sight.data == "ok\u{2026}" && sight.path.starts_with("/right")), "{seen:?}");
    for (place, given) in WRONG.iter().enumerate() {
        until_logged(&events, &[&format!("path=\"/wrong/{place}\""), "ERROR", given, "text/event-stream"]).await;
    }
    until_logged(&events, &["path=\"/without/type\"", "ERROR", "without a content type"]).await;
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defect_15_silence_drops_no_connection() {
    let server =
        EventServer::start(|_| Reply::stream().send(":\n").pause(Duration::from_secs(6)).send("data:x\n\n").hold())
            .await;
    let (running, seen) = one_path(connection(&server)).await;
    until_seen(&seen, 1).await;
    assert_eq!(server.requests("/events").len(), 1);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_silent_for_longer_than_it_may_be_is_asked_again() {
    // And yet longer than a busy machine takes over a comment.
    const SHORT: Duration = Duration::from_millis(1_500);
    let server = EventServer::start(|request| match (&*request.path, request.number) {
        ("/no-answer", 0) => Reply::stream().pause(Duration::ZERO).hold(),
        ("/silent", 0) => Reply::stream().send("id:1\ndata:1\n\n").hold(),
        // A comment now and then is enough.
        ("/comments", 0) => {
            let reply = (0..20).fold(Reply::stream(), |reply, _| reply.pause(SHORT / 10).send(":\n"));
            reply.send("data:kept\n\n").hold()
        }
        ("/comments", _) => Reply::stream().send("data:lost\n\n").hold(),
        _ => Reply::stream().send("data:again\n\n").hold(),
    })
    .await;
    let paths = ["/no-answer", "/silent", "/comments"].map(str::to_owned);
    let (running, seen) = start(connection(&server).idle_timeout(SHORT), &paths, RouteOptions::new()).await;
    until("the comments kept their stream", LIMIT, || seen.all().iter().any(|sight| sight.path == "/comments")).await;
    server.wait("/no-answer", 2).await;
    let silent = server.wait("/silent", 2).await;
    assert_eq!(silent[1].last_event_id(), Some(1));
    let all = seen.all();
    assert!(all.iter().filter(|sight| sight.path == "/comments").take(1).all(|sight| sight.data == "kept"), "{all:?}");
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_reconnection_time_is_waited_for() {
    let server = EventServer::start(|request| match request.number {
        0 => Reply::stream().send("retry:700\ndata:1\n\n"),
        _ => Reply::stream().send("data:2\n\n").hold(),
    })
    .await;
    let (running, seen) = one_path(connection(&server)).await;
    until_seen(&seen, 2).await;
    let requests = server.requests("/events");
    assert!(requests[1].at - requests[0].at >= Duration::from_millis(700));
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_over_the_largest_is_skipped_and_told_and_the_stream_goes_on() {
    let events = Events::listen();
    let large = "x".repeat(1000);
    let server = EventServer::start(move |request| match request.number {
        0 => Reply::stream()
            .chunks(format!("id:1\ndata:a\n\nid:2\ndata:{large}\n\nid:3\ndata:b\n\nid:4\ndata:{large}\n\n"), 7),
        // What is not settled yet when it asks is held.
        _ if request.last_event_id() < Some(4) => Reply::stream(),
        _ => Reply::stream().hold(),
    })
    .await;
    let (running, seen) =
        start(connection(&server).largest_event(999), &["/large".to_owned()], RouteOptions::new()).await;
    let resumed = || server.requests("/large").iter().any(|request| request.last_event_id() == Some(4));
    until("what is skipped is done with", LIMIT, resumed).await;
    assert_eq!(data(&seen.all()), ["a", "b"]);
    until("each is told", LIMIT, || events.lines(&["/large", "WARN", "larger than"]).len() == 2).await;
    until("what is skipped is counted", LIMIT, || running.status().routes[0].settled == 4).await;
    running.shutdown().await.unwrap();

    // A route may say less.
    let server = EventServer::start(|_| Reply::stream().send("data:abc\n\ndata:ab\n\n").hold()).await;
    let (running, seen) =
        start(connection(&server), &["/events".to_owned()], RouteOptions::new().max_body_size(2)).await;
    assert_eq!(data(&until_seen(&seen, 1).await), ["ab"]);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defect_15_lines_of_data_are_one_event_and_bad_ones_or_failing_handlers_drop_no_connection() {
    let server = EventServer::start(|_| {
        let stream = "data:[1,\ndata:2]\n\ndata:{\n\ndata:\"fail\"\n\ndata:\"panic\"\n\ndata:3\n\n";
        Reply::stream().send(stream).hold()
    })
    .await;
    let seen = Log::<String>::default();
    let log = seen.clone();
    let handler = move |event: Event| {
        let log = log.clone();
        async move {
            let body = event.body()?.to_string();
            log.push(body.clone());
            match &*body {
                "\"fail\"" => Err(Failure::reject("on purpose")),
                "\"panic\"" if !event.redelivered() => panic!("on purpose"),
                _ => Ok(()),
            }
        }
    };
    let route = Route::sse(["/events"]).handler(handler);
    let running = App::new().connect(connection(&server)).route(route).start().await.unwrap();
    until("all are settled", LIMIT, || running.status().routes[0].settled >= 6).await;
    let mut all = seen.all();
    all.sort();
    assert_eq!(all, ["\"fail\"", "\"panic\"", "\"panic\"", "3", "[1,2]"]);
    assert_eq!(server.requests("/events").len(), 1);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defect_15_a_bulk_is_flushed_by_size_and_by_time() {
    let server = EventServer::start(|_| Reply::stream().send("data:1\n\ndata:2\n\ndata:3\n\n").hold()).await;
    let sizes = Log::<usize>::default();
    let log = sizes.clone();
    let options = RouteOptions::new().bulk_size(2).bulk_flush_interval(Duration::from_millis(50));
    let route = Route::sse(["/events"]).options(options).handler(move |events: Batch<Event>| {
        log.push(events.len());
        std::future::ready(())
    });
    let running = App::new().connect(connection(&server)).route(route).start().await.unwrap();
    until("two bulks", LIMIT, || sizes.len() == 2).await;
    assert_eq!(sizes.all(), [2, 1]);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_read_no_further_than_the_prefetch() {
    let server = EventServer::start(|_| {
        let stream: String = (1..=1000).map(|number| format!("id:{number}\ndata:{number}\n\n")).collect();
        Reply::stream().send(stream).hold()
    })
    .await;
    let (gate, seen) = (Gate::default(), Log::<String>::default());
    let (pass, log) = (gate.clone(), seen.clone());
    let route = Route::sse(["/events"]).options(RouteOptions::new().prefetch(4)).handler(move |event: Event| {
        let (pass, log) = (pass.clone(), log.clone());
        async move {
            pass.pass().await;
            log.push(event.id().into());
        }
    });
    let running = App::new().connect(connection(&server)).route(route).start().await.unwrap();
    let unsettled = || running.status().routes[0].unsettled;
    until("four are held", LIMIT, || unsettled() == 4).await;
    holds("no more than four are held", Duration::from_millis(200), || unsettled() <= 4).await;
    gate.let_pass(1);
    until("one is handled and one more is held", LIMIT, || seen.len() == 1 && unsettled() == 4).await;
    gate.open();
    until("all are handled", LIMIT, || seen.len() == 1000).await;
    assert_eq!(seen.all(), (1..=1000).map(|number| number.to_string()).collect::<Vec<_>>());
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_streams_are_read_as_they_come() {
    // Blocks that are stored, each at once: RFC 1951, section 3.2.4; RFC 1952, section 2.3.
    let stored = |text: &str| {
        let length = u16::try_from(text.len()).unwrap();
        [&[0][..], &length.to_le_bytes(), &(!length).to_le_bytes(), text.as_bytes()].concat()
    };
    let server = EventServer::start(move |_| {
        let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        let reply = Reply::stream().header("content-encoding", "gzip").send(header);
        reply.send(stored("data:1\n\n")).send(stored("data:")).send(stored("2\n\n")).hold()
    })
    .await;
    let (running, seen) = one_path(connection(&server)).await;
    assert_eq!(data(&until_seen(&seen, 2).await), ["1", "2"]);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_stream_is_read_from_who_is_trusted_and_from_nobody_else() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(cert.der().to_vec())], key)
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let server = EventServer::on("127.0.0.1:0", Some(tls), |_| Reply::stream().send("data:secret\n\n").hold()).await;
    let url = server.url().replace("127.0.0.1", "localhost");
    let failures = Log::<String>::default();
    let told = failures.clone();
    let distrusts = Sse::new(&url).unwrap().backoff(SOON.0, SOON.1);
    let distrusts = distrusts.on_connection_failure(move |error, _| told.push(format!("{error:?}")));
    let (running, seen) = one_path(distrusts).await;
    until("it fails", LIMIT, || !failures.is_empty()).await;
    assert!(failures.all()[0].contains("certificate"), "{:?}", failures.all());
    assert!(seen.is_empty() && server.requests("/events").is_empty());
    running.shutdown().await.unwrap();
    let (running, seen) = one_path(Sse::new(&url).unwrap().ca_certificates(cert.pem())).await;
    assert_eq!(data(&until_seen(&seen, 1).await), ["secret"]);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_takes_the_connection_of_its_protocol_and_publishes_over_one_that_does() {
    let server = EventServer::start(|_| Reply::stream().send("event:order\ndata:7\n\n").hold()).await;
    let broker = Memory::new().name("broker");
    broker.declare(Queue::new("orders")).unwrap();
    let forward = async |event: Event| Publish::raw(event.raw().clone()).to("orders");
    let running = App::new()
        .connect(connection(&server).name("events"))
        .connect(broker.clone())
        .route(Route::sse(["/events"]).connection("events").handler(forward))
        .route(Route::amqp(["others"]).handler(async |_: Message, _: Publisher| ()))
        .start()
        .await
        .unwrap();
    until("it is published", LIMIT, || broker.ready("orders") == 1).await;
    running.publisher().publish(Publish::raw("8").to("orders")).await.unwrap();
    let error = running.publisher().publish(Publish::raw("9").to("orders").connection("events")).await.unwrap_err();
    assert!(error.to_string().contains("`events`"), "{error}");
    running.shutdown().await.unwrap();

    // Neither needs a name where each is the only one of its kind.
    let amqp = Amqp::new("127.0.0.1").port(1);
    let running = App::new()
        .connect(amqp)
        .connect(connection(&server))
        .route(Route::sse(["/others"]).handler(async |_: Event, _: Publisher| ()))
        .start()
        .await
        .unwrap();
    server.wait("/others", 1).await;
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_serves_the_events_of_a_route_that_says_so_or_where_there_is_no_other_server() {
    let server = EventServer::start(|_| Reply::stream().send("event:order\ndata:7\n\n").hold()).await;
    async fn until_handled(broker: Memory, more: impl FnOnce(App, Route) -> App) -> String {
        let seen = Log::<String>::default();
        let told = seen.clone();
        let handler = move |event: Event| {
            told.push(String::from_utf8_lossy(event.raw()).into_owned());
            async {}
        };
        broker.push_event("/events", "order", "8");
        let app = more(App::new().connect(broker), Route::sse(["/events"]).handler(handler));
        let running = app.start().await.unwrap();
        until("an event is handled", LIMIT, || !seen.is_empty()).await;
        running.shutdown().await.unwrap();
        seen.all()[0].clone()
    }
    let both = |app: App, route: Route| app.connect(connection(&server)).route(route);
    assert_eq!(until_handled(Memory::new(), both).await, "7");
    let named = |app: App, route: Route| app.connect(connection(&server)).route(route.connection("broker"));
    assert_eq!(until_handled(Memory::new().name("broker"), named).await, "8");
    assert_eq!(until_handled(Memory::new(), App::route).await, "8");

    // Queues are the broker's, and of two servers one has to be named.
    let queues = Route::amqp(["orders"]).name("index").handler(async |_: Message| ());
    let route = Route::sse(["/events"]).name("on_event").handler(async |_: Event| ());
    let two = || App::new().connect(Memory::new()).connect(connection(&server).name("a"));
    two().route(queues).start().await.unwrap().shutdown().await.unwrap();
    let error = two().connect(connection(&server)).start().await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("several connections for events"), "{error}");
    let error = two().connect(connection(&server).name("b")).route(route).start().await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("`on_event`") && error.to_string().contains("`a`, `b`"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_is_told_at_start() {
    async fn refused(sse: Sse, route: Route) -> String {
        let error = App::new().connect(sse).route(route).start().await.map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        error.to_string()
    }
    let sse = || Sse::new("http://127.0.0.1:1/base/").unwrap();
    let route = |path: &str| Route::sse([path]).name("on_event").handler(async |_: Event| ());
    let error = refused(sse(), route("http://example.com/x")).await;
    assert!(error.contains("`on_event`") && error.contains("another server"), "{error}");
    assert!(refused(sse(), route("//example.com/x")).await.contains("another server"));
    assert!(
        refused(sse(), Route::sse(["/x"]).handler(async |_: Event, _: Publisher| ())).await.contains("to publish over")
    );
    let queues = Route::amqp(["orders"]).name("index").handler(async |_: Message| ());
    assert!(refused(sse(), queues).await.contains("no connection for queues"));
    let queues = Route::amqp(["orders"]).name("index").connection("events").handler(async |_: Message| ());
    let error = refused(sse().name("events"), queues).await;
    assert!(error.contains("`index`") && error.contains("`events` has no queues"), "{error}");
    assert!(refused(sse().prefetch(0), route("/x")).await.contains("prefetch"));
    assert!(refused(sse().backoff(Duration::ZERO, Duration::ZERO), route("/x")).await.contains("backoff"));
    assert!(refused(sse().largest_event(0), route("/x")).await.contains("largest"));
    assert!(refused(sse().bearer_auth("a\nb"), route("/x")).await.contains("token"));
    assert!(refused(sse().basic_auth("a:b", "c"), route("/x")).await.contains("`:`"));
    assert!(
        refused(sse().ca_certificates("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"), route("/x"))
            .await
            .contains("client")
    );

    for (url, why) in
        [("127.0.0.1:8080", "cannot be read"), ("ftp://127.0.0.1/", "`ftp:`"), ("http://", "cannot be read")]
    {
        let error = Sse::new(url).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(why), "{url}: {error}");
    }
    assert!(sse().header("bad name", "x").is_err() && sse().header("x", "a\nb").is_err());
    assert!(sse().header("Last-Event-ID", "1").unwrap_err().to_string().contains("last_event_id"));
    let shown = format!("{:?}", Sse::new("http://user:hidden@127.0.0.1/x?token=hidden").unwrap().bearer_auth("hidden"));
    assert!(!shown.contains("hidden"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_hands_the_partial_bulk_over_and_closes_the_streams() {
    let server = EventServer::start(|_: &Request| Reply::stream().send("data:1\n\ndata:2\n\n").hold()).await;
    let options = RouteOptions::new().bulk_size(10).bulk_flush_interval(Duration::from_secs(3600));
    let (running, seen) = start(connection(&server), &["/events".to_owned()], options).await;
    until("two are held", LIMIT, || running.status().routes[0].unsettled == 2).await;
    assert!(running.status().is_ready());
    running.shutdown().await.unwrap();
    assert_eq!(data(&seen.all()), ["1", "2"]);
    until("the stream is closed", LIMIT, || server.open() == 0).await;
}

/// Consumes each stream as a browser does, and tells what came of it.
const PAGE: &str = r#"<!doctype html><title>EventSource</title><script>
const read = (path, names) => new Promise(done => {
  const seen = [];
  const source = new EventSource(path);
  for (const name of names) source.addEventListener(name, event => seen.push([event.type, event.data, event.lastEventId]));
  source.onerror = () => { source.close(); done(seen); };
});
(async () => {
  const results = {};
  for (const name of CASES) results[name] = await read(`/browser/${name}`, NAMES);
  await fetch("/results", { method: "POST", body: JSON.stringify(results) });
})();
</script>"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_reads_the_same_events_from_the_same_streams() {
    let cases: Vec<&str> = CASES.iter().map(|case| case.0).collect();
    let mut names: Vec<&str> = CASES.iter().flat_map(|case| case.2.iter().map(|event| event.0)).collect();
    names.push("lost");
    names.sort_unstable();
    names.dedup();
    let page = PAGE.replace("CASES", &serde_json::to_string(&cases).unwrap());
    let page = page.replace("NAMES", &serde_json::to_string(&names).unwrap());
    let server = EventServer::start(move |request| match request.path[1..].split_once('/') {
        // The end of the stream ends the reading: the browser is told by an error, the worker by a 204.
        Some(("browser", name)) | Some(("worker", name)) if request.number == 0 => {
            Reply::stream().chunks(CASES.iter().find(|case| case.0 == name).unwrap().1, 7)
        }
        Some(_) => Reply::status(204),
        None => Reply::page(&page),
    })
    .await;
    let browser = Browser::start().await;
    browser.open(format_args!("{}page", server.url())).await;
    let paths: Vec<String> = cases.iter().map(|name| format!("/worker/{name}")).collect();
    let (running, seen) = start(connection(&server), &paths, RouteOptions::new()).await;
    let results = server.wait("/results", 1).await.remove(0).body;
    let results: BTreeMap<String, Vec<(String, String, String)>> = serde_json::from_str(&results).unwrap();
    drop(browser);
    assert_eq!(results.len(), CASES.len());
    let seen = until_seen(&seen, results.values().map(Vec::len).sum()).await;
    for (name, of_browser) in &results {
        let path = format!("/worker/{name}");
        server.wait(&path, 2).await;
        let of_worker: Vec<_> = seen.iter().filter(|sight| sight.path == path).cloned().collect();
        let of_worker: Vec<_> = of_worker.into_iter().map(|sight| (sight.name, sight.data, sight.id)).collect();
        assert_eq!(&of_worker, of_browser, "{name}");
    }
    running.shutdown().await.unwrap();
}
