include!("../stub/asyncworker.rs");
use asyncworker_macros as app;
use http::WebSocket;

#[app::post("/body-first")]
async fn body_first(_: String, _: u32) {}

#[app::get("/unknown")]
async fn unknown(_: f64) -> f64 {
    0.0
}

#[app::ws("/nothing")]
async fn no_socket() {}

#[app::ws("/late")]
async fn late_socket(_: u32, _: WebSocket) {}

#[app::ws("/body")]
async fn with_a_body(_: WebSocket, _: String) -> u32 {
    0
}

fn main() {
    routes![body_first, unknown, no_socket, late_socket, with_a_body];
}
