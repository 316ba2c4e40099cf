//! What an app mounts.

#[cfg(feature = "http")]
use crate::http::Endpoint;
use crate::route::Route;

/// Something that an app mounts: what `routes![..]` gives and [`App::mount`](crate::App::mount) takes.
///
/// It is made of a [`Route`] by `into()`; an app takes each as it is, too.
#[derive(Debug)]
pub struct Mount(pub(super) Kind);

#[derive(Debug)]
pub(super) enum Kind {
    Route(Route),
    #[cfg(feature = "http")]
    Endpoint(Endpoint),
}

impl Mount {
    /// The name to show.
    #[cfg(feature = "macros")]
    pub(super) fn label(&self) -> String {
        match &self.0 {
            Kind::Route(route) => route.label(),
            #[cfg(feature = "http")]
            Kind::Endpoint(endpoint) => endpoint.label(),
        }
    }
}

impl From<Route> for Mount {
    fn from(route: Route) -> Self {
        Self(Kind::Route(route))
    }
}

#[cfg(feature = "http")]
impl From<Endpoint> for Mount {
    fn from(endpoint: Endpoint) -> Self {
        Self(Kind::Endpoint(endpoint))
    }
}
