//! Tokens for viewers of a session, made by the operator's key that the session is on.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::not_found;
use crate::http::app::App;
use crate::realtime::link::audience::Audience;
use crate::realtime::wire::sharing::Role;

/// The audience of a session of the key in this request. Without keys all clients are one, and none may open the session
/// of another.
fn audience(
    app: &App,
    peer: SocketAddr,
    headers: &HeaderMap,
    uri: &Uri,
    id: &str,
) -> Result<Arc<Audience>, Box<Response>> {
    if !app.entrance.door.has_keys() {
        let reason = "this server asks for no key: only the player shares a session, over its own connection";
        return Err(Box::new(not_found(reason)));
    }
    let account = app.entrance.account_of_key(peer, headers, uri).map_err(|denied| Box::new(denied.into_response()))?;
    let audience = app.realtime.audiences.of_session(id, &account);
    audience.ok_or_else(|| Box::new(not_found("no session of this id runs on this key's account")))
}

/// `POST`: a token.
pub(super) async fn share(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let audience = match audience(&app, peer, &headers, &uri, &id) {
        Ok(audience) => audience,
        Err(response) => return *response,
    };
    let shared = role(&body).and_then(|role| {
        let shared = audience.share(role).map_err(|refusal| refusal.to_string());
        shared.map(|(share, token)| json!({ "share_id": share, "role": role.name(), "token": token }))
    });
    match shared {
        Ok(body) => ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response(),
        Err(reason) => (StatusCode::BAD_REQUEST, reason).into_response(),
    }
}

/// `DELETE`: the token is good no longer, and its viewers are sent away.
pub(super) async fn unshare(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((id, share)): Path<(String, u32)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let audience = match audience(&app, peer, &headers, &uri, &id) {
        Ok(audience) => audience,
        Err(response) => return *response,
    };
    match audience.unshare(share) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => not_found(&refusal.to_string()),
    }
}

/// The body: `{"role": …}`, or nothing for a viewer's.
fn role(body: &[u8]) -> Result<Role, String> {
    let fields: serde_json::Map<String, Value> = match body {
        [] => return Ok(Role::View),
        body => serde_json::from_slice(body).map_err(|error| format!("the body must be a JSON object: {error}"))?,
    };
    let mut role = Role::View;
    for (name, value) in fields {
        if name != "role" {
            return Err(format!("{name:?} is unknown: the only field is role"));
        }
        let word = value.as_str().ok_or("role must be text")?;
        role = Role::of(word).map_err(|refusal| refusal.to_string())?;
    }
    Ok(role)
}
