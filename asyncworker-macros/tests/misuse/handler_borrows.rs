include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::route("orders")]
async fn index(_counts: &Vec<u32>, _text: &'static str, _bytes: &mut [u8]) {}

fn main() {
    routes![index];
}
