//! The connections of an app, and what it declares over them.

use super::hooks::Context;
use super::parts::{Part, Times};
use crate::backend::{Connection, Connections, NamedBackend};
use crate::error::Error;
use crate::meter::Meters;
use crate::route::Protocol;
use crate::settings::Settings;
use crate::topology::{Declaration, Thing};
use async_trait::async_trait;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use tokio::time::timeout_at;

#[async_trait]
impl Part for Connections {
    async fn stop(&mut self, _: &Context, times: Times) -> Vec<String> {
        let mut complaints = Vec::new();
        for connection in self.iter() {
            if timeout_at(times.end, connection.backend.close()).await.is_err() {
                complaints.push("a connection did not close in time".into());
            }
        }
        complaints
    }
}

/// Opens the connections' backends; nothing connects yet.
pub(super) fn open(
    connections: Vec<Connection>,
    app: &str,
    settings: &Settings,
    meters: &Meters,
) -> Result<Connections, Error> {
    let mut opened: Vec<NamedBackend> = Vec::new();
    for connection in connections {
        let name = connection.0.name().map(str::to_owned);
        match &name {
            Some(name) if opened.iter().any(|known| known.name.as_ref() == Some(name)) => {
                return Err(Error::configuration(format!("two connections are named `{name}`")));
            }
            _ => {}
        }
        let meter = meters.connection(name.as_deref());
        let backend = connection.0.open(app, settings, &meter)?;
        // What is counted of it is about queues and publishes.
        if backend.serves(Protocol::Amqp) {
            meters.shows(&meter);
        }
        opened.push(NamedBackend { name, backend, meter });
    }
    for protocol in [Protocol::Amqp, Protocol::Sse] {
        let places = candidates(protocol, &opened);
        if places.len() > 1 && places.iter().any(|place| opened[*place].name.is_none()) {
            let serves = protocol.serves();
            return Err(Error::configuration(format!(
                "the app has several connections for {serves} and one of them has no name; give each a name by `.name(..)`"
            )));
        }
    }
    Ok(opened.into())
}

/// Those that a route of this protocol may mean that names none. A broker that serves events, too, stands in for a server of
/// events, and is not meant where there is one.
fn candidates(protocol: Protocol, connections: &[NamedBackend]) -> Vec<usize> {
    let mut places = serving(protocol, connections);
    let is_broker = |place: &usize| connections[*place].backend.serves(Protocol::Amqp);
    if protocol == Protocol::Sse && !places.iter().all(is_broker) {
        places.retain(|place| !is_broker(place));
    }
    places
}

fn serving(protocol: Protocol, connections: &[NamedBackend]) -> Vec<usize> {
    (0..connections.len()).filter(|place| connections[*place].backend.serves(protocol)).collect()
}

/// The connection of this name, or the only candidate.
pub(super) fn choose(
    name: Option<&str>,
    protocol: Protocol,
    connections: &Connections,
    whose: &str,
) -> Result<usize, Error> {
    let serves = protocol.serves();
    let places = serving(protocol, connections);
    let known = || {
        let names: Vec<_> = places.iter().filter_map(|place| connections[*place].name.as_deref()).collect();
        if names.is_empty() { "none has a name".to_owned() } else { format!("there are `{}`", names.join("`, `")) }
    };
    let wrong = match (name, &candidates(protocol, connections)[..]) {
        (Some(name), _) => match connections.iter().position(|known| known.name.as_deref() == Some(name)) {
            Some(place) if places.contains(&place) => return Ok(place),
            Some(_) => format!("the connection `{name}` has no {serves}; of those that have, {}", known()),
            None => format!("the app has no connection named `{name}`; {}", known()),
        },
        (None, [only]) => return Ok(*only),
        (None, []) => format!("the app has no connection for {serves}; add one by `.connect(..)`"),
        (None, _) => format!(
            "the app has several connections for {serves}, so it must name one by `connection = \"..\"` or `.connection(..)`; {}",
            known()
        ),
    };
    Err(Error::configuration(format!("{whose}: {wrong}")))
}

/// What is to be declared, by connection and virtual host, in the order it was asked for.
pub(super) struct Declarations {
    connections: Connections,
    sorted: BTreeMap<(usize, Arc<str>), Vec<Thing>>,
}

impl Declarations {
    /// Finds the connection of each.
    ///
    /// # Errors
    /// Names what has none.
    pub(super) fn sort(declarations: Vec<Declaration>, connections: &Connections) -> Result<Self, Error> {
        let mut sorted: BTreeMap<_, Vec<Thing>> = BTreeMap::new();
        for declaration in declarations {
            let whose = match &declaration.thing {
                Thing::Queue(queue) => format!("queue `{}`", queue.name),
                Thing::Exchange(exchange) => format!("exchange `{}`", exchange.name),
                Thing::Binding(binding) => {
                    format!("binding of queue `{}` to exchange `{}`", binding.queue, binding.exchange)
                }
            };
            let connection = choose(declaration.connection.as_deref(), Protocol::Amqp, connections, &whose)?;
            if let Thing::Queue(queue) = &declaration.thing
                && let Some(limit) = queue.drops_what_comes_back()
            {
                tracing::warn!(
                    queue = queue.name,
                    "what its handler sends back again and again is lost at {limit}, for want of a dead-letter exchange; add `.dead_letter(..)`, unless a policy of the broker has one"
                );
            }
            let vhost = declaration.vhost.as_deref().unwrap_or(connections[connection].backend.default_vhost()).into();
            sorted.entry((connection, vhost)).or_default().push(declaration.thing);
        }
        // A dead-letter queue that the app declares itself is as the app says.
        for things in sorted.values_mut() {
            let declared: HashSet<String> = things.iter().filter_map(Thing::queue_name).map(str::to_owned).collect();
            for thing in things {
                if let Thing::Queue(queue) = thing {
                    queue.dead_letter_queue.take_if(|name| declared.contains(name));
                }
            }
        }
        Ok(Self { connections: Arc::clone(connections), sorted })
    }
}

#[async_trait]
impl Part for Declarations {
    async fn start(&mut self, _: &Context) -> Result<(), Error> {
        for ((connection, vhost), things) in std::mem::take(&mut self.sorted) {
            self.connections[connection].backend.declare(vhost, things).await?;
        }
        Ok(())
    }
}
