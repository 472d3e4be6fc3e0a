//! The door of these routes: origins and keys, with answers in the shape of this API, and who asks.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;

use super::errors::ApiError;
use super::request::job::Account;
use crate::access::errands::Errands;
use crate::access::http::Entrance;
use crate::access::rules::address::Address;

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Whose jobs are seen.
    pub(crate) account: Account,
    /// On which bytes are counted.
    pub(crate) address: Address,
}

/// Middleware: an origin that may open a socket may use these routes, and who has a key where one is asked for.
pub(crate) async fn enter(
    State(entrance): State<Entrance>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let answer = match entrance.check_origin(request.headers()) {
        Err(denied) => return ApiError::from(denied).into_response(),
        // What a browser asks before it asks: it sends no key with it.
        Ok(()) if request.method() == Method::OPTIONS && origin.is_some() => StatusCode::OK.into_response(),
        Ok(()) => {
            // An SDK that polls would use up its minute.
            let light = matches!(*request.method(), Method::GET | Method::HEAD);
            match entrance.account(peer, request.headers(), request.uri(), light) {
                Err(denied) => ApiError::from(denied).into_response(),
                Ok((address, account)) => {
                    request.extensions_mut().insert(Arc::new(Caller { account, address }));
                    awaited(request, next).await
                }
            }
        }
    };
    with_origin(answer, origin)
}

/// The connection lives for as long as an answer is awaited, and then for as long as its client may take to read it.
async fn awaited(request: Request, next: Next) -> Response {
    let errands = request.extensions().get::<Arc<Errands>>().cloned().expect("every connection has them");
    let _awaited = errands.awaited();
    let response = next.run(request).await;
    errands.allow(response.body().size_hint().lower());
    response
}

/// Middleware of the routes that need no key: an origin that may open a socket may use them.
pub(crate) async fn enter_without_key(State(entrance): State<Entrance>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let answer = match entrance.check_origin(request.headers()) {
        Err(denied) => return ApiError::from(denied).into_response(),
        Ok(()) if request.method() == Method::OPTIONS && origin.is_some() => StatusCode::OK.into_response(),
        Ok(()) => next.run(request).await,
    };
    with_origin(answer, origin)
}

/// Let a page of this origin read the answer.
fn with_origin(mut response: Response, origin: Option<HeaderValue>) -> Response {
    let Some(origin) = origin else { return response };
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, Range, If-None-Match"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Headers that a page may read.
const EXPOSED: &str = "Content-Disposition, Content-Range, ETag, Retry-After, openai-poll-after-ms, X-Request-Id, X-Model, \
                       X-Inference-Time-S, X-Stage-Durations, X-Peak-Memory-MB, X-Seed, X-Ignored, X-Profile-Trace";
