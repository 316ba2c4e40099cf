include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::run_every("1s")]
async fn a_message(_state: u32, _message: Message) {}

fn main() {
    routes![a_message];
}
