//! Everything wrong with one attribute and its function, for one compile to show.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use std::fmt::Display;

/// `tokens` in the usual spacing, for a message to show: printed, they stand apart one by one.
pub(crate) fn readable(tokens: impl ToTokens) -> String {
    let printed = tokens.to_token_stream().to_string();
    let spacing =
        [(" ::", "::"), (":: ", "::"), (" <", "<"), ("< ", "<"), (" >", ">"), (" ,", ","), ("& ", "&"), (" (", "(")];
    spacing.into_iter().fold(printed, |text, (wide, narrow)| text.replace(wide, narrow))
}

#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    pub(crate) fn add(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            None => self.0 = Some(error),
        }
    }

    pub(crate) fn at(&mut self, span: Span, message: impl Display) {
        self.add(syn::Error::new(span, message));
    }

    /// Marks all of `tokens`, where `at` with their span would mark the first one on a stable compiler.
    pub(crate) fn on(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.add(syn::Error::new_spanned(tokens, message));
    }

    /// The `compile_error!`s, or nothing when all is well.
    pub(crate) fn into_compile_errors(self) -> Option<TokenStream> {
        self.0.map(|error| error.to_compile_error())
    }
}
