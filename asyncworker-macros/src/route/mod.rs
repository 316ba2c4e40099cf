//! `#[route(..)]`: an `async fn` made into a handler of queues.

mod arguments;
mod duration;
mod handler;
mod options;
mod queues;
#[cfg(test)]
mod tests;

use crate::errors::Errors;
use arguments::Arguments;
use handler::Handler;
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use std::collections::HashSet;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Meta, Visibility};

pub(crate) fn expand(attr: TokenStream, item: TokenStream) -> TokenStream {
    let mut handler = match syn::parse2::<Handler>(item.clone()) {
        Ok(handler) => handler,
        Err(_) => return not_a_function(item),
    };
    let mut errors = Errors::default();
    let mut routes = vec![Arguments::read(attr, &TokenStream::new(), &mut errors)];
    for attribute in handler.take_routes() {
        routes.push(stacked(&attribute, &mut errors));
    }
    handler.check(&mut errors);

    match errors.into_compile_errors() {
        Some(errors) if handler.is_method() => quote!(#errors #handler),
        Some(errors) => {
            // With its name known and no routes, `routes![..]` has nothing of its own to complain about.
            let handler = handler.after_errors();
            let mounted = mounted(&handler, &quote!(::std::vec::Vec::new()));
            quote!(#errors #[allow(dead_code)] #handler #mounted)
        }
        None => {
            let names = names(&handler.name().unraw().to_string(), &routes);
            let routes = routes.iter().zip(names).map(|(arguments, name)| build(arguments, name, &handler));
            let mounted = mounted(&handler, &quote!(::std::vec![#(#routes),*]));
            let checks = type_checks(&handler);
            let discovery = discovery(&handler);
            quote!(#handler #mounted #checks #discovery)
        }
    }
}

/// An attribute further down on the same function.
fn stacked(attribute: &Attribute, errors: &mut Errors) -> Arguments {
    let tokens = match &attribute.meta {
        Meta::List(list) => list.tokens.clone(),
        Meta::Path(_) => TokenStream::new(),
        Meta::NameValue(pair) => {
            errors.on(&pair.value, "write the queues in parentheses: `#[route(\"orders\")]`");
            return Arguments::default();
        }
    };
    Arguments::read(tokens, &attribute.to_token_stream(), errors)
}

/// The names of the routes that give none: the function's, unless several would have it then.
fn names(function: &str, routes: &[Arguments]) -> Vec<Option<String>> {
    let mut taken = HashSet::new();
    let name = |(index, route): (usize, &Arguments)| {
        if route.is_named() {
            return None;
        }
        if routes.len() == 1 {
            return Some(function.to_owned());
        }
        let by_queue = route.queues.as_ref().and_then(|queues| queues.first.as_ref());
        let by_queue = by_queue.map(|queue| format!("{function}({queue})"));
        // The same queue in two vhosts, say.
        let free = by_queue.filter(|name| taken.insert(name.clone()));
        Some(free.unwrap_or_else(|| format!("{function}(#{})", index + 1)))
    };
    routes.iter().enumerate().map(name).collect()
}

fn build(arguments: &Arguments, name: Option<String>, handler: &Handler) -> TokenStream {
    let queues = arguments.queues.as_ref().map(|queues| &queues.given);
    let name = name.map(|name| quote!(.name(#name)));
    let of_route = arguments.route_calls();
    let options = arguments.option_calls();
    let options = (!options.is_empty()).then(|| quote!(.options(::asyncworker::RouteOptions::new() #options)));
    let function = handler.name();
    quote!(::asyncworker::Mount::from(::asyncworker::Route::amqp(#queues) #name #of_route #options .handler(#function)))
}

/// A type of the function's name, in the other of Rust's two namespaces: what `routes![..]` finds them by.
fn mounted(handler: &Handler, mounts: &TokenStream) -> TokenStream {
    let Handler { visibility, .. } = handler;
    let name = handler.name();
    quote! {
        #[doc(hidden)]
        #[allow(non_camel_case_types, dead_code, missing_docs, missing_debug_implementations, unreachable_pub)]
        #visibility struct #name {}

        #[doc(hidden)]
        impl ::asyncworker::__private::Mounted for #name {
            fn mounts() -> ::std::vec::Vec<::asyncworker::Mount> {
                #mounts
            }
        }
    }
}

/// A wrong type is reported where it stands, not at the function's name in the call of `handler`.
fn type_checks(handler: &Handler) -> TokenStream {
    let checks = handler.type_checks();
    quote! {
        #[allow(dead_code)]
        const _: () = {
            fn extracts<T: ::asyncworker::Extract>() {}
            fn concludes<T: ::asyncworker::IntoOutcome>() {}
            fn sends<F: ::core::marker::Send>(_: F) {}
            fn check() {
                #checks
            }
        };
    }
}

fn discovery(handler: &Handler) -> TokenStream {
    let name = handler.name();
    quote! {
        ::asyncworker::__private::inventory::submit! {
            ::asyncworker::__private::Discovered::new(<#name as ::asyncworker::__private::Mounted>::mounts)
        }
    }
}

fn not_a_function(item: TokenStream) -> TokenStream {
    let split = |input: ParseStream<'_>| {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse::<Visibility>()?;
        Ok((attributes, visibility, input.parse::<TokenStream>()?))
    };
    let message = "a route is made of an `async fn`: put this attribute on one";
    match split.parse2(item.clone()) {
        Ok((mut attributes, visibility, rest)) => {
            // Each would say the same again.
            attributes.retain(|attribute| !handler::is_route(attribute));
            let place = rest.clone().into_iter().next().map_or_else(Span::call_site, |token: TokenTree| token.span());
            let error = syn::Error::new(place, message).to_compile_error();
            quote!(#error #(#attributes)* #visibility #rest)
        }
        Err(_) => {
            let error = syn::Error::new(Span::call_site(), message).to_compile_error();
            quote!(#error #item)
        }
    }
}
