//! What an app answers at a path: a handler, its methods and its paths.

use super::needs::Need;
use super::ws::{SocketHandler, upgrade};
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter};
use std::fmt;

/// A handler and the requests it answers: what `#[app::get]` and its like make, as a value.
///
/// The handler is any of axum's: an `async fn` of up to 16 arguments that are axum's extractors, which returns what is
/// `IntoResponse`. [`State<T>`](crate::State) and [`Publisher`](crate::Publisher) are among the extractors.
///
/// Paths are axum's: `/orders/{id}` captures a segment, `/files/{*path}` the rest.
///
/// ```
/// use asyncworker::http::{Endpoint, Path, StatusCode};
/// use asyncworker::prelude::*;
///
/// async fn order(publisher: Publisher, Path(id): Path<u64>) -> Result<StatusCode, Failure> {
///     publisher.publish(Publish::json(&id)?.to("orders")).await?;
///     Ok(StatusCode::ACCEPTED)
/// }
///
/// let app = App::new().mount([Endpoint::post("/orders/{id}", order), Endpoint::get("/", async || "hello")]);
/// ```
pub struct Endpoint {
    name: Option<String>,
    pub(super) methods: Vec<Method>,
    pub(super) paths: Vec<String>,
    pub(super) answers: MethodRouter,
    pub(super) body_limit: Option<usize>,
    pub(super) needs: Vec<Need>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("name", &self.name)
            .field("methods", &self.methods)
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

/// A constructor a method.
macro_rules! of_method {
    ($($name:ident $method:ident $says:literal)*) => {
        $(
            #[doc = $says]
            pub fn $name<A: 'static>(paths: impl Into<Paths>, handler: impl Handler<A, ()>) -> Self {
                Self::on([Method::$method], paths, handler)
            }
        )*
    };
}

impl Endpoint {
    of_method! {
        get GET "Answers GET, and HEAD by the same without the body, unless there is an endpoint for HEAD."
        head HEAD "Answers HEAD."
        post POST "Answers POST."
        put PUT "Answers PUT."
        patch PATCH "Answers PATCH."
        delete DELETE "Answers DELETE."
    }

    /// Answers GET by an upgrade to a websocket, which this handler then attends to.
    pub fn ws<A: 'static>(paths: impl Into<Paths>, handler: impl SocketHandler<A>) -> Self {
        Self::on([Method::GET], paths, async move |request: Request| upgrade(handler, request).await)
    }

    /// Answers each of these methods at each of these paths. No method, no path, and a method that HTTP does not have
    /// itself are refused at start.
    pub fn on<A: 'static>(
        methods: impl IntoIterator<Item = Method>,
        paths: impl Into<Paths>,
        handler: impl Handler<A, ()>,
    ) -> Self {
        let methods: Vec<Method> = methods.into_iter().collect();
        let filters = methods.iter().filter_map(|method| MethodFilter::try_from(method.clone()).ok());
        let answers = match filters.reduce(MethodFilter::or) {
            Some(filter) => axum::routing::on(filter, handler),
            None => MethodRouter::new(),
        };
        Self { name: None, methods, paths: paths.into().0, answers, body_limit: None, needs: Vec::new() }
    }

    /// The name that logs and errors show. Default: its methods and paths.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Bytes of a request's body at the most, in place of [`Http::body_limit`](super::Http::body_limit).
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = Some(bytes);
        self
    }

    /// What its handler needs of the app, for a start-up error.
    #[doc(hidden)]
    #[must_use]
    pub fn __needs(mut self, needs: impl IntoIterator<Item = Need>) -> Self {
        self.needs.extend(needs);
        self
    }

    /// The name to show: the given one, and what it answers.
    pub(crate) fn label(&self) -> String {
        let methods: Vec<_> = self.methods.iter().map(Method::as_str).collect();
        let answers = format!("{} {}", methods.join("|"), self.paths.join(", "));
        match &self.name {
            Some(name) => format!("`{name}` ({answers})"),
            None => format!("`{answers}`"),
        }
    }
}

/// One path or several: what an [`Endpoint`] is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths(Vec<String>);

impl From<&str> for Paths {
    fn from(path: &str) -> Self {
        Self(vec![path.to_owned()])
    }
}

impl From<String> for Paths {
    fn from(path: String) -> Self {
        Self(vec![path])
    }
}

impl<S: Into<String>, const N: usize> From<[S; N]> for Paths {
    fn from(paths: [S; N]) -> Self {
        Self(paths.into_iter().map(Into::into).collect())
    }
}

impl<S: Into<String>> From<Vec<S>> for Paths {
    fn from(paths: Vec<S>) -> Self {
        Self(paths.into_iter().map(Into::into).collect())
    }
}
