//! The function under the attribute.

use crate::errors::{Errors, readable};
use crate::kinds::{KINDS, Kind};
use crate::options::located;
use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, FnArg, ReturnType, Signature, Type, TypeReference, Visibility};

pub(crate) struct Function {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    signature: Signature,
    /// Not parsed: it is the compiler's to read, and half-written while someone types.
    body: TokenStream,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self {
            attributes: input.call(Attribute::parse_outer)?,
            visibility: input.parse()?,
            signature: input.parse()?,
            body: input.parse()?,
        })
    }
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attributes, visibility, signature, body } = self;
        tokens.extend(quote!(#(#attributes)* #visibility #signature #body));
    }
}

impl Function {
    pub(crate) fn name(&self) -> &Ident {
        &self.signature.ident
    }

    /// Such a function most likely stands in an `impl`, where no other items may be put beside it.
    pub(crate) fn is_method(&self) -> bool {
        self.signature.receiver().is_some()
    }

    /// Takes the other attributes of ours off the function, of all kinds: one expansion makes all that is made of it, for
    /// that shares one name.
    ///
    /// Those under `cfg_attr` are among them: the compiler resolves a function's `cfg` and `cfg_attr`, wherever they
    /// stand, before it calls a macro. So no `cfg` needs to be copied from the function either.
    pub(crate) fn take_ours(&mut self) -> Vec<(&'static Kind, Attribute)> {
        let ours = self.attributes.extract_if(.., |attribute| kind(attribute).is_some());
        ours.filter_map(|attribute| Some((kind(&attribute)?, attribute))).collect()
    }

    pub(crate) fn check(&self, errors: &mut Errors) {
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

    /// Of a function that is measured and mounts nothing by that: it may be a method, and generic.
    pub(crate) fn check_timed(&self, errors: &mut Errors) {
        let Signature { asyncness, fn_token, ident, .. } = &self.signature;
        if asyncness.is_none() {
            errors.at(fn_token.span, format!("`timeit` measures an `async fn`: write `async fn {ident}`"));
        }
        if !matches!(self.body.clone().into_iter().next(), Some(TokenTree::Group(_))) {
            errors.on(&self.signature, "`timeit` measures what a function does: put it on one with a body");
        }
    }

    pub(crate) fn body(&self) -> &TokenStream {
        &self.body
    }

    pub(crate) fn with_body(self, body: TokenStream) -> Self {
        Self { body, ..self }
    }

    /// The function as far as the compiler will have no complaint of its own about what `check` has reported.
    pub(crate) fn after_errors(mut self) -> Self {
        if self.signature.asyncness.is_some() {
            self.signature.constness = None;
        }
        self.signature.variadic = None;
        self
    }

    /// The types of its arguments, each with the conditions it is there on.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = (Vec<&Attribute>, &Type)> {
        self.signature.inputs.iter().filter_map(|argument| match argument {
            FnArg::Receiver(_) => None,
            // Unlike the function's own, an argument's are still there.
            FnArg::Typed(argument) => {
                let conditions = argument.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg"));
                Some((conditions.collect(), &*argument.ty))
            }
        })
    }

    /// The type it says that it returns.
    pub(crate) fn returned(&self) -> Option<&Type> {
        match &self.signature.output {
            ReturnType::Default => None,
            ReturnType::Type(_, ty) => Some(ty),
        }
    }

    /// Whether a type that is returned cannot be written as a type argument.
    pub(crate) fn cannot_be_named(ty: &Type) -> bool {
        matches!(ty, Type::Never(_)) || find_impl(ty.to_token_stream()).is_some()
    }

    /// A statement that compiles if the function's future is `Send`: asked for by itself, the compiler says what is
    /// held over which `await`. It calls `sends`.
    pub(crate) fn send_check(&self) -> Option<TokenStream> {
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

/// Which of ours an attribute is: one goes by the last part of its path.
pub(crate) fn kind(attribute: &Attribute) -> Option<&'static Kind> {
    let last = attribute.path().segments.last()?;
    KINDS.into_iter().find(|kind| last.ident == kind.name)
}
