include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::route([])]
async fn none() {}

#[app::route("")]
async fn empty() {}

#[app::route(["orders", ""])]
async fn one_empty() {}

#[app::route("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")]
async fn too_long() {}

#[app::route(["orders", 5])]
async fn number() {}

#[app::route(["orders", "mail", "orders"])]
async fn twice() {}

fn main() {
    routes![twice, none, empty, one_empty, too_long, number];
}
