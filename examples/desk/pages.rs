//! The pages: plain HTML, one style and one script, which are in the program.
use asyncworker as app;
use asyncworker::http::{Html, IntoResponse, header};

/// Nothing but what is served here is loaded or run, whatever anybody writes.
const POLICY: [(header::HeaderName, &str); 1] = [(header::CONTENT_SECURITY_POLICY, "default-src 'self'")];

fn page(title: &str, main: &str) -> impl IntoResponse + use<> {
    (POLICY, Html(include_str!("web/layout.html").replace("{title}", title).replace("{main}", main)))
}

#[app::get("/")]
pub async fn deploys() -> impl IntoResponse {
    page("Deployments", include_str!("web/deploys.html"))
}

#[app::get("/chat")]
pub async fn chat() -> impl IntoResponse {
    page("Chat", include_str!("web/chat.html"))
}

#[app::get("/tasks")]
pub async fn tasks() -> impl IntoResponse {
    page("Tasks", include_str!("web/tasks.html"))
}

#[app::get("/services")]
pub async fn services() -> impl IntoResponse {
    page("Services", include_str!("web/services.html"))
}

#[app::get("/style.css")]
pub async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("web/style.css"))
}

#[app::get("/desk.js")]
pub async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("web/desk.js"))
}

#[app::get("/icon.svg")]
pub async fn icon() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/svg+xml")], include_str!("web/icon.svg"))
}
