//! The attributes of asyncworker.
//!
//! Use them through that crate: `use asyncworker as app;`, then `#[app::route("orders")]`. What they expand to names
//! `::asyncworker::..` outright, so the crate must be a dependency under that name.
//!
//! `kinds` is the table of them: what each is called, what it takes and what it makes, and how one is added. The way of
//! an attribute is `expand`, which reads the `function` and the `arguments` of each attribute on it, with their `options`.

mod arguments;
mod checks;
mod duration;
mod endpoint;
mod errors;
mod expand;
mod function;
mod kinds;
mod names;
mod options;
mod schedule;
mod suggestion;
#[cfg(test)]
mod tests;
mod timeit;

use proc_macro::TokenStream;

#[doc = include_str!("../docs/route.md")]
#[proc_macro_attribute]
pub fn route(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(&kinds::ROUTE, attr.into(), item.into()).into()
}

#[doc = include_str!("../docs/sse.md")]
#[proc_macro_attribute]
pub fn sse(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(&kinds::SSE, attr.into(), item.into()).into()
}

#[doc = include_str!("../docs/run_every.md")]
#[proc_macro_attribute]
pub fn run_every(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(&kinds::RUN_EVERY, attr.into(), item.into()).into()
}

#[doc = include_str!("../docs/cron.md")]
#[proc_macro_attribute]
pub fn cron(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(&kinds::CRON, attr.into(), item.into()).into()
}

#[doc = include_str!("../docs/timeit.md")]
#[proc_macro_attribute]
pub fn timeit(attr: TokenStream, item: TokenStream) -> TokenStream {
    timeit::expand(attr.into(), item.into()).into()
}

#[doc = include_str!("../docs/get.md")]
#[proc_macro_attribute]
pub fn get(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(&endpoint::GET, attr.into(), item.into()).into()
}

#[doc = "Makes an `async fn` answer HEAD at one path or several: as [`get`](macro@get), whose page holds here too."]
#[proc_macro_attribute]
pub fn head(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(&endpoint::HEAD, attr.into(), item.into()).into()
}

#[doc = "Makes an `async fn` answer POST at one path or several: as [`get`](macro@get), whose page holds here too."]
#[proc_macro_attribute]
pub fn post(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(&endpoint::POST, attr.into(), item.into()).into()
}

#[doc = "Makes an `async fn` answer PUT at one path or several: as [`get`](macro@get), whose page holds here too."]
#[proc_macro_attribute]
pub fn put(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(&endpoint::PUT, attr.into(), item.into()).into()
}

#[doc = "Makes an `async fn` answer PATCH at one path or several: as [`get`](macro@get), whose page holds here too."]
#[proc_macro_attribute]
pub fn patch(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(&endpoint::PATCH, attr.into(), item.into()).into()
}

#[doc = "Makes an `async fn` answer DELETE at one path or several: as [`get`](macro@get), whose page holds here too."]
#[proc_macro_attribute]
pub fn delete(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(&endpoint::DELETE, attr.into(), item.into()).into()
}

#[doc = include_str!("../docs/ws.md")]
#[proc_macro_attribute]
pub fn ws(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(&endpoint::WS, attr.into(), item.into()).into()
}
