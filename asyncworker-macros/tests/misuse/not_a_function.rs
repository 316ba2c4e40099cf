include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::route("orders")]
#[derive(Debug)]
pub struct Worker;

#[app::route("orders")]
#[app::route("mail")]
mod handlers {}

#[app::route("orders")]
impl Worker {
    async fn index() {}
}

fn main() {
    println!("{Worker:?}");
}
