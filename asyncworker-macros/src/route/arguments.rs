//! What stands in the parentheses of one attribute: the queues, then options.

use super::options::{self, OPTIONS};
use super::queues::{self, Queues};
use crate::errors::{Errors, readable};
use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::quote;
use std::collections::btree_map::{BTreeMap, Entry};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, Token};

#[derive(Default)]
pub(super) struct Arguments {
    /// `None` only after an error.
    pub(super) queues: Option<Queues>,
    /// By their position in [`OPTIONS`]: the name as the user wrote it, and the value.
    given: BTreeMap<usize, (Ident, TokenStream)>,
}

impl Arguments {
    /// Reads all of it, past whatever is wrong; `attribute` is all of it, or empty for the one that is being expanded.
    pub(super) fn read(tokens: TokenStream, attribute: &TokenStream, errors: &mut Errors) -> Self {
        let mut reader = Reader { arguments: Self::default(), errors, queues_expected: true, options_seen: false };
        let outcome = (|input: ParseStream<'_>| reader.read(input)).parse2(tokens);
        let Reader { arguments, errors, queues_expected, .. } = reader;
        if let Err(error) = outcome {
            errors.add(error);
        } else if queues_expected {
            errors.on(attribute, "a route needs its queues: write e.g. `#[route(\"orders\")]`");
        }
        arguments
    }

    /// The builder's calls for what is set on the route itself.
    pub(super) fn route_calls(&self) -> TokenStream {
        self.calls(true)
    }

    /// The builder's calls for what is set on its `RouteOptions`.
    pub(super) fn option_calls(&self) -> TokenStream {
        self.calls(false)
    }

    pub(super) fn is_named(&self) -> bool {
        self.given.keys().any(|&position| OPTIONS[position].name == "name")
    }

    fn calls(&self, of_route: bool) -> TokenStream {
        self.given
            .iter()
            .filter(|(position, _)| OPTIONS[**position].of_route == of_route)
            .map(|(_, (name, value))| quote!(.#name(#value)))
            .collect()
    }
}

struct Reader<'a> {
    arguments: Arguments,
    errors: &'a mut Errors,
    /// Until something was given for queues, if only in the wrong place or way.
    queues_expected: bool,
    options_seen: bool,
}

impl Reader<'_> {
    fn read(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        while !input.is_empty() {
            if let Err(error) = self.argument(input) {
                self.errors.add(error);
                // One bad argument says nothing about the next.
                while !input.is_empty() && !input.peek(Token![,]) {
                    input.parse::<TokenTree>()?;
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(())
    }

    fn argument(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        if input.peek(Ident::peek_any) && input.peek2(Token![=]) && !input.peek2(Token![==]) {
            let name = input.call(Ident::parse_any)?;
            input.parse::<Token![=]>()?;
            self.option(name, input)?;
        } else if let Some(name) = self.option_without_value(input) {
            return Err(syn::Error::new(name.span(), format!("`{name}` needs a value: write `{name} = ..`")));
        } else {
            // Taken for the queues even when it can't be read: they were not forgotten.
            let first = std::mem::replace(&mut self.queues_expected, false);
            let value = input.parse()?;
            self.positional(&value, first);
        }
        if input.is_empty() || input.peek(Token![,]) {
            return Ok(());
        }
        Err(input.error("expected `,` before the next option"))
    }

    fn positional(&mut self, value: &Expr, first: bool) {
        if first && !self.options_seen {
            self.arguments.queues = Some(queues::read(value, self.errors));
        } else if first {
            let message =
                "the queues come first, before the options: write e.g. `#[route(\"orders\", bulk_size = 10)]`";
            self.errors.on(value, message);
        } else {
            let message = match self.arguments.queues.as_ref().and_then(|queues| queues.first.as_deref()) {
                Some(first) => {
                    format!("several queues are written as an array: `[{first:?}, {}]`", readable(value))
                }
                None => "several queues are written as one array: `[\"orders\", \"orders.late\"]`".to_owned(),
            };
            self.errors.on(value, message);
        }
    }

    fn option(&mut self, name: Ident, input: ParseStream<'_>) -> syn::Result<()> {
        self.options_seen = true;
        if name == "queue" || name == "queues" {
            self.queues_expected = false;
        }
        if input.is_empty() || input.peek(Token![,]) {
            return Err(syn::Error::new(name.span(), format!("`{name}` has no value after the `=`")));
        }
        let value: Expr = input.parse()?;
        let Some(position) = options::position(&name) else {
            self.errors.at(name.span(), options::unknown(&name));
            return Ok(());
        };
        let value = options::value(&OPTIONS[position], &value, self.errors);
        match self.arguments.given.entry(position) {
            Entry::Vacant(free) => {
                free.insert((name, value));
            }
            Entry::Occupied(_) => {
                let message = format!("`{name}` is given twice; leave one of them out");
                self.errors.at(name.span(), message);
            }
        }
        Ok(())
    }
    /// An option's name with no `=` after it, as in `bulk_size: 2` or `bulk_size(2)`.
    fn option_without_value(&self, input: ParseStream<'_>) -> Option<Ident> {
        let colon = input.peek2(Token![:]) && !input.peek2(Token![::]);
        // Where the queues are still to come it may well be the path of theirs.
        if (self.queues_expected && !colon) || input.peek2(Token![::]) {
            return None;
        }
        let name = input.fork().parse::<Ident>().ok()?;
        options::position(&name).map(|_| name)
    }
}
