//! The attributes of HTTP: a method and paths, or a websocket's paths.

use crate::arguments::{First, Positional};
use crate::checks::Checks;
use crate::errors::Errors;
use crate::kinds::Kind;
use crate::names::{self, Names, peel};
use crate::options::{ENDPOINT_OPTIONS, SOCKET_OPTIONS};
use quote::quote;
use syn::{Expr, ExprArray, ExprLit, Lit};

/// An attribute of HTTP. Its builder has the attribute's name.
macro_rules! kind {
    ($kind:ident, $name:ident, $makes:literal, $an_option:literal, $options:expr, $checks:expr) => {
        pub(crate) static $kind: Kind = Kind {
            name: stringify!($name),
            makes: $makes,
            first: First {
                noun: "paths",
                not_options: &["path", "paths", "url", "route"],
                example: "\"/orders/{id}\"",
                several: Some("[\"/orders\", \"/orders/late\"]"),
                read: paths,
            },
            an_option: $an_option,
            options: $options,
            checks: $checks,
            build: |arguments, name, function| {
                let (first, own) = (arguments.first(), arguments.calls(false));
        quote!(::asyncworker::http::Endpoint::$name(#first, #function) #name #own)
            },
        };
    };
}

kind!(GET, get, "an endpoint", "name = \"orders\"", &ENDPOINT_OPTIONS, Checks::Endpoint);
kind!(HEAD, head, "an endpoint", "name = \"orders\"", &ENDPOINT_OPTIONS, Checks::Endpoint);
kind!(POST, post, "an endpoint", "name = \"orders\"", &ENDPOINT_OPTIONS, Checks::Endpoint);
kind!(PUT, put, "an endpoint", "name = \"orders\"", &ENDPOINT_OPTIONS, Checks::Endpoint);
kind!(PATCH, patch, "an endpoint", "name = \"orders\"", &ENDPOINT_OPTIONS, Checks::Endpoint);
kind!(DELETE, delete, "an endpoint", "name = \"orders\"", &ENDPOINT_OPTIONS, Checks::Endpoint);
kind!(WS, ws, "a websocket endpoint", "name = \"feed\"", &SOCKET_OPTIONS, Checks::Socket);

const PATHS: Names =
    Names { of: "an endpoint", one: "path", text: "a path", example: "\"/orders/{id}\"", longest: None };

fn paths(given: &Expr, errors: &mut Errors) -> Positional {
    match peel(given) {
        Expr::Array(ExprArray { elems, .. }) => elems.iter().for_each(|element| check(element, errors)),
        _ => check(given, errors),
    }
    names::read(&PATHS, given, errors)
}

/// A literal is read here as far as slips go; the rest of its grammar is axum's, which the start of the app knows.
fn check(given: &Expr, errors: &mut Errors) {
    let Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) = peel(given) else { return };
    let path = literal.value();
    if !path.is_empty() && !path.starts_with('/') {
        errors.on(given, format!("a path starts with `/`: write `\"/{path}\"`"));
    }
    for segment in path.split('/') {
        if let Some(name) = segment.strip_prefix(':') {
            errors.on(given, format!("what a path captures is in braces: write `{{{name}}}` for `{segment}`"));
        } else if let Some(name) = segment.strip_prefix('*') {
            errors.on(given, format!("what a path captures is in braces: write `{{*{name}}}` for `{segment}`"));
        }
    }
}
