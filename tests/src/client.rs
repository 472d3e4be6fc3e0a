//! A client of the realtime wire: connect, say how the video begins, steer, receive.
//!
//! It is also the example for somebody who writes a client for a game engine. It is stricter than such a client should be:
//! it checks every promise of the protocol on every message, and a broken promise is an error. A player would rather go on.
//! Each wait has a limit: when nothing comes, the error says what was expected.
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
//!         Message::Error(error) => eprintln!("the server did not do that: {error}"),
//!         Message::Closed(close) => break println!("{} {}", close.code, close.reason),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use crate::encoding;
use crate::message::{Batch, Close, EventAck, Header, Hello, InitAck, Message, Refused, Standing, Stats};
use crate::order::Order;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rmpv::Value;
use serde::Deserialize;
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// One connection to a server.
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    order: Order,
    /// Frames that came while a pong was awaited.
    early: VecDeque<Frame>,
    /// Types of message beyond the reference's that this client has asked for.
    asked: BTreeSet<String>,
    /// How long one wait may take before it is an error.
    pub patience: Duration,
}

const PATIENCE: Duration = Duration::from_secs(30);

/// All of one chunk.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The acknowledgement that came before its frames.
    pub ack: Option<EventAck>,
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
        // A raw chunk of twelve 832x480 frames is one message of 14 MB, and nothing bounds the size of a frame.
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        // Without Nagle's delay: a key press is a small message that nothing follows.
        let connected = connect_async_with_config(url, Some(config), true);
        let connected = within(PATIENCE, "the server did not answer an upgrade", connected).await?;
        let (socket, _) = connected.context(url.to_owned())?;
        let (order, early, asked) = Default::default();
        Ok(Client { socket, order, early, asked, patience: PATIENCE })
    }

    /// Say something: an [`Init`](crate::message::Init), then [`Event`](crate::message::Event)s; or any value at all.
    pub async fn send(&mut self, message: impl Into<Value>) -> Result<()> {
        let message = message.into();
        self.asked.extend(asks_for(&message));
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &message)?;
        self.send_bytes(bytes).await
    }

    /// The next message, put together from header and payload where it came in two.
    pub async fn next(&mut self) -> Result<Message> {
        let bytes = match self.frame().await? {
            Frame::Binary(bytes) => bytes,
            Frame::Close(close) => {
                let close = close.map(|frame| Close { code: frame.code.into(), reason: frame.reason.to_string() });
                return Ok(Message::Closed(close.unwrap_or(Close { code: 1005, reason: String::new() })));
            }
            other => bail!("a server sends binary messages, not {other:?}"),
        };
        let found = encoding::check(&bytes)?;
        let Kind { r#type } = rmp_serde::from_slice(&bytes)?;
        let expected = FOUR.contains(&&*r#type) || self.asked.contains(&r#type);
        ensure!(expected, "a message of type {type:?}, and this client asked for {:?}", self.asked);
        match rmp_serde::from_slice(&bytes)? {
            Incoming::FrameBatch(Whole { header, payload }) => {
                self.order.batch(&header, payload.len(), false, bytes.len())?;
                Ok(Message::Batch(Batch { header, payload: Bytes::from(payload.into_vec()) }))
            }
            Incoming::FrameBatchHeader(header) => {
                // Nothing may come between the two, so whatever comes is the payload.
                let Frame::Binary(payload) = self.frame().await? else { bail!("a header without its payload") };
                self.order.batch(&header, payload.len(), true, bytes.len() + payload.len())?;
                Ok(Message::Batch(Batch { header, payload }))
            }
            Incoming::ChunkStats(stats) => {
                ensure!(found.floats == 0, "chunk_stats with a float in it");
                self.order.stats(&stats)?;
                Ok(Message::Stats(stats))
            }
            Incoming::Error(error) => Ok(Message::Error(error)),
            Incoming::Session(hello) => {
                self.order.begin_at(hello.next_chunk);
                Ok(Message::Session(hello))
            }
            Incoming::InitAck(begun) => Ok(Message::Begun(begun)),
            Incoming::EventAck(ack) => Ok(Message::Ack(ack)),
            Incoming::Queue(standing) => {
                ensure!(standing.position > 0 && found.floats == 0, "{standing:?}");
                Ok(Message::Queue(standing))
            }
        }
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
        let (mut ack, mut batches) = (None, Vec::new());
        loop {
            match self.next().await? {
                Message::Batch(batch) => batches.push(batch),
                Message::Stats(stats) => return Ok(Chunk { ack, batches, stats }),
                Message::Queue(_) | Message::Begun(_) if batches.is_empty() => {}
                Message::Ack(came) if batches.is_empty() && ack.is_none() => ack = Some(came),
                news @ (Message::Queue(_) | Message::Begun(_) | Message::Ack(_)) => bail!("inside a chunk: {news:?}"),
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
        self.transmit(Frame::Ping(Bytes::from_static(b"still there?"))).await?;
        within(self.patience, "messages came, but no pong", async {
            loop {
                match self.receive().await? {
                    Frame::Pong(payload) if payload == "still there?" => return Ok(sent.elapsed()),
                    frame => self.early.push_back(frame),
                }
            }
        })
        .await?
    }

    /// Stop, and say so.
    pub async fn close(mut self) -> Result<()> {
        within(self.patience, "the server did not answer a close", async {
            self.socket.close(None).await?;
            // The server's answer; frames that were under way come before it.
            while let Some(Ok(_)) = self.socket.next().await {}
            Ok(())
        })
        .await?
    }

    pub async fn send_bytes(&mut self, bytes: impl Into<Bytes>) -> Result<()> {
        self.transmit(Frame::Binary(bytes.into())).await
    }

    pub async fn send_text(&mut self, text: &str) -> Result<()> {
        self.transmit(Frame::Text(text.into())).await
    }

    async fn transmit(&mut self, frame: Frame) -> Result<()> {
        Ok(within(self.patience, "the server took no message", self.socket.send(frame)).await??)
    }

    async fn frame(&mut self) -> Result<Frame> {
        // A ping is no message: without a message in time, nothing came.
        within(self.patience, "the server said nothing", async {
            loop {
                let frame = match self.early.pop_front() {
                    Some(frame) => frame,
                    None => self.receive().await?,
                };
                if !matches!(frame, Frame::Ping(_) | Frame::Pong(_)) {
                    return Ok(frame);
                }
            }
        })
        .await?
    }

    async fn receive(&mut self) -> Result<Frame> {
        let frame = within(self.patience, "the server said nothing", self.socket.next()).await?;
        Ok(frame.context("the connection ended without a close frame")??)
    }
}

async fn within<T>(patience: Duration, otherwise: &str, waited_for: impl Future<Output = T>) -> Result<T> {
    let came = tokio::time::timeout(patience, waited_for).await;
    came.with_context(|| format!("{otherwise} for {patience:?}"))
}

/// The reference's types of message. A client that knows only these takes any other for a header, and the message after it
/// for pixels.
const FOUR: [&str; 4] = ["frame_batch", "frame_batch_header", "chunk_stats", "error"];

#[derive(Deserialize)]
struct Kind {
    r#type: String,
}

/// Types of message beyond the reference's that `message` asks for: by `protocol_features`, or all of them by a resume, whose
/// init may have asked for any.
fn asks_for(message: &Value) -> Vec<String> {
    let names = message["protocol_features"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let resumed: &[&str] = if message["type"].as_str() == Some("resume") { &["session", "ack", "queue"] } else { &[] };
    let types = names.chain(resumed.iter().copied()).flat_map(|feature| match feature {
        "ack" => vec!["init_ack", "event_ack"],
        same => vec![same],
    });
    types.map(str::to_owned).collect()
}

/// What this client can read.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Incoming {
    FrameBatch(Whole),
    FrameBatchHeader(Header),
    ChunkStats(Stats),
    Error(Refused),
    Session(Hello),
    Queue(Standing),
    InitAck(InitAck),
    EventAck(EventAck),
}

#[derive(Deserialize)]
struct Whole {
    #[serde(flatten)]
    header: Header,
    payload: serde_bytes::ByteBuf,
}
