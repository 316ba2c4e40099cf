include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::route("orders")]
async unsafe fn not_safe() {}

#[app::route("orders")]
async extern "C" fn foreign() {}

#[app::route("orders")]
const async fn constant() {}

#[app::route("orders")]
async fn variadic(_count: u32, _: ...) {}

fn main() {
    routes![not_safe, foreign, constant, variadic];
}
