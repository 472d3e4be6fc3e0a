//! The client of `clients/rust`, made strict: it checks every promise of the protocol on every message, and a broken promise
//! is an error. A player would rather go on. Each wait has a limit: when nothing comes, the error says what was expected.
//!
//! ```no_run
//! use tests::client::Client;
//! use tests::message::{Event, Init, Message};
//!
//! # async fn walk() -> anyhow::Result<()> {
//! let mut client = Client::connect("ws://127.0.0.1:30000/v1/realtime_video").await?;
//! client.send(Init::new("a meadow").first_frame(&std::fs::read("meadow.png")?).format("jpeg")).await?;
//! client.send(Event::hold("w").id(1)).await?;
//! loop {
//!     match client.next().await? {
//!         Message::Batch(batch) => println!("{} pictures, after event {:?}", batch.frames().len(), batch.header.event_id),
//!         Message::Stats(stats) => println!("chunk {} took {} ms", stats.chunk_index, stats.chunk_total_ms),
//!         Message::Session(hello) => println!("token {}", hello.resume_token),
//!         Message::Queue(_) | Message::Begun(_) | Message::Ack(_) => unreachable!("this one did not ask for it"),
//!         Message::Received(_) | Message::Applied(_) | Message::Clock(_) | Message::Timeline(_) | Message::PromptRead(_) | Message::Moved(_) => unreachable!("nor for these"),
//!         other => println!("of viewers: {other:?}"),
//!         Message::Error(error) => eprintln!("the server did not do that: {error}"),
//!         Message::Closed(close) => break println!("{} {}", close.code, close.reason),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use crate::document;
use crate::encoding;
use crate::message::{
    Applied, Batch, Clock, Close, EventAck, Hello, Message, PromptRead, Refused, Standing, Stats, Timeline,
};
use crate::order::Order;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use causeway_client::connection::{Connection, Received};
use rmpv::Value;
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// One connection to a server.
pub struct Client {
    connection: Connection,
    order: Order,
    /// What came while a pong was awaited.
    early: VecDeque<Received>,
    /// Types of message beyond the reference's that this client has asked for.
    asked: BTreeSet<String>,
    /// Whether each message must be as `/asyncapi.json` says. Not for a server that is not ours.
    pub documented: bool,
    /// How long one wait may take before it is an error.
    pub patience: Duration,
    /// What came while chunks were awaited and belongs to no chunk: receipts of events, and times.
    pub received: Vec<crate::message::Received>,
    pub clocks: Vec<Clock>,
    /// How the world read its prompts.
    pub read: Vec<PromptRead>,
}

const PATIENCE: Duration = Duration::from_secs(30);

/// All of one chunk.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The acknowledgement that came before its frames.
    pub ack: Option<EventAck>,
    /// For a client that named the feature `receipts`.
    pub applied: Option<Applied>,
    /// Where it stands in the video, if it does not follow the chunk before.
    pub timeline: Option<Timeline>,
    pub batches: Vec<Batch>,
    pub stats: Stats,
}

impl Chunk {
    pub fn frames(&self) -> Vec<Bytes> {
        self.batches.iter().flat_map(Batch::frames).collect()
    }
}

impl Client {
    pub async fn connect(url: &str) -> Result<Client> {
        let connected = within(PATIENCE, "the server did not answer an upgrade", Connection::connect(url)).await?;
        let (order, early, asked) = Default::default();
        let (received, clocks, read) = Default::default();
        Ok(Client {
            connection: connected?,
            order,
            early,
            asked,
            documented: true,
            patience: PATIENCE,
            received,
            clocks,
            read,
        })
    }

    /// Say something: an [`Init`](crate::message::Init), then [`Event`](crate::message::Event)s; or any value at all.
    pub async fn send(&mut self, message: impl Into<Value>) -> Result<()> {
        let message = message.into();
        self.asked.extend(asks_for(&message));
        let sent = self.connection.send(message);
        Ok(within(self.patience, TOOK_NOTHING, sent).await??)
    }

    /// The next message, put together from header and payload where it came in two.
    pub async fn next(&mut self) -> Result<Message> {
        let received = self.received().await?;
        self.read(received)
    }

