//! Compile-time checks of the function's types: what is wrong is then reported where it stands, and not at the function's
//! name in the builder's call.

use crate::function::Function;
use crate::options::located;
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;

/// What types are held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Checks {
    /// A handler of bulks: each argument is `Extract`, what is returned `IntoOutcome`.
    Bulk,
}

impl Checks {
    /// Items and a function that compile if the types are right.
    pub(crate) fn of(self, function: &Function) -> TokenStream {
        match self {
            Self::Bulk => bulk(function),
        }
    }
}

fn bulk(function: &Function) -> TokenStream {
    let arguments = function.arguments().map(|(conditions, ty)| {
        let conditions = conditions.iter();
        quote_spanned!(located(ty.span())=> #(#conditions)* extracts::<#ty>();)
    });
    let returned = match function.returned() {
        None => quote!(concludes::<()>();),
        // What cannot be written as a type argument the call of `handler` checks all the same.
        Some(ty) if Function::cannot_be_named(ty) => TokenStream::new(),
        Some(ty) => quote_spanned!(located(ty.span())=> concludes::<#ty>();),
    };
    let sends = function.send_check();
    quote! {
        #[allow(dead_code)]
        const _: () = {
            fn extracts<T: ::asyncworker::Extract>() {}
            fn concludes<T: ::asyncworker::IntoOutcome>() {}
            fn sends<F: ::core::marker::Send>(_: F) {}
            fn check() {
                #(#arguments)*
                #returned
                #sends
            }
        };
    }
}
