//! Errors, always JSON and always in both shapes, so that clients of FastAPI and of OpenAI find what they look for.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::request::invalid::{Invalid, Kind};
use super::request::jobs::Full;
use crate::access::rules::denied::{Denied, whole_seconds};

/// An error that a client is answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// For programs.
    pub(crate) code: &'static str,
    /// For people.
    pub(crate) message: String,
    /// The field that is wrong.
    pub(crate) param: Option<Cow<'static, str>>,
    /// When to try again.
    pub(crate) retry: Option<Duration>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { status, code, message: message.into(), param: None, retry: None }
    }

    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(crate) fn about(self, param: &'static str) -> ApiError {
        ApiError { param: Some(param.into()), ..self }
    }

    fn after(self, retry: Duration) -> ApiError {
        ApiError { retry: Some(retry), ..self }
    }

    /// The world still loads.
    pub(crate) fn loading() -> ApiError {
        let message = "the world is still being loaded";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "loading", message).after(Duration::from_secs(2))
    }

    /// The server takes nothing new.
    pub(crate) fn draining() -> ApiError {
        let message = "the server is draining: it takes no new work";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "draining", message).after(Duration::from_secs(10))
    }

    /// The engine's thread has ended.
    pub(crate) fn engine_gone() -> ApiError {
        let message = "the engine has ended: nothing more is drawn";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "engine_gone", message).after(Duration::from_secs(10))
    }

    /// More is sent than may be.
    pub(crate) fn too_large(bytes: u64) -> ApiError {
        let message = format!("the request's body is longer than {bytes} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
    }

    /// No other method is served here.
    pub(crate) fn method() -> ApiError {
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method Not Allowed")
    }

    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }
}

impl From<Invalid> for ApiError {
    fn from(Invalid { kind, field, message }: Invalid) -> ApiError {
        let (status, code) = match kind {
            Kind::Value => (StatusCode::BAD_REQUEST, "invalid_value"),
            Kind::Json => (StatusCode::BAD_REQUEST, "invalid_json"),
            Kind::Unsupported => (StatusCode::BAD_REQUEST, "unsupported"),
            Kind::Guardrails => (StatusCode::BAD_REQUEST, "guardrails_unavailable"),
            Kind::Validation => (StatusCode::UNPROCESSABLE_ENTITY, "validation_error"),
        };
        ApiError { status, code, message, param: field, retry: None }
    }
}

impl From<Full> for ApiError {
    fn from(full: Full) -> ApiError {
        let (code, message, retry) = match full {
            Full::Queue { waiting } => ("queue_full", format!("{waiting} jobs wait already"), QUEUE_AGAIN),
            Full::Account { waiting } => {
                ("queue_full", format!("{waiting} jobs of this account wait already"), QUEUE_AGAIN)
            }
            Full::Storage { retry } => {
                ("storage_full", "results have no room: delete some, or wait until one expires".to_owned(), retry)
            }
            Full::TooLarge { needed, bytes } => {
                let message =
                    format!("num_frames: the result may take {needed} bytes, and {bytes} are there for all results");
                return ApiError::new(StatusCode::BAD_REQUEST, "invalid_value", message).about("num_frames");
            }
        };
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, code, message).after(retry)
    }
}

/// A place in the queue comes free when a clip is done.
const QUEUE_AGAIN: Duration = Duration::from_secs(5);

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> ApiError {
        ApiError { retry: denied.wait(), ..ApiError::new(denied.status(), denied.code(), denied.to_string()) }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let detail = match (self.status, &self.param) {
            (StatusCode::UNPROCESSABLE_ENTITY, Some(field)) => {
                let kind = if self.message.ends_with("Field required") { "missing" } else { "value_error" };
                let place = if QUERY.contains(&field.as_ref()) { "query" } else { "body" };
                json!([{ "type": kind, "loc": [place, field], "msg": self.message }])
            }
            _ => Value::from(self.message.as_str()),
        };
        let error = json!({
            "message": self.message, "type": self.kind(), "param": self.param, "code": self.code,
        });
        let mut response = (self.status, Json(json!({ "detail": detail, "error": error }))).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(retry) = self.retry {
            headers.insert(header::RETRY_AFTER, whole_seconds(retry).max(1).into());
        }
        response
    }
}

/// Fields of the list's query.
const QUERY: [&str; 3] = ["limit", "order", "after"];
