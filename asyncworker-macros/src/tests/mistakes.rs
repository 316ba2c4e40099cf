//! What is said about a wrong attribute or function, and what is left of the expansion then.

use super::{expand, index, routes};
use proc_macro2::TokenStream;
use quote::quote;

/// Of the `compile_error!`s, in order.
fn messages(attr: TokenStream, item: TokenStream) -> Vec<String> {
    let file: syn::File = syn::parse2(expand(attr, item)).unwrap_or_else(|error| panic!("not Rust: {error}"));
    let errors = file.items.iter().filter_map(|item| match item {
        syn::Item::Macro(item) if item.mac.path.segments.last()?.ident == "compile_error" => {
            item.mac.parse_body::<syn::LitStr>().ok().map(|message| message.value())
        }
        _ => None,
    });
    errors.collect()
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let attr = quote!("", bulk_size = 0, nmae = "x", timeout = 2, vhost = "a", vhost = "b");
    let item = quote!(
        #[route("mail", prefetch = 70000)]
        fn index(a: &A) {}
    );
    let expected = [
        "must not be empty",
        "`bulk_size` must be at least 1",
        "did you mean `name`?",
        "write e.g. `timeout = \"2s\"`",
        "`vhost` is given twice",
        "`prefetch` must be at most 65535",
        "write `async fn index`",
        "take `A` by value",
    ];
    let messages = messages(attr, item);
    assert_eq!(messages.len(), expected.len(), "{messages:#?}");
    for (message, expected) in messages.iter().zip(expected) {
        assert!(message.contains(expected), "{message:?} should say {expected:?}");
    }
}

#[test]
fn a_queue_name_fills_at_most_the_short_string_of_amqp() {
    let longest = "ö".repeat(127) + "x";
    assert!(messages(quote!(#longest), index()).is_empty());
    let longer = longest + "x";
    assert!(matches!(&messages(quote!(["orders", #longer]), index())[..], [one] if one.contains("this one has 256")));
}

#[test]
fn an_argument_that_cannot_be_read_hides_no_other_mistake() {
    let messages = messages(quote!("orders", bulk_size: 2, on_success = , concurrency = 1 2, timeout = "1"), index());
    let expected =
        ["write `bulk_size = ..`", "no value after the `=`", "expected `,` before the next option", "has no unit"];
    assert_eq!(messages.len(), expected.len(), "{messages:#?}");
    for (message, expected) in messages.iter().zip(expected) {
        assert!(message.contains(expected), "{message:?} should say {expected:?}");
    }
}

#[test]
fn forgotten_queues_are_missed_once() {
    for attr in [quote!(), quote!(bulk_size = 2), quote!(,)] {
        assert_eq!(messages(attr.clone(), index()).len(), 1, "{attr}");
    }
    for attr in [quote!(queue = "orders"), quote!(bulk_size = 2, "orders")] {
        assert!(matches!(&messages(attr, index())[..], [one] if one.contains("queues come first")));
    }
}

#[test]
fn after_a_mistake_the_name_still_stands_for_a_handler_without_routes() {
    let without = quote!({ ::std::vec::Vec::new() }).to_string();
    assert_eq!(routes(quote!("orders", bulk_size = 0), index()), without);
    assert!(expand(quote!(), index()).to_string().contains("async fn index ()"));
}

#[test]
fn a_method_is_left_alone_for_nothing_may_stand_beside_it() {
    let expanded = expand(
        quote!("orders"),
        quote!(
            async fn index(&self) {}
        ),
    );
    assert!(!expanded.to_string().contains("struct"));
}

#[test]
fn what_is_no_function_is_kept_and_told_so_once() {
    let item = quote!(
        #[route("a")]
        #[derive(Debug)]
        pub struct Index;
    );
    assert!(matches!(&messages(quote!("orders"), item.clone())[..], [one] if one.contains("`async fn`")));
    assert!(expand(quote!("orders"), item).to_string().ends_with("# [derive (Debug)] pub struct Index ;"));
}

#[test]
fn a_function_that_is_no_handler_is_told_why() {
    let cases = [
        (
            quote!(
                fn f() {}
            ),
            "`async fn f`",
        ),
        (
            quote!(
                async fn f<T>(a: A<T>) {}
            ),
            "not generic",
        ),
        (
            quote!(
                async fn f<'a>(a: A<'a>) {}
            ),
            "not generic",
        ),
        (
            quote!(
                async fn f(self) {}
            ),
            "without `self`",
        ),
        (
            quote!(
                async fn f(a: &mut A<B>) {}
            ),
            "take `A<B>` by value",
        ),
        (
            quote!(
                async fn f(a: &str) {}
            ),
            "take `String` by value",
        ),
        (
            quote!(
                async fn f(a: &[u8]) {}
            ),
            "take `Vec<u8>` by value",
        ),
        (
            quote!(
                async fn f(a: impl Extract) {}
            ),
            "`impl Trait`",
        ),
        (
            quote!(
                async fn f(a: Body<impl Extract>) {}
            ),
            "`impl Trait`",
        ),
        (
            quote!(
                async unsafe fn f() {}
            ),
            "not `unsafe`",
        ),
        (
            quote!(
                const async fn f() {}
            ),
            "not `const`",
        ),
        (
            quote!(
                async extern "C" fn f() {}
            ),
            "not `extern`",
        ),
        (
            quote!(
                async fn f(a: A, ...) {}
            ),
            "fixed number",
        ),
    ];
    for (item, expected) in cases {
        let messages = messages(quote!("orders"), item.clone());
        assert!(matches!(&messages[..], [one] if one.contains(expected)), "{item}: {messages:#?}");
    }
}
