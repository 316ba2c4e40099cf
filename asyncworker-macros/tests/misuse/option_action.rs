include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::route("orders", on_success = Acknowledge, on_exception = Outcome::Ack, on_decode_error = "Reject")]
async fn index() {}

fn main() {
    routes![index];
}
