//! Routes: the socket, health, what the world is, its gallery, and the page.
//!
//! The page is embedded; a dev build reads it from disk at every request, so a reload shows an edit.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use pipeline::world::{Card, Keys, Sizes};
use rust_embed::RustEmbed;
use serde_json::{Value, json};
use tracing::Instrument;

use crate::App;
use crate::realtime::socket::serve_client;

/// The page. Absent while the workspace has none: then there is none.
#[derive(RustEmbed)]
#[folder = "../webui"]
#[allow_missing = true]
struct WebUi;

pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/v1/realtime_video", get(upgrade))
        .route("/v1/realtime_video/generate", get(upgrade))
        .route("/v1/realtime_video/sessions", get(sessions))
        .route("/health", get(health))
        .route("/liveness", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/server_info", get(server_info))
        .route("/models", get(models))
        .route("/v1/models", get(models))
        .route("/v1/gallery", get(gallery))
        .route("/v1/gallery/{name}", get(gallery_picture))
        .fallback(page)
        .with_state(app)
}

/// Of all that waits to be written. One message is written at a time and the largest is 16 raw frames of 3840x2160: without
/// a bound a stalled reader could have any number.
const WRITE_BUFFER_BYTES_MAX: usize = 512 << 20;

async fn upgrade(State(app): State<App>, upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        // As the reference: to everything but a WebSocket, this is not here.
        Err(_) => return not_found("this is a WebSocket: connect with ws://"),
    };
    let Ok(place) = app.connections.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many connections").into_response();
    };
    bounded_websocket(upgrade, app.limits.message_bytes).on_upgrade(move |socket| {
        let span = tracing::info_span!("session", id = tracing::field::Empty);
        async move {
            serve_client(socket, app).await;
            drop(place);
        }
        .instrument(span)
    })
}

/// The settings of every WebSocket here; tests serve an echo with the same.
pub fn bounded_websocket(upgrade: WebSocketUpgrade, message_bytes: usize) -> WebSocketUpgrade {
    upgrade.max_message_size(message_bytes).max_frame_size(message_bytes).max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
}

fn card(app: &App) -> Option<Arc<Card>> {
    app.engine.card.borrow().clone()
}

fn loading() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "loading" }))).into_response()
}

fn not_found(what: &'static str) -> Response {
    (StatusCode::NOT_FOUND, what).into_response()
}

async fn health(State(app): State<App>) -> Response {
    match card(&app) {
        Some(_) => Json(json!({ "status": "ok" })).into_response(),
        None => loading(),
    }
}

async fn sessions(State(app): State<App>) -> Json<Value> {
    let sessions = app.directory.iter().map(|entry| {
        let mut session = json!(entry.value());
        session["session_id"] = json!(entry.key());
        session
    });
    Json(json!({ "sessions": sessions.collect::<Vec<_>>(), "sessions_max": app.limits.sessions }))
}

async fn server_info(State(app): State<App>) -> Json<Value> {
    Json(json!({
        "server": "causeway",
        "version": env!("CARGO_PKG_VERSION"),
        "status": if card(&app).is_some() { "ok" } else { "loading" },
        "model": card(&app).map(|card| card.name.clone()),
        "sessions": app.directory.len(),
        "sessions_max": app.limits.sessions,
        "memory_bytes": app.limits.memory_bytes,
    }))
}

/// OpenAI's list, as the reference fills it, and under `causeway` what a client can choose.
async fn models(State(app): State<App>) -> Response {
    let Some(card) = card(&app) else { return loading() };
    let sizes = match &card.sizes {
        Sizes::Only(sizes) => json!({ "only": sizes.iter().map(ToString::to_string).collect::<Vec<_>>() }),
        Sizes::MultiplesOf { multiple, pixels_max } => json!({ "multiple": multiple, "pixels_max": pixels_max }),
    };
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let model = json!({
        "id": card.name,
        "object": "model",
        "created": created,
        "owned_by": "causeway",
        "root": card.name,
        "parent": null,
        "max_model_len": null,
        "num_gpus": 0,
        "task_type": "I2V",
        "causeway": {
            "sizes": sizes,
            "default_size": card.default_size.to_string(),
            "fps": card.fps,
            "chunk": card.chunk,
            "sink": card.sink,
            "window": card.window,
            "window_is_fixed": card.window_is_fixed,
            "needs_first_frame": card.needs_first_frame,
            "keys": Keys::ALL,
        },
    });
    // Pages of other origins look here for the model's name.
    let cors = [(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))];
    (cors, Json(json!({ "object": "list", "data": [model] }))).into_response()
}

async fn gallery(State(app): State<App>) -> Response {
    let Some(card) = card(&app) else { return loading() };
    let items = card
        .gallery
        .iter()
        .map(|item| json!({ "name": item.name, "prompt": item.prompt, "image": format!("/v1/gallery/{}", item.name) }));
    Json(items.collect::<Vec<_>>()).into_response()
}

async fn gallery_picture(State(app): State<App>, Path(name): Path<String>) -> Response {
    let Some(card) = card(&app) else { return loading() };
    let Some(item) = card.gallery.iter().find(|item| item.name == name) else {
        return not_found("no such picture in the gallery");
    };
    let content_type = if item.file.starts_with(b"\x89PNG") { "image/png" } else { "image/jpeg" };
    ([(header::CONTENT_TYPE, content_type)], item.file.to_vec()).into_response()
}

async fn page(uri: Uri) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    let Some(file) = WebUi::get(path) else { return not_found("not found") };
    // Checked at every load: the page and the server are of one version.
    let headers = [(header::CONTENT_TYPE, content_type(path)), (header::CACHE_CONTROL, "no-cache")];
    (headers, file.data.into_owned()).into_response()
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_styles_have_the_types_that_browsers_insist_on() {
        assert_eq!(content_type("src/main.js"), "text/javascript; charset=utf-8");
        assert_eq!(content_type("style.css"), "text/css; charset=utf-8");
        assert_eq!(content_type("LICENSE"), "application/octet-stream");
    }

    #[tokio::test]
    async fn nothing_outside_the_page_is_served() {
        for path in ["/../Cargo.toml", "/..%2fCargo.toml", "/src/../../Cargo.toml", "//etc/passwd"] {
            let uri = path.parse::<Uri>().expect("a path");
            assert_eq!(page(uri).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
}
