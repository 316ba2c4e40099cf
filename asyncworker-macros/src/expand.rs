//! From a function and its attributes to what is mounted.

use crate::arguments::Arguments;
use crate::checks::Checks;
use crate::errors::Errors;
use crate::function::{self, Function};
use crate::kinds::Kind;
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use std::collections::HashSet;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Meta, Visibility};

/// The expansion of the first of ours on a function, which is that of all of them.
pub(crate) fn expand(kind: &'static Kind, attr: TokenStream, item: TokenStream) -> TokenStream {
    let mut function = match syn::parse2::<Function>(item.clone()) {
        Ok(function) => function,
        Err(_) => return not_a_function(kind, item),
    };
    let mut errors = Errors::default();
    let mut all = vec![Arguments::read(kind, attr, &TokenStream::new(), &mut errors)];
    for (kind, attribute) in function.take_ours() {
        all.push(stacked(kind, &attribute, &mut errors));
    }
    function.check(&mut errors);

    match errors.into_compile_errors() {
        Some(errors) if function.is_method() => quote!(#errors #function),
        Some(errors) => {
            // With its name known and nothing to mount, `routes![..]` has nothing of its own to complain about.
            let function = function.after_errors();
            let mounted = mounted(&function, &quote!(::std::vec::Vec::new()));
            quote!(#errors #[allow(dead_code)] #function #mounted)
        }
        None => {
            let names = names(&function.name().unraw().to_string(), &all);
            let mounts = all.iter().zip(names).map(|(arguments, name)| build(arguments, name, &function));
            let mounted = mounted(&function, &quote!(::std::vec![#(#mounts),*]));
            let checks = type_checks(&function, &all);
            let discovery = discovery(&function);
            quote!(#function #mounted #checks #discovery)
        }
    }
}

/// An attribute further down on the same function.
fn stacked(kind: &'static Kind, attribute: &Attribute, errors: &mut Errors) -> Arguments {
    let tokens = match &attribute.meta {
        Meta::List(list) => list.tokens.clone(),
        Meta::Path(_) => TokenStream::new(),
        Meta::NameValue(pair) => {
            let right = kind.written(kind.first.example);
            errors.on(&pair.value, format!("write the {} in parentheses: {right}", kind.first.noun));
            return Arguments::none(kind);
        }
    };
    Arguments::read(kind, tokens, &attribute.to_token_stream(), errors)
}

/// The names of what has one and gives none: the function's, unless several would have it then.
fn names(function: &str, all: &[Arguments]) -> Vec<Option<String>> {
    let several = all.iter().filter(|arguments| arguments.kind.makes_named()).count() > 1;
    let mut taken = HashSet::new();
    let name = |(index, arguments): (usize, &Arguments)| {
        if arguments.is_named() || !arguments.kind.makes_named() {
            return None;
        }
        if !several {
            return Some(function.to_owned());
        }
        let by_first = arguments.text().map(|text| format!("{function}({text})"));
        // The same queue in two vhosts, say.
        let free = by_first.filter(|name| taken.insert(name.clone()));
        Some(free.unwrap_or_else(|| format!("{function}(#{})", index + 1)))
    };
    all.iter().enumerate().map(name).collect()
}

fn build(arguments: &Arguments, name: Option<String>, function: &Function) -> TokenStream {
    let name = name.map(|name| quote!(.name(#name)));
    let built = (arguments.kind.build)(arguments, name, function.name());
    let needs = arguments.kind.checks.needs(function);
    quote!(::asyncworker::Mount::from(#built #needs))
}

/// A type of the function's name, in the other of Rust's two namespaces: what `routes![..]` finds them by.
fn mounted(function: &Function, mounts: &TokenStream) -> TokenStream {
    let Function { visibility, .. } = function;
    let name = function.name();
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

/// What the kinds on the function hold its types against, each thing once.
fn type_checks(function: &Function, all: &[Arguments]) -> TokenStream {
    let mut checks: Vec<Checks> = Vec::new();
    for arguments in all {
        if !checks.contains(&arguments.kind.checks) {
            checks.push(arguments.kind.checks);
        }
    }
    checks.into_iter().map(|checks| checks.of(function)).collect()
}

fn discovery(function: &Function) -> TokenStream {
    let name = function.name();
    quote! {
        ::asyncworker::__private::inventory::submit! {
            ::asyncworker::__private::Discovered::new(<#name as ::asyncworker::__private::Mounted>::mounts)
        }
    }
}

fn not_a_function(kind: &Kind, item: TokenStream) -> TokenStream {
    let split = |input: ParseStream<'_>| {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse::<Visibility>()?;
        Ok((attributes, visibility, input.parse::<TokenStream>()?))
    };
    let message = format!("{} is made of an `async fn`: put this attribute on one", kind.makes);
    match split.parse2(item.clone()) {
        Ok((mut attributes, visibility, rest)) => {
            // Each would say the same again.
            attributes.retain(|attribute| function::kind(attribute).is_none());
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
