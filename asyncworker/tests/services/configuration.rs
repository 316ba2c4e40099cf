//! What is put together wrongly is told at start, with the service and the fix; and services from settings.

use super::{Notes, SECOND, script, serve};
use asyncworker::prelude::*;
use asyncworker::{ErrorKind, IntoService, QueueService, Scope, Service, ServiceContext, Supervised};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

struct One;
struct Two;

#[asyncworker::async_trait]
impl Service for One {
    async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
        serve(context).await
    }
}

#[asyncworker::async_trait]
impl Service for Two {
    async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
        serve(context).await
    }
}

trait Number: Send + Sync {}
impl Number for One {}
impl Number for Two {}

async fn refused(app: App) -> String {
    let hook = app.on_startup(|_| async { panic!("it starts") });
    let error = hook.start().await.map(|_| ()).expect_err("the app starts");
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    error.to_string()
}

async fn refused_service(service: impl IntoService) -> String {
    refused(App::new().service(service)).await
}

#[tokio::test]
async fn names_and_types_that_two_services_share_are_refused() {
    let error = refused(App::new().service(One).service(Supervised::new(Two).name("One"))).await;
    assert!(error.contains("two services are named `One`") && error.contains(".name("), "{error}");
    assert!(refused_service(Supervised::new(One).name("")).await.contains("empty"));

    let error = refused(App::new().service(One).service(Supervised::new(One).name("another"))).await;
    assert!(
        error.contains("`One` and `another`") && error.contains("::One>`") && error.contains(".private()"),
        "{error}"
    );
    let one = Supervised::new(One).provides::<Arc<dyn Number>>(|one| one);
    let two = Supervised::new(Two).provides::<Arc<dyn Number>>(|two| two);
    let error = refused(App::new().service(one).service(two)).await;
    assert!(error.contains("`One` and `Two`") && error.contains("dyn ") && error.contains("Number"), "{error}");
    let error = refused(App::new().state(Arc::new(One)).service(One)).await;
    assert!(error.contains("`One`") && error.contains("given a state"), "{error}");
}

#[tokio::test]
async fn dependencies_that_are_missing_or_go_round_are_refused() {
    let error = refused_service(Supervised::new(One).depends_on::<Arc<Two>>()).await;
    assert!(error.contains("`One` depends on") && error.contains("::Two>`") && error.contains(".service("), "{error}");
    // A state is no service.
    let error = refused(App::new().state(7_u8).service(Supervised::new(One).depends_on::<u8>())).await;
    assert!(error.contains("`One` depends on `u8`"), "{error}");

    let one = Supervised::new(One).depends_on::<Arc<Two>>();
    let error = refused(
        App::new()
            .service(one)
            .service(Supervised::new(Two).depends_on::<Arc<dyn Number>>().provides::<Arc<dyn Number>>(|two| two)),
    )
    .await;
    assert!(error.contains("in a circle: `Two` on `Two`"), "{error}");
    let one = Supervised::new(One).depends_on::<Arc<Two>>();
    let error = refused(App::new().service(one).service(Supervised::new(Two).depends_on::<Arc<One>>())).await;
    assert!(error.contains("in a circle: `One` on `Two` on `One`"), "{error}");
}

#[tokio::test]
async fn options_of_nothing_are_refused() {
    let error = refused_service(Supervised::new(One).start_timeout(Duration::ZERO)).await;
    assert!(error.contains("`One`") && error.contains("start_timeout"), "{error}");
    assert!(refused_service(Supervised::new(One).stop_timeout(Duration::ZERO)).await.contains("stop_timeout"));
    assert!(refused_service(Supervised::new(One).intensity(3, Duration::ZERO)).await.contains("intensity"));
    async fn drop_it(_: u8) {}
    let error = refused_service(QueueService::new(0, drop_it)).await;
    assert!(error.contains("`QueueService<u8>`") && error.contains("capacity"), "{error}");
    let error = refused_service(QueueService::new(1, drop_it).concurrency(0)).await;
    assert!(error.contains("`QueueService<u8>`") && error.contains("concurrency"), "{error}");
}

