include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::route("orders", bulksize = 2)]
async fn nearly() {}

#[app::route("orders", flush_interval = "2s")]
async fn in_part() {}

#[app::route("orders", retries = 3)]
async fn not_at_all() {}

fn main() {
    routes![nearly, in_part, not_at_all];
}
