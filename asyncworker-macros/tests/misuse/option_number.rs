include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::route("orders", bulk_size = 0, concurrency = -1, prefetch = 65536)]
async fn out_of_range() {}

#[app::route("orders", bulk_size = "10", concurrency = 1.5)]
async fn not_a_whole_number() {}

fn main() {
    routes![out_of_range, not_a_whole_number];
}
