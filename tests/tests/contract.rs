//! The programs in `examples/` do as their comments say. They connect to `127.0.0.1:5672`, as written: a
//! relay leads from there to the broker of the tests, where that is another.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use tests::{
    Browser, Client, EventServer, Http, LIMIT, Relay, Reply, Worker, broker_address, ctl, until, until_async, url_to,
};
use tokio::sync::{Mutex, MutexGuard};

const PORT: &str = "127.0.0.1:5672";

/// The ports that the programs have in common, 8080 among them.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The place where the programs look for their broker, and the names they use there, for one test at a time.
struct Contract {
    client: Client,
    queues: Vec<&'static str>,
    _relay: Option<Relay>,
    _alone: MutexGuard<'static, ()>,
}

impl Contract {
    async fn on(queues: &[&'static str]) -> Self {
        Self::at("", queues).await
    }

    async fn at(path: &str, queues: &[&'static str]) -> Self {
        let alone = ALONE.lock().await;
        let address = broker_address();
        let given = [PORT, "localhost:5672"].contains(&address.as_str());
        // It fails, and says so, where another program has that port.
        let relay = if given { None } else { Some(Relay::between(PORT, &address).await) };
        let client = Client::connect_to(&url_to(&address, path)).await;
        for queue in queues {
            client.declare(queue, &[]).await;
        }
        Self { client, queues: queues.to_vec(), _relay: relay, _alone: alone }
    }

    async fn until_empty(&self) {
        for queue in &self.queues {
            until_async(&format!("{queue} is empty"), LIMIT, || async { self.client.ready(queue).await == 0 }).await;
        }
    }

    async fn end(self) {
        for queue in &self.queues {
            self.client.delete(queue).await;
        }
        self.client.close().await;
    }
}

/// Starts a program of `examples/`.
fn example<const N: usize>(name: &str, arguments: [&str; N]) -> Worker {
    Worker::start(tests::example(name), arguments, &[])
}

/// Stops it as Kubernetes would; gives what it printed.
async fn stop(mut program: Worker) -> String {
    program.signal("TERM").await;
    let status = program.end(LIMIT).await;
    assert_eq!(status.code(), Some(0), "{}", program.printed());
    program.printed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_logs_both_queues_of_its_virtual_host() {
    ctl(&["add_vhost", "fluentd"]).await;
    ctl(&["set_permissions", "-p", "fluentd", "guest", ".*", ".*", ".*"]).await;
    let contract = Contract::at("/fluentd", &["asgard/counts", "asgard/counts/errors"]).await;
    let program = example("drain", []);
    contract.client.publish("asgard/counts", [r#"{"count": 42}"#]).await;
    contract.client.publish("asgard/counts/errors", [r#"{"broken": "#]).await;
    program.until_printed(r#"{"count":42}"#).await;
    program.until_printed("does not decode").await;
    contract.until_empty().await;
    let printed = stop(program).await;
    assert!(
        printed.lines().any(|line| line.contains("INFO") && line.contains("asgard/counts") && line.contains("42")),
        "{printed}"
    );
    assert!(printed.lines().any(|line| line.contains("WARN") && line.contains(r#"{\"broken\": "#)), "{printed}");
    contract.until_empty().await;
    contract.end().await;
    ctl(&["delete_vhost", "fluentd"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_settles_by_marks_and_defaults() {
    let mut contract = Contract::on(&["orders.late", "mail", "orders.dead"]).await;
    let dead = [("x-dead-letter-exchange", ""), ("x-dead-letter-routing-key", "orders.dead")];
    contract.client.declare("orders", &dead).await;
    contract.queues.push("orders");
    let program = example("options", []);
    let orders =
        [r#"{"id": 1, "total": 5}"#, r#"{"id": 2, "total": -1}"#, r#"{"id": 3, "total": 1e9}"#, r#"{"id": "four"}"#];
    contract.client.publish("orders", orders).await;
    contract.client.publish("orders.late", [r#"{"id": 5, "total": 5}"#]).await;
    contract.client.publish("mail", [r#"{"id": 6, "total": 1}"#, r#"{"id": 7, "total": 0}"#]).await;
    until_async("two are refused", LIMIT, || async { contract.client.ready("orders.dead").await == 2 }).await;
    // The mail that costs nothing comes again and again.
    let left = [("orders", 0), ("orders.late", 0), ("mail", 1)];
    until_async("what is wanted is handled", LIMIT, || async {
        let messages = ctl(&["list_queues", "-q", "--no-table-headers", "name", "messages"]).await;
        left.iter().all(|(queue, left)| messages.lines().any(|line| line == format!("{queue}\t{left}")))
    })
    .await;
    let consumers = ctl(&["list_consumers", "-q", "queue_name", "prefetch_count"]).await;
    for queue in ["orders", "orders.late", "mail"] {
        let ours =
            |line: &str| line.starts_with(&format!("{queue}\t")) && line.split('\t').any(|column| column == "256");
        assert!(consumers.lines().any(ours), "{consumers}");
    }
    stop(program).await;
    let dead: Vec<String> = contract.client.take("orders.dead").await.into_iter().map(|taken| taken.body).collect();
    assert_eq!(dead, [orders[1], orders[3]]);
    let mail = contract.client.take("mail").await;
    assert_eq!(
        mail.iter().map(|mail| (mail.body.as_str(), mail.redelivered)).collect::<Vec<_>>(),
        [(r#"{"id": 7, "total": 0}"#, true)]
    );
    contract.until_empty().await;
    contract.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publish_answers_and_forwards_before_it_acks() {
    let contract = Contract::on(&["orders", "receipts", "orders.bulk", "archived"]).await;
    contract.client.bind("archive", "orders", "archived").await;
    let program = example("publish", []);
    contract.client.publish("orders", [r#"{"id": 7}"#]).await;
    contract.client.publish("orders.bulk", (0..50).map(|number| number.to_string())).await;
    until_async("the receipt", LIMIT, || async { contract.client.ready("receipts").await == 1 }).await;
    until_async("the archive", LIMIT, || async { contract.client.ready("archived").await == 50 }).await;
    stop(program).await;
    let receipt = contract.client.take("receipts").await.remove(0);
    assert_eq!(receipt.body, r#"{"id":7}"#);
    assert_eq!(receipt.headers, [("x-kind".to_owned(), "receipt".to_owned())]);
    let archived = contract.client.take("archived").await;
    let mut bodies: Vec<usize> = archived.iter().map(|archived| archived.body.parse().unwrap()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, (0..50).collect::<Vec<_>>());
    assert!(archived.iter().all(|archived| archived.delivery_mode == Some(2)));
    contract.until_empty().await;
    contract.client.delete_exchange("archive").await;
    contract.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_macros_counts_the_queues_it_is_given() {
    let contract = Contract::on(&["tests.one", "tests.two"]).await;
    let program = example("without_macros", ["tests.one", "tests.two"]);
    contract.client.publish("tests.one", vec!["{}"; 60]).await;
    contract.client.publish("tests.two", vec!["{}"; 40]).await;
    program.until_printed("100 messages").await;
    contract.client.publish("tests.one", vec!["{}"; 30]).await;
    contract.until_empty().await;
    let printed = stop(program).await;
    // The partial bulk is handed over; what was still on its way to the program is given back.
    let counted = || printed.lines().filter_map(|line| line.strip_suffix(" messages")?.parse::<usize>().ok());
    let all = || async { counted().sum::<usize>() + contract.client.ready("tests.one").await == 130 };
    until_async("all are counted or left", LIMIT, all).await;
    assert_eq!(counted().next(), Some(100), "{printed}");
    contract.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_prints_what_comes_two_at_a_time() {
    let _alone = ALONE.lock().await;
    let server = EventServer::on("127.0.0.1:8080", None, |_| {
        let stream = "event:deployment_info\ndata:{\"plan\":{\"id\":\"/asgard\"}}\n\n\
            event:deployment_success\ndata:{\"id\":7}\n\nevent:other\ndata:{}\n\ndata:[]\n\n";
        Reply::stream().send(stream).hold()
    })
    .await;
    let program = example("events", []);
    program.until_printed("Event received: message ").await;
    let printed = stop(program).await;
    let lines: Vec<&str> = printed.lines().filter(|line| line.starts_with("Event")).collect();
    assert_eq!(
        lines,
        [
            "Events received: 2 [\"deployment_info\", \"deployment_success\"]",
            "Event received: deployment_info \"/asgard\"",
            "Event received: deployment_success 7",
            "Events received: 2 [\"other\", \"message\"]",
            "Event received: other ",
            "Event received: message ",
        ]
    );
    let request = server.requests("/v2/events").remove(0);
    assert_eq!(request.header("authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
    assert_eq!(request.header("x-team"), Some("asgard"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_http_timeit_ticks_answers_and_measures() {
    let contract = Contract::on(&["xablau-queue"]).await;
    let program = example("clock_http_timeit", []);
    let count = || async {
        let mut http = Http::connect(([127, 0, 0, 1], 8080).into()).await;
        let answer = http.get("/count/41").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body.parse::<u64>().unwrap()
    };
    program.until_printed("started").await;
    // The first tick is at once, the next one a second later.
    until_async("two ticks", LIMIT, || async { count().await >= 43 }).await;
    let mut http = Http::connect(([127, 0, 0, 1], 8080).into()).await;
    assert_eq!(http.get("/count/many").await.status, 400);
    contract.client.publish("xablau-queue", [r#"{"id": 7}"#]).await;
    program.until_printed("xablau-access-time").await;
    contract.until_empty().await;
    let printed = stop(program).await;
    let reports: Vec<&str> = printed.lines().filter(|line| line.ends_with("Completed")).collect();
    assert_eq!(reports.len(), 2, "{printed}");
    assert!(reports[0].starts_with(r#"{"b": "#) && reports[0].contains(r#", "a": "#), "{printed}");
    assert!(reports[1].starts_with(r#"{"xablau-access-time": "#), "{printed}");
    contract.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_publishes_counts_and_is_ready_when_it_consumes() {
    let contract = Contract::on(&["orders"]).await;
    let program = example("http", []);
    program.until_printed("serving HTTP").await;
    let address = "127.0.0.1:8080".parse().unwrap();
    until_async("ready", LIMIT, || async { Http::connect(address).await.get("/readyz").await.status == 200 }).await;
    let mut client = Http::connect(address).await;
    let order = r#"{"id": 7}"#;
    let head = "POST /orders HTTP/1.1\r\nhost: test\r\ncontent-type: application/json";
    client.send(format!("{head}\r\ncontent-length: {}\r\n\r\n{order}", order.len())).await;
    assert_eq!(client.answer().await.status, 202);
    program.until_printed("order 7").await;
    assert_eq!(client.get("/handled/41").await.body, "42");
    assert_eq!(client.get("/handled/x").await.status, 400);
    contract.until_empty().await;
    stop(program).await;
    contract.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_events_tells_every_handler_and_fails_with_the_one_that_does() {
    let program = example("app_events", []);
    for order in [7, 13] {
        program.until_printed(&format!("a mail: we have your order {order}")).await;
    }
    until("both are counted", LIMIT, || program.printed().matches("counted: order").count() == 2).await;
    program.until_printed("order 7 is placed").await;
    program.until_printed("nobody pays for order 13").await;
    let printed = stop(program).await;
    assert!(printed.contains("a bill for order 7") && printed.contains("a mail: we have your order 7"), "{printed}");
    assert!(!printed.contains("order 13 is placed"), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_tasks_are_started_listed_and_stopped_and_one_is_tied_to_a_page() {
    let _alone = ALONE.lock().await;
    let program = example("long_tasks", []);
    program.until_printed("serving HTTP").await;
    let address = "127.0.0.1:8080".parse().unwrap();
    let mut client = Http::connect(address).await;
    let mut ask = async |method: &str, path: &str| {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n");
        client.send(head).await;
        let answer = client.answer().await;
        (answer.status, answer.body)
    };
    assert_eq!(ask("POST", "/import").await.0, 202);
    let (status, refused) = ask("POST", "/import").await;
    assert!(status == 409 && refused.starts_with("the task `import` runs already (run "), "{status} {refused}");
    let list: serde_json::Value = serde_json::from_str(&ask("GET", "/tasks").await.1).unwrap();
    assert_eq!((&list[0]["name"], &list[0]["state"]), (&"import".into(), &"running".into()));
    assert_eq!(ask("DELETE", "/tasks/import").await, (200, r#"{"outcome":"cancelled"}"#.to_owned()));
    assert_eq!(ask("DELETE", "/tasks/export").await.0, 404);

    let browser = Browser::start().await;
    let page = browser.open(format_args!("http://{address}/")).await;
    let shows = async |what: &str| {
        page.until(&format!("document.querySelector('#status').textContent.includes({what:?})")).await
    };
    let run = async || page.run("return JSON.parse(document.querySelector('#status').textContent).run").await;
    shows(r#""name":"primes""#).await;
    shows(r#""state":"running""#).await;
    let first = run().await;
    page.click("button:nth-of-type(1)").await;
    shows(r#""outcome":"cancelled""#).await;
    assert_eq!(run().await, first);
    page.click("button:nth-of-type(2)").await;
    shows(r#""state":"running""#).await;
    let second = run().await;
    assert_ne!(second, first);
    page.reload().await;
    shows(r#""state":"running""#).await;
    assert_ne!(run().await, second, "the one before has ended with the page before");
    let _other = browser.open(format_args!("http://{address}/tasks")).await;
    page.close().await;
    until_async("it has ended with its page", LIMIT, || async {
        let list = Http::connect(address).await.get("/tasks").await.body;
        !list.contains("running") && list.contains("primes")
    })
    .await;
    stop(program).await;
}
