//! The function under the attribute.

use super::options::located;
use crate::errors::{Errors, readable};
use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Attribute, FnArg, ReturnType, Signature, Type, TypeReference, Visibility};

pub(super) struct Handler {
    pub(super) attributes: Vec<Attribute>,
    pub(super) visibility: Visibility,
    signature: Signature,
    /// Not parsed: it is the compiler's to read, and half-written while someone types.
    body: TokenStream,
}

impl Parse for Handler {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self {
            attributes: input.call(Attribute::parse_outer)?,
            visibility: input.parse()?,
            signature: input.parse()?,
            body: input.parse()?,
        })
    }
}

impl ToTokens for Handler {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attributes, visibility, signature, body } = self;
        tokens.extend(quote!(#(#attributes)* #visibility #signature #body));
    }
}

impl Handler {
    pub(super) fn name(&self) -> &Ident {
        &self.signature.ident
    }

    /// Such a function most likely stands in an `impl`, where no other items may be put beside it.
    pub(super) fn is_method(&self) -> bool {
        self.signature.receiver().is_some()
    }

    /// Takes the other `route`s off the function: one expansion makes all of its routes, for they share one name.
    ///
    /// Those under `cfg_attr` are among them: the compiler resolves a function's `cfg` and `cfg_attr`, wherever they
    /// stand, before it calls a macro. So no `cfg` needs to be copied from the function either.
    pub(super) fn take_routes(&mut self) -> Vec<Attribute> {
        self.attributes.extract_if(.., |attribute| is_route(attribute)).collect()
    }

    pub(super) fn check(&self, errors: &mut Errors) {
        let Signature { constness, asyncness, unsafety, abi, fn_token, ident, generics, inputs, variadic, .. } =
            &self.signature;
        if let Some(token) = constness {
            errors.at(token.span, "a handler is not `const`: remove this");
        }
        if asyncness.is_none() {
            errors.at(fn_token.span, format!("a handler is an `async fn`: write `async fn {ident}`"));
        }
        if let Some(token) = unsafety {
            errors.at(token.span, "a handler is not `unsafe`: remove this, and keep `unsafe` to blocks in its body");
        }
        if let Some(token) = abi {
            errors.on(token, "a handler is not `extern`: remove this");
        }
        if !generics.params.is_empty() {
            errors.on(generics, "a handler is not generic: name the types it takes");
        }
        for argument in inputs {
            check_argument(argument, errors);
        }
        if let Some(variadic) = variadic {
            errors.on(variadic, "a handler has a fixed number of arguments: remove this");
        }
    }

    /// The function as far as the compiler will have no complaint of its own about what `check` has reported.
    pub(super) fn after_errors(mut self) -> Self {
        if self.signature.asyncness.is_some() {
            self.signature.constness = None;
        }
        self.signature.variadic = None;
        self
    }

    /// Statements that compile if each argument can be extracted and the return value is an outcome, each in the place
    /// of its type, so that the compiler points there. They call `extracts` and `concludes`.
    pub(super) fn type_checks(&self) -> TokenStream {
        let arguments = self.signature.inputs.iter().filter_map(|argument| match argument {
            FnArg::Receiver(_) => None,
            FnArg::Typed(argument) => {
                // Unlike the function's own, an argument's are still there.
                let conditions = argument.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg"));
                let ty = &argument.ty;
                Some(quote_spanned!(located(ty.span())=> #(#conditions)* extracts::<#ty>();))
            }
        });
        let returned = match &self.signature.output {
            ReturnType::Default => quote!(concludes::<()>();),
            // Neither can be written as a type argument; the call of `handler` checks them all the same.
            ReturnType::Type(_, ty) if matches!(**ty, Type::Never(_)) || find_impl(ty.to_token_stream()).is_some() => {
                TokenStream::new()
            }
            ReturnType::Type(_, ty) => quote_spanned!(located(ty.span())=> concludes::<#ty>();),
        };
        let sends = self.send_check();
        quote!(#(#arguments)* #returned #sends)
    }

    /// A statement that compiles if the function's future is `Send`: asked for by itself, the compiler says what is
    /// held over which `await`. It calls `sends`.
    fn send_check(&self) -> Option<TokenStream> {
        let mut types = Vec::new();
        for argument in &self.signature.inputs {
            match argument {
                // A parameter that may not be there could not be passed on conditionally.
                FnArg::Typed(argument) if argument.attrs.is_empty() => types.push(&argument.ty),
                _ => return None,
            }
        }
        let name = self.name();
        let arguments: Vec<_> = (0..types.len()).map(|place| format_ident!("argument_{place}")).collect();
        Some(quote_spanned!(located(name.span())=> let _ = |#(#arguments: #types),*| sends(#name(#(#arguments),*));))
    }
}

fn check_argument(argument: &FnArg, errors: &mut Errors) {
    let ty = match argument {
        FnArg::Receiver(receiver) => {
            let message =
                "a handler is a free function, without `self`: take what it shares as an argument, `State<..>`";
            return errors.on(receiver, message);
        }
        FnArg::Typed(argument) => &*argument.ty,
    };
    if let Some(place) = find_impl(ty.to_token_stream()) {
        errors.at(place, "a handler names the types it takes: write the type itself for this `impl Trait`");
    } else if let Type::Reference(TypeReference { elem, .. }) = peel(ty) {
        let owned = owned(elem);
        errors.on(ty, format!("handlers take owned arguments; take `{owned}` by value"));
    }
}

fn owned(borrowed: &Type) -> String {
    match peel(borrowed) {
        Type::Path(path) if path.path.is_ident("str") => "String".to_owned(),
        Type::Slice(slice) => format!("Vec<{}>", readable(&slice.elem)),
        Type::TraitObject(object) => format!("Box<{}>", readable(object)),
        other => readable(other),
    }
}

fn peel(mut ty: &Type) -> &Type {
    loop {
        ty = match ty {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            other => return other,
        };
    }
}

/// `impl` is a keyword, so wherever it stands in a type it begins an `impl Trait`.
fn find_impl(tokens: TokenStream) -> Option<Span> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Ident(ident) if ident == "impl" => Some(ident.span()),
        TokenTree::Group(group) => find_impl(group.stream()),
        _ => None,
    })
}

pub(super) fn is_route(attribute: &Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|last| last.ident == "route")
}
