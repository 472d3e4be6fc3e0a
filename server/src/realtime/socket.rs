//! One client: bytes in, a [`Session`] that decides, the engine that draws, bytes out.
//!
//! One task owns the write half, with a deadline on every write: a header and its payload are neighbours by construction,
//! and a client that stops reading is dropped, not waited for.

use std::time::Instant;

use axum::extract::ws::WebSocket;
use bytes::Bytes;
use pipeline::world::Refusal;
use tracing::{debug, info, warn};

use super::connection::{Connection, Heard};
use super::event::EVENT_BYTES_MAX;
use super::protocol::{ClientError, Close};
use super::running::Running;
use super::seat::{EVENTS_WAITING, OpenFailure, off_the_loop, open};
use super::session::{InvalidMessages, text_message};
use crate::App;
use crate::access::Denied;
use crate::access::door::Lease;
use crate::access::http::Visitor;

/// From the upgrade to the last byte.
pub(crate) async fn serve_client(socket: WebSocket, app: App, mut visitor: Visitor) {
    let id = uuid::Uuid::new_v4().simple().to_string();
    tracing::Span::current().record("id", &id);
    let mut connection = Connection::new(socket, &app);
    let close = serve_until_close(&mut connection, &app, &mut visitor, &id).await;
    app.observer.closed(close.as_ref());
    match &close {
        Some(Close { code, reason }) => info!(code, reason, "closing"),
        None => info!("client left"),
    }
    connection.finish(close).await;
}

/// Why to close; `None` if the client already did.
async fn serve_until_close(connection: &mut Connection, app: &App, visitor: &mut Visitor, id: &str) -> Option<Close> {
    let mut invalid = InvalidMessages::none(Instant::now());
    loop {
        let heard = tokio::select! {
            heard = connection.hear() => heard,
            denied = visitor.said_nothing() => return Some(turn_away(connection, denied)),
        };
        let refusal = match heard {
            Heard::End(close) => return close,
            Heard::Text => text_message(),
            Heard::Binary(init) => {
                // Held until the session is over.
                let _lease = match admit(visitor, &init).await {
                    Ok(lease) => lease,
                    Err(denied) => return Some(turn_away(connection, denied)),
                };
                match begin(connection, app, init).await {
                    Begun::Running(running) => return running.run(connection, app, id).await,
                    Begun::End(close) => return close,
                    Begun::Refused(refusal) => refusal,
                }
            }
        };
        debug!(%refusal, "init refused");
        connection.tell(&ClientError::invalid_init(refusal));
        if invalid.count(Instant::now()) {
            return Some(Close::FLOOD);
        }
    }
}

/// Somebody who showed nothing at the door shows it in the init, and all else in it is read only after that.
async fn admit(visitor: &mut Visitor, init: &Bytes) -> Result<Lease, Denied> {
    let api_key = match visitor.has_shown_a_key() {
        true => None,
        false => {
            let init = init.clone();
            // An init that cannot be read has no key in it.
            off_the_loop(move || super::init::api_key(&init)).await.ok().flatten()
        }
    };
    visitor.begin_session(api_key)
}

fn turn_away(connection: &Connection, denied: Denied) -> Close {
    connection.tell(&ClientError::denied(denied));
    Close { code: 1008, reason: denied.close_reason() }
}

enum Begun {
    Running(Box<Running>),
    Refused(Refusal),
    End(Option<Close>),
}

/// Open what an init asks for, and listen meanwhile: a client may leave, or steer before the first chunk.
async fn begin(connection: &mut Connection, app: &App, init: Bytes) -> Begun {
    let _counted = app.observer.opening();
    let mut opening = Box::pin(open(app, init, connection.writer()));
    let mut early = Vec::new();
    loop {
        let heard = tokio::select! {
            opened = &mut opening => {
                return match opened {
                    Ok(seat) => Begun::Running(Box::new(Running { seat, early })),
                    Err(OpenFailure::Refused(refusal)) => Begun::Refused(refusal),
                    Err(OpenFailure::Busy(error)) => {
                        connection.tell(&error);
                        Begun::End(Some(Close::BUSY))
                    }
                    Err(OpenFailure::Failed(message)) => {
                        warn!(error = message, "rollout did not open");
                        connection.tell(&ClientError::failed(&message));
                        Begun::End(Some(Close::FAILED))
                    }
                };
            }
            heard = connection.hear() => heard,
        };
        match heard {
            Heard::End(close) => return Begun::End(close),
            Heard::Text => {
                connection.tell(&ClientError::invalid_event(text_message()));
                return Begun::End(Some(Close::TEXT));
            }
            Heard::Binary(_) if early.len() == EVENTS_WAITING => return Begun::End(Some(Close::FLOOD)),
            // Kept small: an event that is too long is refused for its first bytes as well.
            Heard::Binary(event) => early.push(Bytes::copy_from_slice(&event[..event.len().min(EVENT_BYTES_MAX + 1)])),
        }
    }
}
