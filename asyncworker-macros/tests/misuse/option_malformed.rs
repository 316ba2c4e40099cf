include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::route("orders", bulk_size: 2)]
async fn colon() {}

#[app::route("orders", bulk_size(2))]
async fn parentheses() {}

#[app::route("orders", bulk_size = , timeout)]
async fn no_value() {}

#[app::route("orders", bulk_size = 2 concurrency = 4)]
async fn no_comma() {}

#[app::route("orders" bulk_size = 2)]
async fn no_comma_after_the_queues() {}

fn main() {
    routes![colon, parentheses, no_value, no_comma, no_comma_after_the_queues];
}
