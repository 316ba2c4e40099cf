include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

const SECONDS: u64 = 30;

#[app::route("orders", timeout = SECONDS, prefetch = 5usize)]
async fn index() {}

fn main() {
    routes![index];
}
