//! The desk of a team: deployments as they come, a chat, long tasks, and where the services stand. One program, with a
//! page of each, of the framework's own parts.
//!
//! `cargo run --example desk`, then open the address that it prints; in two browsers it is a team.
//!
//! ```text
//! feed --events--> forward --queue--> show --in-app event--> post --room--> pages
//! (feed.rs)        (deploys.rs)                        \---> notify -----> notifier (services.rs)
//! ```
//!
//! | variable | default | |
//! |---|---|---|
//! | `DESK_BIND` | `127.0.0.1:8080` | where it is served; with port 0 the system chooses one |
//! | `AMQP_URL` | a broker in the process | RabbitMQ |
//! | `DESK_FEED` | a feed of its own | base URL of a feed, as [`feed`] has it: `/deployments` is asked for |
//! | `DESK_PREFIX` | `desk` | what the names of exchange and queues begin with |
mod chat;
mod deploys;
mod feed;
mod pages;
mod services;
mod tasks;

use asyncworker as app;
use asyncworker::prelude::*;
use asyncworker::{Connection, Running, Supervised};
use std::env;

#[tokio::main]
async fn main() -> Result<(), app::Error> {
    let broker: Connection = match env::var("AMQP_URL") {
        Ok(url) => Amqp::from_uri(&url)?.into(),
        Err(_) => Memory::new().into(),
    };
    // An app of its own, which ends when it is dropped: after the desk has.
    let feed = feed::Feed::default();
    let (_feed, url, own) = match env::var("DESK_FEED") {
        Ok(url) => (None, url, None),
        Err(_) => {
            let (running, url) = feed::serve(&feed).await?;
            (Some(running), url, Some(feed))
        }
    };
    let (exchange, queue) = (deploys::EXCHANGE.as_str(), deploys::QUEUE.as_str());
    App::new()
        .name("desk")
        .connect(broker)
        .connect(Sse::new(&url)?)
        .declare(Exchange::topic(exchange))
        .declare(Queue::new(queue).dead_letter(format!("{queue}.dead")))
        .declare(Binding::new(exchange, "#", queue))
        .http(Http::bind(env::var("DESK_BIND").unwrap_or("127.0.0.1:8080".into())).body_limit(16 * 1024))
        .state(app::Rooms::new())
        .state(deploys::Deploys::default())
        .state(own)
        .state(services::Seen::default())
        .service(Supervised::new(services::Rota::default()).name("rota").provides::<services::OnCall>(|rota| rota))
        .service(services::notifier())
        .on(deploys::post)
        .on(services::notify)
        .mount(routes![deploys::forward, deploys::show, deploys::list, deploys::live, deploys::fed, deploys::cut])
        .mount(routes![chat::live, tasks::live, services::look, services::live, services::crash])
        .mount(routes![pages::deploys, pages::chat, pages::tasks, pages::services])
        .mount(routes![pages::style, pages::script, pages::icon])
        .on_started(tell_address)
        .run()
        .await
}

fn tell_address(desk: &Running) {
    if let Some(address) = desk.http_address() {
        println!("desk: http://{address}/");
    }
}
