//! Flask's way: the attribute is enough. `App::discover` finds every route of the program, in whatever module it
//! stands; `mount(routes![..])` is the explicit way, and also takes part of them.
use asyncworker as app;
use asyncworker::prelude::*;

mod billing {
    use asyncworker as app;
    use asyncworker::prelude::*;

    #[app::route("invoices", bulk_size = 20)]
    async fn invoices(invoices: Batch<Message>) {
        println!("{} invoices", invoices.len());
    }
}

mod mail {
    use asyncworker as app;
    use asyncworker::prelude::*;

    #[app::route(["mail", "mail.urgent"], concurrency = 16)]
    async fn deliver(Body(letter): Body<String>) -> Action {
        if letter.is_empty() { Action::Reject } else { Action::Ack }
    }
}

#[tokio::main]
async fn main() -> Result<(), app::Error> {
    App::discover().connect(Amqp::from_uri("amqp://guest:guest@127.0.0.1:5672")?).run().await
}
