//! One client, from the upgrade to the last byte: its first messages, and the opening of its session.

use std::time::Instant;

use axum::extract::ws::WebSocket;
use axum::http::StatusCode;
use bytes::Bytes;
use pipeline::world::Refusal;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::Realtime;
use super::arriving::NotTaken;
use super::audience;
use super::connection::{Connection, Heard};
use super::delivery::Parts;
use super::early::{Came, Early};
use super::line::{Line, Over};
use super::recovering::recover;
use super::relayed::{Drawn, relay};
use super::resume::{Handover, gone};
use super::running::Running;
use super::seat::{Panicked, Seat, Whose, off_the_loop, open};
use super::seeking::{Back, Sought, find};
use super::share::OpenFailure;
use super::viewing::Viewing;
use crate::access::http::Visitor;
use crate::access::inbound::Account;
use crate::access::rules::denied::Denied;
use crate::cluster::tickets::{HeldGrant, Place};
use crate::phase::Phase;
use crate::rate::Bucket;
use crate::realtime::session::rate_limit::INVALID_MESSAGES;
use crate::realtime::session::text_message;
use crate::realtime::wire::close::Close;
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::first_message::{self, Decoded, FirstMessage, ResumeRequest, WrongFirst};
use crate::realtime::wire::grant::{HelloRequest, hello_ack, redirect};
use crate::realtime::wire::init::InitRequest;
use crate::realtime::wire::watch::WatchRequest;

pub(crate) async fn serve_client(socket: WebSocket, realtime: &Realtime, visitor: Visitor) {
    let id = uuid::Uuid::new_v4().simple().to_string();
    tracing::Span::current().record("id", &id);
    let connection = Connection::new(socket, visitor.meter(), &realtime.bounds, realtime.observer.clone());
    let line = Line { connection, visitor, place: None };
    let Over { line, close } = serve_until_over(line, realtime, &id).await;
    match line {
        Some(line) => drop(line.finish(realtime.observer.clone(), close).await),
        None => info!(reason = close.map(|close| close.reason), "over"),
    }
}

/// Handle first messages, until a session that one of them began has ended, or one was resumed in its own task.
async fn serve_until_over(mut line: Line, realtime: &Realtime, id: &str) -> Over {
    let mut invalid = Bucket::default();
    loop {
        let error = match answer(line, realtime, id).await {
            Answer::Over(over) => return over,
            Answer::LetIn(back) => {
                line = back;
                continue;
            }
            Answer::Refused(back, error) => {
                line = back;
                error
            }
        };
        debug!(?error, "refused");
        line.connection.tell(&error);
        if invalid.take(INVALID_MESSAGES, Instant::now()).is_err() {
            return Over { line: Some(line), close: Some(Close::FLOOD) };
        }
    }
}

/// The outcome of one first message.
enum Answer {
    /// The connection is done.
    Over(Over),
    /// The client is told this error, and may try again.
    Refused(Line, ClientError),
    /// Its token was right; what it asks for comes next.
    LetIn(Line),
}

impl Answer {
    /// Close the connection, unless the client did.
    fn close(line: Line, close: impl Into<Option<Close>>) -> Answer {
        Answer::Over(Over { line: Some(line), close: close.into() })
    }

    fn deny(line: Line, denied: Denied) -> Answer {
        line.connection.tell(&ClientError::denied(denied));
        Answer::close(line, Close { code: 1008, reason: denied.close_reason() })
    }

    fn fail(line: Line, message: &str) -> Answer {
        warn!(error = message, "rollout did not open");
        line.connection.tell(&ClientError::failed(message));
        Answer::close(line, Close::FAILED)
    }
}

/// Receive one message, decode it once, and carry it out.
async fn answer(mut line: Line, realtime: &Realtime, id: &str) -> Answer {
    let mut phase = realtime.phase.clone();
    let heard = tokio::select! {
        heard = line.connection.hear() => heard,
        denied = line.visitor.said_nothing() => return Answer::deny(line, denied),
        () = Phase::Draining.reached(&mut phase) => return Answer::close(line, Close::SHUTDOWN),
    };
    let message = match heard {
        Heard::Binary(message) => message,
        Heard::Text => return Answer::Refused(line, ClientError::invalid_init(text_message())),
        over => return Answer::close(line, over.last_words()),
    };
    // Until the session has begun: a large message is held by whoever waits for a place.
    let held = line.connection.take_held();
    let said = message.clone();
    let Decoded { api_key, message } = match off_the_loop(move || first_message::decode(&message)).await {
        Ok(decoded) => decoded,
        Err(Panicked) => return Answer::fail(line, Panicked::WORDS),
    };
    // A viewer's token is its key.
    if let Ok(FirstMessage::Watch(request)) = message {
        return watch_session(line, realtime, &request).await;
    }
    // So is a cluster's.
    if let Ok(FirstMessage::Hello(request)) = message {
        return let_in(line, realtime, &request).await;
    }
    // Access is checked before any other field.
    if let Err(denied) = line.visitor.enter(api_key) {
        return Answer::deny(line, denied);
    }
    match message {
        Ok(FirstMessage::Init(init)) => begin(line, realtime, id, (Ok(*init), said), held).await,
        Err(wrong @ WrongFirst::Init(_)) => begin(line, realtime, id, (Err(wrong), said), held).await,
        Ok(FirstMessage::Resume(request)) => resume(line, realtime, request, said).await,
        Err(wrong @ (WrongFirst::Resume(_) | WrongFirst::Watch(_) | WrongFirst::Hello(_))) => {
            Answer::Refused(line, wrong.error())
        }
        Ok(FirstMessage::Watch(_) | FirstMessage::Hello(_)) => unreachable!("they were let in above"),
    }
}