#[tokio::test]
async fn what_a_service_needs_and_the_app_has_not_is_refused() {
    struct Needs;
    #[asyncworker::async_trait]
    impl Service for Needs {
        async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
            serve(context).await
        }
        fn resolve(&self, scope: &Scope<'_>) -> Result<(), String> {
            scope.state::<u8>().map(|_| ()).ok_or_else(|| "it needs a `u8`".into())
        }
    }
    assert_eq!(refused_service(Needs).await, "service `Needs`: it needs a `u8`");
    async fn handle(_: u8, _: State<String>) {}
    let error = refused_service(QueueService::new(1, handle)).await;
    assert!(error.contains("`QueueService<u8>`") && error.contains("String"), "{error}");
}

#[derive(Debug, Deserialize)]
struct Settings {
    text: String,
    #[serde(default)]
    times: u8,
}

/// An app with a factory of services that note what their settings are, and these settings.
fn from_settings(notes: &Notes, settings: serde_json::Value) -> App {
    let to = notes.clone();
    App::new()
        .service_factory("notes", move |Settings { text, times }: Settings| {
            if times > 3 {
                return Err(Failure::new(format!("the setting `times`: {times} is more than 3")));
            }
            let notes = to.clone();
            Ok(Supervised::new(script("it", &to, move |context: ServiceContext| {
                notes.note(format!("{}: {text} {times}", context.name()));
                serve(context)
            }))
            .name("another")
            .private())
        })
        .service_factory("one", |(): ()| Ok(One))
        .services(settings)
}

#[tokio::test(start_paused = true)]
async fn services_are_made_of_settings_and_named_by_them() {
    let notes = Notes::default();
    let settings = json!({
        "greeter": { "factory": "notes", "settings": { "text": "hello", "times": 2 } },
        "friend": { "factory": "notes", "settings": { "text": "hi" } },
        "one": { "factory": "one" },
    });
    let app = from_settings(&notes, settings).service(Supervised::new(Two).depends_on::<Arc<One>>());
    let app = app.shutdown_timeout(SECOND).start().await.unwrap();
    let names: Vec<_> = app.status().services.into_iter().map(|service| service.name).collect();
    assert_eq!(names, ["friend", "greeter", "one", "Two"]);
    assert_eq!(notes.all(), ["friend: hi 0", "greeter: hello 2"]);
    app.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_setting_that_is_wrong_fails_the_start_by_service_and_key() {
    let refused = async |settings| refused(from_settings(&Notes::default(), settings)).await;
    let error =
        refused(json!({ "greeter": { "factory": "notes", "settings": { "text": "hello", "times": "two" } } })).await;
    assert!(error.contains("service `greeter`: the setting `times`") && error.contains("two"), "{error}");
    let error = refused(json!({ "greeter": { "factory": "notes", "settings": { "times": 2 } } })).await;
    assert!(error.contains("service `greeter`") && error.contains("`text`"), "{error}");
    let error = refused(json!({ "greeter": { "factory": "notes" } })).await;
    assert!(error.contains("service `greeter`") && error.contains("`text`"), "{error}");
    let error = refused(json!({ "greeter": { "factory": "notes", "settings": { "text": "", "time": 2 } } })).await;
    assert!(error.contains("service `greeter`: nothing reads the setting `time`"), "{error}");
    let error = refused(json!({ "greeter": { "factory": "notes", "settings": { "text": "", "times": 4 } } })).await;
    assert_eq!(error, "service `greeter`: the setting `times`: 4 is more than 3");

    let error = refused(json!({ "greeter": { "factory": "smtp" } })).await;
    assert!(
        error.contains("service `greeter`") && error.contains("`smtp`") && error.contains("`notes`, `one`"),
        "{error}"
    );
    let error = refused(json!({ "greeter": { "factory": "one", "setings": {} } })).await;
    assert!(error.contains("`greeter.setings`"), "{error}");
    let error = refused(json!({ "greeter": { "settings": {} } })).await;
    assert!(error.contains("`greeter`") && error.contains("`factory`"), "{error}");
    let error = refused(json!(["greeter"])).await;
    assert!(error.contains("the settings of services") && error.contains("map"), "{error}");
}

#[tokio::test]
async fn settings_that_cannot_be_read_and_factories_of_one_name_are_refused() {
    let no_json = std::collections::HashMap::from([((1, 2), 3)]);
    assert!(refused(App::new().services(no_json)).await.contains("the settings of services"));
    let twice = App::new().service_factory("one", |(): ()| Ok(One)).service_factory("one", |(): ()| Ok(One));
    assert!(refused(twice).await.contains("two factories of services are named `one`"));
}
