//! What comes first in the attributes of schedules: an interval, or a cron expression.

use crate::arguments::Positional;
use crate::errors::Errors;
use crate::names::peel;
use crate::options;
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Expr, ExprLit, Lit};

pub(crate) fn interval(given: &Expr, errors: &mut Errors) -> Positional {
    let duration = options::time("", given).unwrap_or_else(|message| {
        errors.on(given, message);
        TokenStream::new()
    });
    Positional { given: duration, text: text(given) }
}

pub(crate) fn expression(given: &Expr, errors: &mut Errors) -> Positional {
    match (peel(given), text(given)) {
        (Expr::Lit(_), None) => errors.on(given, "a cron expression is a string: write e.g. `\"0 3 * * 1-5\"`"),
        // The rest is for the library that reads it, when the app starts.
        (_, Some(text)) if !text.starts_with('@') && !matches!(text.split_whitespace().count(), 5 | 6) => {
            let message = "a cron expression has five fields: minute, hour, day of the month, month, day of the week; \
                           or six, the first one being the second";
            errors.on(given, message);
        }
        _ => {}
    }
    Positional { given: given.to_token_stream(), text: text(given) }
}

fn text(given: &Expr) -> Option<String> {
    match peel(given) {
        Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => Some(literal.value()),
        _ => None,
    }
}
