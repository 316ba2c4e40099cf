//! The attribute `timeit` on functions of every kind, as users write them.
#![cfg(all(feature = "macros", feature = "memory"))]
#![allow(clippy::unwrap_used, missing_docs)]

use asyncworker as app;
use asyncworker::prelude::*;
use std::fmt::Display;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

static REPORTS: LazyLock<Mutex<Vec<TimeitReport>>> = LazyLock::new(Mutex::default);

async fn keep(report: TimeitReport) {
    REPORTS.lock().unwrap().push(report);
}

/// What was reported under this name, in order.
fn outcomes(name: &str) -> Vec<TimeitOutcome> {
    let reports = REPORTS.lock().unwrap();
    reports.iter().filter(|report| report.name == name).map(|report| report.outcome.clone()).collect()
}

fn failed(text: &str) -> TimeitOutcome {
    TimeitOutcome::Failed(text.into())
}

#[app::timeit("twice", callback = keep)]
async fn twice(number: u32) -> u32 {
    number * 2
}

#[tokio::test]
async fn defect_14_a_function_with_the_attribute_runs_again() {
    assert_eq!((twice(1).await, twice(2).await), (2, 4));
    assert_eq!(outcomes("twice"), [TimeitOutcome::Completed, TimeitOutcome::Completed]);
}

/// A `Result` by another name.
type Answer<T> = Result<T, Failure>;

#[app::timeit("answer", callback = keep)]
async fn answer(text: &str) -> Answer<u32> {
    if text.is_empty() {
        return Err(Failure::new("nothing was asked"));
    }
    let number = text.parse::<u32>()?;
    Ok(number)
}

#[tokio::test]
async fn an_err_is_a_failure_whatever_the_result_is_called() {
    assert_eq!(answer("7").await.unwrap(), 7);
    assert!(answer("").await.is_err());
    assert!(answer("x").await.is_err());
    let expected = [TimeitOutcome::Completed, failed("nothing was asked"), failed("invalid digit found in string")];
    assert_eq!(outcomes("answer"), expected);
}

struct NoText;

#[app::timeit("no text", callback = keep)]
async fn no_text() -> Result<(), NoText> {
    Err(NoText)
}

#[tokio::test]
async fn an_error_without_a_text_is_told_by_its_type() {
    assert!(no_text().await.is_err());
    assert_eq!(outcomes("no text"), [failed("timeit::NoText")]);
}

#[derive(Clone)]
struct Shelf {
    label: String,
}

impl Shelf {
    async fn report(report: TimeitReport) -> Result<(), Failure> {
        keep(report).await;
        Ok(())
    }

    #[app::timeit("borrowing", callback = Self::report)]
    async fn label(&self) -> &str {
        &self.label
    }

    #[app::timeit(format!("of {}", self.label), callback = Self::report)]
    async fn fill<T, E>(&mut self, items: impl IntoIterator<Item = Result<T, E>>) -> Result<Vec<T>, E>
    where
        E: Display,
    {
        self.label.push('!');
        items.into_iter().collect()
    }

    #[app::timeit("unknown error", callback = Self::report)]
    async fn unknown<E>(self, error: E) -> Result<(), E> {
        Err(error)
    }
}

#[tokio::test]
async fn methods_and_generic_functions_keep_their_signatures() {
    let mut shelf = Shelf { label: "books".into() };
    assert_eq!(shelf.label().await, "books");
    assert_eq!(shelf.fill([Ok(1), Err("torn")]).await, Err("torn"));
    assert_eq!(shelf.fill([Ok::<_, String>(1)]).await, Ok(vec![1]));
    assert_eq!(shelf.unknown(7).await, Err(7));
    assert_eq!(outcomes("borrowing"), [TimeitOutcome::Completed]);
    assert_eq!(outcomes("of books"), [failed("torn")]);
    assert_eq!(outcomes("of books!"), [TimeitOutcome::Completed]);
    assert_eq!(outcomes("unknown error").len(), 1);
}

#[app::timeit("opaque", callback = keep)]
async fn opaque(fails: bool) -> Result<impl Display, Failure> {
    if fails { Err(Failure::new("on purpose")) } else { Ok("fine") }
}

#[app::timeit("wholly opaque", callback = keep)]
async fn wholly_opaque() -> impl Display {
    "fine"
}

#[app::timeit("boxed", callback = keep)]
async fn boxed(late: bool) -> Box<dyn Display> {
    if late {
        return Box::new("late");
    }
    Box::new(7)
}

#[tokio::test]
async fn what_is_returned_may_be_an_impl_or_a_trait_object() {
    assert_eq!(opaque(false).await.ok().unwrap().to_string(), "fine");
    assert!(opaque(true).await.is_err());
    assert_eq!(wholly_opaque().await.to_string(), "fine");
    assert_eq!(boxed(true).await.to_string() + &boxed(false).await.to_string(), "late7");
    assert_eq!(outcomes("opaque"), [TimeitOutcome::Completed, failed("on purpose")]);
    assert_eq!(outcomes("wholly opaque"), [TimeitOutcome::Completed]);
}

#[app::timeit("panics", callback = keep)]
async fn panics() -> u32 {
    panic!("on purpose")
}

#[app::timeit("never ends", callback = keep)]
async fn never_ends() -> ! {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn panics_and_cancelled_runs_are_reported() {
    assert!(tokio::spawn(panics()).await.unwrap_err().is_panic());
    assert_eq!(outcomes("panics"), [TimeitOutcome::Panicked("on purpose".into())]);
    assert!(tokio::time::timeout(Duration::from_millis(1), never_ends()).await.is_err());
    tokio::task::yield_now().await;
    assert_eq!(outcomes("never ends"), [TimeitOutcome::Cancelled]);
}

#[app::route("above")]
#[app::timeit("below a route", callback = keep)]
async fn below(mut messages: Message<u32>) -> Result<(), Failure> {
    let _ = &mut messages;
    Err(Failure::accept("the handler failed"))
}

#[app::timeit("above a route", callback = |report: TimeitReport| keep(report))]
#[app::route("below")]
async fn above(Body(_number): Body<u32>) {}

#[tokio::test(start_paused = true)]
async fn handlers_are_measured_above_and_below_their_route() {
    let broker = Memory::new();
    let running = App::new().connect(broker.clone()).mount(routes![above, below]).start().await.unwrap();
    broker.push("above", "1");
    broker.push("below", "1");
    assert_eq!(broker.settled("above", 1).await, [Action::Ack]);
    assert_eq!(broker.settled("below", 1).await, [Action::Ack]);
    assert_eq!(outcomes("below a route"), [failed("the handler failed")]);
    assert_eq!(outcomes("above a route"), [TimeitOutcome::Completed]);
    running.shutdown().await.unwrap();
}
