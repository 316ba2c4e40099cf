//! The first argument: the queues.

use crate::errors::Errors;
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Expr, ExprArray, ExprLit, Lit};

/// What AMQP 0-9-1 sends a queue's name as is a "short string": one byte for the length.
const LONGEST_NAME: usize = 255;

pub(super) struct Queues {
    /// As `Route::amqp` takes them.
    pub(super) given: TokenStream,
    /// The first queue, if its name is known here.
    pub(super) first: Option<String>,
}

pub(super) fn read(given: &Expr, errors: &mut Errors) -> Queues {
    match peel(given) {
        Expr::Array(ExprArray { elems, .. }) => {
            if elems.is_empty() {
                errors.on(given, "a route needs a queue: write e.g. `[\"orders\"]`");
            }
            let names: Vec<Option<String>> = elems.iter().map(|element| name(element, errors)).collect();
            for (index, (element, name)) in elems.iter().zip(&names).enumerate() {
                if let Some(name) = name
                    && names[..index].iter().flatten().any(|earlier| earlier == name)
                {
                    errors.on(element, format!("the queue `{name}` is named twice; leave one of them out"));
                }
            }
            Queues { given: given.to_token_stream(), first: names.into_iter().next().flatten() }
        }
        Expr::Lit(_) => {
            let first = name(given, errors);
            Queues { given: quote!([#given]), first }
        }
        _ => Queues { given: given.to_token_stream(), first: None },
    }
}

/// The name, if it is a literal.
fn name(given: &Expr, errors: &mut Errors) -> Option<String> {
    let Expr::Lit(ExprLit { lit, .. }) = peel(given) else {
        return None;
    };
    let Lit::Str(literal) = lit else {
        errors.on(given, "a queue's name is a string: write e.g. `\"orders\"`");
        return None;
    };
    let name = literal.value();
    if name.is_empty() {
        errors.on(given, "a queue's name must not be empty");
    }
    if name.len() > LONGEST_NAME {
        let length = name.len();
        errors.on(given, format!("a queue's name must be at most {LONGEST_NAME} bytes long, this one has {length}"));
    }
    Some(name)
}

/// Looks through parentheses, and through the invisible ones around what a `macro_rules!` macro hands on.
pub(super) fn peel(mut expression: &Expr) -> &Expr {
    loop {
        expression = match expression {
            Expr::Group(group) => &group.expr,
            Expr::Paren(paren) => &paren.expr,
            other => return other,
        };
    }
}
