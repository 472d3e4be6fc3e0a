//! Routes: the socket, tokens, what the world is, its gallery, the page, and those of `status.rs`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use tracing::Instrument;

use super::app::App;
use super::arrivals::arrive;
use super::models::{gallery, gallery_picture, model, models};
use super::page::{asyncapi, page};
use super::recording::recording;
use super::sessions::session;
use super::shares::{share, unshare};
use super::{not_found, status};
use crate::access;
use crate::access::http::{Entrance, Visitor};
use crate::access::listener::ConnectionPermit;
use crate::access::metered::Meter;
use crate::access::rules::denied::Denied;
use crate::openai;
use crate::openai::errors::ApiError;
use crate::phase::Phase;
use crate::realtime::link::socket::serve_client;

pub(crate) fn router(app: App) -> Router {
    let keyed = status::inside().route_layer(from_fn_with_state(app.entrance.clone(), access::http::need_key));
    // Pages of other origins read the model's name here, if they may open a socket.
    let open = Router::new()
        .route("/models", get(models))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route_layer(from_fn_with_state(app.entrance.clone(), openai::door::enter_without_key));
    Router::new()
        .merge(keyed)
        .merge(open)
        .route("/v1/realtime_video", get(upgrade))
        .route("/v1/realtime_video/generate", get(upgrade))
        .route("/v1/realtime_video/sessions/{id}/recording", get(recording))
        .route(
            "/v1/realtime_video/sessions/{id}/shares",
            post(share).layer(DefaultBodyLimit::max(TOKEN_WISH_BYTES_MAX)),
        )
        .route("/v1/realtime_video/sessions/{id}/shares/{share}", delete(unshare))
        .route("/internal/sessions", post(arrive).layer(DefaultBodyLimit::disable()))
        .merge(status::routes())
        .merge(openai::routes::routes(&app.openai))
        .route("/v1/tokens", post(access::http::mint).layer(DefaultBodyLimit::max(TOKEN_WISH_BYTES_MAX)))
        .route("/v1/sessions", post(session).layer(DefaultBodyLimit::max(super::sessions::BODY_BYTES_MAX)))
        .route("/asyncapi.json", get(asyncapi))
        .route("/v1/gallery", get(gallery))
        .route("/v1/gallery/{name}", get(gallery_picture))
        .fallback(page)
        .layer(from_fn_with_state(app.entrance.clone(), check_host))
        .layer(map_response(guarded))
        .with_state(app)
}

/// For every answer: a browser takes it as what it says it is, and tells no other site of its address, which may hold a key.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Middleware for every route: the name in `Host`. Each API is answered in its own shape.
async fn check_host(State(entrance): State<Entrance>, request: Request, next: Next) -> Response {
    match entrance.check_host(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(denied) if openai::routes::answers(request.uri().path()) => ApiError::from(denied).into_response(),
        Err(denied) => denied.into_response(),
    }
}

/// Bytes that may wait to be written. One message is written at a time, and the largest is 16 raw frames of 3840x2160:
/// without a bound a stalled reader could have any number.
const WRITE_BUFFER_BYTES_MAX: usize = 512 << 20;

/// Two numbers and their names.
const TOKEN_WISH_BYTES_MAX: usize = 4096;

async fn upgrade(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(permit): Extension<Arc<ConnectionPermit>>,
    Extension(meter): Extension<Arc<Meter>>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        // 404 for a request that is no WebSocket, as in the reference.
        Err(_) => return not_found("this is a WebSocket: connect with ws://"),
    };
    let visitor = match Visitor::at_the_door(&app.entrance, peer, (permit, meter), &headers, &uri) {
        Ok(visitor) => visitor,
        Err(denied) => return denied.into_response(),
    };
    let serving = app.phase() == Phase::Serving;
    let Some(present) = app.present.upgrade().filter(|_| serving) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server is draining: it takes no new sessions").into_response();
    };
    let Ok(socket_place) = app.connections.clone().try_acquire_owned() else {
        app.observer().denied(Denied::Full.reason());
        return Denied::Full.into_response();
    };
    bounded_websocket(upgrade, app.limits.message_bytes).on_upgrade(move |socket| {
        let span = tracing::info_span!("session", id = tracing::field::Empty);
        async move {
            serve_client(socket, &app.realtime, visitor).await;
            drop((socket_place, present));
        }
        .instrument(span)
    })
}

/// The settings of every WebSocket here; tests serve an echo with the same.
pub fn bounded_websocket(upgrade: WebSocketUpgrade, message_bytes: usize) -> WebSocketUpgrade {
    upgrade.max_message_size(message_bytes).max_frame_size(message_bytes).max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
}
