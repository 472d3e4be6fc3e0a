//! `POST /v1/sessions`: where a session should go, before its client connects. In a cluster a place is kept for it there.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::access::door::TOKEN_LIFE;
use crate::access::rules::denied::Denied;
use crate::cluster::node::Cluster;
use crate::cluster::rules::ticket::{KeyShare, Needs};
use crate::cluster::tickets::Outcome;
use crate::http::app::App;
use crate::realtime::link::share::needs_of;
use crate::realtime::wire::first_message::{self, FirstMessage};

/// An init without a picture: its longest prompt, and what else stands in it.
pub(super) const BODY_BYTES_MAX: usize = 16 << 10;

/// A place is kept for so long. A node gives it to another after 10 s; the client should not come at the last moment.
const KEPT: Duration = Duration::from_secs(8);

/// The body is an init's fields, as JSON; all that they need not say for the size of a session may be left out.
pub(super) async fn session(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let pass = match app.entrance.pass(peer, &headers, &uri) {
        Ok(pass) => pass,
        Err(denied) => return denied.into_response(),
    };
    let needs = match needs(&app, &body) {
        Ok(needs) => needs,
        Err(refused) => return *refused,
    };
    let key = pass.key().map(|key| KeyShare { name: key.name.to_string(), sessions: key.limits.sessions });
    if let Some(cluster) = &app.realtime.cluster {
        return granted(cluster, (needs, key), app.limits.busy_wait).await;
    }
    // Alone: this server, with a token of its own where it asks for keys.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
    let url = format!("ws://{host}/v1/realtime_video");
    let token = match app.entrance.token_of(&pass, TOKEN_LIFE) {
        Ok(token) => token,
        Err(error) => return no_token(&error),
    };
    told(&url, token.as_deref(), TOKEN_LIFE)
}

fn told(url: &str, token: Option<&str>, life: Duration) -> Response {
    let expires = (SystemTime::now() + life).duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let body = json!({ "url": url, "token": token, "expires": expires });
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// What the session that the body describes needs.
fn needs(app: &App, body: &[u8]) -> Result<Needs, Box<Response>> {
    let wrong = |reason: String| Box::new((StatusCode::BAD_REQUEST, reason).into_response());
    let card = app.card().ok_or_else(|| Box::new(super::status::loading()))?;
    let mut fields: serde_json::Map<String, Value> = match body {
        [] => serde_json::Map::new(),
        body => serde_json::from_slice(body)
            .map_err(|error| wrong(format!("the body must be a JSON object, the fields of an init: {error}")))?,
    };
    for name in ["first_frame", "recording"] {
        if fields.contains_key(name) {
            return Err(wrong(format!("{name}: comes with the init, not here")));
        }
    }
    fields.insert("type".to_owned(), "init".into());
    fields.entry("prompt").or_insert_with(|| "".into());
    let packed = rmp_serde::to_vec(&fields).map_err(|error| wrong(error.to_string()))?;
    match first_message::decode(&packed.into()).message {
        Ok(FirstMessage::Init(mut init)) => {
            init.has_its_picture_elsewhere();
            let opening = init.check(&card).map_err(|refusal| wrong(refusal.to_string()))?;
            Ok(needs_of(&app.realtime, &opening, &card))
        }
        Ok(_) => unreachable!("its type is init"),
        Err(wrong_init) => {
            let details = wrong_init.error().details;
            Err(wrong(details.map_or_else(String::new, |details| format!("{}: {}", details.field, details.reason))))
        }
    }
}

/// A place in the cluster, kept for whoever comes with the token.
async fn granted(cluster: &Cluster, (needs, key): (Needs, Option<KeyShare>), patience: Duration) -> Response {
    let mut asked = match cluster.ask_ahead(needs, key) {
        Ok(asked) => asked,
        Err(error) => return no_token(&error),
    };
    match timeout(patience, asked.outcome()).await {
        Ok(Outcome::Elsewhere(way)) => {
            let (url, token) = (format!("{}/v1/realtime_video", way.url), way.token.text());
            asked.arrived();
            told(&url, Some(&token), KEPT)
        }
        Ok(Outcome::Here(_)) => unreachable!("its client comes with a token"),
        Ok(Outcome::TooManySessions(most)) => Denied::TooManySessions(most).into_response(),
        Ok(Outcome::Refused(refused)) => busy(refused.to_string()),
        Err(_elapsed) => busy("no node has a place now".to_owned()),
    }
}

fn no_token(error: &anyhow::Error) -> Response {
    tracing::error!(error = format!("{error:#}"), "no token made");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

fn busy(reason: String) -> Response {
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, reason).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
