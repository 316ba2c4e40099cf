include!("../stub/asyncworker.rs");
use asyncworker_macros as app;

#[app::timeit]
async fn bare() {}

#[app::timeit(callback = keep)]
async fn nameless() {}

#[app::timeit("import")]
async fn nobody_told() {}

#[app::timeit(7, callback = keep)]
async fn number() {}

#[app::timeit("import", keep)]
async fn positional() {}

#[app::timeit("import", callbak = keep)]
async fn misspelt() {}

#[app::timeit("import", callback = keep, callback = keep)]
async fn twice() {}

#[app::timeit("import" callback = keep)]
async fn no_comma() {}

#[app::timeit("import", callback = keep)]
fn not_async() {}

#[app::timeit("import", callback = keep)]
struct NoFunction;

trait Import {
    #[app::timeit("import", callback = keep)]
    async fn import(&self);
}

fn main() {
    let _ = NoFunction;
}
