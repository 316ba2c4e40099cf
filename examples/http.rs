//! HTTP beside the queues: endpoints that share the app's state, publish, and speak by websocket.
//!
//! `curl -d '{"id": 7}' -H 'content-type: application/json' 127.0.0.1:8080/orders`, then
//! `curl 127.0.0.1:8080/handled/0`; `/livez` and `/readyz` are there by themselves.
use asyncworker as app;
use asyncworker::http::ws::{Message as Frame, WebSocket};
use asyncworker::http::{Json, Path, StatusCode};
use asyncworker::prelude::*;
use tokio::sync::watch;

#[derive(serde::Serialize, serde::Deserialize)]
struct Order {
    id: u64,
}

type Handled = watch::Sender<u64>;

// An `Err` answers 500; its reason is in the log, and not in the answer.
#[app::post("/orders", body_limit = 1024)]
async fn order(publisher: Publisher, Json(order): Json<Order>) -> Result<StatusCode, Failure> {
    publisher.publish(Publish::json(&order)?.to("orders")).await?;
    Ok(StatusCode::ACCEPTED)
}

#[app::route("orders")]
async fn index(State(handled): State<Handled>, Body(order): Body<Order>) {
    handled.send_modify(|handled| *handled += 1);
    println!("order {}", order.id);
}

#[app::get("/handled/{base}")]
async fn handled(Path(base): Path<u64>, State(handled): State<Handled>) -> Json<u64> {
    Json(base + *handled.borrow())
}

// Closed with 1001 (going away) when the app is told to stop.
#[app::ws("/feed")]
async fn feed(mut socket: WebSocket, State(handled): State<Handled>) -> Result<(), Failure> {
    let mut handled = handled.subscribe();
    loop {
        let so_far = handled.borrow_and_update().to_string();
        socket.send(Frame::text(so_far)).await?;
        tokio::select! {
            changed = handled.changed() => changed?,
            received = socket.recv() => if received.transpose()?.is_none() { return Ok(()) },
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), app::Error> {
    App::new()
        .connect(Amqp::from_uri("amqp://guest:guest@127.0.0.1:5672")?)
        .declare(Queue::new("orders"))
        .http(Http::bind("127.0.0.1:8080"))
        .state(Handled::new(0))
        .mount(routes![order, index, handled, feed])
        .run()
        .await
}
