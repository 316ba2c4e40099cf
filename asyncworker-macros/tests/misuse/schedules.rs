include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::run_every]
async fn bare() {}

#[app::run_every(seconds = 1)]
async fn by_name() {}

#[app::run_every("1s", "2s")]
async fn several() {}

#[app::run_every(2)]
async fn number() {}

#[app::run_every("0s")]
async fn zero() {}

#[app::run_every("1s", max_concurrency = 0)]
async fn never() {}

#[app::run_every("1s", bulk_size = 2)]
async fn unknown() {}

#[app::run_every("1s", timezone = "UTC")]
async fn zone_of_an_interval() {}

#[app::run_every("1s")]
fn not_async() {}

#[app::cron("0 3 * *")]
async fn four_fields() {}

#[app::cron(3)]
async fn no_text() {}

#[app::cron("0 3 * * *", tz = "UTC")]
async fn misspelt() {}

fn main() {
    routes![bare, by_name, several, number, zero, never, unknown, zone_of_an_interval, not_async];
    routes![four_fields, no_text, misspelt];
}
