//! The attribute as a user writes it, expanded by the compiler and run.

#![deny(warnings, missing_docs, missing_debug_implementations, unreachable_pub)]

include!("stub/asyncworker.rs");

use asyncworker_macros as app;
use std::time::Duration;

const QUEUE: [&str; 1] = ["by.constant"];
const BULK: usize = 7;

#[app::route("orders")]
async fn index() {}

#[app::route(
    ["orders", "orders.late"],
    name = format!("{}-{}", "settles", 1),
    vhost = "fluentd",
    connection = String::from("here"),
    bulk_size = BULK * 2,
    bulk_flush_interval = "1.5s",
    on_success = Ack,
    on_exception = Action::Reject,
    on_decode_error = asyncworker::Action::Requeue,
    concurrency = 4usize,
    timeout = Duration::from_secs(30),
    prefetch = 256,
)]
async fn settle(mut _count: u32, _name: String) {}

/// A public handler in a module.
pub mod inner {
    use super::app;

    /// Makes three routes.
    #[app::route("a")]
    #[app::route(super::QUEUE)]
    #[app::route(["b", "c"], name = "own")]
    pub async fn stacked(#[cfg(unix)] _here: u32, #[cfg(not(unix))] _nowhere: f64) {}
}

#[app::sse("/orders", bulk_size = 2)]
#[app::route("orders")]
async fn of_both_kinds() {}

#[app::get(["/count", "/count/{base}"])]
#[app::put("/count", name = "resets", body_limit = 8 * 2)]
async fn count(_: http::State, #[cfg(any())] _: Nothing, _: u32, _: String) -> u32 {
    0
}

#[app::delete(QUEUE)]
async fn deletes() {}

#[app::ws("/feed")]
async fn feed(_: http::WebSocket, _: u32, _: http::State) {}

#[app::run_every("1.5s", max_concurrency = 2, jitter = "100ms", timeout = Duration::from_secs(1))]
#[app::cron("0 3 * * 1-5", timezone = "Europe/Berlin", name = "nightly")]
async fn tick(_state: String) {}

#[app::route("never")]
#[cfg(any())]
async fn absent(_: Unknown) {}

#[app::route("always")]
#[cfg_attr(unix, app::route("here"))]
#[cfg_attr(not(unix), app::route("here"))]
#[cfg_attr(any(), app::route("never"))]
async fn conditional() {}

#[app::route("raw")]
async fn r#match() {}

macro_rules! made_by_a_macro {
    ($name:ident, $queue:expr, $interval:literal, $action:expr) => {
        #[app::route($queue, bulk_flush_interval = $interval, on_success = $action)]
        async fn $name() {}
    };
}
made_by_a_macro!(made, "made", "300ms", Reject);

#[test]
fn a_queue_alone_leaves_everything_else_to_its_default() {
    let expected = Route { queues: vec!["orders".into()], name: "index".into(), ..Route::default() };
    assert_eq!(routes![index], [expected]);
}

#[test]
fn every_option_arrives() {
    let expected = Route {
        queues: vec!["orders".into(), "orders.late".into()],
        name: "settles-1".into(),
        vhost: Some("fluentd".into()),
        connection: Some("here".into()),
        options: RouteOptions {
            bulk_size: Some(14),
            bulk_flush_interval: Some(Duration::from_millis(1500)),
            on_success: Some(Action::Ack),
            on_exception: Some(Action::Reject),
            on_decode_error: Some(Action::Requeue),
            concurrency: Some(4),
            timeout: Some(Duration::from_secs(30)),
            prefetch: Some(256),
        },
        ..Route::default()
    };
    assert_eq!(routes![settle], [expected]);
}

#[test]
fn stacked_attributes_are_routes_in_the_order_they_are_written() {
    let names: Vec<_> = routes![inner::stacked].into_iter().map(|route| (route.name, route.queues)).collect();
    let expected = [("stacked(a)", vec!["a"]), ("stacked(#2)", vec!["by.constant"]), ("own", vec!["b", "c"])];
    assert_eq!(names, expected.map(|(name, queues)| (name.into(), queues.into_iter().map(String::from).collect())));
}

#[test]
fn attributes_of_several_kinds_stand_on_one_function() {
    let [events, orders] = &routes![of_both_kinds][..] else { panic!("not two routes") };
    assert_eq!((&events.paths[..], &*events.name), (&["/orders".to_owned()][..], "of_both_kinds(/orders)"));
    assert_eq!((&orders.queues[..], &*orders.name), (&["orders".to_owned()][..], "of_both_kinds(orders)"));
    assert_eq!((events.options.bulk_size, orders.options.bulk_size), (Some(2), None));
}

#[test]
fn endpoints_have_their_method_their_paths_and_what_their_arguments_need() {
    let endpoints: Vec<_> =
        routes![count, deletes, feed].into_iter().map(|mount| mount.endpoint.expect("an endpoint")).collect();
    let paths = |paths: &[&str]| paths.iter().map(|path| path.to_string()).collect();
    let endpoint =
        |method, paths, name: &str, needs| http::Endpoint { method, paths, name: name.into(), body_limit: None, needs };
    let expected = [
        endpoint("get", paths(&["/count", "/count/{base}"]), "count(/count)", 1),
        http::Endpoint { body_limit: Some(16), ..endpoint("put", paths(&["/count"]), "resets", 1) },
        endpoint("delete", paths(&["by.constant"]), "deletes", 0),
        endpoint("ws", paths(&["/feed"]), "feed", 1),
    ];
    assert_eq!(endpoints, expected);
}

#[test]
fn schedules_are_made_of_an_interval_or_an_expression() {
    let mounts = routes![tick];
    let every = Schedule {
        interval: Duration::from_millis(1500),
        name: "tick(1.5s)".into(),
        max_concurrency: Some(2),
        jitter: Some(Duration::from_millis(100)),
        timeout: Some(Duration::from_secs(1)),
        ..Schedule::default()
    };
    let cron = Schedule {
        pattern: "0 3 * * 1-5".into(),
        name: "nightly".into(),
        timezone: Some("Europe/Berlin".into()),
        ..Schedule::default()
    };
    assert_eq!(mounts.into_iter().map(|mount| mount.schedule).collect::<Vec<_>>(), [Some(every), Some(cron)]);
    drop(tick(String::new()));
}

#[test]
fn attributes_under_a_condition_are_routes_where_it_holds() {
    let names: Vec<_> = routes![conditional].into_iter().map(|route| route.name).collect();
    assert_eq!(names, ["conditional(always)", "conditional(here)"]);
}

#[test]
fn what_a_macro_hands_on_is_read_like_what_is_written_out() {
    let made = routes![made];
    assert_eq!(made[0].queues, ["made"]);
    assert_eq!(made[0].options.bulk_flush_interval, Some(Duration::from_millis(300)));
    assert_eq!(made[0].options.on_success, Some(Action::Reject));
}

#[test]
fn the_functions_stay_callable() {
    drop((index(), settle(1, String::new()), r#match(), made(), conditional()));
    assert_eq!(routes![r#match][0].name, "match");
}

#[test]
fn a_function_inside_a_function_can_be_a_handler() {
    #[app::route("local")]
    async fn local(_count: u32) {}
    assert_eq!(routes![local][0].name, "local");
    drop(local(1));
}
