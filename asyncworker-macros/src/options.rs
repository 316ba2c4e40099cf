//! The options an attribute may give, and what each of them takes.

use crate::duration;
use crate::errors::Errors;
use crate::names::peel;
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Expr, ExprLit, ExprPath, ExprUnary, Lit, UnOp};

pub(crate) struct OptionKind {
    pub(crate) name: &'static str,
    /// Set in the options that the builder takes; the others by a call of its own.
    pub(crate) in_options: bool,
    takes: Takes,
}

enum Takes {
    Text { example: &'static str },
    Count { at_most: u128 },
    Duration,
    Action,
}

const fn own(name: &'static str, example: &'static str) -> OptionKind {
    OptionKind { name, in_options: false, takes: Takes::Text { example } }
}

const fn option(name: &'static str, takes: Takes) -> OptionKind {
    OptionKind { name, in_options: true, takes }
}

const fn call(name: &'static str, takes: Takes) -> OptionKind {
    OptionKind { name, in_options: false, takes }
}

const NAME: OptionKind = own("name", "settle orders");
const VHOST: OptionKind = own("vhost", "/");
const CONNECTION: OptionKind = own("connection", "here");
const BULK_SIZE: OptionKind = option("bulk_size", Takes::Count { at_most: u128::MAX });
const BULK_FLUSH_INTERVAL: OptionKind = option("bulk_flush_interval", Takes::Duration);
const ON_SUCCESS: OptionKind = option("on_success", Takes::Action);
const ON_EXCEPTION: OptionKind = option("on_exception", Takes::Action);
const ON_DECODE_ERROR: OptionKind = option("on_decode_error", Takes::Action);
const CONCURRENCY: OptionKind = option("concurrency", Takes::Count { at_most: u128::MAX });
const TIMEOUT: OptionKind = option("timeout", Takes::Duration);
// AMQP's `basic.qos` counts in 16 bits.
const PREFETCH: OptionKind = option("prefetch", Takes::Count { at_most: u16::MAX as u128 });
const MAX_BODY_SIZE: OptionKind = option("max_body_size", Takes::Count { at_most: u128::MAX });

/// Of a route of queues, in the order in which the builder is called.
pub(crate) const QUEUE_OPTIONS: [OptionKind; 12] = [
    NAME,
    VHOST,
    CONNECTION,
    BULK_SIZE,
    BULK_FLUSH_INTERVAL,
    ON_SUCCESS,
    ON_EXCEPTION,
    ON_DECODE_ERROR,
    CONCURRENCY,
    TIMEOUT,
    PREFETCH,
    MAX_BODY_SIZE,
];

/// Of a route of events: there is no virtual host.
pub(crate) const EVENT_OPTIONS: [OptionKind; 11] = [
    NAME,
    CONNECTION,
    BULK_SIZE,
    BULK_FLUSH_INTERVAL,
    ON_SUCCESS,
    ON_EXCEPTION,
    ON_DECODE_ERROR,
    CONCURRENCY,
    TIMEOUT,
    PREFETCH,
    MAX_BODY_SIZE,
];

const BODY_LIMIT: OptionKind = call("body_limit", Takes::Count { at_most: u128::MAX });

/// Of an endpoint of HTTP.
pub(crate) const ENDPOINT_OPTIONS: [OptionKind; 2] = [NAME, BODY_LIMIT];

/// Of a websocket.
pub(crate) const SOCKET_OPTIONS: [OptionKind; 1] = [NAME];

const RUNS: OptionKind = call("max_concurrency", Takes::Count { at_most: u128::MAX });
const JITTER: OptionKind = call("jitter", Takes::Duration);
const RUN_TIMEOUT: OptionKind = call("timeout", Takes::Duration);
const TIMEZONE: OptionKind = own("timezone", "Europe/Berlin");

/// Of a schedule at an interval.
pub(crate) const INTERVAL_OPTIONS: [OptionKind; 4] = [NAME, RUNS, JITTER, RUN_TIMEOUT];

/// Of a schedule by a cron expression.
pub(crate) const CRON_OPTIONS: [OptionKind; 5] = [NAME, TIMEZONE, RUNS, JITTER, RUN_TIMEOUT];

/// The argument for the builder's method, with the spans of what the user wrote.
pub(crate) fn value(option: &OptionKind, given: &Expr, errors: &mut Errors) -> TokenStream {
    let name = option.name;
    let checked = match &option.takes {
        Takes::Text { example } => text(name, example, given),
        Takes::Count { at_most } => count(name, *at_most, given),
        Takes::Duration => time(&format!("{name} = "), given),
        Takes::Action => action(name, given),
    };
    checked.unwrap_or_else(|message| {
        errors.on(given, message);
        TokenStream::new()
    })
}

fn text(name: &str, example: &str, given: &Expr) -> Result<TokenStream, String> {
    match peel(given) {
        Expr::Lit(ExprLit { lit, .. }) if !matches!(lit, Lit::Str(_)) => {
            Err(format!("`{name}` takes a string: write e.g. `{name} = \"{example}\"`"))
        }
        _ => Ok(given.to_token_stream()),
    }
}

fn count(name: &str, at_most: u128, given: &Expr) -> Result<TokenStream, String> {
    let too_small = || Err(format!("`{name}` must be at least 1"));
    match peel(given) {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => match number.base10_parse::<u128>() {
            Ok(0) => too_small(),
            Ok(number) if number > at_most => Err(format!("`{name}` must be at most {at_most}")),
            // A number beyond 128 bits is the compiler's to refuse, like any that is too large for its type.
            _ => Ok(given.to_token_stream()),
        },
        Expr::Lit(_) => Err(format!("`{name}` takes a whole number, without quotes: write e.g. `{name} = 10`")),
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) if matches!(peel(expr), Expr::Lit(_)) => too_small(),
        _ => Ok(given.to_token_stream()),
    }
}

