include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::route("orders")]
async fn generic<T: Send>(_count: T) {}

#[app::route("orders")]
async fn lifetime<'a>(_count: std::borrow::Cow<'a, str>) {}

#[app::route("orders")]
async fn hidden(_count: impl Send, _counts: Vec<impl Send>) {}

fn main() {
    routes![generic, lifetime, hidden];
}
