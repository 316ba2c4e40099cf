//! Requests to an app without a network.

use super::{Site, TestSocket};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;

/// Asks a running app in place of an HTTP client, without a connection: [`Running::http_client`](crate::Running::http_client).
///
/// Layers, limits of bodies, probes and the fallback are there as for anybody; limits of connections are not. It works in
/// virtual time. A websocket is opened by [`TestRequest::upgrade`].
///
/// ```
/// use asyncworker::http::{Endpoint, Http, Json, Path};
/// use asyncworker::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), asyncworker::Error> {
/// async fn double(Path(number): Path<u64>) -> Json<u64> {
///     Json(2 * number)
/// }
///
/// let app = App::new().http(Http::unbound()).mount([Endpoint::get("/double/{number}", double)]).start().await?;
/// let answer = app.http_client().get("/double/21").send().await;
/// assert_eq!(answer.status(), 200);
/// assert_eq!(answer.json::<u64>(), 42);
/// # app.shutdown().await
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TestClient {
    /// `None`: the app has no HTTP.
    site: Option<Site>,
}

/// A constructor a method.
macro_rules! of_method {
    ($($name:ident $method:ident)*) => {
        $(
            #[doc = concat!("A ", stringify!($method), " of this path, with its query.")]
            pub fn $name(&self, path: &str) -> TestRequest {
                self.request(Method::$method, path)
            }
        )*
    };
}

impl TestClient {
    pub(crate) fn new(site: Option<Site>) -> Self {
        Self { site }
    }

    of_method! { get GET head HEAD post POST put PUT patch PATCH delete DELETE }

    /// A request of any method.
    ///
    /// # Panics
    /// The path is not a path of a URI.
    #[track_caller]
    pub fn request(&self, method: Method, path: &str) -> TestRequest {
        let uri = match path.parse::<Uri>() {
            Ok(uri) if path.starts_with('/') => uri,
            _ => panic!("{path:?} is not a path, such as `/orders?late=true`"),
        };
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        TestRequest { site: self.site.clone(), request }
    }
}

/// A request of a [`TestClient`].
#[derive(Debug)]
#[must_use = "it does nothing until it is sent"]
pub struct TestRequest {
    site: Option<Site>,
    request: Request,
}

impl TestRequest {
    /// Adds a header.
    ///
    /// # Panics
    /// HTTP cannot carry the name or the value.
    #[track_caller]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            panic!("{name:?}: {value:?} is not a header");
        };
        self.request.headers_mut().append(name, value);
        self
    }

    /// The body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        *self.request.body_mut() = Body::from(body.into());
        self
    }

    /// This value as the body, in JSON.
    ///
    /// # Panics
    /// The value is not JSON, because it has a map whose keys are not strings, say.
    #[track_caller]
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        let body = match serde_json::to_vec(value) {
            Ok(body) => body,
            Err(error) => panic!("the value is not JSON: {error}"),
        };
        self.request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body(body)
    }

    /// Sends it and waits for the whole answer. An app without HTTP answers 404.
    ///
    /// # Panics
    /// The body of the answer breaks off.
    pub async fn send(self) -> TestResponse {
        let Some(site) = self.site else { return TestResponse::of_nobody() };
        TestResponse::read(site.answer(self.request).await).await
    }

    /// Asks for a websocket and waits until it is open. Headers that make it such a request are added, but for those it has.
    ///
    /// # Errors
    /// The answer, where it is none that upgrades: 403 to an origin that is not allowed, say, 404 where there is no endpoint, or
    /// 200 of an endpoint that is none of websockets.
    ///
    /// # Panics
    /// The body of the answer breaks off.
    pub async fn upgrade(self) -> Result<TestSocket, TestResponse> {
        let Some(site) = self.site else { return Err(TestResponse::of_nobody()) };
        match TestSocket::open(site, self.request).await {
            Ok(socket) => Ok(socket),
            Err(refusal) => Err(TestResponse::read(refusal).await),
        }
    }
}

/// The answer to a [`TestRequest`].
#[derive(Clone)]
pub struct TestResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl TestResponse {
    /// Where there is no HTTP.
    fn of_nobody() -> Self {
        Self { status: StatusCode::NOT_FOUND, headers: HeaderMap::new(), body: Bytes::new() }
    }

    async fn read(answer: Response) -> Self {
        let (head, body) = answer.into_parts();
        match to_bytes(body, usize::MAX).await {
            Ok(body) => Self { status: head.status, headers: head.headers, body },
            Err(error) => panic!("the body of the answer breaks off: {error}"),
        }
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// All headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The header of this name, if there is one, and it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// The body as text; what is not UTF-8 in it is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body decoded from JSON.
    ///
    /// # Panics
    /// It is not JSON of this type.
    #[must_use]
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("the answer ({}) is not what was expected: {error}: {}", self.status, self.text()),
        }
    }
}

impl fmt::Debug for TestResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestResponse")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body", &self.text())
            .finish()
    }
}
