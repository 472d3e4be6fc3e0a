//! One client, from the upgrade to the last byte: until it has said what it wants, and while that is being opened.

use std::time::Instant;

use axum::extract::ws::WebSocket;
use bytes::Bytes;
use pipeline::world::Refusal;
use tracing::{debug, info, warn};

use super::Realtime;
use super::connection::{Connection, Heard};
use super::line::{Line, Over};
use super::resume::{Handover, Request};
use super::running::Running;
use super::seat::{OpenFailure, Seat, off_the_loop, open};
use crate::access::http::Visitor;
use crate::access::rules::denied::Denied;
use crate::phase::Phase;
use crate::realtime::session::rate_limit::{EVENTS_BURST, RateLimit};
use crate::realtime::session::text_message;
use crate::realtime::wire::close::Close;
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::event::EVENT_BYTES_MAX;
use crate::realtime::wire::fields::refuse;

pub(crate) async fn serve_client(socket: WebSocket, realtime: &Realtime, visitor: Visitor) {
    let id = uuid::Uuid::new_v4().simple().to_string();
    tracing::Span::current().record("id", &id);
    let line = Line { connection: Connection::new(socket, &realtime.bounds, realtime.observer.clone()), visitor };
    let Over { line, close } = serve_until_over(line, realtime, &id).await;
    match line {
        Some(line) => drop(line.finish(realtime.observer.clone(), close).await),
        None => info!(reason = close.map(|close| close.reason), "over"),
    }
}

async fn serve_until_over(mut line: Line, realtime: &Realtime, id: &str) -> Over {
    let mut invalid = RateLimit::of_invalid_messages(Instant::now());
    let mut phase = realtime.phase.clone();
    let close = loop {
        let heard = tokio::select! {
            heard = line.connection.hear() => heard,
            denied = line.visitor.said_nothing() => break Some(turn_away(&line, denied)),
            () = Phase::Draining.reached(&mut phase) => break Some(Close::SHUTDOWN),
        };
        let error = match heard {
            Heard::Text => ClientError::invalid_init(text_message()),
            Heard::Binary(message) => {
                if let Err(denied) = enter(&mut line.visitor, &message).await {
                    break Some(turn_away(&line, denied));
                }
                match Request::decode(&message) {
                    Some(request) => match resume(line, realtime, request).await {
                        Ok(()) => return Over { line: None, close: None },
                        Err((back, refusal)) => {
                            line = back;
                            ClientError::invalid_resume(refusal)
                        }
                    },
                    None => {
                        // Held until the session is over.
                        let _lease = match line.visitor.begin_session() {
                            Ok(lease) => lease,
                            Err(denied) => break Some(turn_away(&line, denied)),
                        };
                        let begun = tokio::select! {
                            begun = begin(&mut line.connection, realtime, message) => begun,
                            () = Phase::Draining.reached(&mut phase) => break Some(Close::SHUTDOWN),
                        };
                        match begun {
                            Begun::Running(seat, early) => {
                                return Running::new(seat, &early, line, realtime, id).run().await;
                            }
                            Begun::End(close) => break close,
                            Begun::Refused(refusal) => ClientError::invalid_init(refusal),
                        }
                    }
                }
            }
            over => break over.last_words(),
        };
        debug!(?error, "refused");
        line.connection.tell(&error);
        if !invalid.takes(Instant::now()) {
            break Some(Close::FLOOD);
        }
    };
    Over { line: Some(line), close }
}

/// Somebody who showed nothing at the door shows it in the first message, and all else in it is read only after that.
async fn enter(visitor: &mut Visitor, message: &Bytes) -> Result<(), Denied> {
    let api_key = match visitor.has_shown_a_key() {
        true => None,
        false => {
            let message = message.clone();
            // What cannot be read has no key in it.
            off_the_loop(move || crate::realtime::wire::init::api_key(&message)).await.ok().flatten()
        }
    };
    visitor.enter(api_key)
}

fn turn_away(line: &Line, denied: Denied) -> Close {
    line.connection.tell(&ClientError::denied(denied));
    Close { code: 1008, reason: denied.close_reason() }
}

/// Where the session is, the line goes; else it is given back.
async fn resume(line: Line, realtime: &Realtime, request: Result<Request, Refusal>) -> Result<(), (Line, Refusal)> {
    let Request { token, last_chunk } = match request {
        Ok(request) => request,
        Err(refusal) => return Err((line, refusal)),
    };
    let handed_over = realtime.resumable.hand_over(&token, Handover { line, last_chunk }).await;
    handed_over.map_err(|line| (line, refuse("token", "names no session that still waits for its client: begin anew")))
}

/// Of all events before a session begins: many connections may wait for few seats. Keys are some dozens of bytes each, and a
/// script or a prompt is sent once.
const EARLY_BYTES_MAX: usize = 4 * EVENT_BYTES_MAX;

enum Begun {
    /// With what the client said meanwhile.
    Running(Seat, Vec<Bytes>),
    Refused(Refusal),
    End(Option<Close>),
}

/// Open what an init asks for, and listen meanwhile: a client may leave, or steer before the first chunk.
async fn begin(connection: &mut Connection, realtime: &Realtime, init: Bytes) -> Begun {
    let _counted = realtime.observer.opening();
    let mut opening = Box::pin(open(realtime, init, connection.writer()));
    let (mut early, mut early_bytes) = (Vec::new(), 0);
    loop {
        let heard = tokio::select! {
            opened = &mut opening => {
                return match opened {
                    Ok(seat) => Begun::Running(seat, early),
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
            Heard::Text => {
                connection.tell(&ClientError::invalid_event(text_message().into()));
                return Begun::End(Some(Close::TEXT));
            }
            Heard::Binary(event) => {
                // Kept small: an event that is too long is refused for its first bytes as well.
                let event = Bytes::copy_from_slice(&event[..event.len().min(EVENT_BYTES_MAX + 1)]);
                early_bytes += event.len();
                if early.len() == EVENTS_BURST as usize || early_bytes > EARLY_BYTES_MAX {
                    let most = format!("{EVENTS_BURST} events, and {EARLY_BYTES_MAX} bytes of them,");
                    let reason = format!("at most {most} may wait for a session to begin");
                    connection.tell(&ClientError::invalid_event(Refusal { field: "message", reason }.into()));
                    return Begun::End(Some(Close::FLOOD));
                }
                early.push(event);
            }
            over => return Begun::End(over.last_words()),
        }
    }
}
