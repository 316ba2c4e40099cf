//! A service: what lives as long as the app, beside its handlers. They find it by its trait and know nothing of e-mail.
use asyncworker as app;
use asyncworker::prelude::*;
use asyncworker::{QueueService, Service, ServiceContext, Supervised};
use std::sync::Arc;

#[app::async_trait]
trait MessageSender: Send + Sync {
    async fn send(&self, to: String, text: String) -> Result<(), Failure>;
}

/// Sends e-mail, one at a time; 1,000 can wait.
struct Email(QueueService<(String, String)>);

async fn deliver((to, text): (String, String)) -> Result<(), Failure> {
    println!("to {to}: {text}"); // an Err is logged, and the next is sent
    Ok(())
}

#[app::async_trait]
impl MessageSender for Email {
    async fn send(&self, to: String, text: String) -> Result<(), Failure> {
        Ok(self.0.put((to, text)).await?) // waits for room
    }
}

#[app::async_trait]
impl Service for Email {
    async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
        self.0.run(context).await // until told to stop; what waits is sent first
    }
}

#[app::route("orders")]
async fn confirm(order: Message, sender: State<Arc<dyn MessageSender>>) -> Result<(), Failure> {
    sender.send("ada@example.com".into(), format!("we have your order {}", order.body()?["id"])).await
}

#[tokio::main]
async fn main() -> Result<(), app::Error> {
    let broker = Memory::new(); // or Amqp::from_uri("amqp://..")?
    broker.push("orders", r#"{"id": 7}"#);
    let email = Supervised::new(Email(QueueService::new(1_000, deliver)));
    App::new()
        .connect(broker)
        .service(email.name("email").provides::<Arc<dyn MessageSender>>(|email| email))
        .mount(routes![confirm])
        .run()
        .await
}
