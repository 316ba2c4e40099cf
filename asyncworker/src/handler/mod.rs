//! From an `async fn` to something the engine can run: arguments, the returned value, middleware.

mod extract;
mod failure;
mod item;
mod layer;
mod outcome;

pub use extract::{Arity, Body, Extract, Scope, State};
pub use failure::Failure;
pub(crate) use item::BoundItemHandler;
pub use item::ItemHandler;
pub use layer::{Layer, Next};
pub use outcome::{IntoOutcome, IntoResult, Outcome};

use crate::message::Bulk;
use std::sync::Arc;
use tokio_util::sync::ReusableBoxFuture;

/// A handler at work on a bulk.
pub(crate) type Handling = ReusableBoxFuture<'static, Result<Outcome, Failure>>;

/// A handler whose arguments are resolved: one future a bulk, in the box of one that has ended where there is one.
pub(crate) type BoundHandler = Arc<dyn Fn(Bulk, Option<Handling>) -> Handling + Send + Sync>;

/// Boxes what a handler does; best an `async` block, which holds nothing any more once it has ended.
pub(crate) fn handling(
    future: impl Future<Output = Result<Outcome, Failure>> + Send + 'static,
    ended: Option<Handling>,
) -> Handling {
    match ended {
        Some(mut room) => {
            room.set(future);
            room
        }
        None => Handling::new(future),
    }
}

/// An `async fn` of up to eight arguments, each an [`Extract`], that returns an [`IntoOutcome`].
///
/// It is implemented for functions and closures; `A` is the tuple of their arguments and is never
/// written.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not a handler",
    note = "a handler is an `async fn` of up to eight arguments, such as `async fn drain(messages: Batch<Message<Order>>) -> Result<(), Failure>`",
    note = "its arguments must be `Extract`, what it returns `IntoOutcome`, and its future `Send`: hold no `Rc`, `RefCell` borrow or `MutexGuard` over an `await`"
)]
pub trait Handler<A>: Clone + Send + Sync + 'static {
    /// How many messages it takes: one where any argument takes that, else many where any does.
    #[doc(hidden)]
    fn arity() -> Arity;

    /// Looks up what its arguments need.
    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn bind(self, scope: &Scope<'_>) -> Result<BoundHandler, String>;
}

/// A handler with its arguments' types forgotten, before it is bound.
pub(crate) trait BindHandler: Send {
    fn arity(&self) -> Arity;

    fn bind(self: Box<Self>, scope: &Scope<'_>) -> Result<BoundHandler, String>;
}

struct Erased<H, A> {
    handler: H,
    arguments: std::marker::PhantomData<fn() -> A>,
}

impl<H: Handler<A>, A> BindHandler for Erased<H, A> {
    fn arity(&self) -> Arity {
        H::arity()
    }

    fn bind(self: Box<Self>, scope: &Scope<'_>) -> Result<BoundHandler, String> {
        self.handler.bind(scope)
    }
}

pub(crate) fn erase<A: 'static>(handler: impl Handler<A>) -> Box<dyn BindHandler> {
    Box::new(Erased { handler, arguments: std::marker::PhantomData })
}

fn strictest(arities: &[Arity]) -> Arity {
    let of_messages = [Arity::One, Arity::Many];
    of_messages.into_iter().find(|arity| arities.contains(arity)).unwrap_or(Arity::Any)
}

macro_rules! handler_of {
    ($($argument:ident),*; $($last:ident)?) => {
        #[allow(non_snake_case, unused_variables, private_interfaces)]
        impl<F, R, Fut, $($argument,)* $($last)?> Handler<($($argument,)* $($last,)?)> for F
        where
            F: Fn($($argument,)* $($last)?) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: IntoOutcome + 'static,
            $($argument: Extract,)*
            $($last: Extract,)?
        {
            fn arity() -> Arity {
                strictest(&[$($argument::ARITY,)* $($last::ARITY)?])
            }

            fn bind(self, scope: &Scope<'_>) -> Result<BoundHandler, String> {
                $(let $argument = $argument::resolve(scope)?;)*
                $(let $last = $last::resolve(scope)?;)?
                Ok(Arc::new(move |bulk, ended| {
                    let handler = self.clone();
                    $(let $argument = $argument.clone();)*
                    $(let $last = $last.clone();)?
                    let future = async move {
                        let called = handler(
                            $(<$argument as Extract>::extract(&$argument, &bulk)?,)*
                            $(<$last as Extract>::extract_last(&$last, bulk)?)?
                        );
                        called.await.into_outcome()
                    };
                    handling(future, ended)
                }))
            }
        }
    };
}

handler_of!(;);
handler_of!(; A1);
handler_of!(A1; A2);
handler_of!(A1, A2; A3);
handler_of!(A1, A2, A3; A4);
handler_of!(A1, A2, A3, A4; A5);
handler_of!(A1, A2, A3, A4, A5; A6);
handler_of!(A1, A2, A3, A4, A5, A6; A7);
handler_of!(A1, A2, A3, A4, A5, A6, A7; A8);
