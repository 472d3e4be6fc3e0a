//! A viewer, from its token to its close: it is sent the newest chunk that it can take, and what it says is answered.
//!
//! It runs in the task of its own connection. The session hears of it only what may steer.

use std::future::pending;
use std::pin::Pin;
use std::time::Instant;

use tracing::{debug, info};

use super::audience::{Stage, ToViewer, Watcher};
use super::connection::{Heard, Writer};
use super::line::{Line, Over};
use super::reel::Reading;
use crate::engine::turns::event::Event;
use crate::rate::Bucket;
use crate::realtime::session::company::viewer_cannot;
use crate::realtime::session::rate_limit::{EVENTS, INVALID_MESSAGES};
use crate::realtime::session::text_message;
use crate::realtime::wire::close::Close;
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::event::{Asked, Invalid};
use crate::realtime::wire::features::Features;
use crate::realtime::wire::fields::refuse;
use crate::realtime::wire::sharing::Role;
use crate::realtime::wire::watch as wire;

/// Messages on their way to the socket. Gives back how many bytes they have.
type Sending = Pin<Box<dyn Future<Output = anyhow::Result<u64>> + Send>>;

/// A viewer's connection and its place in the audience.
pub(super) struct Viewing {
    line: Line,
    watcher: Watcher,
    reading: Reading,
    writer: Writer,
    sending: Option<Sending>,
    events: Bucket,
    invalid: Bucket,
}

/// How the viewer's time ends.
enum End {
    /// It left, or its line broke.
    Left(Option<Close>),
    /// The session closes it.
    Closed(Close),
}

impl Viewing {
    pub(super) fn new(line: Line, watcher: Watcher) -> Viewing {
        let (reading, writer) = (watcher.feed.read(), line.connection.writer());
        Viewing { line, watcher, reading, writer, sending: None, events: Bucket::default(), invalid: Bucket::default() }
    }

    /// Until it leaves, is sent away, or the session ends.
    pub(super) async fn run(mut self) -> Over {
        info!(viewer = self.watcher.id, role = self.watcher.role.name(), "watches");
        self.line.connection.say(wire::watching(&self.watcher.audience.about(), self.watcher.id, self.watcher.role));
        self.tell_stage();
        let close = match self.until_the_end().await {
            End::Left(close) => close,
            End::Closed(close) => {
                // Behind what it is in the middle of.
                if let Some(sending) = self.sending.take() {
                    let _ = sending.await;
                }
                Some(close)
            }
        };
        Over { line: Some(self.line), close }
    }

    async fn until_the_end(&mut self) -> End {
        loop {
            self.send_next();
            if self.sending.is_none()
                && !self.reading.is_inside()
                && let Some(close) = self.stage().over
            {
                return End::Closed(close);
            }
            let is_sending = self.sending.is_some();
            tokio::select! {
                heard = self.line.connection.hear() => {
                    if let Some(end) = self.heard(heard).await {
                        return end;
                    }
                }
                sent = sent(&mut self.sending) => {
                    self.sending = None;
                    match sent {
                        Ok(bytes) => self.watcher.audience.observer().metrics.viewer_bytes.add(bytes),
                        // Its connection says why.
                        Err(_) => return End::Left(None),
                    }
                }
                () = self.reading.grown(), if !is_sending => {}
                changed = self.watcher.stage.changed() => {
                    if changed.is_err() {
                        return End::Closed(Close::PLAYER_LEFT);
                    }
                    self.tell_stage();
                }
                told = self.watcher.told.recv() => match told {
                    Some(ToViewer::Error(error)) => self.line.connection.tell(&error),
                    Some(ToViewer::Leave(error)) => {
                        self.line.connection.tell(&error);
                        return End::Closed(Close::BUSY);
                    }
                    None => return End::Closed(Close::NOT_SHARED),
                },
            }
        }
    }

    /// Hand the next messages to the connection, if it has taken those before.
    fn send_next(&mut self) {
        if self.sending.is_some() {
            return;
        }
        let Some(next) = self.reading.next(&self.watcher.feed, Instant::now()) else { return };
        let mut messages = next.messages;
        if let Some(timeline) = next.timeline {
            // What it was sent before has left, so it holds no chunk of another size any more.
            self.watcher.settle();
            messages.insert(0, timeline);
        }
        if let Some((chunks, next_chunk)) = next.skipped {
            debug!(chunks, "skipped");
            self.watcher.audience.observer().metrics.skipped.add(u64::from(chunks));
            messages.insert(0, wire::skipped(chunks, next_chunk));
        }
        let (writer, bytes) = (self.writer.clone(), messages.iter().map(|message| message.len() as u64).sum());
        self.sending = Some(Box::pin(async move { writer.run(messages).await.map(|()| bytes) }));
    }

    fn stage(&self) -> Stage {
        self.watcher.stage.borrow().clone()
    }

    fn tell_stage(&mut self) {
        let Stage { is_here, paused, reins, over } = self.watcher.stage.borrow_and_update().clone();
        if over.is_none() {
            self.line.connection.say(wire::stage(is_here, paused, reins));
        }
    }

    /// `Some`: this is the end.
    async fn heard(&mut self, heard: Heard) -> Option<End> {
        let (invalid, close) = match heard {
            Heard::Binary(bytes) => match self.read(&bytes) {
                Ok(event) => {
                    self.watcher.audience.say(self.watcher.id, event).await;
                    return None;
                }
                Err(invalid) => {
                    let flood = self.invalid.take(INVALID_MESSAGES, Instant::now()).is_err();
                    (invalid, flood.then_some(Close::FLOOD))
                }
            },
            Heard::Text => (Invalid::from(text_message()), Some(Close::TEXT)),
            over => return Some(End::Left(over.last_words())),
        };
        self.line.connection.tell(&ClientError::invalid_event(invalid));
        close.map(|close| End::Left(Some(close)))
    }

    /// A message of the viewer, if it may steer with it.
    fn read(&mut self, bytes: &[u8]) -> Result<Event, Invalid> {
        let role = self.watcher.role;
        let asked = Asked::decode(bytes, features(self.watcher.audience.steering));
        let event = match asked {
            Ok(Asked::Steer(event)) => event,
            Ok(asked) => {
                let id = if let Asked::Control(id, _) = asked { id } else { None };
                let refusal = match role {
                    Role::View => viewer_cannot("do what its player can"),
                    Role::Director | Role::Control => refuse("kind", "is for the player alone"),
                };
                return Err(Invalid { id, refusal });
            }
            Err(invalid) if role == Role::View => {
                return Err(Invalid { id: invalid.id, refusal: viewer_cannot("steer") });
            }
            Err(invalid) => return Err(invalid),
        };
        let refused = |refusal| Invalid { id: event.id, refusal };
        if self.events.take(EVENTS, Instant::now()).is_err() {
            return Err(refused(refuse("message", "too many events")));
        }
        self.watcher.audience.may(self.watcher.id, &event).map_err(refused)?;
        Ok(event)
    }
}

/// Every kind of event is known, whoever may send it; rates, poses and lenses as the session's client named them.
fn features(steering: Features) -> Features {
    let Features { rates, poses, intrinsics, .. } = steering;
    Features {
        pause: true,
        step: true,
        transport: true,
        playback: true,
        key_frame: true,
        queue: true,
        receipts: true,
        spectators: true,
        rates,
        poses,
        intrinsics,
        ..Features::default()
    }
}

async fn sent(sending: &mut Option<Sending>) -> anyhow::Result<u64> {
    match sending {
        Some(sending) => sending.await,
        None => pending().await,
    }
}
