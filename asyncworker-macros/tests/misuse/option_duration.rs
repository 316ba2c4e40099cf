include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::route("orders", bulk_flush_interval = 60, timeout = 2s)]
async fn numbers() {}

#[app::route("orders", bulk_flush_interval = 1.5, timeout = true)]
async fn other_literals() {}

#[app::route("orders", bulk_flush_interval = "60", timeout = "2 sec")]
async fn without_a_known_unit() {}

#[app::route("orders", bulk_flush_interval = "0s", timeout = "soon")]
async fn not_a_time() {}

fn main() {
    routes![numbers, other_literals, without_a_known_unit, not_a_time];
}
