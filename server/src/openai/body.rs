//! A request's body, read whole within bounds: of its length, of what all clients have sent, and of time.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::door::Caller;
use super::errors::ApiError;
use super::request::Body;
use super::state::OpenAi;
use crate::access::inbound;
use crate::access::rules::denied::Denied;

/// Longest pause of a client that sends a body.
const SILENCE: Duration = Duration::from_secs(20);

/// Longest time for a whole body: 33 MiB come at a megabit a second.
const WITHIN: Duration = Duration::from_secs(300);

/// A body, and the room that it takes among what clients have sent: given back when this is dropped.
pub(crate) struct Read {
    pub(crate) body: Body,
    pub(crate) held: inbound::Account,
}

/// Read the body of `request`, and take it apart.
pub(crate) async fn read(openai: &OpenAi, caller: &Arc<Caller>, request: Request) -> Result<Read, ApiError> {
    let most = openai.bounds.body_bytes;
    let (head, body) = request.into_parts();
    let told = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|told| told > most) {
        return Err(ApiError::too_large(most));
    }
    let mut held = inbound::Account::new(openai.entrance.inbound.clone(), caller.address);
    let (mut data, mut bytes) = (body.into_data_stream(), BytesMut::new());
    let end = Instant::now() + WITHIN;
    let too_slow = || ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the request's body came too slowly");
    let broken = || ApiError::new(StatusCode::BAD_REQUEST, "invalid_value", "Invalid request body: it broke off");
    loop {
        let next = timeout_at(end, timeout(SILENCE, data.next())).await;
        let piece = match next.map_err(|_| too_slow())?.map_err(|_| too_slow())? {
            None => break,
            Some(piece) => piece.map_err(|_| broken())?,
        };
        if (bytes.len() + piece.len()) as u64 > most {
            return Err(ApiError::too_large(most));
        }
        held.hold((bytes.len() + piece.len()) as u64).map_err(|inbound::Full| ApiError::from(Denied::TooManyBytes))?;
        bytes.extend_from_slice(&piece);
    }
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(str::to_owned);
    let bytes: Bytes = bytes.freeze();
    // A form may hold 33 MB of text that is offered to JSON: off the threads that serve sessions.
    let taken_apart = tokio::task::spawn_blocking(move || Body::read(content_type.as_deref(), &bytes)).await;
    let body = taken_apart.map_err(|error| {
        tracing::error!(%error, "reading a request");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request could not be read")
    })??;
    Ok(Read { body, held })
}
