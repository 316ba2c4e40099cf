//! A worker of events as a process of its own: `events URL IDS LOG` appends the data of each event to the log when it has
//! handled it, and keeps its place in the file of ids.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::prelude::*;
use asyncworker::{Event, EventIdFile};
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), asyncworker::Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, ids, log] = &arguments[..] else { panic!("events URL IDS LOG") };
    let file = Arc::new(File::options().create(true).append(true).open(log).expect("open the log"));
    let options = RouteOptions::new().bulk_size(10).bulk_flush_interval(Duration::from_millis(5));
    let route = Route::sse(["/events"]).name("events").options(options).handler(move |events: Batch<Event>| {
        let file = file.clone();
        async move {
            let lines: String =
                events.iter().map(|event| format!("{}\n", String::from_utf8_lossy(event.raw()))).collect();
            (&*file).write_all(lines.as_bytes()).expect("write the log");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    App::new().connect(Sse::new(url)?.event_ids(EventIdFile::new(ids))).route(route).run().await
}
