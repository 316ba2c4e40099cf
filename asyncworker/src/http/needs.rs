//! What the arguments of HTTP handlers need of the app, as far as it is known before the first request: where a handler
//! has an attribute.

use crate::handler::State;
use crate::publish::Publisher;
use crate::state::{StateMap, needed};
use std::marker::PhantomData;

/// What an app has for its HTTP handlers.
#[derive(Debug)]
pub(crate) struct Offer<'a> {
    pub(crate) state: &'a StateMap,
    pub(crate) publisher: &'a Publisher,
}

/// Something that a handler's argument needs of the app; where that has no such thing, it says so.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
#[allow(private_interfaces)]
pub struct Need(pub(crate) fn(&Offer<'_>) -> Result<(), String>);

impl Need {
    /// A state of this type.
    #[must_use]
    pub fn state<T: Clone + Send + Sync + 'static>() -> Self {
        Self(|offer| needed::<T>(offer.state).map(drop))
    }

    /// A connection to publish over.
    #[must_use]
    pub fn publisher() -> Self {
        Self(|offer| match offer.publisher.has_connection() {
            true => Ok(()),
            false => Err("it takes a `Publisher`, and the app has no connection; add one by `.connect(..)`".into()),
        })
    }
}

/// An argument by its type, for the expansion of an attribute: `needs()` gives what it needs, the [`NeedsNothing`] being
/// in scope. A method of the type itself comes before that of a trait.
#[derive(Debug, Clone, Copy)]
pub struct Argument<T>(PhantomData<fn() -> T>);

impl<T> Argument<T> {
    /// That of this type.
    pub const TYPE: Self = Self(PhantomData);
}

impl<T: Clone + Send + Sync + 'static> Argument<State<T>> {
    /// The state.
    #[must_use]
    pub fn needs(&self) -> Option<Need> {
        Some(Need::state::<T>())
    }
}

impl Argument<Publisher> {
    /// A connection.
    #[must_use]
    pub fn needs(&self) -> Option<Need> {
        Some(Need::publisher())
    }
}

/// Every other argument.
pub trait NeedsNothing {
    /// Nothing.
    fn needs(&self) -> Option<Need> {
        None
    }
}

impl<T> NeedsNothing for Argument<T> {}