/// Show the session that a viewer's token stands for, until it ends or the viewer leaves.
async fn watch_session(line: Line, realtime: &Realtime, WatchRequest { token, transport }: &WatchRequest) -> Answer {
    let Some((audience, share)) = realtime.audiences.of_token(token) else {
        return Answer::Refused(line, ClientError::invalid_watch(audience::gone()));
    };
    match audience.enter(share, *transport) {
        Ok(watcher) => Answer::Over(Viewing::new(line, watcher).run().await),
        Err(error) if error.code == ClientError::VIEWERS_FULL => {
            line.connection.tell(&error);
            Answer::close(line, Close::BUSY)
        }
        Err(error) => Answer::Refused(line, error),
    }
}

/// Open what the cluster has granted to whoever has this token.
async fn let_in(mut line: Line, realtime: &Realtime, HelloRequest { token }: &HelloRequest) -> Answer {
    let refused = |reason: &str| ClientError::invalid_hello(Refusal { field: "token", reason: reason.to_owned() });
    let Some(cluster) = &realtime.cluster else {
        return Answer::Refused(line, refused("opens nothing here: this server is in no cluster"));
    };
    let claim = match cluster.claim(token).await {
        Ok(claim) => claim,
        Err(not) => return Answer::Refused(line, refused(not.reason())),
    };
    if let Err(denied) = line.visitor.enter_for(claim.account.as_deref()) {
        return Answer::deny(line, denied);
    }
    line.connection.say(hello_ack(claim.place.is_some()));
    line.place = claim.place;
    Answer::LetIn(line)
}

/// Hand the connection to the session that the client resumes, if it exists, here or on another node. One whose node has died
/// goes on from its journal where there is room.
async fn resume(mut line: Line, realtime: &Realtime, request: ResumeRequest, said: Bytes) -> Answer {
    let ResumeRequest { token, last_chunk } = request;
    let place = line.place.take();
    let line = match realtime.resumable.hand_over(&token, Handover { line, last_chunk }).await {
        Ok(()) => return Answer::Over(Over { line: None, close: None }),
        Err(line) => line,
    };
    // A door has led the client to a place for the session of a lost node.
    if let Some(place) = place {
        return go_on(line, realtime, (&token, last_chunk), place).await;
    }
    let Some(cluster) = &realtime.cluster else { return Answer::Refused(line, ClientError::invalid_resume(gone())) };
    let whose = (line.visitor.account(), line.visitor.ip());
    match find(cluster, &token, whose).await {
        Back::At(drawn) => Answer::Over(relay(line, *drawn, (vec![said], true), realtime).await),
        Back::Here(place) => go_on(line, realtime, (&token, last_chunk), place).await,
        Back::Nowhere => Answer::Refused(line, ClientError::invalid_resume(gone())),
    }
}

/// Run the session of a lost node here, from its journal.
async fn go_on(line: Line, realtime: &Realtime, (token, last_chunk): (&str, Option<usize>), place: Place) -> Answer {
    let (arrived, parts) = match recover(realtime, token, last_chunk, place).await {
        Ok(arrived) => arrived,
        // The client has asked twice, and the other line was sooner: the newer is right.
        Err(NotTaken { status: StatusCode::CONFLICT, .. }) => {
            return match realtime.resumable.hand_over(token, Handover { line, last_chunk }).await {
                Ok(()) => Answer::Over(Over { line: None, close: None }),
                Err(line) => Answer::Refused(line, ClientError::invalid_resume(gone())),
            };
        }
        Err(NotTaken { reason, .. }) => {
            warn!(reason, "the session of a lost node does not go on");
            return Answer::Refused(line, ClientError::invalid_resume(gone()));
        }
    };
    let id = arrived.id.clone();
    let running = Running::arrived(arrived, parts, realtime, &id);
    let handover = realtime.resumable.hand_over(token, Handover { line, last_chunk });
    let (_taken, over) = tokio::join!(handover, running.run());
    Answer::Over(over)
}

