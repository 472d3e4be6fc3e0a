//! A session that runs: the client's messages in, what [`Session`] decides out to the engine and to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use pipeline::world::Frames;
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tracing::{Instrument, debug, info, warn};

use super::connection::{Connection, Heard};
use super::delivery::{Parts, deliver, next_part};
use super::protocol::{ChunkLabel, Close};
use super::seat::{Seat, too_many_events};
use super::session::{Input, Output, Session};
use crate::App;
use crate::engine::{Command, Drawn, Part};
use crate::observe::chunk_span;

/// A session with a seat.
pub(super) struct Running {
    pub(super) seat: Seat,
    /// What the client said before there was one.
    pub(super) early: Vec<Bytes>,
}

type Delivery = Pin<Box<dyn Future<Output = (Parts, anyhow::Result<()>)> + Send>>;

impl Running {
    pub(super) async fn run(self, connection: &mut Connection, app: &App, id: &str) -> Option<Close> {
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
                            session.invalid(too_many_events("the next chunk"), Instant::now());
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
