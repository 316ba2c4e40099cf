//! What routes, connections and the HTTP server count while they work.
//!
//! Whoever counts holds a meter, made once at start: nothing is looked up by a message. Without the feature `metrics`
//! the same meters are empty, and nothing of them is left after compilation.

#[cfg(feature = "metrics")]
mod counting;
#[cfg(feature = "metrics")]
mod instrument;
#[cfg(feature = "metrics")]
mod requests;
#[cfg(not(feature = "metrics"))]
mod silent;

#[cfg(feature = "metrics")]
pub(crate) use counting::*;
#[cfg(feature = "metrics")]
pub(crate) use instrument::*;
#[cfg(feature = "metrics")]
pub(crate) use requests::*;
#[cfg(not(feature = "metrics"))]
pub(crate) use silent::*;
