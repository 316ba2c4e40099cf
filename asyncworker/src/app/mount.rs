//! What an app mounts.

use crate::route::Route;

/// Something that an app mounts: what `routes![..]` gives and [`App::mount`](crate::App::mount) takes.
///
/// It is made of a [`Route`] by `into()`; an app takes each as it is, too.
#[derive(Debug)]
pub struct Mount(pub(super) Kind);

#[derive(Debug)]
pub(super) enum Kind {
    Route(Route),
}

impl Mount {
    /// The name to show.
    #[cfg(feature = "macros")]
    pub(super) fn label(&self) -> String {
        match &self.0 {
            Kind::Route(route) => route.label(),
        }
    }
}

impl From<Route> for Mount {
    fn from(route: Route) -> Self {
        Self(Kind::Route(route))
    }
}
