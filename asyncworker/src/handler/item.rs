//! Handlers of one value that is no message: an event of the app, an item of a queue within the process.

use super::{Arity, Extract, Failure, IntoResult, Scope};
use crate::message::Bulk;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::any::type_name;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// A handler whose arguments are resolved: one future a value. A panic is a failure.
pub(crate) type BoundItemHandler<T> = Arc<dyn Fn(T) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync>;

/// An `async fn` of a `T` and of up to seven things of the app, such as [`State`](crate::State),
/// [`Publisher`](crate::Publisher) and [`Emitter`](crate::Emitter), that returns nothing or a `Result` of nothing.
///
/// What handles the events of an app ([`App::on`](crate::App::on)) and the items of a
/// [`QueueService`](crate::QueueService). It is implemented for functions and closures; `A` is the tuple of the
/// arguments after the first and is never written.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of `{T}`",
    label = "not a handler of `{T}`",
    note = "it is an `async fn` of the value by itself, then of up to seven things of the app, such as `async fn bill(order: OrderPlaced, ledger: State<Arc<Ledger>>) -> Result<(), Failure>`",
    note = "it returns `()` or `Result<(), _>`, and its future must be `Send`: hold no `Rc`, `RefCell` borrow or `MutexGuard` over an `await`"
)]
pub trait ItemHandler<T, A>: Clone + Send + Sync + 'static {
    /// Looks up what its arguments need.
    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn bind_item(self, scope: &Scope<'_>) -> Result<BoundItemHandler<T>, String>;
}

/// Looks up an argument that is not made of messages.
fn resolve<E: Extract>(scope: &Scope<'_>) -> Result<E::Resolved, String> {
    if E::ARITY != Arity::Any {
        return Err(format!("it takes `{}`, which is made of messages, and it handles none", type_name::<E>()));
    }
    E::resolve(scope)
}

macro_rules! item_handler_of {
    ($($argument:ident),*) => {
        #[allow(non_snake_case, unused_variables, private_interfaces)]
        impl<F, T, R, Fut, $($argument),*> ItemHandler<T, ($($argument,)*)> for F
        where
            F: Fn(T, $($argument),*) -> Fut + Clone + Send + Sync + 'static,
            T: Send + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: IntoResult + 'static,
            $($argument: Extract,)*
        {
            fn bind_item(self, scope: &Scope<'_>) -> Result<BoundItemHandler<T>, String> {
                $(let $argument = resolve::<$argument>(scope)?;)*
                let nothing = Bulk::new(None, &"".into(), []);
                Ok(Arc::new(move |item| {
                    let handler = self.clone();
                    let nothing = nothing.clone();
                    $(let $argument = $argument.clone();)*
                    // The call itself is made inside, so that a panic before the first await is caught too.
                    let handling = async move {
                        handler(item, $(<$argument as Extract>::extract(&$argument, &nothing)?),*).await.into_result()
                    };
                    Box::pin(AssertUnwindSafe(handling).catch_unwind().map(|ended| {
                        ended.unwrap_or_else(|panic| Err(Failure::panicked(&*panic)))
                    }))
                }))
            }
        }
    };
}

item_handler_of!();
item_handler_of!(A1);
item_handler_of!(A1, A2);
item_handler_of!(A1, A2, A3);
item_handler_of!(A1, A2, A3, A4);
item_handler_of!(A1, A2, A3, A4, A5);
item_handler_of!(A1, A2, A3, A4, A5, A6);
item_handler_of!(A1, A2, A3, A4, A5, A6, A7);
