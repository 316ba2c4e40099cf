//! A service and how the app keeps it.

use super::restarts::Limits;
use super::{Restart, Service};
use crate::error::Error;
use crate::state::StateMap;
use std::any::{TypeId, type_name};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A service and how the app keeps it: its name, its restarts, what it depends on and what it is found as.
///
/// ```
/// use asyncworker::prelude::*;
/// use asyncworker::{Restart, Service, ServiceContext, Supervised};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// trait MessageSender: Send + Sync {
///     fn send(&self, text: &str);
/// }
///
/// struct Smtp;
///
/// impl MessageSender for Smtp {
///     fn send(&self, text: &str) {
///         println!("mail: {text}");
///     }
/// }
///
/// #[asyncworker::async_trait]
/// impl Service for Smtp {
///     async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
///         context.ready();
///         context.told_to_stop().await;
///         Ok(())
///     }
/// }
///
/// async fn greet(Body(name): Body<String>, sender: State<Arc<dyn MessageSender>>) {
///     sender.send(&format!("hello {name}"));
/// }
///
/// let smtp = Supervised::new(Smtp)
///     .name("mail")
///     .provides::<Arc<dyn MessageSender>>(|smtp| smtp)      // found by trait
///     .restart(Restart::OnFailure)
///     .intensity(3, Duration::from_secs(10));
/// let app = App::new().service(smtp).route(Route::amqp(["people"]).handler(greet));
/// ```
pub struct Supervised<S> {
    service: Arc<S>,
    registered: Registered,
}

/// A service with its type forgotten.
pub(crate) struct Registered {
    pub(super) name: String,
    pub(super) service: Arc<dyn Service>,
    pub(super) options: Options,
    /// What it is found as: at first its own type, unless it is private.
    pub(super) provisions: Vec<Provision>,
    pub(super) dependencies: Vec<Type>,
}

/// A type, and its name for errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Type {
    pub(super) id: TypeId,
    pub(super) name: &'static str,
}

impl Type {
    fn of<T: 'static>() -> Self {
        Self { id: TypeId::of::<T>(), name: type_name::<T>() }
    }
}

/// Something that a service is found as.
pub(super) struct Provision {
    pub(super) provided: Type,
    /// False, if the state has one of this type already.
    pub(super) insert: Box<dyn FnOnce(&mut StateMap) -> bool + Send>,
}

impl Provision {
    fn new<T: Clone + Send + Sync + 'static>(value: T) -> Self {
        Self { provided: Type::of::<T>(), insert: Box::new(move |state| state.insert(value)) }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Options {
    pub(super) restart: Restart,
    pub(super) limits: Limits,
    pub(super) start_timeout: Duration,
    pub(super) stop_timeout: Duration,
}

impl<S> fmt::Debug for Supervised<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Registered { name, options, dependencies, .. } = &self.registered;
        f.debug_struct("Supervised")
            .field("name", name)
            .field("options", options)
            .field("dependencies", dependencies)
            .finish_non_exhaustive()
    }
}

impl<S: Service> Supervised<S> {
    /// A service with all defaults: named by its type, always restarted.
    pub fn new(service: S) -> Self {
        let service = Arc::new(service);
        let registered = Registered {
            name: short_name(type_name::<S>()),
            service: Arc::<S>::clone(&service),
            options: Options {
                restart: Restart::default(),
                limits: Limits::default(),
                start_timeout: Duration::from_secs(30),
                stop_timeout: Duration::from_secs(10),
            },
            provisions: vec![Provision::new(Arc::clone(&service))],
            dependencies: Vec::new(),
        };
        Self { service, registered }
    }

