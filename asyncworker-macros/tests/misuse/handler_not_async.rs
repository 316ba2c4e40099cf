include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::route("orders")]
fn index(_count: u32) {}

#[app::route("orders")]
const fn constant() {}

fn main() {
    routes![index, constant];
}
