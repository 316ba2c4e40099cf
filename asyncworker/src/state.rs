//! The app's typed state: one value a type.

use crate::handler::Failure;
use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;

/// Values by their type, frozen when the app starts.
#[derive(Default)]
pub(crate) struct StateMap {
    values: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    names: Vec<&'static str>,
}

impl StateMap {
    /// Adds a value; false when there is one of this type already.
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) -> bool {
        self.names.push(type_name::<T>());
        self.values.insert(TypeId::of::<T>(), Box::new(value)).is_none()
    }

    pub(crate) fn get<T: Clone + 'static>(&self) -> Option<T> {
        self.values.get(&TypeId::of::<T>())?.downcast_ref().cloned()
    }
}

/// What a handler takes as `State<T>`.
///
/// # Errors
/// The app has no such state, and what to do about it.
pub(crate) fn needed<T: Clone + 'static>(state: &StateMap) -> Result<T, String> {
    let name = type_name::<T>();
    state.get().ok_or_else(|| {
        format!("it takes `State<{name}>`, and the app has no such state; add `.state(..)` with a `{name}`")
    })
}

/// What a service or a task asks for while it runs.
///
/// # Errors
/// There is none. It names the type.
pub(crate) fn asked<T>(value: Option<T>) -> Result<T, Failure> {
    value.ok_or_else(|| Failure::new(format!("the app has no state and no service of the type `{}`", type_name::<T>())))
}

impl fmt::Debug for StateMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.names).finish()
    }
}
