//! The attributes of asyncworker.
//!
//! Use them through that crate: `use asyncworker as app;`, then `#[app::route("orders")]`. What they expand to names
//! `::asyncworker::..` outright, so the crate must be a dependency under that name.

mod errors;
mod route;
mod suggestion;

use proc_macro::TokenStream;

#[doc = include_str!("../docs/route.md")]
#[proc_macro_attribute]
pub fn route(attr: TokenStream, item: TokenStream) -> TokenStream {
    route::expand(attr.into(), item.into()).into()
}
