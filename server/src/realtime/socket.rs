//! One client: bytes in, a [`Session`] that decides, the engine that draws, bytes out.
//!
//! One task owns the write half, with a deadline on every write: a header and its payload are neighbours by construction,
//! and a client that stops reading is dropped, not waited for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::ws::WebSocket;
use bytes::Bytes;
use pipeline::world::{Cancel, Frames, Refusal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{Instrument, debug, info, warn};

use super::conditions::ConditionQueue;
use super::connection::{Connection, Heard};
use super::event::{EVENT_BYTES_MAX, Event};
use super::init::Opening;
use super::protocol::{self, ChunkLabel, ClientError, Close, Costs, Sums};
use super::session::{CREDIT, Input, InvalidMessages, Output, Session, text_message};
use crate::access::Denied;
use crate::access::door::Lease;
use crate::access::http::Visitor;
use crate::engine::{Command, Drawn, Engine, Open, OpenError, Part, parts_places};
use crate::observe::{LiveSession, chunk_span};
use crate::{App, images};

/// Events that wait for the next chunk. A game that reports 60 changes a second fills it in four seconds, and the slowest
/// chunk takes two.
pub const EVENTS_WAITING: usize = 256;

/// How often a session that found no memory asks again.
const BUSY_RETRY: std::time::Duration = std::time::Duration::from_millis(100);

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
    let mut opening = Box::pin(open(app, init));
    let mut early = Vec::new();
    loop {
        let heard = tokio::select! {
            opened = &mut opening => {
                return match opened {
                    Ok(seat) => Begun::Running(Box::new(Running { seat, early })),
                    Err(OpenFailure::Refused(refusal)) => Begun::Refused(refusal),
                    Err(OpenFailure::Busy) => {
                        connection.tell(&ClientError::busy());
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

enum OpenFailure {
    Refused(Refusal),
    Busy,
    Failed(String),
}

type Parts = mpsc::Receiver<Result<Part, String>>;

/// A place in the engine: given up, and its chunk stopped, when this is dropped.
struct Seat {
    id: u64,
    engine: Engine,
    cancel: Cancel,
    events: mpsc::Sender<Event>,
    /// `None` while a delivery reads from it.
    parts: Option<Parts>,
    terms: super::init::Terms,
    output: images::Output,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.command(Command::Close(self.id));
    }
}

impl Seat {
    fn command(&self, command: Command) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.engine.commands.try_send(command) {
            unreachable!("the channel has a place for all that every seat can have on its way");
        }
    }
}

async fn open(app: &App, init: Bytes) -> Result<Seat, OpenFailure> {
    let stopped = || OpenFailure::Failed("the server is shutting down".into());
    let mut card = app.engine.card.clone();
    let card = card.wait_for(Option::is_some).await.map_err(|_| stopped())?.clone().expect("waited for it");
    let places = parts_places(&card, CREDIT);
    let mut opening = off_the_loop(move || Opening::decode(&init, &card)).await?;

    let came = Instant::now();
    let permit = match timeout(app.limits.busy_wait, app.seats.clone().acquire_owned()).await {
        Ok(permit) => permit.map_err(|_| stopped())?,
        Err(_elapsed) => return Err(OpenFailure::Busy),
    };
    // Only now: a small file can hold a large picture, and no more of those are in memory than there are seats.
    let picture = match opening.first_frame.take() {
        None => None,
        Some(file) => {
            let decode = move || images::decode(&file).map_err(|reason| Refusal { field: "first_frame", reason });
            Some(off_the_loop(decode).await?)
        }
    };
    let init = opening.init(picture);
    static NEXT_SEAT: AtomicU64 = AtomicU64::new(0);
    let id = NEXT_SEAT.fetch_add(1, Ordering::Relaxed);
    let (events, events_taken) = mpsc::channel(EVENTS_WAITING);
    let (parts_drawn, parts) = mpsc::channel(places);
    let cancel = Cancel::default();
    let mut open = Box::new(Open {
        id,
        init,
        conditions: ConditionQueue::new(opening.script),
        events: events_taken,
        parts: parts_drawn,
        cancel: cancel.clone(),
        permit,
    });
    // Before the engine is asked: this future may be dropped after the engine's yes and before that is read, and then
    // nothing else would give the place up.
    let (terms, output) = (opening.terms, opening.output);
    let seat = Seat { id, engine: app.engine.clone(), cancel, events, parts: Some(parts), terms, output };
    loop {
        let (reply, answer) = oneshot::channel();
        app.engine.commands.send(Command::Open(open, reply)).await.map_err(|_| stopped())?;
        match answer.await.map_err(|_| stopped())? {
            Ok(()) => return Ok(seat),
            Err(OpenError::Refused(refusal)) => return Err(OpenFailure::Refused(refusal)),
            Err(OpenError::Failed(message)) => return Err(OpenFailure::Failed(message)),
            Err(OpenError::Busy(_)) if came.elapsed() >= app.limits.busy_wait => return Err(OpenFailure::Busy),
            Err(OpenError::Busy(back)) => open = back,
        }
        sleep(BUSY_RETRY).await;
    }
}

/// A session with a seat.
struct Running {
    seat: Seat,
    /// What the client said before there was one.
    early: Vec<Bytes>,
}

/// What takes a moment to check must not hold up other sockets.
async fn off_the_loop<T: Send + 'static>(
    check: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, OpenFailure> {
    let checked = tokio::task::spawn_blocking(check).await;
    checked.map_err(|panic| OpenFailure::Failed(panic.to_string()))?.map_err(OpenFailure::Refused)
}

type Delivery = Pin<Box<dyn Future<Output = (Parts, anyhow::Result<()>)> + Send>>;

impl Running {
    async fn run(self, connection: &mut Connection, app: &App, id: &str) -> Option<Close> {
        let Running { mut seat, early } = self;
        info!(seat = seat.id, size = %seat.output.source(), format = seat.output.format().name(), terms = ?seat.terms, "running");
        let listed = app.observer.session(id, seat.id, &seat.output, &seat.terms);
        let mut session = Session::new(seat.terms, Instant::now());
        for event in early {
            session.handle(Input::Binary(&event), Instant::now());
        }
        session.handle(Input::Opened, Instant::now());

        let mut drawn: Option<(Drawn, Frames)> = None;
        let mut delivery: Option<Delivery> = None;
        loop {
            while let Some(output) = session.poll_output() {
                match output {
                    Output::Grant { chunks, due } => seat.command(Command::Grant(seat.id, chunks, due)),
                    Output::Steer(event) => {
                        if let Err(mpsc::error::TrySendError::Full(_)) = seat.events.try_send(event) {
                            let reason = format!("{EVENTS_WAITING} events wait for the next chunk already");
                            session.invalid(Refusal { field: "message", reason }, Instant::now());
                        }
                    }
                    Output::Tell(error) => {
                        debug!(?error, "told");
                        connection.tell(&error);
                    }
                    Output::Send { pace_wait } => {
                        let (chunk, first) = drawn.take().expect("the session releases what it was given");
                        listed.session.sending(chunk.plan.pixel_frames, pace_wait, Instant::now());
                        let span = chunk_span(chunk.plan.index);
                        let parts = seat.parts.take().expect("one chunk is delivered at a time");
                        let label = ChunkLabel {
                            session_id: id.to_owned(),
                            request_id: format!("{id}_{}", uuid::Uuid::new_v4().simple()),
                            chunk_index: chunk.plan.index,
                            event_id: chunk.event_id,
                        };
                        let (writer, output) = (connection.writer(), seat.output);
                        let live = Arc::clone(&listed.session);
                        let delivering = async move {
                            let mut parts = parts;
                            let sent =
                                deliver(&writer, &label, output, (chunk, first), &mut parts, pace_wait, &live).await;
                            (parts, sent)
                        };
                        delivery = Some(Box::pin(delivering.instrument(span)));
                    }
                    Output::Close(close) => return Some(close),
                }
            }
            let idle = drawn.is_none() && seat.parts.is_some();
            let due = session.poll_timeout();
            tokio::select! {
                heard = connection.hear() => match heard {
                    Heard::Binary(bytes) => session.handle(Input::Binary(&bytes), Instant::now()),
                    Heard::Text => session.handle(Input::Text, Instant::now()),
                    Heard::End(close) => return close,
                },
                part = async { next_part(seat.parts.as_mut().expect("it is here")).await }, if idle => match part {
                    Ok(Part::First(chunk, frames)) => {
                        let input = Input::Chunk { event_id: chunk.event_id, frames: chunk.plan.pixel_frames };
                        drawn = Some((chunk, frames));
                        session.handle(input, Instant::now());
                    }
                    Ok(Part::More(_) | Part::End { .. }) => unreachable!("a delivery reads to the end of its chunk"),
                    Err(error) => session.handle(Input::Failed(error.to_string()), Instant::now()),
                },
                (parts, delivered) = async { delivery.as_mut().expect("there is one").await }, if delivery.is_some() => {
                    delivery = None;
                    seat.parts = Some(parts);
                    match delivered {
                        Ok(()) => session.handle(Input::Written, Instant::now()),
                        Err(_) if connection.is_lost() => return None,
                        Err(error) => {
                            warn!(error = format!("{error:#}"), "chunk not delivered");
                            session.handle(Input::Failed(error.to_string()), Instant::now());
                        }
                    }
                },
                () = async { sleep_until(due.expect("there is one").into()).await }, if due.is_some() => {
                    session.handle(Input::Tick, Instant::now());
                }
            }
        }
    }
}

async fn next_part(parts: &mut Parts) -> anyhow::Result<Part> {
    parts.recv().await.unwrap_or_else(|| Err("the engine stopped".to_owned())).map_err(anyhow::Error::msg)
}

/// Encode and send a chunk while it is drawn, latent frame by latent frame, and say what it cost.
async fn deliver(
    writer: &super::connection::Writer,
    label: &ChunkLabel,
    output: images::Output,
    (chunk, first): (Drawn, Frames),
    parts: &mut Parts,
    pace_wait: std::time::Duration,
    live: &LiveSession,
) -> anyhow::Result<()> {
    let of = output.batches_of(chunk.plan.frames_of_each());
    let mut sums = Sums::default();
    let mut costs = Costs { prepare: chunk.prepare, pace_wait, ..Costs::default() };
    let mut part = Part::First(chunk, first);
    loop {
        let frames = match part {
            Part::First(_, frames) | Part::More(frames) => frames,
            Part::End { generate, world } => {
                (costs.generate, costs.world) = (generate, world);
                break;
            }
        };
        let encoding = Instant::now();
        let batches = output.batches(frames).await?;
        costs.encode += encoding.elapsed();
        live.encoded(label.chunk_index, encoding);
        let writing = Instant::now();
        for batch in batches {
            let group = protocol::frame_group(label, &output, &batch, sums.batches, of);
            sums.batches += 1;
            sums.frames += batch.frames;
            sums.raw_bytes += batch.frames as u64 * output.source().frame_bytes();
            sums.socket_bytes += (group.header.len() + group.payload.as_ref().map_or(0, Bytes::len)) as u64;
            let took = writer.send(group).await?;
            costs.header_write += took.header;
            costs.payload_write += took.payload;
        }
        live.written(label.chunk_index, writing);
        part = next_part(parts).await?;
    }
    costs.total = chunk.began.elapsed();
    writer.say(protocol::chunk_stats(label, &output, &costs, &sums)).await?;
    live.sent(&costs, &sums);
    debug!(chunk = label.chunk_index, ?costs, ?sums, "sent");
    Ok(())
}
