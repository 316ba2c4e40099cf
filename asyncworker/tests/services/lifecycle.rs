//! The order in which services start and stop, and what happens when one does not.

use super::{Notes, SECOND, Script, script, serve, status, until};
use asyncworker::prelude::*;
use asyncworker::{ErrorKind, Service, ServiceContext, ServiceState, Supervised};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// What services of these tests depend on.
trait First: Send + Sync {}
impl<F: Send + Sync> First for Script<F> {}

fn first<F: Send + Sync>(script: Arc<Script<F>>) -> Arc<dyn First>
where
    Script<F>: Service,
{
    script
}

/// Takes a second to be ready, and a second to stop.
async fn slow(name: &'static str, notes: Notes, context: ServiceContext) -> Result<(), Failure> {
    notes.note(format!("{name} starts"));
    sleep(SECOND).await;
    notes.note(format!("{name} ready"));
    context.ready();
    context.told_to_stop().await;
    assert!(context.is_stopping());
    sleep(SECOND).await;
    notes.note(format!("{name} ends"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn services_start_one_after_the_other_dependencies_first_and_stop_in_reverse() {
    let (broker, notes) = (Memory::new(), Notes::default());
    let of = |name: &'static str| {
        let to = notes.clone();
        script(name, &notes, move |context: ServiceContext| slow(name, to.clone(), context))
    };
    let hook = |what: &'static str| {
        let notes = notes.clone();
        move |_| async move {
            notes.note(what);
            Ok(())
        }
    };
    let handled = notes.clone();
    let app = App::new()
        .connect(broker.clone())
        .on_startup(hook("startup hook"))
        .on_shutdown(hook("shutdown hook"))
        .route(Route::amqp(["orders"]).handler(move |_: Message| {
            let notes = handled.clone();
            async move {
                notes.note("handler starts");
                sleep(3 * SECOND).await;
                notes.note("handler ends");
            }
        }))
        .service(Supervised::new(of("a")).depends_on::<Arc<dyn First>>().name("a").private())
        .service(Supervised::new(of("b")).provides(first).name("b").private());
    broker.push("orders", "1");
    let app = app.start().await.unwrap();
    assert_eq!(notes.take(), ["startup hook", "b starts", "b ready", "a starts", "a ready"]);
    let names: Vec<_> = app.status().services.into_iter().map(|service| service.name).collect();
    assert_eq!(names, ["b", "a"]);
    timeout(super::LIMIT, async {
        while notes.all().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    app.shutdown().await.unwrap();
    let stopped = ["a ends", "a stopped", "b ends", "b stopped"];
    assert_eq!(notes.all(), [&["handler starts", "handler ends"][..], &stopped, &["shutdown hook"]].concat());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_in_time_fails_the_start_by_name_and_the_others_are_stopped() {
    let notes = Notes::default();
    let silent = script("silent", &notes, async |context: ServiceContext| {
        context.told_to_stop().await;
        Ok(())
    });
    let app = App::new()
        .service(Supervised::new(script("first", &notes, serve)).name("first"))
        .service(Supervised::new(silent).name("silent").start_timeout(3 * SECOND))
        .service(Supervised::new(script("last", &notes, async |_: ServiceContext| panic!("it starts"))).name("last"));
    let begin = Instant::now();
    let error = app.start().await.unwrap_err();
    assert_eq!((error.kind(), begin.elapsed().as_secs()), (ErrorKind::Service, 3));
    let told = error.to_string();
    assert!(told.contains("`silent` was not ready within 3s") && told.contains("ready()"), "{told}");
    assert_eq!(notes.all(), ["silent stopped", "first stopped"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_may_fail_while_it_starts_within_its_limits_and_the_start_says_why_it_failed() {
    let notes = Notes::default();
    let once = |times: usize| {
        let to = notes.clone();
        script("flaky", &notes, move |context: ServiceContext| {
            let notes = to.clone();
            async move {
                notes.note("run");
                if notes.all().len() > times { serve(context).await } else { Err(Failure::new("no route to host")) }
            }
        })
    };
    let app = App::new().service(Supervised::new(once(2)).name("flaky")).start().await.unwrap();
    let flaky = status(&app, "flaky");
    assert_eq!(
        (flaky.state, flaky.restarts, flaky.last_error.as_deref()),
        (ServiceState::Ready, 2, Some("no route to host"))
    );
    app.shutdown().await.unwrap();

    notes.take();
    let error =
        App::new().service(Supervised::new(once(9)).name("flaky").intensity(3, 60 * SECOND)).start().await.unwrap_err();
    assert_eq!((error.kind(), notes.all().len()), (ErrorKind::Service, 5));
    let told = format!("{error:?}");
    assert!(told.contains("`flaky` failed past its restart limit of 3") && told.contains("no route to host"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_for_good_ends_the_start_of_another_and_of_declarations() {
    let notes = Notes::default();
    let fails = script("fails", &notes, async |context: ServiceContext| {
        context.ready();
        sleep(SECOND).await;
        Err(Failure::new("gone"))
    });
    let app = App::new()
        .service(Supervised::new(fails).name("fails").intensity(0, SECOND))
        .service(Supervised::new(script("silent", &notes, async |_: ServiceContext| pending().await)).name("silent"))
        .shutdown_timeout(4 * SECOND);
    let error = app.start().await.unwrap_err();
    assert!(error.to_string().contains("`fails` failed past its restart limit"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_stop_is_named_and_holds_up_no_other() {
    let notes = Notes::default();
    let hang = async |context: ServiceContext| {
        context.ready();
        pending().await
    };
    let app = App::new()
        .service(Supervised::new(script("first", &notes, serve)).name("first"))
        .service(Supervised::new(script("hangs", &notes, hang)).name("hangs").stop_timeout(3 * SECOND))
        .service(Supervised::new(script("last", &notes, serve)).name("last").private())
        .shutdown_timeout(20 * SECOND);
    let app = app.start().await.unwrap();
    let begin = Instant::now();
    let error = app.shutdown().await.unwrap_err();
    assert_eq!((error.kind(), begin.elapsed().as_secs()), (ErrorKind::Shutdown, 3));
    let told = error.to_string();
    assert!(told.contains("service `hangs` did not stop in time") && told.matches("service").count() == 1, "{told}");
    assert_eq!(notes.all(), ["last stopped", "hangs stopped", "first stopped"]);
}

#[tokio::test(start_paused = true)]
async fn all_services_are_told_to_stop_however_little_time_there_is() {
    let notes = Notes::default();
    let hang = async |context: ServiceContext| {
        context.ready();
        pending().await
    };
    let told = notes.clone();
    let notes_it = move |context: ServiceContext| {
        let notes = told.clone();
        async move {
            serve(context).await?;
            notes.note("told");
            Ok(())
        }
    };
    let app = App::new()
        .service(Supervised::new(script("first", &notes, notes_it)).name("first"))
        .service(Supervised::new(script("hangs", &notes, hang)).name("hangs"))
        .service(Supervised::new(script("hangs too", &notes, hang)).name("hangs too").private())
        .shutdown_timeout(4 * SECOND);
    let app = app.start().await.unwrap();
    let begin = Instant::now();
    let error = app.shutdown().await.unwrap_err().to_string();
    assert!(begin.elapsed() <= 4 * SECOND);
    assert!(error.contains("`hangs` did not stop") && error.contains("`hangs too` did not stop"), "{error}");
    assert!(!error.contains("`first`"), "{error}");
    let notes = notes.all();
    assert!(
        ["told", "hangs too stopped", "hangs stopped"].iter().all(|it| notes.iter().any(|note| note == it)),
        "{notes:?}"
    );
    assert_eq!(notes.last().map(String::as_str), Some("first stopped"));
}

#[tokio::test(start_paused = true)]
async fn what_fails_while_services_stop_is_named() {
    struct Stubborn;
    #[asyncworker::async_trait]
    impl Service for Stubborn {
        async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
            serve(context).await
        }
        async fn stop(&self) -> Result<(), Failure> {
            panic!("no such handle")
        }
    }
    let notes = Notes::default();
    let fails = async |context: ServiceContext| {
        serve(context).await?;
        Err(Failure::new("cannot flush"))
    };
    let app = App::new().service(Stubborn).service(Supervised::new(script("fails", &notes, fails)).name("fails"));
    let error = app.start().await.unwrap().shutdown().await.unwrap_err().to_string();
    assert!(error.contains("service `fails` failed while it stopped: cannot flush"), "{error}");
    assert!(error.contains("service `Stubborn` could not stop: it panicked: no such handle"), "{error}");
    assert_eq!(notes.all(), ["fails stopped"]);
}

#[tokio::test(start_paused = true)]
async fn an_app_is_ready_while_its_services_are() {
    let notes = Notes::default();
    let wavers = script("wavers", &notes, async |context: ServiceContext| {
        context.ready();
        sleep(10 * SECOND).await;
        context.not_ready();
        sleep(10 * SECOND).await;
        serve(context).await
    });
    let app = App::new().service(Supervised::new(wavers).name("wavers")).start().await.unwrap();
    assert!(app.status().is_ready());
    until(&app, "wavers", ServiceState::Starting).await;
    assert!(!app.status().is_ready());
    until(&app, "wavers", ServiceState::Ready).await;
    assert!(app.status().is_ready() && status(&app, "wavers").restarts == 0);
    app.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_service_of_an_app_that_is_dropped_ends() {
    struct Dropped(Notes);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.note("dropped");
        }
    }
    let notes = Notes::default();
    let to = notes.clone();
    let app = App::new().service(script("it", &notes, move |context: ServiceContext| {
        let dropped = Dropped(to.clone());
        async move {
            let _dropped = dropped;
            serve(context).await
        }
    }));
    drop(app.start().await.unwrap());
    timeout(super::LIMIT, async {
        while notes.all() != ["dropped"] {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_event_that_a_service_emits_while_it_stops_is_handled() {
    #[derive(Clone)]
    struct Stopped;
    let notes = Notes::default();
    let emits = script("emits", &notes, async |context: ServiceContext| {
        let emitter = context.emitter();
        serve(context).await?;
        emitter.emit_detached(Stopped);
        Ok(())
    });
    let app = App::new().service(emits).state(notes.clone()).on(async |_: Stopped, notes: State<Notes>| {
        sleep(SECOND).await;
        notes.note("handled");
    });
    app.start().await.unwrap().shutdown().await.unwrap();
    assert_eq!(notes.all(), ["emits stopped", "handled"]);
}
