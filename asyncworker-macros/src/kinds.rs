//! The table of attributes.
//!
//! To add one: a [`Kind`] here and its place in [`KINDS`], a function of its name in `lib.rs` with a page in `docs/`, and
//! what it is to be checked by in `checks.rs`, where none that is there fits. Its builder, which gives anything that
//! `::asyncworker::Mount` is made `From`, is called as anybody could call it. The tests in `tests/` show how the rest
//! comes to bear.

use crate::arguments::{Arguments, First};
use crate::checks::Checks;
use crate::endpoint::{DELETE, GET, HEAD, PATCH, POST, PUT, WS};
use crate::names::{self, Names};
use crate::options::{CRON_OPTIONS, EVENT_OPTIONS, INTERVAL_OPTIONS, OptionKind, QUEUE_OPTIONS};
use crate::schedule;
use crate::suggestion::nearest;
use proc_macro2::{Ident, TokenStream};
use quote::quote;

/// An attribute: how it is written, and what it makes.
pub(crate) struct Kind {
    /// The attribute's name.
    pub(crate) name: &'static str,
    /// What it makes, as messages call it.
    pub(crate) makes: &'static str,
    /// What comes first in its parentheses.
    pub(crate) first: First,
    /// An option as it is written.
    pub(crate) an_option: &'static str,
    /// What may follow. Where a `name` is among it, what is made has the function's name, unless it is given one.
    pub(crate) options: &'static [OptionKind],
    /// What the function's types are held against.
    pub(crate) checks: Checks,
    /// An expression of what is made, of the arguments, the call that names it, and the function.
    pub(crate) build: fn(&Arguments, Option<TokenStream>, &Ident) -> TokenStream,
}

impl Kind {
    /// An attribute as it would be right, with this in its parentheses.
    pub(crate) fn written(&self, arguments: &str) -> String {
        format!("`#[{}({arguments})]`", self.name)
    }

    pub(crate) fn makes_named(&self) -> bool {
        self.options.iter().any(|option| option.name == "name")
    }

    /// Where the option of this name stands among its options.
    pub(crate) fn position(&self, name: &Ident) -> Option<usize> {
        self.options.iter().position(|option| name == option.name)
    }

    /// Whether this names what comes first, as if it were an option.
    pub(crate) fn is_first(&self, name: &Ident) -> bool {
        self.first.not_options.iter().any(|known| name == known)
    }

    /// What to say of an option that it does not have.
    pub(crate) fn unknown(&self, name: &Ident) -> String {
        let Self { makes, first, options, .. } = self;
        if self.is_first(name) {
            let right = self.written(first.example);
            return format!("the {} {} first and without `{name} =`: write {right}", first.noun, first.comes());
        }
        let meant = match nearest(&name.to_string(), options.iter().map(|option| option.name)) {
            Some(meant) => format!(", did you mean `{meant}`?"),
            None => String::new(),
        };
        let known: Vec<String> = options.iter().map(|option| format!("`{}`", option.name)).collect();
        format!("`{name}` is not an option of {makes}{meant} (the options are {})", known.join(", "))
    }
}

/// All of them: what one expansion takes off a function, for it makes all that is made of it.
pub(crate) static KINDS: [&Kind; 11] =
    [&ROUTE, &SSE, &RUN_EVERY, &CRON, &GET, &HEAD, &POST, &PUT, &PATCH, &DELETE, &WS];

pub(crate) static ROUTE: Kind = Kind {
    name: "route",
    makes: "a route",
    first: First {
        noun: "queues",
        not_options: &["queue", "queues"],
        example: "\"orders\"",
        several: Some("[\"orders\", \"orders.late\"]"),
        read: |given, errors| names::read(&QUEUES, given, errors),
    },
    an_option: "bulk_size = 10",
    options: &QUEUE_OPTIONS,
    checks: Checks::Bulk,
    build: |arguments, name, function| route(quote!(::asyncworker::Route::amqp), arguments, name, function),
};

pub(crate) static SSE: Kind = Kind {
    name: "sse",
    makes: "an SSE route",
    first: First {
        noun: "paths",
        not_options: &["path", "paths", "url"],
        example: "\"/events\"",
        several: Some("[\"/events\", \"/audit\"]"),
        read: |given, errors| names::read(&PATHS, given, errors),
    },
    an_option: "bulk_size = 10",
    options: &EVENT_OPTIONS,
    checks: Checks::Bulk,
    build: |arguments, name, function| route(quote!(::asyncworker::Route::sse), arguments, name, function),
};

pub(crate) static RUN_EVERY: Kind = Kind {
    name: "run_every",
    makes: "a schedule",
    first: First {
        noun: "interval",
        not_options: &["interval", "every", "seconds"],
        example: "\"1s\"",
        several: None,
        read: schedule::interval,
    },
    an_option: "max_concurrency = 1",
    options: &INTERVAL_OPTIONS,
    checks: Checks::Run,
    build: |arguments, name, function| built(quote!(::asyncworker::Schedule::every), arguments, name, function),
};

pub(crate) static CRON: Kind = Kind {
    name: "cron",
    makes: "a schedule",
    first: First {
        noun: "expression",
        not_options: &["expression", "cron", "pattern"],
        example: "\"0 3 * * 1-5\"",
        several: None,
        read: schedule::expression,
    },
    an_option: "timezone = \"Europe/Berlin\"",
    options: &CRON_OPTIONS,
    checks: Checks::Run,
    build: |arguments, name, function| built(quote!(::asyncworker::Schedule::cron), arguments, name, function),
};

const QUEUES: Names = Names {
    of: "a route",
    one: "queue",
    text: "a queue's name",
    example: "\"orders\"",
    // What AMQP 0-9-1 sends a queue's name as is a "short string": one byte for the length.
    longest: Some(255),
};

const PATHS: Names = Names { of: "an SSE route", one: "path", text: "a path", example: "\"/events\"", longest: None };

fn route(constructor: TokenStream, arguments: &Arguments, name: Option<TokenStream>, function: &Ident) -> TokenStream {
    let first = arguments.first();
    let own = arguments.calls(false);
    let options = arguments.calls(true);
    let options = (!options.is_empty()).then(|| quote!(.options(::asyncworker::RouteOptions::new() #options)));
    quote!(#constructor(#first) #name #own #options .handler(#function))
}

/// Of what has no options apart from itself.
fn built(constructor: TokenStream, arguments: &Arguments, name: Option<TokenStream>, function: &Ident) -> TokenStream {
    let first = arguments.first();
    let own = arguments.calls(false);
    quote!(#constructor(#first) #name #own .handler(#function))
}
