//! What an app mounts.

#[cfg(feature = "http")]
use crate::http::Endpoint;
use crate::route::Route;
use crate::schedule::Schedule;

/// Something that an app mounts: what `routes![..]` gives and [`App::mount`](crate::App::mount) takes.
///
/// It is made of a [`Route`] or a [`Schedule`] by `into()`; an app takes each as it is, too.
#[derive(Debug)]
pub struct Mount(pub(super) Kind);

#[derive(Debug)]
pub(super) enum Kind {
    Route(Route),
    #[cfg(feature = "http")]
    Endpoint(Endpoint),
    Schedule(Schedule),
}

impl Mount {
    /// The name to show.
    #[cfg(feature = "macros")]
    pub(super) fn label(&self) -> String {
        match &self.0 {
            Kind::Route(route) => route.label(),
            #[cfg(feature = "http")]
            Kind::Endpoint(endpoint) => endpoint.label(),
            Kind::Schedule(schedule) => schedule.label(),
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

impl From<Schedule> for Mount {
    fn from(schedule: Schedule) -> Self {
        Self(Kind::Schedule(schedule))
    }
}
