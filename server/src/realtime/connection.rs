//! A WebSocket with manners: keep-alive in both directions, a deadline on every write, an orderly goodbye.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite;

use super::protocol::{ClientError, Close, Group};
use crate::App;
use crate::observe::Observer;

/// How long a client may take to answer a close before the line is cut.
pub const GOODBYE: Duration = Duration::from_secs(2);

/// Messages that wait to be written: all the errors that a client can provoke within a write deadline, and more.
const WRITES_WAITING: usize = 256;

pub(super) enum Heard {
    Binary(Bytes),
    Text,
    /// Close like this; `None` if there is nobody left to hear it.
    End(Option<Close>),
}

pub(super) struct Connection {
    reader: SplitStream<WebSocket>,
    writes: mpsc::Sender<Write>,
    writer: JoinHandle<()>,
    stop: watch::Receiver<bool>,
    observer: Arc<Observer>,
    ping_every: Duration,
    pong_within: Duration,
    ping_at: Instant,
    pong_due: Option<Instant>,
}

enum Write {
    Group(Group, oneshot::Sender<Took>),
    Message(Bytes),
    Ping,
    Close(Close),
}

/// How long it took to hand a group to the socket.
pub(super) struct Took {
    pub(super) header: Duration,
    pub(super) payload: Duration,
}

impl Connection {
    pub(super) fn new(socket: WebSocket, app: &App) -> Connection {
        let (sink, reader) = socket.split();
        let (writes, queue) = mpsc::channel(WRITES_WAITING);
        let writer = tokio::spawn(write_all(sink, queue, app.limits.write_deadline, app.observer.clone()));
        let (stop, observer) = (app.stop.clone(), app.observer.clone());
        let (ping_every, pong_within) = (app.limits.ping_every, app.limits.pong_within);
        let ping_at = Instant::now() + ping_every;
        Connection { reader, writes, writer, stop, observer, ping_every, pong_within, ping_at, pong_due: None }
    }

    /// The next thing that concerns a session. May be dropped and called again: nothing is lost.
    pub(super) async fn hear(&mut self) -> Heard {
        loop {
            let wake = self.pong_due.unwrap_or(self.ping_at);
            tokio::select! {
                // Whoever floods us must not keep us from stopping.
                biased;
                () = stopped(&mut self.stop) => return Heard::End(Some(Close::SHUTDOWN)),
                () = self.writes.closed() => return Heard::End(None),
                () = sleep_until(wake.into()) => {
                    if self.pong_due.is_some() {
                        return Heard::End(Some(Close::KEEPALIVE));
                    }
                    // A full queue says that the writer is at work, and it has its own deadline.
                    let _ = self.writes.try_send(Write::Ping);
                    self.pong_due = Some(Instant::now() + self.pong_within);
                }
                message = self.reader.next() => match message {
                    Some(Ok(Message::Binary(bytes))) => return Heard::Binary(bytes),
                    Some(Ok(Message::Text(_))) => return Heard::Text,
                    Some(Ok(Message::Pong(_))) => {
                        self.pong_due = None;
                        self.ping_at = Instant::now() + self.ping_every;
                    }
                    // Answered by the WebSocket layer.
                    Some(Ok(Message::Ping(_))) => {}
                    Some(Err(error)) => return Heard::End(broken_rule(&error)),
                    Some(Ok(Message::Close(_))) | None => return Heard::End(None),
                },
            }
        }
    }

    /// Never waits: there are places for as many as a client can provoke, and past them it is not reading anyway.
    pub(super) fn tell(&self, error: &ClientError) {
        self.observer.told(error);
        let _ = self.writes.try_send(Write::Message(error.encode()));
    }

    /// The line broke, or the client did not read.
    pub(super) fn is_lost(&self) -> bool {
        self.writes.is_closed()
    }

    pub(super) fn writer(&self) -> Writer {
        Writer(self.writes.clone())
    }

    pub(super) async fn finish(mut self, close: Option<Close>) {
        let unreadable = matches!(close, Some(Close::PROTOCOL | Close::NOT_UTF8 | Close::TOO_BIG));
        if let Some(close) = close {
            let _ = self.writes.try_send(Write::Close(close));
        }
        drop(self.writes);
        // Reading on answers a close of theirs and waits for the answer to ours: to hang up on unread bytes would take the
        // close back from the line.
        let goodbye = async {
            while let Some(Ok(_)) = self.reader.next().await {}
            let _ = (&mut self.writer).await;
            if unreadable {
                // What follows the mistake cannot be read past; the client needs a moment to see why.
                sleep(GOODBYE).await;
            }
        };
        let _ = timeout(GOODBYE, goodbye).await;
        self.writer.abort();
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that the server is gone: that is a stop too.
    let _ = stop.wait_for(|&stop| stop).await;
}

/// Which rule of the WebSocket a client broke; `None` if it broke none and the line is gone.
fn broken_rule(error: &axum::Error) -> Option<Close> {
    use tungstenite::Error;
    use tungstenite::error::ProtocolError;
    match std::error::Error::source(error).and_then(|cause| cause.downcast_ref())? {
        Error::Capacity(_) => Some(Close::TOO_BIG),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some(Close::PROTOCOL),
        Error::Utf8(_) => Some(Close::NOT_UTF8),
        _ => None,
    }
}

/// The way to the client for a chunk that is being delivered.
pub(super) struct Writer(mpsc::Sender<Write>);

impl Writer {
    /// Returns once the group has been handed to the socket.
    pub(super) async fn send(&self, group: Group) -> anyhow::Result<Took> {
        let (done, took) = oneshot::channel();
        self.0.send(Write::Group(group, done)).await.ok().context(GONE)?;
        took.await.context(GONE)
    }

    pub(super) async fn say(&self, message: Bytes) -> anyhow::Result<()> {
        self.0.send(Write::Message(message)).await.ok().context(GONE)
    }
}

const GONE: &str = "the client stopped reading";

async fn write_all(
    mut sink: SplitSink<WebSocket, Message>,
    mut queue: mpsc::Receiver<Write>,
    deadline: Duration,
    observer: Arc<Observer>,
) {
    while let Some(write) = queue.recv().await {
        let last = matches!(write, Write::Close(_));
        match timeout(deadline, write_one(&mut sink, write)).await {
            Ok(Ok(())) if !last => {}
            Ok(_) => return,
            Err(_elapsed) => {
                observer.write_deadline_passed();
                tracing::info!(?deadline, "client does not read: dropped");
                return;
            }
        }
    }
}

async fn write_one(sink: &mut SplitSink<WebSocket, Message>, write: Write) -> Result<(), axum::Error> {
    match write {
        Write::Group(Group { header, payload }, done) => {
            let began = Instant::now();
            let alone = payload.is_some();
            sink.send(Message::Binary(header)).await?;
            let first = began.elapsed();
            if let Some(payload) = payload {
                sink.send(Message::Binary(payload)).await?;
            }
            // A combined message is its payload's cost: there is no header to speak of.
            let header = if alone { first } else { Duration::ZERO };
            // Nobody waits if the session has ended meanwhile.
            let _ = done.send(Took { header, payload: began.elapsed() - header });
            Ok(())
        }
        Write::Message(bytes) => sink.send(Message::Binary(bytes)).await,
        Write::Ping => sink.send(Message::Ping(Bytes::new())).await,
        Write::Close(Close { code, reason }) => {
            sink.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await
        }
    }
}
