//! What an attribute expands to, token for token.

mod mistakes;

use crate::expand;
use crate::kinds::{ROUTE, SSE};
use proc_macro2::TokenStream;
use quote::quote;

/// The expansion of a `route`.
fn expand(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(&ROUTE, attr, item)
}

/// The routes' builders, in order.
fn routes(attr: TokenStream, item: TokenStream) -> String {
    let file: syn::File = syn::parse2(expand(attr, item)).unwrap_or_else(|error| panic!("not Rust: {error}"));
    let body = file.items.iter().find_map(|item| match item {
        syn::Item::Impl(item) => match &item.items[..] {
            [syn::ImplItem::Fn(function)] => Some(&function.block),
            _ => None,
        },
        _ => None,
    });
    quote!(#body).to_string()
}

fn single(builder: TokenStream) -> String {
    quote!({ ::std::vec![::asyncworker::Mount::from(#builder)] }).to_string()
}

fn index() -> TokenStream {
    quote!(
        async fn index() {}
    )
}

#[test]
fn the_whole_expansion() {
    let expanded = expand(
        quote!("orders", bulk_size = 2),
        quote! {
            /// Indexes.
            pub async fn index(mut a: A, #[cfg(b)] B(b): B<C>) -> Result<(), Failure> { let _ = (a, b); Ok(()) }
        },
    );
    let expected = quote! {
        /// Indexes.
        pub async fn index(mut a: A, #[cfg(b)] B(b): B<C>) -> Result<(), Failure> { let _ = (a, b); Ok(()) }

        #[doc(hidden)]
        #[allow(non_camel_case_types, dead_code, missing_docs, missing_debug_implementations, unreachable_pub)]
        pub struct index {}

        #[doc(hidden)]
        impl ::asyncworker::__private::Mounted for index {
            fn mounts() -> ::std::vec::Vec<::asyncworker::Mount> {
                ::std::vec![
                    ::asyncworker::Mount::from(
                        ::asyncworker::Route::amqp(["orders"])
                            .name("index")
                            .options(::asyncworker::RouteOptions::new().bulk_size(2))
                            .handler(index)
                    )
                ]
            }
        }

        #[allow(dead_code)]
        const _: () = {
            fn extracts<T: ::asyncworker::Extract>() {}
            fn concludes<T: ::asyncworker::IntoOutcome>() {}
            fn sends<F: ::core::marker::Send>(_: F) {}
            fn check() {
                extracts::<A>();
                #[cfg(b)]
                extracts::<B<C> >();
                concludes::<Result<(), Failure> >();
            }
        };

        ::asyncworker::__private::inventory::submit! {
            ::asyncworker::__private::Discovered::new(<index as ::asyncworker::__private::Mounted>::mounts)
        }
    };
    assert_eq!(expanded.to_string(), expected.to_string());
}

#[test]
fn the_future_is_asked_by_itself_whether_it_is_send() {
    let expanded = expand(
        quote!("orders"),
        quote!(
            async fn index(A(a): A, b: B) {}
        ),
    );
    let check = quote!(let _ = |argument_0: A, argument_1: B| sends(index(argument_0, argument_1)););
    assert!(expanded.to_string().contains(&check.to_string()), "{expanded}");
}

#[test]
fn options_reach_the_builder_in_its_order_whatever_theirs() {
    let attr = quote!(
        ["orders", "orders.late"],
        prefetch = 512,
        timeout = "30s",
        connection = "here",
        on_success = Ack,
        on_exception = Action::Reject,
        on_decode_error = app::Action::Requeue,
        concurrency = 4,
        bulk_flush_interval = "1.5s",
        bulk_size = BULK,
        name = "settles",
        vhost = VHOST,
    );
    let builder = quote! {
        ::asyncworker::Route::amqp(["orders", "orders.late"])
            .name("settles")
            .vhost(VHOST)
            .connection("here")
            .options(::asyncworker::RouteOptions::new()
                .bulk_size(BULK)
                .bulk_flush_interval(::std::time::Duration::from_nanos(1500000000u64))
                .on_success(::asyncworker::Action::Ack)
                .on_exception(::asyncworker::Action::Reject)
                .on_decode_error(::asyncworker::Action::Requeue)
                .concurrency(4)
                .timeout(::std::time::Duration::from_nanos(30000000000u64))
                .prefetch(512))
            .handler(index)
    };
    assert_eq!(routes(attr, index()), single(builder));
}

#[test]
fn queues_that_are_an_expression_are_handed_on_as_they_are() {
    for queues in [
        quote!(QUEUES),
        quote!(names::all()),
        quote!(name::ALL),
        quote!(name()),
        quote!(&["a", "b"]),
        quote!([FIRST, "b"]),
    ] {
        let builder = quote!(::asyncworker::Route::amqp(#queues).name("index").handler(index));
        assert_eq!(routes(queues, index()), single(builder));
    }
}

#[test]
fn a_duration_may_be_an_expression() {
    let builder = quote! {
        ::asyncworker::Route::amqp(["orders"])
            .name("index")
            .options(::asyncworker::RouteOptions::new().timeout(Duration::from_secs(3)))
            .handler(index)
    };
    assert_eq!(routes(quote!("orders", timeout = Duration::from_secs(3)), index()), single(builder));
}

#[test]
fn a_raw_function_name_makes_a_plain_route_name() {
    let builder = quote!(::asyncworker::Route::amqp(["orders"]).name("match").handler(r#match));
    let item = quote!(
        async fn r#match() {}
    );
    assert_eq!(routes(quote!("orders"), item), single(builder));
}

#[test]
fn each_stacked_attribute_makes_a_route_with_a_name_of_its_own() {
    let item = quote! {
        #[app::route(["late", "later"], vhost = "other")]
        #[tracing::instrument]
        #[route(QUEUE)]
        #[route("mail", name = "post")]
        #[route("orders", connection = "there")]
        async fn index() {}
    };
    let mounts = quote! {
        ::asyncworker::Mount::from(::asyncworker::Route::amqp(["orders"]).name("index(orders)").handler(index)),
        ::asyncworker::Mount::from(::asyncworker::Route::amqp(["late", "later"]).name("index(late)").vhost("other").handler(index)),
        ::asyncworker::Mount::from(::asyncworker::Route::amqp(QUEUE).name("index(#3)").handler(index)),
        ::asyncworker::Mount::from(::asyncworker::Route::amqp(["mail"]).name("post").handler(index)),
        ::asyncworker::Mount::from(::asyncworker::Route::amqp(["orders"]).name("index(#5)").connection("there").handler(index))
    };
    assert_eq!(routes(quote!("orders"), item.clone()), quote!({ ::std::vec![#mounts] }).to_string());

    let function = expand(quote!("orders"), item).to_string();
    assert!(function.starts_with("# [tracing :: instrument] async fn index () { }"), "{function}");
}

#[test]
fn a_return_type_that_cannot_be_named_is_left_to_the_builder() {
    for item in [
        quote!(
            async fn f() -> impl IntoOutcome {}
        ),
        quote!(
            async fn f() -> ! {
                loop {}
            }
        ),
    ] {
        let expanded = expand(quote!("orders"), item).to_string();
        assert!(!expanded.contains("concludes ::"), "{expanded}");
    }
}

#[test]
fn an_sse_route_is_made_of_paths_and_options() {
    let attr = quote!(["/events", "/audit"], connection = "there", bulk_size = 2, prefetch = 8);
    let builder = quote! {
        ::asyncworker::Route::sse(["/events", "/audit"])
            .name("index")
            .connection("there")
            .options(::asyncworker::RouteOptions::new().bulk_size(2).prefetch(8))
            .handler(index)
    };
    let expanded = expand::expand(&SSE, attr, index()).to_string();
    assert!(expanded.contains(&quote!(::asyncworker::Mount::from(#builder)).to_string()), "{expanded}");
}

#[test]
fn attributes_of_several_kinds_make_all_of_it_at_once_and_check_the_types_once() {
    let item = quote! {
        #[app::sse("/orders")]
        #[app::route("orders", name = "own")]
        #[app::sse("/orders", connection = "there")]
        async fn index(a: A) {}
    };
    let mounts = quote! {
        ::asyncworker::Mount::from(::asyncworker::Route::amqp(["orders"]).name("index(orders)").handler(index)),
        ::asyncworker::Mount::from(::asyncworker::Route::sse(["/orders"]).name("index(/orders)").handler(index)),
        ::asyncworker::Mount::from(::asyncworker::Route::amqp(["orders"]).name("own").handler(index)),
        ::asyncworker::Mount::from(::asyncworker::Route::sse(["/orders"]).name("index(#4)").connection("there").handler(index))
    };
    assert_eq!(routes(quote!("orders"), item.clone()), quote!({ ::std::vec![#mounts] }).to_string());
    let expanded = expand(quote!("orders"), item).to_string();
    assert_eq!(expanded.matches("extracts ::").count(), 1, "{expanded}");
}
