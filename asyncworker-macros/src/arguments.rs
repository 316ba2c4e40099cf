//! What stands in the parentheses of one attribute: first what it is about, its queues say, then options.

use crate::errors::{Errors, readable};
use crate::kinds::Kind;
use crate::options;
use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::quote;
use std::collections::btree_map::{BTreeMap, Entry};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, Token};

/// What comes first in the parentheses of an attribute.
pub(crate) struct First {
    /// What messages call it; a plural where several can be given.
    pub(crate) noun: &'static str,
    /// What it could be taken for an option by, which it is not.
    pub(crate) not_options: &'static [&'static str],
    /// As it is written.
    pub(crate) example: &'static str,
    /// As several are written, where there can be several.
    pub(crate) several: Option<&'static str>,
    /// Checks it and gives what the builder takes.
    pub(crate) read: fn(&Expr, &mut Errors) -> Positional,
}

impl First {
    pub(crate) fn comes(&self) -> &'static str {
        if self.several.is_some() { "come" } else { "comes" }
    }
}

/// What was given first.
pub(crate) struct Positional {
    /// As the builder takes it.
    pub(crate) given: TokenStream,
    /// The first of it, if it is known here: what tells the mounts of one function apart.
    pub(crate) text: Option<String>,
}

/// What stands in the parentheses of one attribute.
pub(crate) struct Arguments {
    pub(crate) kind: &'static Kind,
    /// `None` only after an error.
    first: Option<Positional>,
    /// By their position among the options of the kind: the name as the user wrote it, and the value.
    given: BTreeMap<usize, (Ident, TokenStream)>,
}

impl Arguments {
    /// Of an attribute that is reported as wrong already.
    pub(crate) fn none(kind: &'static Kind) -> Self {
        Self { kind, first: None, given: BTreeMap::new() }
    }

    /// Reads all of it, past whatever is wrong; `attribute` is all of it, or empty for the one that is being expanded.
    pub(crate) fn read(kind: &'static Kind, tokens: TokenStream, attribute: &TokenStream, errors: &mut Errors) -> Self {
        let mut reader = Reader { arguments: Self::none(kind), errors, first_expected: true, options_seen: false };
        let outcome = (|input: ParseStream<'_>| reader.read(input)).parse2(tokens);
        let Reader { arguments, errors, first_expected, .. } = reader;
        if let Err(error) = outcome {
            errors.add(error);
        } else if first_expected {
            let Kind { makes, first: First { noun, example, .. }, .. } = kind;
            errors.on(attribute, format!("{makes} needs its {noun}: write e.g. {}", kind.written(example)));
        }
        arguments
    }

    /// What comes first, as the builder takes it.
    pub(crate) fn first(&self) -> Option<&TokenStream> {
        self.first.as_ref().map(|first| &first.given)
    }

    /// The first of what comes first, if it is known here.
    pub(crate) fn text(&self) -> Option<&str> {
        self.first.as_ref()?.text.as_deref()
    }

    pub(crate) fn is_named(&self) -> bool {
        self.given.keys().any(|&position| self.kind.options[position].name == "name")
    }

    /// The builder's calls for what is set in its options, or on itself.
    pub(crate) fn calls(&self, in_options: bool) -> TokenStream {
        self.given
            .iter()
            .filter(|(position, _)| self.kind.options[**position].in_options == in_options)
            .map(|(_, (name, value))| quote!(.#name(#value)))
            .collect()
    }
}

struct Reader<'a> {
    arguments: Arguments,
    errors: &'a mut Errors,
    /// Until something was given for what comes first, if only in the wrong place or way.
    first_expected: bool,
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
            // Taken for it even when it can't be read: it was not forgotten.
            let first = std::mem::replace(&mut self.first_expected, false);
            let value = input.parse()?;
            self.positional(&value, first);
        }
        if input.is_empty() || input.peek(Token![,]) {
            return Ok(());
        }
        Err(input.error("expected `,` before the next option"))
    }

    fn positional(&mut self, value: &Expr, first: bool) {
        let kind = self.arguments.kind;
        let First { noun, example, several, read, .. } = &kind.first;
        if first && !self.options_seen {
            self.arguments.first = Some(read(value, self.errors));
            return;
        }
        let message = match (self.arguments.text(), several) {
            _ if first => {
                let comes = kind.first.comes();
                let right = kind.written(&format!("{example}, {}", kind.an_option));
                format!("the {noun} {comes} first, before the options: write e.g. {right}")
            }
            (Some(first), Some(_)) => {
                format!("several {noun} are written as an array: `[{first:?}, {}]`", readable(value))
            }
            (None, Some(several)) => format!("several {noun} are written as one array: `{several}`"),
            (_, None) => format!("there is one {noun}, and what follows it are options: `option = value`"),
        };
        self.errors.on(value, message);
    }

    fn option(&mut self, name: Ident, input: ParseStream<'_>) -> syn::Result<()> {
        self.options_seen = true;
        let kind = self.arguments.kind;
        if kind.is_first(&name) {
            self.first_expected = false;
        }
        if input.is_empty() || input.peek(Token![,]) {
            return Err(syn::Error::new(name.span(), format!("`{name}` has no value after the `=`")));
        }
        let value: Expr = input.parse()?;
        let Some(position) = kind.position(&name) else {
            self.errors.at(name.span(), kind.unknown(&name));
            return Ok(());
        };
        let value = options::value(&kind.options[position], &value, self.errors);
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
        // Where what comes first is still to come it may well be the path of that.
        if (self.first_expected && !colon) || input.peek2(Token![::]) {
            return None;
        }
        let name = input.fork().parse::<Ident>().ok()?;
        self.arguments.kind.position(&name).map(|_| name)
    }
}
