//! HTTP: routes, and the state they share. The top of the server.

pub(crate) mod app;
mod arrivals;
mod asset;
mod models;
mod page;
mod recording;
pub(crate) mod routes;
mod sessions;
mod shares;
mod status;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

pub(crate) fn not_found(what: &str) -> Response {
    (StatusCode::NOT_FOUND, what.to_owned()).into_response()
}