    /// The name that logs, errors and the status show; unique in an app. Default: that of its type.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.registered.name = name.into();
        self
    }

    /// Lets it be found as a `T`, too, as a rule the `Arc` of a trait: `.provides::<Arc<dyn MessageSender>>(|smtp| smtp)`.
    /// A type that something else is found as already is refused at start.
    #[must_use]
    pub fn provides<T: Clone + Send + Sync + 'static>(mut self, make: impl FnOnce(Arc<S>) -> T) -> Self {
        self.registered.provisions.push(Provision::new(make(Arc::clone(&self.service))));
        self
    }

    /// Does not let it be found as `Arc<S>`, so that an app may have several services of one type.
    #[must_use]
    pub fn private(mut self) -> Self {
        let own = TypeId::of::<Arc<S>>();
        self.registered.provisions.retain(|provision| provision.provided.id != own);
        self
    }

    /// Starts it after the service that is found as a `T` is ready, and stops it before that one. A type that no service is
    /// found as, and services that depend on each other in a circle, are refused at start. When that service is restarted,
    /// this one goes on.
    #[must_use]
    pub fn depends_on<T: 'static>(mut self) -> Self {
        self.registered.dependencies.push(Type::of::<T>());
        self
    }

    /// What follows when a run ends without being told to. Default [`Restart::Always`].
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.registered.options.restart = restart;
        self
    }

    /// The pause before a restart: the first, doubled by each restart within the period of the
    /// [`intensity`](Self::intensity) up to the longest, and then up to a half of it more by chance. Default 1 s and 30 s.
    #[must_use]
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.registered.options.limits.backoff = (first, longest);
        self
    }

    /// How many restarts there may be within a period, as the supervisors of Erlang/OTP have it. One more, and the service is
    /// given up: the app stops, and [`App::run`](crate::App::run) returns an error that names it. Default 5 within 60 s; with
    /// 0 restarts the first failure is the last.
    #[must_use]
    pub fn intensity(mut self, restarts: usize, period: Duration) -> Self {
        self.registered.options.limits.restarts = restarts;
        self.registered.options.limits.period = period;
        self
    }

    /// How long it may take to be ready when the app starts, restarts included; after that the start has failed. Default 30 s.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.registered.options.start_timeout = timeout;
        self
    }

    /// How long it may take to stop, within the shutdown timeout of the app; after that it is dropped at its next `await`,
    /// and the result of the shutdown is an error that names it. Default 10 s.
    #[must_use]
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.registered.options.stop_timeout = timeout;
        self
    }
}

impl Registered {
    /// Checks what is said of it alone.
    ///
    /// # Errors
    /// Names the service, the option and what would be right.
    pub(super) fn check(&self) -> Result<(), Error> {
        let Options { limits, start_timeout, stop_timeout, .. } = &self.options;
        let refuse = |what: &str| Err(Error::configuration(format!("service `{}`: {what}", self.name)));
        if self.name.is_empty() {
            return Err(Error::configuration("the name of a service is empty"));
        }
        if limits.period.is_zero() {
            return refuse("the period of its intensity is 0, within which nothing can be counted");
        }
        if start_timeout.is_zero() {
            return refuse("its start_timeout is 0; it could never be ready");
        }
        if stop_timeout.is_zero() {
            return refuse("its stop_timeout is 0; it could never stop in order");
        }
        Ok(())
    }
}

/// What [`App::service`](crate::App::service) takes: a [`Service`] or a [`Supervised`] one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service",
    label = "neither a `Service` nor a `Supervised`",
    note = "a service is a type that implements `asyncworker::Service`"
)]
pub trait IntoService {
    /// The service with its type forgotten.
    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn into_service(self) -> Registered;
}

#[allow(private_interfaces)]
impl<S: Service> IntoService for S {
    fn into_service(self) -> Registered {
        Supervised::new(self).registered
    }
}

#[allow(private_interfaces)]
impl<S: Service> IntoService for Supervised<S> {
    fn into_service(self) -> Registered {
        self.registered
    }
}

/// The name of a type without the modules that it and its parameters are in.
fn short_name(name: &str) -> String {
    let mut short = String::new();
    for part in name.split_inclusive(['<', '>', '(', ')', '[', ']', ',', ';', '&', ' ']) {
        short.push_str(part.rsplit("::").next().unwrap_or(part));
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_loses_its_modules() {
        assert_eq!(short_name("mailer::smtp::Smtp"), "Smtp");
        assert_eq!(short_name("a::b::Queue<c::Mail, (d::E, [u8; 3])>"), "Queue<Mail, (E, [u8; 3])>");
        assert_eq!(short_name("alloc::sync::Arc<dyn mailer::MessageSender>"), "Arc<dyn MessageSender>");
        assert_eq!(short_name("mailer::main::{{closure}}::Smtp"), "Smtp");
        assert_eq!(short_name("Plain"), "Plain");
    }
}
