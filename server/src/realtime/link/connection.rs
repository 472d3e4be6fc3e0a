//! A WebSocket with manners: keep-alive in both directions, a deadline on every write, an orderly goodbye.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite;

use super::bounds::LinkBounds;
use crate::access::inbound::Account;
use crate::access::metered::Meter;
use crate::cluster::tickets::MaySend;
use crate::observe::{Dropped, Observer};
use crate::realtime::wire::close::Close;
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::frames::Group;

/// How long a client may take to answer a close before the line is cut.
const GOODBYE: Duration = Duration::from_secs(2);

/// Messages that wait to be written: all the errors that a client can provoke within a write deadline, and more.
const WRITES_WAITING: usize = 256;

pub(super) enum Heard {
    Binary(Bytes),
    Text,
    /// The client has said goodbye.
    Left,
    /// The line broke, or nobody is at its other end; with what to say if somebody hears it after all.
    Lost(Option<Close>),
    /// It speaks no WebSocket.
    Wrong(Close),
    /// It has sent more than there is room for, and is not read any more.
    TooMuch,
}

impl Heard {
    /// How to end a connection on which nothing goes on.
    pub(super) fn last_words(self) -> Option<Close> {
        match self {
            Heard::Wrong(close) | Heard::Lost(Some(close)) => Some(close),
            Heard::TooMuch => Some(Close::TOO_MUCH),
            _ => None,
        }
    }
}

pub(super) struct Connection {
    reader: SplitStream<WebSocket>,
    writes: mpsc::Sender<Write>,
    writer: JoinHandle<()>,
    meter: Arc<Meter>,
    /// Of the message that was heard last.
    held: Option<Account>,
    observer: Arc<Observer>,
    ping_every: Duration,
    pong_within: Duration,
    ping_at: Instant,
    pong_due: Option<Instant>,
}

enum Write {
    /// Not if it may not be sent by the time that it is written.
    Group(Group, Option<MaySend>, oneshot::Sender<Took>),
    Message(Bytes),
    Messages(Vec<Bytes>),
    /// As these, and it is told when all were handed to the socket.
    Run(Vec<Bytes>, oneshot::Sender<()>),
    /// A message that says when it is written.
    Timed(Timed),
    Ping,
    Close(Close),
}

/// Builds a message, given the time at which it is written.
pub(super) type Timed = Box<dyn FnOnce(Instant) -> Bytes + Send>;

/// How long it took to hand a group to the socket.
#[derive(Default)]
pub(super) struct Took {
    pub(super) header: Duration,
    pub(super) payload: Duration,
}

impl Connection {
    pub(super) fn new(
        socket: WebSocket,
        meter: Arc<Meter>,
        bounds: &LinkBounds,
        observer: Arc<Observer>,
    ) -> Connection {
        let (sink, reader) = socket.split();
        let (writes, queue) = mpsc::channel(WRITES_WAITING);
        let (deadline, observed) = (bounds.write_deadline, observer.clone());
        let sink = Sink { inner: sink, meter: meter.clone(), deadline, observer: observed };
        let writer = tokio::spawn(write_all(sink, queue));
        let (ping_every, pong_within) = (bounds.ping_every, bounds.pong_within);
        let ping_at = Instant::now() + ping_every;
        let held = None;
        Connection { reader, writes, writer, meter, held, observer, ping_every, pong_within, ping_at, pong_due: None }
    }

