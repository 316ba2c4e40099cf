//! Endpoints, what is around them and the probes, without a network; what is put together wrongly is told at start.

#![cfg(all(feature = "http", feature = "memory"))]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::ErrorKind;
use asyncworker::http::axum::middleware::{Next, from_fn};
use asyncworker::http::axum::routing::get;
use asyncworker::http::{Bytes, Endpoint, Http, Json, Method, Path, Request, Response, Router, StatusCode, TestClient};
use asyncworker::prelude::*;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

async fn hello() -> &'static str {
    "hello"
}

fn app(endpoints: impl IntoIterator<Item = Endpoint>) -> App {
    App::new().http(Http::unbound()).mount(endpoints)
}

/// The words of the configuration error that this app's start ends with.
async fn refused(app: App) -> String {
    let error = app.start().await.map(|_| ()).expect_err("the app starts");
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    error.to_string()
}

/// A client of an app with these, which runs until the test ends.
async fn client(endpoints: impl IntoIterator<Item = Endpoint>) -> TestClient {
    let running = app(endpoints).start().await.unwrap();
    let client = running.http_client();
    std::mem::forget(running);
    client
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_takes_path_query_body_and_the_apps_state() {
    async fn count(
        Path(base): Path<usize>,
        State(count): State<Arc<AtomicUsize>>,
        Json(more): Json<usize>,
    ) -> Json<usize> {
        Json(base + count.load(Ordering::Relaxed) + more)
    }
    let app = app([Endpoint::post("/count/{base}", count)]).state(Arc::new(AtomicUsize::new(20)));
    let running = app.start().await.unwrap();
    let answer = running.http_client().post("/count/1").json(&300).send().await;
    assert_eq!((answer.status(), answer.json::<usize>()), (StatusCode::OK, 321));
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_path_parameter_of_a_wrong_type_is_a_bad_request() {
    let client = client([Endpoint::get("/orders/{id}", async |Path(id): Path<u64>| id.to_string())]).await;
    assert_eq!(client.get("/orders/7").send().await.text(), "7");
    let answer = client.get("/orders/seven").send().await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(answer.text().contains("seven"), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_has_all_its_paths_and_methods_and_no_others() {
    let client = client([
        Endpoint::get(["/a", "/b"], async || "get"),
        Endpoint::put("/a", async || "put"),
        Endpoint::on([Method::POST, Method::DELETE], vec!["/b", "/c"], async |method: Method| method.to_string()),
    ])
    .await;
    for path in ["/a", "/b"] {
        assert_eq!(client.get(path).send().await.text(), "get");
    }
    assert_eq!(client.put("/a").send().await.text(), "put");
    assert_eq!(client.post("/b").send().await.text(), "POST");
    assert_eq!(client.delete("/c").send().await.text(), "DELETE");
    assert_eq!(client.patch("/a").send().await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(client.get("/c").send().await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(client.get("/d").send().await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_for_get_answers_head_unless_there_is_one_for_head() {
    let client = client([
        Endpoint::get(["/a", "/b"], hello),
        Endpoint::head("/b", async || [("x-answered-by", "head")]),
        Endpoint::patch("/b", hello),
    ])
    .await;
    let answer = client.head("/a").send().await;
    assert_eq!(
        (answer.status(), answer.header("content-length"), answer.bytes().len()),
        (StatusCode::OK, Some("5"), 0)
    );
    assert_eq!(client.head("/b").send().await.header("x-answered-by"), Some("head"));
    assert_eq!(client.get("/b").send().await.header("x-answered-by"), None);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_answers_500_and_the_next_request_is_answered() {
    let client =
        client([Endpoint::get("/panic", async || -> &'static str { panic!("oh") }), Endpoint::get("/", hello)]).await;
    assert_eq!(client.get("/panic").send().await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(client.get("/").send().await.text(), "hello");
}

#[tokio::test(start_paused = true)]
async fn a_handlers_failure_answers_500_and_keeps_its_reason_to_itself() {
    async fn fails() -> Result<&'static str, Failure> {
        Err(Failure::new("password=secret"))
    }
    let client = client([Endpoint::get("/", fails)]).await;
    let answer = client.get("/").send().await;
    assert_eq!((answer.status(), answer.bytes().len()), (StatusCode::INTERNAL_SERVER_ERROR, 0));
}

#[tokio::test(start_paused = true)]
async fn a_state_that_only_a_request_misses_answers_500() {
    let client = client([Endpoint::get("/", async |_: State<u128>| "never"), Endpoint::get("/b", hello)]).await;
    assert_eq!(client.get("/").send().await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(client.get("/b").send().await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_request_can_publish_to_the_apps_broker() {
    async fn order(publisher: Publisher, body: Bytes) -> Result<StatusCode, Failure> {
        publisher.publish(Publish::raw(body).to("orders")).await?;
        Ok(StatusCode::ACCEPTED)
    }
    let broker = Memory::new();
    let app = app([Endpoint::post("/orders", order)])
        .connect(broker.clone())
        .declare(Queue::new("orders"))
        .route(Route::amqp(["orders"]).handler(async |message: Message| assert_eq!(message.raw(), "7")));
    let running = app.start().await.unwrap();
    assert_eq!(running.http_client().post("/orders").body("7").send().await.status(), StatusCode::ACCEPTED);
    assert_eq!(broker.settled("orders", 1).await, [Action::Ack]);
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_turned_away_with_and_without_a_length() {
    let read = async |body: Bytes| body.len().to_string();
    let raw = async |request: Request| {
        let read = asyncworker::http::axum::body::to_bytes(request.into_body(), usize::MAX).await;
        if read.is_ok() { StatusCode::OK } else { StatusCode::IM_A_TEAPOT }
    };
    let http = Http::unbound().body_limit(10).fallback(Router::new().route("/other", get(read).post(read)));
    let endpoints =
        [Endpoint::post("/", read), Endpoint::post("/raw", raw), Endpoint::post("/large", read).body_limit(20)];
    let running = App::new().http(http).mount(endpoints).start().await.unwrap();
    let client = running.http_client();
    for (path, at_most) in [("/", 10), ("/other", 10), ("/large", 20)] {
        let answer = client.post(path).body(vec![0; at_most]).send().await;
        assert_eq!((answer.status(), answer.text()), (StatusCode::OK, at_most.to_string()));
        // The client here sends no length of its own accord: it shows as it is read.
        let answer = client.post(path).body(vec![0; at_most + 1]).send().await;
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        let answer = client.post(path).header("content-length", &(at_most + 1).to_string()).send().await;
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE, "{path}");
    }
    assert_eq!(client.post("/raw").body(vec![0; 10]).send().await.status(), StatusCode::OK);
    assert_eq!(client.post("/raw").body(vec![0; 11]).send().await.status(), StatusCode::IM_A_TEAPOT);
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fallback_answers_where_no_endpoint_has_the_path_and_shares_the_apps_state() {
    async fn state(State(state): State<&'static str>) -> &'static str {
        state
    }
    let router: Router = Router::new().route("/state", get(state)).route("/hello", get(async || "shadowed"));
    let running = App::new()
        .state("shared")
        .http(Http::unbound().fallback(router))
        .endpoint(Endpoint::get("/hello", hello))
        .start()
        .await
        .unwrap();
    let client = running.http_client();
    assert_eq!(client.get("/state").send().await.text(), "shared");
    assert_eq!(client.get("/hello").send().await.text(), "hello");
    assert_eq!(client.get("/nowhere").send().await.status(), StatusCode::NOT_FOUND);
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn layers_are_around_endpoints_the_first_one_outermost_and_not_around_probes() {
    let tag = |name: &'static str| {
        from_fn(async move |request: Request, next: Next| -> Response {
            let mut response = next.run(request).await;
            response.headers_mut().append("x-layer", name.parse().unwrap());
            response
        })
    };
    let http = Http::unbound().layer(tag("outer")).layer(tag("inner"));
    let running = App::new().http(http).endpoint(Endpoint::get("/", hello)).start().await.unwrap();
    let layers = async |path: &str| {
        let answer = running.http_client().get(path).send().await;
        answer.headers().get_all("x-layer").iter().map(|name| name.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(layers("/").await, ["inner", "outer"]);
    assert_eq!(layers("/nowhere").await, ["inner", "outer"]);
    assert!(layers("/livez").await.is_empty());
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_clash_are_refused_by_both_names() {
    let error =
        refused(app([Endpoint::get(["/x", "/a"], hello).name("one"), Endpoint::get("/a", hello).name("two")])).await;
    assert!(error.contains("`one`") && error.contains("`two`") && error.contains("GET /a"), "{error}");

    let error = refused(app([Endpoint::get("/a/{x}", hello), Endpoint::post("/a/{y}", hello)])).await;
    assert!(error.contains("`GET /a/{x}`") && error.contains("`POST /a/{y}`"), "{error}");

    let error = refused(app([Endpoint::get(["/a", "/a"], hello).name("one")])).await;
    assert!(error.contains("`one`") && error.contains("itself"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_clash_with_what_is_built_in_are_refused_by_both_names() {
    for path in ["/livez", "/readyz"] {
        let endpoint = || Endpoint::post(path, hello).name("mine");
        let error = refused(app([endpoint()])).await;
        assert!(error.contains("`mine`") && error.contains(path) && error.contains("probes(false)"), "{error}");
        let running = App::new().http(Http::unbound().probes(false)).endpoint(endpoint()).start().await.unwrap();
        assert_eq!(running.http_client().post(path).send().await.status(), StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn paths_that_cannot_be_read_are_refused_with_what_would_be_right() {
    for (path, hint) in [
        ("orders", "start with `/`"),
        ("", "start with `/`"),
        ("/orders/:id", "`{id}`"),
        ("/files/*rest", "`{*rest}`"),
        ("/orders/{id", "in braces"),
        ("/orders/{}", "in braces"),
        ("/{id}-order", "one parameter"),
        ("/{*rest}/more", "at the end"),
    ] {
        let error = refused(app([Endpoint::get(path, hello).name("mine")])).await;
        assert!(error.contains("`mine`") && error.contains(path) && error.contains(hint), "{path}: {error}");
    }
    let none: [&str; 0] = [];
    assert!(refused(app([Endpoint::get(none, hello)])).await.contains("no path"));
    assert!(refused(app([Endpoint::on([], "/", hello)])).await.contains("no method"));
    let unknown = Method::from_bytes(b"BREW").unwrap();
    assert!(refused(app([Endpoint::on([Method::GET, unknown], "/", hello)])).await.contains("BREW"));
}

#[tokio::test(start_paused = true)]
async fn settings_of_nothing_are_refused() {
    for (http, what) in [
        (Http::bind("127.0.0.1"), "127.0.0.1"),
        (Http::bind(":80"), ":80"),
        (Http::bind("localhost:http"), "localhost:http"),
        (Http::unbound().max_connections(0), "max_connections"),
        (Http::unbound().header_read_timeout(Duration::ZERO), "header_read_timeout"),
        (Http::unbound().body_read_timeout(Duration::ZERO), "body_read_timeout"),
        (Http::unbound().stalled_after(Duration::ZERO), "stalled_after"),
    ] {
        let error = refused(App::new().http(http)).await;
        assert!(error.contains("HTTP") && error.contains(what), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_without_http_answers_nothing() {
    let running = App::new().start().await.unwrap();
    assert_eq!(running.http_address(), None);
    assert_eq!(running.http_client().get("/livez").send().await.status(), StatusCode::NOT_FOUND);
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn readiness_follows_the_routes_and_names_the_one_that_is_not_ready() {
    let broker = Memory::new();
    broker.declare(Queue::new("orders")).unwrap();
    let app = App::new()
        .http(Http::unbound())
        .connect(broker.clone())
        .route(Route::amqp(["orders"]).name("index").handler(async |_: Message| {}));
    let running = app.start().await.unwrap();
    let client = running.http_client();
    let ready = async |status: StatusCode| {
        loop {
            let answer = client.get("/readyz").send().await;
            if answer.status() == status {
                return answer.json::<serde_json::Value>();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert_eq!(ready(StatusCode::OK).await["ready"], true);
    broker.delete_queue("orders");
    let answer = ready(StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(answer["not_consuming"], serde_json::json!([{"route": "index", "queues": ["orders"]}]));
    assert_eq!(client.get("/livez").send().await.status(), StatusCode::OK);
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn liveness_ends_when_a_route_hangs_and_names_it() {
    let broker = Memory::new();
    let app = App::new()
        .http(Http::unbound().stalled_after(Duration::from_secs(600)))
        .connect(broker.clone())
        .route(Route::amqp(["orders"]).name("index").handler(async |_: Message| pending::<()>().await));
    let running = app.start().await.unwrap();
    let client = running.http_client();
    broker.push("orders", "{}");
    tokio::time::sleep(Duration::from_secs(590)).await;
    assert_eq!(client.get("/livez").send().await.json::<serde_json::Value>()["live"], true);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let answer = client.get("/livez").send().await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let stalled = &answer.json::<serde_json::Value>()["stalled"][0];
    assert_eq!((stalled["route"].as_str(), stalled["unsettled"].as_u64()), (Some("index"), Some(1)), "{stalled}");
}

#[tokio::test(start_paused = true)]
async fn while_the_app_drains_it_answers_is_live_and_is_not_ready() {
    let broker = Memory::new();
    let app = app([Endpoint::get("/", hello)])
        .connect(broker.clone())
        .route(Route::amqp(["orders"]).handler(async |_: Message| tokio::time::sleep(Duration::from_secs(10)).await));
    let running = app.start().await.unwrap();
    let client = running.http_client();
    broker.push("orders", "{}");
    while broker.unsettled("orders") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let look = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let ready = client.get("/readyz").send().await;
        assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ready.json::<serde_json::Value>()["stopping"], true);
        assert_eq!(client.get("/livez").send().await.status(), StatusCode::OK);
        let answer = client.get("/").send().await;
        assert_eq!((answer.text().as_str(), answer.header("connection")), ("hello", Some("close")));
    };
    let (stopped, ()) = tokio::join!(running.shutdown(), look);
    stopped.unwrap();
}

#[cfg(feature = "macros")]
mod attributes {
    use super::*;
    use asyncworker as app;
    use asyncworker::http::WebSocket;

    #[app::get(["/count", "/count/{base}"])]
    #[app::delete("/count", name = "resets")]
    async fn count(method: Method, base: Option<Path<usize>>, State(count): State<Arc<AtomicUsize>>) -> Json<usize> {
        if method == Method::DELETE {
            count.store(0, Ordering::Relaxed);
        }
        Json(base.map_or(0, |Path(base)| base) + count.load(Ordering::Relaxed))
    }

    #[app::post("/echo", body_limit = 3)]
    async fn echo(body: Bytes) -> Bytes {
        body
    }

    type Shared<T> = State<Arc<T>>;

    #[app::head("/needs")]
    async fn needs(_: Shared<AtomicUsize>) {}

    #[app::put("/publishes")]
    async fn publishes(_: Publisher) {}

    #[app::ws("/feed")]
    async fn feed(_: WebSocket, _: State<Arc<AtomicUsize>>) {}

    #[tokio::test(start_paused = true)]
    async fn attributed_functions_answer_their_methods_and_paths() {
        let app = App::new().http(Http::unbound()).state(Arc::new(AtomicUsize::new(2))).mount(routes![count, echo]);
        let running = app.start().await.unwrap();
        let client = running.http_client();
        assert_eq!(client.get("/count/40").send().await.json::<usize>(), 42);
        assert_eq!(client.get("/count").send().await.json::<usize>(), 2);
        assert_eq!(client.delete("/count").send().await.json::<usize>(), 0);
        assert_eq!(client.get("/count/x").send().await.status(), StatusCode::BAD_REQUEST);
        assert_eq!(client.post("/echo").body("abc").send().await.text(), "abc");
        assert_eq!(client.post("/echo").body("abcd").send().await.status(), StatusCode::PAYLOAD_TOO_LARGE);
        running.shutdown().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_argument_needs_and_the_app_has_not_is_told_at_start_by_endpoint_and_type() {
        for (mounts, endpoint) in
            [(routes![count], "`count(/count)`"), (routes![needs], "`needs`"), (routes![feed], "`feed`")]
        {
            let error = refused(App::new().http(Http::unbound()).mount(mounts)).await;
            assert!(error.contains(endpoint) && error.contains("AtomicUsize") && error.contains(".state("), "{error}");
        }
        let error = refused(App::new().http(Http::unbound()).mount(routes![publishes])).await;
        assert!(error.contains("`publishes`") && error.contains("no connection"), "{error}");
        let app = App::new().http(Http::unbound()).connect(Memory::new()).mount(routes![publishes]);
        app.start().await.unwrap().shutdown().await.unwrap();
    }
}
