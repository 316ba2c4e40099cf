//! The same without an attribute: routes as values, names known only at run time, two brokers.
use asyncworker::prelude::*;

async fn count(messages: Batch<Message<serde_json::Value>>) {
    println!("{} messages", messages.len());
}

#[tokio::main]
async fn main() -> Result<(), asyncworker::Error> {
    let queues: Vec<String> = std::env::args().skip(1).collect();
    App::new()
        .connect(Amqp::from_uri("amqp://guest:guest@127.0.0.1:5672")?.name("here"))
        .connect(
            Amqp::from_uris(["amqp://guest:guest@127.0.0.1:5672", "amqp://guest:guest@127.0.0.1:5673"])?.name("there"),
        )
        .route(
            Route::amqp(queues)
                .name("count")
                .connection("here")
                .vhost("/")
                .options(RouteOptions::new().bulk_size(100).on_exception(Action::Requeue))
                .handler(count),
        )
        .on_startup(|_ctx| async { Ok(()) })
        .on_shutdown(|_ctx| async { Ok(()) })
        .shutdown_timeout(std::time::Duration::from_secs(20))
        .run()
        .await
}