    /// The next thing that concerns a session. May be dropped and called again: nothing is lost.
    pub(super) async fn hear(&mut self) -> Heard {
        self.held = None;
        loop {
            let wake = self.pong_due.unwrap_or(self.ping_at);
            tokio::select! {
                // Whoever floods us must not keep us from seeing that nothing is taken.
                biased;
                () = self.writes.closed() => return Heard::Lost(None),
                () = sleep_until(wake.into()) => {
                    if self.pong_due.is_some() {
                        return Heard::Lost(Some(Close::KEEPALIVE));
                    }
                    // A full queue says that the writer is at work, and it has its own deadline.
                    let _ = self.writes.try_send(Write::Ping);
                    self.pong_due = Some(Instant::now() + self.pong_within);
                }
                () = self.meter.overdrawn() => return Heard::TooMuch,
                message = self.reader.next() => match message {
                    Some(Ok(Message::Binary(bytes))) => {
                        self.held = self.meter.message();
                        return Heard::Binary(bytes);
                    }
                    Some(Ok(Message::Text(_))) => return Heard::Text,
                    Some(Ok(Message::Pong(content))) => {
                        self.meter.control(content.len());
                        self.pong_due = None;
                        self.ping_at = Instant::now() + self.ping_every;
                    }
                    // Answered by the WebSocket layer.
                    Some(Ok(Message::Ping(content))) => self.meter.control(content.len()),
                    Some(Err(error)) => return broken_rule(&error).map_or(Heard::Lost(None), Heard::Wrong),
                    Some(Ok(Message::Close(_))) => return Heard::Left,
                    None => return Heard::Lost(None),
                },
            }
        }
    }

    /// The account of the message that was heard last: its bytes are held until this is dropped, and otherwise until the next
    /// is listened for.
    pub(super) fn take_held(&mut self) -> Option<Account> {
        self.held.take()
    }

    /// Never waits: there are places for as many as a client can provoke, and past them it is not reading anyway.
    pub(super) fn tell(&self, error: &ClientError) {
        self.observer.told(error.code);
        let _ = self.writes.try_send(Write::Message(error.encode()));
    }

    /// Never waits, as [`Connection::tell`].
    pub(super) fn say(&self, message: Bytes) {
        let _ = self.writes.try_send(Write::Message(message));
    }

    /// As [`Connection::say`], with the time at which it is written.
    pub(super) fn answer(&self, message: Timed) {
        let _ = self.writes.try_send(Write::Timed(message));
    }

    /// The line broke, or the client did not read.
    pub(super) fn is_lost(&self) -> bool {
        self.writes.is_closed()
    }

    pub(super) fn writer(&self) -> Writer {
        Writer(self.writes.clone())
    }

    /// Whether the client said goodbye: then all that was sent before has arrived.
    pub(super) async fn finish(mut self, close: Option<Close>) -> bool {
        let unreadable = matches!(close, Some(Close::PROTOCOL | Close::NOT_UTF8 | Close::TOO_BIG | Close::TOO_MUCH));
        let writes = self.writes;
        let close = async move {
            if let Some(close) = close {
                // Behind all that waits to be written.
                let _ = writes.send(Write::Close(close)).await;
            }
        };
        // Reading on answers a close of theirs and waits for the answer to ours: to hang up on unread bytes would take the
        // close back from the line.
        let mut answered = false;
        let read = async {
            while let Some(Ok(message)) = self.reader.next().await {
                answered |= matches!(message, Message::Close(_));
            }
        };
        let goodbye = async {
            tokio::join!(close, read);
            let _ = (&mut self.writer).await;
            if unreadable {
                // What follows the mistake cannot be read past; the client needs a moment to see why.
                sleep(GOODBYE).await;
            }
        };
        let _ = timeout(GOODBYE, goodbye).await;
        self.writer.abort();
        answered
    }
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
#[derive(Clone)]
pub(super) struct Writer(mpsc::Sender<Write>);

impl Writer {
    /// Returns once the group has been handed to the socket.
    pub(super) async fn send(&self, group: Group, may_send: Option<MaySend>) -> anyhow::Result<Took> {
        let (done, took) = oneshot::channel();
        self.0.send(Write::Group(group, may_send, done)).await.ok().context(GONE)?;
        took.await.context(GONE)
    }

    /// Returns once all of these have been handed to the socket.
    pub(super) async fn run(&self, messages: Vec<Bytes>) -> anyhow::Result<()> {
        let (done, told) = oneshot::channel();
        self.0.send(Write::Run(messages, done)).await.ok().context(GONE)?;
        told.await.context(GONE)
    }

    pub(super) async fn say(&self, message: Bytes) -> anyhow::Result<()> {
        self.0.send(Write::Message(message)).await.ok().context(GONE)
    }

