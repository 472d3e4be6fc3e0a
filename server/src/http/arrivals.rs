//! Sessions of another node: where that node posts them.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::not_found;
use crate::cluster::tickets::Claim;
use crate::http::app::App;
use crate::moving::SESSION_BYTES_MAX;
use crate::realtime::link::arriving::{NotTaken, take};

/// The secret, or the token of a grant, does not let a session in.
fn unauthorized(reason: &str) -> Response {
    tracing::warn!(reason, "a session was offered, and its secret lets nobody in");
    (StatusCode::UNAUTHORIZED, format!("the secret {reason}")).into_response()
}

/// `POST`: a session, as bytes. 200 once it runs here and waits for its client.
pub(super) async fn arrive(State(app): State<App>, request: Request) -> Response {
    let Some(nodes) = &app.realtime.moving else {
        return not_found(
            "this server takes no sessions of others: it runs without --move-secret and without --cluster",
        );
    };
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let place = match &app.realtime.cluster {
        Some(cluster) => match cluster.claim(shown).await {
            Ok(Claim { place: Some(place), .. }) => Some(place),
            Ok(Claim { place: None, .. }) => return unauthorized("is no grant of a place"),
            Err(not) => return unauthorized(not.reason()),
        },
        None if nodes.admits(shown) => None,
        None => return unauthorized("is wrong"),
    };
    let Some(present) = app.present.upgrade() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "this node stops, too").into_response();
    };
    // Before its bytes are read: each may be 64 MiB.
    let permit = app.realtime.arrivals.acquire().await.expect("never closed");
    let taken = match to_bytes(request.into_body(), SESSION_BYTES_MAX).await {
        Ok(bytes) => take(Arc::clone(&app.realtime), bytes, place, present).await,
        Err(error) => Err(NotTaken { status: StatusCode::PAYLOAD_TOO_LARGE, reason: error.to_string() }),
    };
    drop(permit);
    match taken {
        Ok(()) => StatusCode::OK.into_response(),
        Err(NotTaken { status, reason }) => {
            tracing::info!(reason, "a session of another node is not taken");
            (status, reason).into_response()
        }
    }
}
