include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::get]
async fn bare() {}

#[app::get(path = "/orders")]
async fn by_name() {}

#[app::post("/orders", "/orders/late")]
async fn several() {}

#[app::put(["orders", ""])]
async fn relative() {}

#[app::patch("/orders/:id/*rest")]
async fn old_captures() {}

#[app::delete("/orders", bulk_size = 2)]
async fn option_of_a_route() {}

#[app::get("/orders", body_limit = 0)]
async fn no_body() {}

#[app::head("/orders")]
#[app::ws("/orders", body_limit = 10)]
async fn two_kinds(_: &str) {}

#[app::get("/orders")]
pub struct NoFunction;

fn main() {
    routes![bare, by_name, several, relative, old_captures, option_of_a_route, no_body, two_kinds];
    let _ = NoFunction;
}