/// `written` is what stands before it in the attribute.
pub(crate) fn time(written: &str, given: &Expr) -> Result<TokenStream, String> {
    // `2s` without quotes reaches us as the number 2 with the suffix `s`.
    let quoted = |digits: &str, suffix: &str| {
        let unit = if duration::is_unit(suffix) { suffix } else { "s" };
        Err(format!("a duration is a string with a unit: write e.g. `{written}\"{digits}{unit}\"`"))
    };
    match peel(given) {
        Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => {
            let nanoseconds = duration::nanoseconds(&literal.value())?;
            Ok(quote_spanned!(located(literal.span())=> ::std::time::Duration::from_nanos(#nanoseconds)))
        }
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => quoted(number.base10_digits(), number.suffix()),
        Expr::Lit(ExprLit { lit: Lit::Float(number), .. }) => quoted(number.base10_digits(), number.suffix()),
        Expr::Lit(_) => quoted("2", "s"),
        _ => Ok(given.to_token_stream()),
    }
}

fn action(name: &str, given: &Expr) -> Result<TokenStream, String> {
    if let Expr::Path(ExprPath { qself: None, path, .. }) = peel(given) {
        let mut from_last = path.segments.iter().rev();
        let action = from_last.next().map(|last| &last.ident);
        let of_action = from_last.next().is_none_or(|parent| parent.ident == "Action");
        if let Some(action) = action
            && of_action
            && ["Ack", "Reject", "Requeue"].iter().any(|known| action == known)
        {
            return Ok(quote!(::asyncworker::Action::#action));
        }
    }
    Err(format!("`{name}` is one of `Ack`, `Reject` and `Requeue`"))
}

/// Shown at `place`, yet known as the macro's own: lints of the user's crate leave it alone.
pub(crate) fn located(place: Span) -> Span {
    Span::call_site().located_at(place)
}
