include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::route("orders", "orders.late")]
async fn two() {}

#[app::route("orders", vhost = "/", "orders.late")]
async fn after_an_option() {}

const QUEUE: &str = "orders";

#[app::route([QUEUE], QUEUE)]
async fn constants() {}

fn main() {
    routes![two, after_an_option, constants];
}
