include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::route]
async fn bare() {}

#[app::route(bulk_size = 2)]
async fn only_options() {}

#[app::route("orders")]
#[app::route()]
async fn stacked() {}

#[app::route(queue = "orders")]
async fn by_name() {}

#[app::route(bulk_size = 2, "orders")]
async fn too_late() {}

fn main() {
    routes![bare, only_options, stacked, by_name, too_late];
}
