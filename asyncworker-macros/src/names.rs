//! Names that come first in an attribute, one or an array of them: queues, paths.

use crate::arguments::Positional;
use crate::errors::Errors;
use quote::{ToTokens, quote};
use syn::{Expr, ExprArray, ExprLit, Lit};

/// What is named, as messages call it.
pub(crate) struct Names {
    /// Whose they are: "a route".
    pub(crate) of: &'static str,
    /// What one of them names: "queue".
    pub(crate) one: &'static str,
    /// What one of them is: "a queue's name".
    pub(crate) text: &'static str,
    /// One as it is written.
    pub(crate) example: &'static str,
    /// Bytes.
    pub(crate) longest: Option<usize>,
}

/// Reads a name, an array of names, or any other expression, which is handed on as it is.
pub(crate) fn read(names: &Names, given: &Expr, errors: &mut Errors) -> Positional {
    match peel(given) {
        Expr::Array(ExprArray { elems, .. }) => {
            let Names { of, one, example, .. } = names;
            if elems.is_empty() {
                errors.on(given, format!("{of} needs a {one}: write e.g. `[{example}]`"));
            }
            let texts: Vec<Option<String>> = elems.iter().map(|element| names.name(element, errors)).collect();
            for (index, (element, text)) in elems.iter().zip(&texts).enumerate() {
                if let Some(text) = text
                    && texts[..index].iter().flatten().any(|earlier| earlier == text)
                {
                    errors.on(element, format!("the {one} `{text}` is named twice; leave one of them out"));
                }
            }
            Positional { given: given.to_token_stream(), text: texts.into_iter().next().flatten() }
        }
        Expr::Lit(_) => {
            let text = names.name(given, errors);
            Positional { given: quote!([#given]), text }
        }
        _ => Positional { given: given.to_token_stream(), text: None },
    }
}

impl Names {
    /// The name, if it is a literal.
    fn name(&self, given: &Expr, errors: &mut Errors) -> Option<String> {
        let Self { text, example, longest, .. } = self;
        let Expr::Lit(ExprLit { lit, .. }) = peel(given) else {
            return None;
        };
        let Lit::Str(literal) = lit else {
            errors.on(given, format!("{text} is a string: write e.g. `{example}`"));
            return None;
        };
        let name = literal.value();
        if name.is_empty() {
            errors.on(given, format!("{text} must not be empty"));
        }
        let length = name.len();
        if let Some(longest) = longest.filter(|longest| length > *longest) {
            errors.on(given, format!("{text} must be at most {longest} bytes long, this one has {length}"));
        }
        Some(name)
    }
}

/// Looks through parentheses, and through the invisible ones around what a `macro_rules!` macro hands on.
pub(crate) fn peel(mut expression: &Expr) -> &Expr {
    loop {
        expression = match expression {
            Expr::Group(group) => &group.expr,
            Expr::Paren(paren) => &paren.expr,
            other => return other,
        };
    }
}
