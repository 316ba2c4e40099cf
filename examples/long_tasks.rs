//! Long tasks that people start, watch and stop:
//! `curl -X POST 127.0.0.1:8080/import`, `curl 127.0.0.1:8080/tasks`, `curl -X DELETE 127.0.0.1:8080/tasks/import`.
use asyncworker as app;
use asyncworker::http::{Json, Path, StatusCode};
use asyncworker::prelude::*;
use asyncworker::{TaskOutcome, TaskStatus};
use std::time::Duration;

#[derive(Clone, serde::Serialize)]
struct Percent(u32);

// On the runtime. Told to stop, it is dropped at its next await.
async fn import(run: TaskRun<Percent>) -> Result<(), Failure> {
    for percent in 1..=100 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        run.progress(Percent(percent));
    }
    Ok(())
}

// On a thread of its own, which asks at every step whether it is to stop.
fn count_primes(run: TaskRun<Vec<u64>>) -> Result<(), Failure> {
    let mut primes: Vec<u64> = Vec::new();
    for number in 2..200_000 {
        run.check()?;
        if primes.iter().take_while(|prime| *prime * *prime <= number).all(|prime| number % prime != 0) {
            primes.push(number);
            run.progress(primes.iter().rev().take(3).copied().collect());
        }
    }
    Ok(())
}

#[app::post("/import")]
async fn start_import(tasks: Tasks) -> Result<StatusCode, (StatusCode, String)> {
    match tasks.start(Task::new("import", import)) {
        Ok(_) => Ok(StatusCode::ACCEPTED),
        Err(runs_already) => Err((StatusCode::CONFLICT, runs_already.to_string())),
    }
}

#[app::post("/primes")]
async fn restart_primes(tasks: Tasks) -> Result<StatusCode, Failure> {
    tasks.restart(Task::blocking("primes", count_primes)).await?;
    Ok(StatusCode::ACCEPTED)
}

// Starts it where it does not run, waits for it, and stops it when the client goes away.
#[app::get("/wait")]
async fn wait(tasks: Tasks) -> Result<Json<TaskOutcome>, Failure> {
    let task = tasks.start_or_join(Task::new("import", import))?;
    let _tied = task.stop_on_drop();
    Ok(Json(task.outcome().await))
}

#[app::get("/tasks")]
async fn list(tasks: Tasks) -> Json<Vec<TaskStatus>> {
    Json(tasks.list())
}

#[app::delete("/tasks/{name}")]
async fn stop(tasks: Tasks, Path(name): Path<String>) -> Result<Json<TaskOutcome>, StatusCode> {
    Ok(Json(tasks.stop(&name).await.map_err(|_| StatusCode::NOT_FOUND)?))
}

#[tokio::main]
async fn main() -> Result<(), app::Error> {
    App::new()
        .http(Http::bind("127.0.0.1:8080"))
        .mount(routes![start_import, restart_primes, wait, list, stop])
        .run()
        .await
}
