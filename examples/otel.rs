//! One trace from the publisher to the last handler, printed here; an exporter of another kind (`opentelemetry-otlp`) goes
//! in its place. The context travels in the messages' headers, as W3C's `traceparent`.
use asyncworker as app;
use asyncworker::prelude::*;
use opentelemetry::global;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

// A child of the span that published the order; what it returns is published in a child of its own.
#[app::route("orders")]
async fn receipt(order: Message) -> Publish {
    Publish::raw(order.raw().clone()).to("receipts")
}

// A trace of its own, with a link to that of each receipt.
#[app::route("receipts", bulk_size = 10, bulk_flush_interval = "1s")]
async fn print(receipts: Batch<Message>) {
    println!("{} receipts", receipts.len());
}

#[app::run_every("5s")]
async fn order() -> Publish {
    Publish::raw("{}").to("orders")
}

#[tokio::main]
async fn main() -> Result<(), app::Error> {
    let provider =
        SdkTracerProvider::builder().with_simple_exporter(opentelemetry_stdout::SpanExporter::default()).build();
    // Its spans, and those of the program; not those of connections and routes, which last as long as the app.
    let exported = Targets::new().with_target("asyncworker::otel", Level::INFO).with_target("otel", Level::INFO);
    let traces = tracing_opentelemetry::layer().with_tracer(provider.tracer("example")).with_filter(exported);
    tracing_subscriber::registry().with(traces).init();
    global::set_text_map_propagator(TraceContextPropagator::new());

    let app = App::new().connect(Memory::new()).declare(Queue::new("orders")).declare(Queue::new("receipts"));
    let ended = app.mount(routes![order, receipt, print]).run().await;
    // An exporter that gathers spans would send the last ones now.
    if let Err(error) = provider.shutdown() {
        eprintln!("the last spans are lost: {error}");
    }
    ended
}
