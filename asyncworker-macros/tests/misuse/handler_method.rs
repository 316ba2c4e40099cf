include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

struct Worker;

impl Worker {
    #[app::route("orders")]
    async fn index(&self) {}

    #[app::route("orders")]
    async fn owned(self) {}
}

fn main() {
    let _ = (Worker.index(), Worker.owned());
}