    /// As [`Client::next`]; `None` if nothing has come by then. Nothing is lost.
    pub async fn next_before(&mut self, deadline: Instant) -> Result<Option<Message>> {
        match tokio::time::timeout_at(deadline.into(), self.received()).await {
            Ok(received) => self.read(received?).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn read(&mut self, received: Received) -> Result<Message> {
        let whole = match received {
            Received::Whole(whole) => whole,
            Received::Closed(close) => return Ok(Message::Closed(close)),
            Received::Pong(_) => unreachable!("pongs are passed by"),
        };
        let found = encoding::check(&whole.map)?;
        let kind = Message::kind_of(&whole.map)?.to_owned();
        let expected = FOUR.contains(&&*kind) || self.asked.contains(&kind);
        ensure!(expected, "a message of type {kind:?}, and this client asked for {:?}", self.asked);
        let (alone, bytes) = (whole.payload.is_some(), whole.map.len() + whole.payload.as_ref().map_or(0, Bytes::len));
        if self.documented {
            document::check(&whole.map)?;
        }
        let message = Message::read(whole)?.with_context(|| format!("a message of type {kind:?} cannot be read"))?;
        match &message {
            Message::Batch(batch) => self.order.batch(&batch.header, batch.payload.len(), alone, bytes)?,
            Message::Stats(stats) => {
                ensure!(found.floats == 0, "chunk_stats with a float in it");
                self.order.stats(stats)?;
            }
            Message::Session(hello) => self.order.begin_at(hello.next_chunk),
            Message::Queue(standing) => ensure!(standing.position > 0 && found.floats == 0, "{standing:?}"),
            Message::Error(_) | Message::Begun(_) | Message::Ack(_) | Message::Closed(_) => {}
            Message::Received(_) | Message::Applied(_) | Message::Clock(_) => {}
            Message::Timeline(_) | Message::PromptRead(_) | Message::Moved(_) => {}
            Message::Watching(_) => self.order.begin_anywhere(),
            Message::Skipped(skipped) => self.order.skip(skipped)?,
            Message::Stage(_) | Message::Shared(_) | Message::Viewers(_) => {}
        }
        Ok(message)
    }

    /// This client's place in the queue: the next message must say it.
    pub async fn standing(&mut self) -> Result<Standing> {
        match self.next().await? {
            Message::Queue(standing) => Ok(standing),
            other => bail!("instead of a position: {other:?}"),
        }
    }

    /// The next chunk, whole, after the wait for it. Anything but frames and statistics is an error.
    pub async fn chunk(&mut self) -> Result<Chunk> {
        let (mut ack, mut applied, mut timeline, mut batches) = (None, None, None, Vec::new());
        loop {
            match self.next().await? {
                Message::Batch(batch) => batches.push(batch),
                Message::Stats(stats) => return Ok(Chunk { ack, applied, timeline, batches, stats }),
                Message::Queue(_) | Message::Begun(_) if batches.is_empty() => {}
                Message::PromptRead(read) => self.read.push(read),
                Message::Ack(came) if batches.is_empty() && ack.is_none() => ack = Some(came),
                Message::Applied(came) if batches.is_empty() && applied.is_none() => applied = Some(came),
                Message::Timeline(came) if batches.is_empty() && timeline.is_none() => timeline = Some(came),
                Message::Received(received) => self.received.push(received),
                Message::Clock(clock) => self.clocks.push(clock),
                Message::Watching(_) | Message::Stage(_) | Message::Skipped(_) | Message::Viewers(_) => {}
                Message::Moved(moved) => bail!("instead of a chunk: {moved:?}"),
                Message::Shared(shared) => bail!("instead of a chunk: {shared:?}"),
                news @ (Message::Queue(_)
                | Message::Begun(_)
                | Message::Ack(_)
                | Message::Applied(_)
                | Message::Timeline(_)) => {
                    bail!("inside a chunk: {news:?}")
                }
                Message::Error(error) => bail!("instead of a chunk: {error}"),
                Message::Session(hello) => bail!("instead of a chunk: {hello:?}"),
                Message::Closed(close) => bail!("instead of a chunk: closed, {} {:?}", close.code, close.reason),
            }
        }
    }

    /// The `session` message: the answer to an init with the feature `session`, and to a resume.
    pub async fn hello(&mut self) -> Result<Hello> {
        match self.next().await? {
            Message::Session(hello) => Ok(hello),
            other => bail!("instead of a session's hello: {other:?}"),
        }
    }

    /// The next error, whatever frames come before it.
    pub async fn error(&mut self) -> Result<Refused> {
        within(self.patience, "frames came, but no error", async {
            loop {
                match self.next().await? {
                    Message::Error(error) => return Ok(error),
                    Message::Closed(close) => bail!("instead of an error: closed, {} {:?}", close.code, close.reason),
                    _ => {}
                }
            }
        })
        .await?
    }

    /// How the server closes, after whatever frames it still had. A chunk must not be cut by it.
    pub async fn closed(&mut self) -> Result<Close> {
        let close = within(self.patience, "frames came, but no close", async {
            loop {
                match self.next().await? {
                    Message::Closed(close) => return Ok(close),
                    Message::Error(error) => bail!("instead of a close: {error}"),
                    _ => {}
                }
            }
        });
        let close = close.await??;
        ensure!(!self.order.is_inside_a_chunk(), "closed inside a chunk: {} {:?}", close.code, close.reason);
        Ok(close)
    }

    /// How the server closes a session that it first told what went wrong.
    pub async fn closed_after_error(&mut self) -> Result<Close> {
        self.error().await?;
        self.closed().await
    }

    /// Ask for a sign of life. Messages are read in order, so once it is there the server has read all that was sent
    /// before it. What comes meanwhile is kept for [`next`](Client::next).
    pub async fn ping(&mut self) -> Result<Duration> {
        let sent = Instant::now();
        let asked = self.connection.ping(Bytes::from_static(b"still there?"));
        within(self.patience, TOOK_NOTHING, asked).await??;
        within(self.patience, "messages came, but no pong", async {
            loop {
                match self.connection.receive().await? {
                    Received::Pong(payload) if payload == "still there?" => return Ok(sent.elapsed()),
                    received => self.early.push_back(received),
                }
            }
        })
        .await?
    }

    /// Stop, and say so.
    pub async fn close(self) -> Result<()> {
        Ok(self.connection.close(self.patience).await?)
    }

    pub async fn send_bytes(&mut self, bytes: impl Into<Bytes>) -> Result<()> {
        let sent = self.connection.send_bytes(bytes.into());
        Ok(within(self.patience, TOOK_NOTHING, sent).await??)
    }

    pub async fn send_text(&mut self, text: &str) -> Result<()> {
        Ok(within(self.patience, TOOK_NOTHING, self.connection.send_text(text)).await??)
    }

    async fn received(&mut self) -> Result<Received> {
        // A ping is no message: without a message in time, nothing came.
        within(self.patience, "the server said nothing", async {
            loop {
                let received = match self.early.pop_front() {
                    Some(received) => received,
                    None => self.connection.receive().await?,
                };
                if !matches!(received, Received::Pong(_)) {
                    return Ok(received);
                }
            }
        })
        .await?
    }
}

const TOOK_NOTHING: &str = "the server took no message";

async fn within<T>(patience: Duration, otherwise: &str, waited_for: impl Future<Output = T>) -> Result<T> {
    let came = tokio::time::timeout(patience, waited_for).await;
    came.with_context(|| format!("{otherwise} for {patience:?}"))
}

/// The reference's types of message. A client that knows only these takes any other for a header, and the message after it
/// for pixels.
const FOUR: [&str; 4] = ["frame_batch", "frame_batch_header", "chunk_stats", "error"];

/// Types of message beyond the reference's that `message` asks for: by `protocol_features`, or all of them by a resume, whose
/// init may have asked for any.
fn asks_for(message: &Value) -> Vec<String> {
    let names = message["protocol_features"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let resumed: &[&str] = if message["type"].as_str() == Some("resume") {
        &["session", "ack", "queue", "receipts", "rewind", "reset", "spectators", "unknown_words", "moved"]
    } else {
        &[]
    };
    let types = names.chain(resumed.iter().copied()).flat_map(|feature| match feature {
        "ack" => vec!["init_ack", "event_ack"],
        "receipts" => vec!["event_received", "event_applied", "clock"],
        "rewind" | "reset" | "recording" => vec!["timeline"],
        "spectators" => vec!["shared", "viewers"],
        "unknown_words" => vec!["prompt_read"],
        same => vec![same],
    });
    let watches: &[&str] =
        if message["type"].as_str() == Some("watch") { &["watching", "stage", "skipped", "timeline"] } else { &[] };
    types.chain(watches.iter().copied()).map(str::to_owned).collect()
}
