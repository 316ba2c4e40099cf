include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::route("orders", vhost = 1, connection = 'a', name = 2)]
async fn index() {}

fn main() {
    routes![index];
}
