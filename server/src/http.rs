//! Routes: the socket, tokens, what the world is, its gallery, the page, and those of `status.rs`.
//!
//! The page is embedded; a dev build reads it from disk at every request, so a reload shows an edit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use rust_embed::RustEmbed;
use serde_json::json;
use tracing::Instrument;

use crate::accept::Place;
use crate::access::Denied;
use crate::access::http::Visitor;
use crate::realtime::socket::serve_client;
use crate::status::{self, choices, loading};
use crate::{App, Phase, access};

/// The page. Absent while the workspace has none: then there is none.
#[derive(RustEmbed)]
#[folder = "../webui"]
#[allow_missing = true]
struct WebUi;

pub(crate) fn router(app: App) -> Router {
    let keyed = status::inside().route_layer(from_fn_with_state(app.clone(), access::http::need_key));
    Router::new()
        .merge(keyed)
        .route("/v1/realtime_video", get(upgrade))
        .route("/v1/realtime_video/generate", get(upgrade))
        .merge(status::routes())
        .route("/v1/tokens", post(access::http::mint).layer(DefaultBodyLimit::max(TOKEN_WISH_BYTES_MAX)))
        .route("/models", get(models))
        .route("/v1/models", get(models))
        .route("/v1/gallery", get(gallery))
        .route("/v1/gallery/{name}", get(gallery_picture))
        .fallback(page)
        .layer(from_fn_with_state(app.clone(), access::http::check_host))
        .with_state(app)
}

/// Of all that waits to be written. One message is written at a time and the largest is 16 raw frames of 3840x2160: without
/// a bound a stalled reader could have any number.
const WRITE_BUFFER_BYTES_MAX: usize = 512 << 20;

/// Two numbers and their names.
const TOKEN_WISH_BYTES_MAX: usize = 4096;

async fn upgrade(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(place): Extension<Arc<Place>>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        // As the reference: to everything but a WebSocket, this is not here.
        Err(_) => return not_found("this is a WebSocket: connect with ws://"),
    };
    let visitor = match Visitor::at_the_door(&app, peer, place, &headers, &uri) {
        Ok(visitor) => visitor,
        Err(denied) => return denied.into_response(),
    };
    let serving = *app.phase.borrow() == Phase::Serving;
    let Some(present) = app.present.upgrade().filter(|_| serving) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server is draining: it takes no new sessions").into_response();
    };
    let Ok(socket_place) = app.connections.clone().try_acquire_owned() else {
        app.observer.denied(Denied::Full);
        return Denied::Full.into_response();
    };
    bounded_websocket(upgrade, app.limits.message_bytes).on_upgrade(move |socket| {
        let span = tracing::info_span!("session", id = tracing::field::Empty);
        async move {
            serve_client(socket, app, visitor).await;
            drop((socket_place, present));
        }
        .instrument(span)
    })
}

/// The settings of every WebSocket here; tests serve an echo with the same.
pub fn bounded_websocket(upgrade: WebSocketUpgrade, message_bytes: usize) -> WebSocketUpgrade {
    upgrade.max_message_size(message_bytes).max_frame_size(message_bytes).max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
}

fn not_found(what: &'static str) -> Response {
    (StatusCode::NOT_FOUND, what).into_response()
}

/// OpenAI's list, as the reference fills it, and under `causeway` what a client can choose.
async fn models(State(app): State<App>) -> Response {
    let Some(card) = app.card() else { return loading() };
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
        "causeway": choices(&card),
    });
    // Pages of other origins look here for the model's name.
    let cors = [(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))];
    (cors, Json(json!({ "object": "list", "data": [model] }))).into_response()
}

async fn gallery(State(app): State<App>) -> Response {
    let Some(card) = app.card() else { return loading() };
    let items = card
        .gallery
        .iter()
        .map(|item| json!({ "name": item.name, "prompt": item.prompt, "image": format!("/v1/gallery/{}", item.name) }));
    Json(items.collect::<Vec<_>>()).into_response()
}

async fn gallery_picture(State(app): State<App>, Path(name): Path<String>) -> Response {
    let Some(card) = app.card() else { return loading() };
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