    /// All of these, before anything else that is written.
    pub(super) fn begin_with(&self, messages: Vec<Bytes>) {
        // On a new line there is a place. If it is lost already, that is heard on it.
        let _ = self.0.try_send(Write::Messages(messages));
    }
}

const GONE: &str = "the client stopped reading";

/// The write half of a WebSocket. A client that takes nothing of a message for as long as the deadline is dropped; one that
/// takes it slowly is not.
struct Sink {
    inner: SplitSink<WebSocket, Message>,
    meter: Arc<Meter>,
    deadline: Duration,
    observer: Arc<Observer>,
}

/// Nothing more can be written.
struct SinkClosed;

impl Sink {
    async fn put(&mut self, message: Message) -> Result<(), SinkClosed> {
        let sending = self.inner.send(message);
        Sink::in_time(sending, &self.meter, self.deadline, &self.observer).await
    }

    /// It goes to the socket together with the next message: one system call, and one reader woken, in place of two.
    async fn put_with_next(&mut self, message: Message) -> Result<(), SinkClosed> {
        let sending = self.inner.feed(message);
        Sink::in_time(sending, &self.meter, self.deadline, &self.observer).await
    }

    /// As one write to the socket, where all of it has room there: two messages a chunk and hundreds of viewers are many
    /// system calls.
    async fn put_all(&mut self, messages: Vec<Bytes>) -> Result<(), SinkClosed> {
        let mut messages = futures_util::stream::iter(messages.into_iter().map(|bytes| Ok(Message::Binary(bytes))));
        let sending = self.inner.send_all(&mut messages);
        Sink::in_time(sending, &self.meter, self.deadline, &self.observer).await
    }

    async fn in_time(
        sending: impl Future<Output = Result<(), axum::Error>>,
        meter: &Meter,
        deadline: Duration,
        observer: &Observer,
    ) -> Result<(), SinkClosed> {
        let began = Instant::now();
        let mut sending = pin!(sending);
        let mut took_some = began;
        loop {
            let sent = timeout_at((took_some + deadline).into(), &mut sending).await;
            if let Ok(sent) = sent {
                return sent.map_err(|_| SinkClosed);
            }
            match meter.wrote() {
                Some(wrote) if wrote > took_some => took_some = wrote,
                _ => break,
            }
        }
        observer.dropped(Dropped::WriteDeadline);
        tracing::info!(?deadline, after = ?began.elapsed(), "client does not read: dropped");
        Err(SinkClosed)
    }

    async fn write(&mut self, write: Write) -> Result<(), SinkClosed> {
        match write {
            Write::Group(_, Some(may_send), _) if !may_send.now() => Err(SinkClosed),
            Write::Group(Group { header, payload }, _, done) => {
                let began = Instant::now();
                // A combined message is its payload's cost: there is no header to speak of.
                let (header, payload) = match payload {
                    None => (Duration::ZERO, header),
                    Some(payload) => {
                        self.put_with_next(Message::Binary(header)).await?;
                        (began.elapsed(), payload)
                    }
                };
                self.put(Message::Binary(payload)).await?;
                // Nobody waits if the session has ended meanwhile.
                let _ = done.send(Took { header, payload: began.elapsed() - header });
                Ok(())
            }
            Write::Message(bytes) => self.put(Message::Binary(bytes)).await,
            Write::Messages(messages) => {
                for bytes in messages {
                    self.put(Message::Binary(bytes)).await?;
                }
                Ok(())
            }
            Write::Run(messages, done) => {
                self.put_all(messages).await?;
                let _ = done.send(());
                Ok(())
            }
            Write::Timed(message) => self.put(Message::Binary(message(Instant::now()))).await,
            Write::Ping => self.put(Message::Ping(Bytes::new())).await,
            Write::Close(Close { code, reason }) => {
                self.put(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
                Err(SinkClosed)
            }
        }
    }
}

async fn write_all(mut sink: Sink, mut queue: mpsc::Receiver<Write>) {
    while let Some(write) = queue.recv().await {
        if let Err(SinkClosed) = sink.write(write).await {
            return;
        }
    }
}