/// Run a session from admission to its end. A client without access is told so before it is told of a mistake.
/// `said` is its message, and `held` what that holds.
async fn begin(
    mut line: Line,
    realtime: &Realtime,
    id: &str,
    (init, said): (Result<InitRequest, WrongFirst>, Bytes),
    held: Option<Account>,
) -> Answer {
    let lease = match line.visitor.begin_session() {
        Ok(lease) => lease,
        Err(denied) => return Answer::deny(line, denied),
    };
    let init = match init {
        Ok(init) => init,
        Err(wrong) => return Answer::Refused(line, wrong.error()),
    };
    let of = Whose { account: line.visitor.account(), session: id.to_owned() };
    let sought = Sought { place: line.place.take(), key: line.visitor.key(), client: line.visitor.ip() };
    let can_resume = init.features().session;
    let mut phase = realtime.phase.clone();
    let begun = tokio::select! {
        begun = open_and_listen(&mut line.connection, realtime, (of, sought), init, held) => begun,
        () = Phase::Draining.reached(&mut phase) => return Answer::close(line, Close::SHUTDOWN),
    };
    match begun {
        Begun::Running(opened, early) => {
            Answer::Over(Running::new(*opened, &early, (line, lease), realtime, id).run().await)
        }
        Begun::Elsewhere(drawn, early) => {
            let first = std::iter::once(said).chain(early).collect();
            let over = relay(line, *drawn, (first, can_resume), realtime).await;
            drop(lease);
            Answer::Over(over)
        }
        Begun::Not(OpenFailure::Redirect(way)) => {
            line.connection.say(redirect(&format!("{}/v1/realtime_video", way.url), &way.token.text()));
            Answer::close(line, Close::REDIRECTED)
        }
        Begun::Not(OpenFailure::TooManySessions(most)) => {
            let denied = line.visitor.has_too_many_sessions(most);
            Answer::deny(line, denied)
        }
        Begun::Not(OpenFailure::Elsewhere(_)) => unreachable!("it was taken apart where it came"),
        Begun::Not(OpenFailure::Refused(refusal)) => Answer::Refused(line, ClientError::invalid_init(refusal)),
        Begun::Not(OpenFailure::Blocked(error)) => Answer::Refused(line, error),
        Begun::Not(OpenFailure::Busy(error)) => {
            line.connection.tell(&error);
            Answer::close(line, Close::BUSY)
        }
        Begun::Not(OpenFailure::Failed(message)) => Answer::fail(line, &message),
        Begun::End(close) => Answer::close(line, close),
    }
}

/// The outcome of an init, and the events that came meanwhile.
enum Begun {
    /// A session, its grant in a cluster, and the events that came before its first chunk.
    Running(Box<(Seat, Parts, Option<HeldGrant>)>, Vec<Bytes>),
    /// Another node draws it.
    Elsewhere(Box<Drawn>, Vec<Bytes>),
    /// No session.
    Not(OpenFailure),
    /// The client left, or was closed.
    End(Option<Close>),
}

/// Open the session that an init asks for, and read messages meanwhile: the client may leave, or steer before the first
/// chunk.
async fn open_and_listen(
    connection: &mut Connection,
    realtime: &Realtime,
    (of, sought): (Whose, Sought),
    init: InitRequest,
    held: Option<Account>,
) -> Begun {
    let _counted = realtime.observer.opening();
    let mut early = Early::new(init.features());
    let (still_waits, said) = watch::channel(Instant::now());
    let mut opening = Box::pin(open(realtime, (of, sought), init, (connection.writer(), said), held));
    loop {
        let heard = tokio::select! {
            opened = &mut opening => {
                return match opened {
                    Ok(opened) => Begun::Running(Box::new(opened), early.events),
                    Err(OpenFailure::Elsewhere(drawn)) => Begun::Elsewhere(drawn, early.events),
                    Err(failure) => Begun::Not(failure),
                };
            }
            heard = connection.hear() => heard,
        };
        let wrong = match heard {
            Heard::Text => Some((text_message(), Close::TEXT)),
            Heard::Binary(event) => match early.push(&event, Instant::now()) {
                Ok(Came::Kept) => None,
                Ok(Came::Waits) => {
                    still_waits.send_replace(Instant::now());
                    None
                }
                Err(refusal) => Some((refusal, Close::FLOOD)),
            },
            over => return Begun::End(over.last_words()),
        };
        if let Some((refusal, close)) = wrong {
            connection.tell(&ClientError::invalid_event(refusal.into()));
            return Begun::End(Some(close));
        }
    }
}
