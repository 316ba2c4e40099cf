//! Long tasks that people start, watch and stop. By HTTP: `curl -X POST 127.0.0.1:8080/import`, `curl 127.0.0.1:8080/tasks`,
//! `curl -X DELETE 127.0.0.1:8080/tasks/import`. On a page, over a websocket to which a task is tied: <http://127.0.0.1:8080/>.
use asyncworker as app;
use asyncworker::http::ws::CheckedOrigin;
use asyncworker::http::{Html, Json, Path, StatusCode, WebSocket};
use asyncworker::prelude::*;
use asyncworker::{TaskOutcome, TaskStatus};
use std::time::Duration;

// On the runtime. Told to stop, it is dropped at its next await.
async fn import(run: TaskRun<u32>) {
    for percent in 1..=100 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        run.progress(percent);
    }
}

// On a thread of its own, which asks at every step whether it is to stop.
fn find_primes(run: TaskRun<u64>) -> Result<(), Failure> {
    for number in 2_u64.. {
        run.check()?;
        if (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| number % divisor != 0) {
            run.progress(number);
        }
    }
    Ok(())
}

#[app::post("/import")]
async fn start_import(tasks: Tasks) -> Result<StatusCode, (StatusCode, String)> {
    match tasks.start(Task::new("import", import)) {
        // or `start_or_join`, or `restart`, where it may run already
        Ok(_) => Ok(StatusCode::ACCEPTED),
        Err(runs_already) => Err((StatusCode::CONFLICT, runs_already.to_string())),
    }
}

#[app::get("/tasks")]
async fn list(tasks: Tasks) -> Json<Vec<TaskStatus>> {
    Json(tasks.list())
}

#[app::delete("/tasks/{name}")]
async fn stop(tasks: Tasks, Path(name): Path<String>) -> Result<Json<TaskOutcome>, StatusCode> {
    Ok(Json(tasks.stop(&name).await.map_err(|_| StatusCode::NOT_FOUND)?))
}

// Starts it, sends how far it is, takes `stop` and `restart`, and ends it when the page is closed.
#[app::ws("/primes")]
async fn primes(socket: WebSocket, tasks: Tasks, _: CheckedOrigin) {
    tasks.serve(socket, || Task::blocking("primes", find_primes)).await;
}

#[app::get("/")]
async fn page() -> Html<&'static str> {
    Html(
        r#"<!doctype html><meta charset="utf-8"><title>Primes</title>
<button>stop</button> <button>restart</button> <pre id="status"></pre>
<script>
const socket = new WebSocket(`ws://${location.host}/primes`), show = document.getElementById("status");
socket.onmessage = message => show.textContent = message.data;
socket.onclose = () => show.textContent += " (closed)";
document.onclick = event => event.target.matches("button") && socket.send(event.target.textContent);
</script>"#,
    )
}

#[tokio::main]
async fn main() -> Result<(), app::Error> {
    App::new().http(Http::bind("127.0.0.1:8080")).mount(routes![start_import, list, stop, primes, page]).run().await
}
