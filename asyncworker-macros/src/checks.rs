//! Compile-time checks of the function's types: what is wrong is then reported where it stands, and not at the function's
//! name in the builder's call.

use crate::function::Function;
use crate::options::located;
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::Type;
use syn::spanned::Spanned;

/// What types are held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Checks {
    /// A handler of bulks: each argument is `Extract`, what is returned `IntoOutcome`.
    Bulk,
    /// A handler of HTTP requests: axum's rules.
    Endpoint,
    /// A handler of websockets: one of these first, then axum's extractors that need no body.
    Socket,
    /// Something that runs without messages: each argument is `Extract` and asks for none.
    Run,
}

impl Checks {
    /// Items and a function that compile if the types are right.
    pub(crate) fn of(self, function: &Function) -> TokenStream {
        match self {
            Self::Bulk => checked(function, |ty| quote_spanned!(located(ty.span())=> extracts::<#ty>();)),
            Self::Run => checked(function, |ty| {
                quote_spanned! {located(ty.span())=>
                    const _: () = ::core::assert!(
                        ::core::matches!(<#ty as ::asyncworker::Extract>::ARITY, ::asyncworker::Arity::Any),
                        "there are no messages to take here: this argument is for handlers of messages"
                    );
                }
            }),
            Self::Endpoint => endpoint(function),
            Self::Socket => socket(function),
        }
    }

    /// A call of the builder for what the arguments need of the app and its types cannot tell: it makes that an error
    /// of the start.
    pub(crate) fn needs(self, function: &Function) -> Option<TokenStream> {
        if matches!(self, Self::Bulk | Self::Run) {
            return None;
        }
        let needs = function.arguments().map(
            |(conditions, ty)| quote!(#(#conditions)* ::asyncworker::__private::http::Argument::<#ty>::TYPE.needs()),
        );
        Some(quote! {
            .__needs({
                #[allow(unused_imports)]
                use ::asyncworker::__private::http::NeedsNothing as _;
                let needs: ::std::vec::Vec<::core::option::Option<::asyncworker::__private::http::Need>> =
                    ::std::vec![#(#needs),*];
                needs.into_iter().flatten()
            })
        })
    }
}

fn checked(function: &Function, argument: fn(&Type) -> TokenStream) -> TokenStream {
    let arguments = function.arguments().map(|(conditions, ty)| {
        let check = argument(ty);
        quote!(#(#conditions)* #check)
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

fn endpoint(function: &Function) -> TokenStream {
    let arguments: Vec<_> = function.arguments().collect();
    // Which argument is the last one, and may take the body, is not known where one may be missing.
    let unsure = arguments.iter().any(|(conditions, _)| !conditions.is_empty());
    let last = arguments.len().saturating_sub(1);
    let checks = arguments.iter().enumerate().map(|(place, (conditions, ty))| {
        let check =
            if unsure || place == last { quote!(takes::<#ty, _>) } else { quote!(takes_before_the_last::<#ty>) };
        quote_spanned!(located(ty.span())=> #(#conditions)* #check();)
    });
    let returned = match function.returned() {
        Some(ty) if !Function::cannot_be_named(ty) => quote_spanned!(located(ty.span())=> answers::<#ty>();),
        _ => TokenStream::new(),
    };
    let sends = function.send_check();
    quote! {
        #[allow(dead_code)]
        const _: () = {
            fn takes<T: ::asyncworker::__private::http::FromRequest<(), M>, M>() {}
            fn takes_before_the_last<T: ::asyncworker::__private::http::FromRequestParts<()>>() {}
            fn answers<T: ::asyncworker::__private::http::IntoResponse>() {}
            fn sends<F: ::core::marker::Send>(_: F) {}
            fn check() {
                #(#checks)*
                #returned
                #sends
            }
        };
    }
}

fn socket(function: &Function) -> TokenStream {
    let mut arguments = function.arguments();
    let Some((_, socket)) = arguments.next() else {
        let message = "a websocket's handler takes a `WebSocket` first";
        return syn::Error::new(function.name().span(), message).to_compile_error();
    };
    let socket = quote_spanned! {located(socket.span())=>
        let _ = |socket: #socket| -> ::asyncworker::__private::http::WebSocket { socket };
    };
    let checks = arguments.map(
        |(conditions, ty)| quote_spanned!(located(ty.span())=> #(#conditions)* takes_beside_a_websocket::<#ty>();),
    );
    let returned = match function.returned() {
        Some(ty) if !Function::cannot_be_named(ty) => quote_spanned!(located(ty.span())=> concludes::<#ty>();),
        _ => TokenStream::new(),
    };
    let sends = function.send_check();
    quote! {
        #[allow(dead_code)]
        const _: () = {
            fn takes_beside_a_websocket<T: ::asyncworker::__private::http::FromRequestParts<()>>() {}
            fn concludes<T: ::asyncworker::IntoResult>() {}
            fn sends<F: ::core::marker::Send>(_: F) {}
            fn check() {
                #socket
                #(#checks)*
                #returned
                #sends
            }
        };
    }
}
