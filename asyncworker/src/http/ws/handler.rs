//! What handles a websocket.

use super::{WebSocket, WebSocketUpgrade};
use crate::handler::{Failure, IntoResult};
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;

/// An `async fn` that takes a [`WebSocket`] first, and then up to seven of axum's extractors that need no body, among
/// them [`State<T>`](crate::State) and [`Publisher`](crate::Publisher).
///
/// It is implemented for functions and closures; `A` is the tuple of their arguments and is never written. What it returns
/// is an [`IntoResult`](crate::IntoResult); an `Err` is logged, and closes the websocket with 1011 (internal error).
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle a websocket",
    label = "not a websocket's handler",
    note = "it is an `async fn` such as `async fn echo(socket: WebSocket, Path(room): Path<String>) -> Result<(), Failure>`",
    note = "its first argument is a `WebSocket`, the others are `FromRequestParts<()>`, it returns nothing or a `Result<(), _>`, and its future is `Send`"
)]
pub trait SocketHandler<A>: Clone + Send + Sync + 'static {
    /// Takes from the request what the other arguments are made of.
    #[doc(hidden)]
    fn prepare(self, parts: &mut Parts) -> impl Future<Output = Result<Attendance, Response>> + Send;
}

/// A handler that has all its arguments but the socket.
pub(super) type Attendance = Box<dyn FnOnce(WebSocket) -> BoxFuture<'static, Result<(), Failure>> + Send>;

macro_rules! socket_handler_of {
    ($($argument:ident),*) => {
        #[allow(non_snake_case, unused_variables)]
        impl<F, R, Fut, $($argument),*> SocketHandler<($($argument,)*)> for F
        where
            F: Fn(WebSocket, $($argument),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: IntoResult + 'static,
            $($argument: FromRequestParts<()> + Send + 'static,)*
        {
            async fn prepare(self, parts: &mut Parts) -> Result<Attendance, Response> {
                $(let $argument = $argument::from_request_parts(parts, &()).await.map_err(IntoResponse::into_response)?;)*
                Ok(Box::new(move |socket| {
                    Box::pin(async move { self(socket, $($argument),*).await.into_result() })
                }))
            }
        }
    };
}

socket_handler_of!();
socket_handler_of!(A1);
socket_handler_of!(A1, A2);
socket_handler_of!(A1, A2, A3);
socket_handler_of!(A1, A2, A3, A4);
socket_handler_of!(A1, A2, A3, A4, A5);
socket_handler_of!(A1, A2, A3, A4, A5, A6);
socket_handler_of!(A1, A2, A3, A4, A5, A6, A7);

/// Answers a request by the upgrade that this handler then attends to.
pub(in crate::http) async fn upgrade<A>(handler: impl SocketHandler<A>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(refusal) => return refusal,
    };
    match handler.prepare(&mut parts).await {
        Ok(attend) => upgrade.on_upgrade(attend),
        Err(refusal) => refusal,
    }
}
