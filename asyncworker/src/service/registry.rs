//! From the services that an app was given to those it starts: made, checked, found by type, put in order.

use super::settings::{Factory, sections};
use super::supervised::{Registered, Type};
use super::{Board, Services};
use crate::error::Error;
use crate::state::StateMap;
use serde_json::Value;
use std::any::TypeId;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// What an app was told about services.
#[derive(Default)]
pub(crate) struct Registry {
    wanted: Vec<Wanted>,
    factories: BTreeMap<String, Factory>,
    /// A factory's name that was given twice.
    twice: Option<String>,
}

enum Wanted {
    Made(Box<Registered>),
    /// Services by name, or why these settings cannot be read at all.
    Settings(Result<Value, serde_json::Error>),
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = self.wanted.iter().filter_map(|wanted| match wanted {
            Wanted::Made(registered) => Some(&registered.name),
            Wanted::Settings(_) => None,
        });
        f.debug_list().entries(made).finish()
    }
}

impl Registry {
    pub(crate) fn add(&mut self, service: Registered) {
        self.wanted.push(Wanted::Made(Box::new(service)));
    }

    /// Before all others, so that it starts first and stops last.
    #[cfg(feature = "http")]
    pub(crate) fn add_first(&mut self, service: Registered) {
        self.wanted.insert(0, Wanted::Made(Box::new(service)));
    }

    pub(crate) fn add_settings(&mut self, settings: Result<Value, serde_json::Error>) {
        self.wanted.push(Wanted::Settings(settings));
    }

    pub(crate) fn add_factory(&mut self, name: String, factory: Factory) {
        if self.factories.insert(name.clone(), factory).is_some() {
            self.twice.get_or_insert(name);
        }
    }

    /// Makes what comes from settings, checks everything, lets each be found in the state, and puts them in the order
    /// they start.
    ///
    /// # Errors
    /// Names the service, what is wrong and what would be right.
    pub(crate) fn assemble(self, state: &mut StateMap) -> Result<Services, Error> {
        let Self { wanted, factories, twice } = self;
        if let Some(name) = twice {
            return Err(Error::configuration(format!("two factories of services are named `{name}`")));
        }
        let mut services: Vec<Registered> = Vec::new();
        for wanted in wanted {
            match wanted {
                Wanted::Made(service) => services.push(*service),
                Wanted::Settings(settings) => services.extend(sections(settings, &factories)?),
            }
        }
        let mut names = HashSet::new();
        for service in &services {
            service.check()?;
            if !names.insert(service.name.clone()) {
                return Err(Error::configuration(format!(
                    "two services are named `{}`; give one of them another name by `.name(..)`",
                    service.name
                )));
            }
        }
        let providers = provide(&mut services, state)?;
        let order = Order::of(&services, &providers)?;
        let mut services: Vec<_> = services.into_iter().map(Some).collect();
        Ok(Services::new(order.into_iter().filter_map(|place| {
            let Registered { name, service, options, .. } = services[place].take()?;
            Some((Arc::new(Board::new(&name, service)), options))
        })))
    }
}

/// Puts what each is found as into the state. Gives the place of the service that a type belongs to.
fn provide(services: &mut [Registered], state: &mut StateMap) -> Result<HashMap<TypeId, usize>, Error> {
    let mut providers = HashMap::new();
    for place in 0..services.len() {
        for provision in std::mem::take(&mut services[place].provisions) {
            let Type { id, name } = provision.provided;
            if (provision.insert)(state) {
                providers.insert(id, place);
                continue;
            }
            let service = &services[place].name;
            return Err(Error::configuration(match providers.get(&id) {
                Some(other) => format!(
                    "the services `{}` and `{service}` are both found as `{name}`; make one of them `.private()`, or a type of its own",
                    services[*other].name
                ),
                None => format!("service `{service}` is found as `{name}`, and the app was given a state of this type"),
            }));
        }
    }
    Ok(providers)
}

/// Dependencies first; else as they were added.
struct Order<'a> {
    services: &'a [Registered],
    providers: &'a HashMap<TypeId, usize>,
    /// From a service down to what it depends on, to what that depends on, and so on.
    path: Vec<usize>,
    order: Vec<usize>,
}

impl<'a> Order<'a> {
    fn of(services: &'a [Registered], providers: &'a HashMap<TypeId, usize>) -> Result<Vec<usize>, Error> {
        let mut order = Self { services, providers, path: Vec::new(), order: Vec::new() };
        for place in 0..services.len() {
            order.visit(place)?;
        }
        Ok(order.order)
    }

    fn visit(&mut self, place: usize) -> Result<(), Error> {
        if self.order.contains(&place) {
            return Ok(());
        }
        if let Some(start) = self.path.iter().position(|visited| *visited == place) {
            let circle = self.path[start..].iter().chain([&place]);
            let names: Vec<_> = circle.map(|place| format!("`{}`", self.services[*place].name)).collect();
            return Err(Error::configuration(format!(
                "services depend on each other in a circle: {}",
                names.join(" on ")
            )));
        }
        self.path.push(place);
        for dependency in &self.services[place].dependencies {
            let Some(provider) = self.providers.get(&dependency.id).copied() else {
                return Err(Error::configuration(format!(
                    "service `{}` depends on `{}`, and no service is found as that; add it by `.service(..)`, or let it be found by `.provides(..)`",
                    self.services[place].name, dependency.name
                )));
            };
            self.visit(provider)?;
        }
        self.path.pop();
        self.order.push(place);
        Ok(())
    }
}
