//! The top of the house: requests, and what they reach.

pub(crate) mod app;
mod models;
mod page;
pub(crate) mod routes;
mod status;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

pub(crate) fn not_found(what: &'static str) -> Response {
    (StatusCode::NOT_FOUND, what).into_response()
}
