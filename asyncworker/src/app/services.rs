//! Services in the life of an app.

use super::hooks::Context;
use super::parts::{Part, Times};
use super::{App, Running};
use crate::error::Error;
use crate::handler::Failure;
use crate::service::{Factory, IntoService, Services};
use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

impl App {
    /// Adds a [`Service`](crate::Service), by itself or as a [`Supervised`](crate::Supervised): it lives as long as the app,
    /// and is found as `State<Arc<S>>`.
    #[must_use]
    pub fn service(mut self, service: impl IntoService) -> Self {
        self.services.add(service.into_service());
        self
    }

    /// Adds the services that settings ask for: an object with the name of each, its factory and that one's settings, in
    /// JSON or any format that serde reads. What has no factory of this name, and a setting that is wrong or that nothing
    /// reads, is an error of the start that names the service and the setting.
    ///
    /// ```
    /// use asyncworker::prelude::*;
    /// use asyncworker::QueueService;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Outbox {
    ///     capacity: usize,
    /// }
    ///
    /// async fn send(_: String) {}
    ///
    /// let settings = serde_json::json!({
    ///     "outbox": { "factory": "queue", "settings": { "capacity": 100 } },
    /// });
    /// let app = App::new()
    ///     .service_factory("queue", |outbox: Outbox| Ok(QueueService::new(outbox.capacity, send)))
    ///     .services(settings);
    /// ```
    #[must_use]
    pub fn services(mut self, settings: impl Serialize) -> Self {
        self.services.add_settings(serde_json::to_value(settings));
        self
    }

    /// Says how [`services`](Self::services) makes those whose settings name this factory. It is called when the app
    /// starts, before anything runs; the service has the name that the settings give it. An `Err` is an error of the start.
    #[must_use]
    pub fn service_factory<T: DeserializeOwned, S: IntoService>(
        mut self,
        name: impl Into<String>,
        make: impl Fn(T) -> Result<S, Failure> + Send + 'static,
    ) -> Self {
        self.services.add_factory(name.into(), Factory::new(make));
        self
    }
}

impl Running {
    /// Waits until the app cannot go on: until a service has failed past its restart limit. Gives the error that names it.
    /// [`App::run`] stops then, and returns it.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn failed(&self) -> Error {
        self.parts.services.failed().await
    }
}

#[async_trait]
impl Part for Services {
    async fn start(&mut self, context: &Context) -> Result<(), Error> {
        Self::start(self, context).await
    }

    async fn stop(&mut self, _: &Context, times: Times) -> Vec<String> {
        Self::stop(self, times.services, times.stragglers).await
    }
}
