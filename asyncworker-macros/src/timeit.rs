//! `#[timeit(..)]`: an `async fn` whose runs are measured. It mounts nothing, and so is no row of `kinds`.

use crate::errors::Errors;
use crate::function::Function;
use crate::names::peel;
use crate::options::located;
use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{AngleBracketedGenericArguments, Expr, ExprLit, GenericArgument, Lit, PathArguments, Token, Type};

/// As it would be right.
const RIGHT: &str = "`#[timeit(\"import\", callback = report)]`";

pub(crate) fn expand(attr: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let mut arguments = Arguments::default();
    if let Err(error) = (|input: ParseStream<'_>| arguments.read(input, &mut errors)).parse2(attr) {
        errors.add(error);
    }
    let Ok(function) = syn::parse2::<Function>(item.clone()) else {
        let place = item.clone().into_iter().next().map_or_else(Span::call_site, |token| token.span());
        errors.at(place, "`timeit` measures an `async fn`: put this attribute on one");
        let errors = errors.into_compile_errors();
        return quote!(#errors #item);
    };
    function.check_timed(&mut errors);
    match (errors.into_compile_errors(), arguments) {
        (None, Arguments { name: Some(name), callback: Some(callback) }) => {
            let body = timed(&name, &callback, &function);
            function.with_body(body).into_token_stream()
        }
        (errors, _) => quote!(#errors #function),
    }
}

/// What stands in the parentheses; either is `None` only after an error.
#[derive(Default)]
struct Arguments {
    name: Option<Expr>,
    callback: Option<Expr>,
}

impl Arguments {
    fn read(&mut self, input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<()> {
        if input.is_empty() || is_option(input) {
            errors.at(input.span(), format!("`timeit` needs the name of what it measures first: write e.g. {RIGHT}"));
        } else {
            self.name = Some(input.parse()?);
            if let Some(Expr::Lit(ExprLit { lit, .. })) = self.name.as_ref().map(peel)
                && !matches!(lit, Lit::Str(_))
            {
                errors.on(lit, format!("the name of what is measured is a string: write e.g. {RIGHT}"));
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        while !input.is_empty() {
            self.option(input, errors)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        if self.callback.is_none() {
            errors.at(input.span(), format!("`timeit` needs a callback to report to: write e.g. {RIGHT}"));
        }
        Ok(())
    }

    fn option(&mut self, input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<()> {
        if !is_option(input) {
            return Err(input.error(format!("after the name comes `callback = ..`: write e.g. {RIGHT}")));
        }
        let option = input.call(Ident::parse_any)?;
        input.parse::<Token![=]>()?;
        let value: Expr = input.parse()?;
        if option != "callback" {
            errors.at(option.span(), format!("`{option}` is not an option of `timeit` (there is `callback` alone)"));
        } else if self.callback.replace(value).is_some() {
            errors.at(option.span(), "`callback` is given twice; leave one of them out");
        }
        Ok(())
    }
}

fn is_option(input: ParseStream<'_>) -> bool {
    input.peek(Ident::peek_any) && input.peek2(Token![=]) && !input.peek2(Token![==])
}

/// The body of the function, within a run.
fn timed(name: &Expr, callback: &Expr, function: &Function) -> TokenStream {
    let body = function.body();
    let timeit = format_ident!("timeit", span = Span::mixed_site());
    let output = format_ident!("output", span = Span::mixed_site());
    let module = quote!(::asyncworker::__private::timeit);
    let returned = match function.returned() {
        None => Some(quote!(())),
        Some(ty) => {
            let ty = without_impl(ty.clone());
            (!Function::cannot_be_named(&ty)).then(|| quote_spanned!(located(ty.span())=> #ty))
        }
    };
    // A block has no return type to write down. This `return`, which is never run, tells it.
    let returns = returned.as_ref().map(|ty| {
        quote! {
            #[allow(unreachable_code, clippy::all, clippy::pedantic)]
            if false {
                return #module::never::<#ty>();
            }
        }
    });
    // What never returns is no failure either.
    let failure = returned.map_or(quote!(|_| ::core::option::Option::None), |ty| {
        quote! {
            |#output: &#ty| {
                #[allow(unused_imports)]
                use #module::{NoResult as _, WithText as _, WithoutText as _};
                (&&&#module::Output(#output)).failure()
            }
        }
    });
    quote! {
        {
            let #timeit = ::asyncworker::Timeit::new(#name, #callback);
            #module::observe(&#timeit, async move { #returns #body }, #failure).await
        }
    }
}

/// The type with `_` for each `impl Trait` that stands as an argument in it: a value's type cannot be written with those.
fn without_impl(mut ty: Type) -> Type {
    fn visit(ty: &mut Type) {
        match ty {
            Type::ImplTrait(_) => *ty = Type::Infer(syn::TypeInfer { underscore_token: Token![_](Span::call_site()) }),
            Type::Path(path) => {
                for segment in &mut path.path.segments {
                    if let PathArguments::AngleBracketed(AngleBracketedGenericArguments { args, .. }) =
                        &mut segment.arguments
                    {
                        for argument in args {
                            if let GenericArgument::Type(ty) = argument {
                                visit(ty);
                            }
                        }
                    }
                }
            }
            Type::Tuple(tuple) => tuple.elems.iter_mut().for_each(visit),
            Type::Reference(reference) => visit(&mut reference.elem),
            Type::Group(group) => visit(&mut group.elem),
            Type::Paren(paren) => visit(&mut paren.elem),
            _ => {}
        }
    }
    visit(&mut ty);
    ty
}
