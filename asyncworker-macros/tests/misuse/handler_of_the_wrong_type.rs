include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

struct Ratio(f64);

#[app::route("orders")]
async fn index(_count: u32, _ratio: Ratio, _text: String) {}

#[app::route("orders")]
async fn outcome(_count: u32) -> Result<Ratio, ()> {
    Ok(Ratio(0.5))
}

fn main() {
    routes![index, outcome];
}
