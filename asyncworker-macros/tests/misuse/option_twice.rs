include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::route("orders", bulk_size = 2, vhost = "/", bulk_size = 3)]
async fn index() {}

fn main() {
    routes![index];
}
