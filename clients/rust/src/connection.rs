//! One connection of a program that runs on tokio: every message as it came, and as a value.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rmpv::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::Error;
use crate::message::{Close, Message};

/// One connection to a server. It does not resume, and repeats nothing.
pub struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Answers that came between a header and its payload.
    pongs: VecDeque<Bytes>,
    /// A header whose payload has not come yet.
    announced: Option<Bytes>,
}

/// One message as it came: the bytes of the map, and those of the payload where it was a message of its own.
#[derive(Debug, Clone)]
pub struct Whole {
    /// A MessagePack map.
    pub map: Bytes,
    /// What followed a `frame_batch_header`.
    pub payload: Option<Bytes>,
}

/// What came over a connection.
#[derive(Debug, Clone)]
pub enum Received {
    /// A message of the protocol.
    Whole(Whole),
    /// The answer to [`Connection::ping`].
    Pong(Bytes),
    /// The server's last word.
    Closed(Close),
}

impl Connection {
    /// Connect. Nothing is said yet.
    pub async fn connect(url: &str) -> Result<Connection, Error> {
        // A raw chunk of twelve 832x480 frames is one message of 14 MB, and nothing bounds the size of a frame.
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        // Without Nagle's delay: a key press is a small message that nothing follows.
        let connected = connect_async_with_config(url, Some(config), true).await;
        let (socket, _) = connected.map_err(|error| Error::Unreachable(format!("{url}: {error}")))?;
        Ok(Connection { socket, pongs: VecDeque::new(), announced: None })
    }

    /// Say something: an [`Init`](crate::Init), then [`Event`](crate::Event)s; or any value at all.
    pub async fn send(&mut self, message: impl Into<Value>) -> Result<(), Error> {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &message.into()).expect("a Vec takes everything");
        self.transmit(Frame::Binary(bytes.into())).await
    }

    /// These bytes as one binary message.
    pub async fn send_bytes(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.transmit(Frame::Binary(bytes)).await
    }

    /// A text message. No server of this protocol takes one.
    pub async fn send_text(&mut self, text: &str) -> Result<(), Error> {
        self.transmit(Frame::Text(text.into())).await
    }

    /// Ask for a sign of life. Messages are read in order, so once its pong is there the server has read all that was sent
    /// before it.
    pub async fn ping(&mut self, payload: Bytes) -> Result<(), Error> {
        self.transmit(Frame::Ping(payload)).await
    }

    /// Whatever comes next. An error is a connection that ended without a close frame. May be dropped and called again:
    /// nothing is lost.
    pub async fn receive(&mut self) -> Result<Received, Error> {
        if let Some(pong) = self.pongs.pop_front() {
            return Ok(Received::Pong(pong));
        }
        while self.announced.is_none() {
            let map = match self.frame().await? {
                Frame::Binary(map) => map,
                Frame::Pong(payload) => return Ok(Received::Pong(payload)),
                Frame::Close(close) => {
                    let close = close.map(|frame| Close { code: frame.code.into(), reason: frame.reason.to_string() });
                    return Ok(Received::Closed(close.unwrap_or(Close { code: 1005, reason: String::new() })));
                }
                Frame::Text(text) => {
                    return Err(Error::Unreadable(format!("a server sends binary messages, not {text:?}")));
                }
                Frame::Ping(_) | Frame::Frame(_) => continue,
            };
            if !Message::announces_a_payload(&map)? {
                return Ok(Received::Whole(Whole { map, payload: None }));
            }
            self.announced = Some(map);
        }
        // Nothing may come between the two, so whatever comes is the payload.
        let payload = self.payload().await?;
        let map = self.announced.take().expect("the loop ends with a header");
        Ok(Received::Whole(Whole { map, payload: Some(payload) }))
    }

    /// The next message of a type that is known.
    pub async fn next(&mut self) -> Result<Message, Error> {
        loop {
            match self.receive().await? {
                Received::Closed(close) => return Ok(Message::Closed(close)),
                Received::Pong(_) => {}
                Received::Whole(whole) => {
                    if let Some(message) = Message::read(whole)? {
                        return Ok(message);
                    }
                }
            }
        }
    }

    /// Stop, and say so. What is under way is passed by until the server answers, for `patience` at most.
    pub async fn close(mut self, patience: Duration) -> Result<(), Error> {
        let unanswered =
            Error::Closed { code: 1006, reason: format!("the server did not answer a close for {patience:?}") };
        let closing = async {
            self.socket.close(None).await.map_err(broken)?;
            while let Some(Ok(_)) = self.socket.next().await {}
            Ok(())
        };
        tokio::time::timeout(patience, closing).await.unwrap_or(Err(unanswered))
    }

    async fn payload(&mut self) -> Result<Bytes, Error> {
        loop {
            match self.frame().await? {
                Frame::Binary(payload) => return Ok(payload),
                Frame::Ping(_) => {}
                Frame::Pong(pong) => self.pongs.push_back(pong),
                other => return Err(Error::Unreadable(format!("a header without its payload: {other:?}"))),
            }
        }
    }

    async fn frame(&mut self) -> Result<Frame, Error> {
        match self.socket.next().await {
            Some(frame) => frame.map_err(broken),
            None => Err(Error::Closed { code: 1006, reason: "the connection ended without a close frame".to_owned() }),
        }
    }

    async fn transmit(&mut self, frame: Frame) -> Result<(), Error> {
        self.socket.send(frame).await.map_err(broken)
    }
}

fn broken(error: tokio_tungstenite::tungstenite::Error) -> Error {
    Error::Closed { code: 1006, reason: format!("the line broke: {error}") }
}
