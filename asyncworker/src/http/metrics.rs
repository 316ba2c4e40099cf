//! The path that Prometheus reads, and what is counted of all requests.

use super::site::Builtin;
use crate::meter::{Answered, Answers, HttpMeter, InProgress};
use crate::metrics::{CONTENT_TYPE as TEXT, Exposition};
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::Instant;

const REMEDY: &str =
    "choose another path, give the metrics one by `Metrics::path`, or turn theirs off by `Metrics::enabled(false)`";

pub(super) fn builtin(path: &str, exposition: Exposition) -> Builtin {
    // There from the start, so that something of each metric is shown to whoever reads the first time.
    exposition.http().answers(Answered { path: path.to_owned(), method: "GET", status: 200 });
    let answers = || get(async move || ([(CONTENT_TYPE, TEXT)], exposition.text()));
    Builtin { path: path.to_owned(), remedy: REMEDY, answers: Box::new(move |_| answers()) }
}

/// The router within what counts its requests.
pub(super) fn count(router: Router, meter: HttpMeter) -> Router {
    router.layer(from_fn(move |request, next| counted(meter.clone(), request, next)))
}

async fn counted(meter: HttpMeter, request: Request, next: Next) -> Response {
    let in_progress = meter.begins();
    let began = Instant::now();
    // Clients choose paths and methods as they like; what is counted by has to be as many as the app knows.
    let path = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let method = method(request.method());
    let response = next.run(request).await;
    let answers = meter.answers(Answered { path, method, status: response.status().as_u16() });
    answers.took(began.elapsed());
    response.map(|body| Body::new(Counted { body, octets: 0, answers, _in_progress: in_progress }))
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "other",
    }
}

/// The body of an answer. Its size is known when it has been sent, or given up.
struct Counted {
    body: Body,
    octets: u64,
    answers: Arc<Answers>,
    _in_progress: InProgress,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.octets += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.answers.had(self.octets);
    }
}
