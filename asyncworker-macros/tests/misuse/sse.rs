include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::sse]
async fn bare() {}

#[app::sse(path = "/events")]
async fn by_name() {}

#[app::sse(bulk_size = 2, "/events")]
async fn too_late() {}

#[app::sse("/events", "/audit")]
async fn several() {}

#[app::sse("/events", vhost = "/")]
async fn vhost() {}

#[app::sse(["/events", ""])]
#[app::route([])]
async fn two_kinds() {}

#[app::sse("/events")]
pub struct NoFunction;

fn main() {
    routes![bare, by_name, too_late, several, vhost, two_kinds];
    let _ = NoFunction;
}
