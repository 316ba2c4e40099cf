include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::route("", bulk_size = 0, bulk_flush_intervall = "2s", timeout = 30, on_success = Done)]
fn index(_count: &u32) {}

fn main() {
    routes![index];
    index(&1);
}
