//! The line from a door to the node that draws a client's session.
//!
//! It has the bounds of a session's outlet: one message is under way in each direction, and a client that does not read stops
//! the reading here, so the node sees a slow client as if it were connected itself.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// From the connection to the node's answer to the hello.
const CONNECTED_WITHIN: Duration = Duration::from_secs(3);

/// How often the node is asked for a sign of life.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(1);

/// A node that is gone from the cluster, and gave no sign of life for so long, is taken for dead; one that is there, after
/// [`SILENT_MAX`].
pub(crate) const SILENT: Duration = Duration::from_secs(3);

/// As long as any client may take to answer a ping.
pub(crate) const SILENT_MAX: Duration = Duration::from_secs(20);

/// The longest message of a node: 16 raw frames of 3840x2160, as a server writes at once.
const MESSAGE_BYTES_MAX: usize = 512 << 20;

type Socket = WebSocketStream<TcpStream>;

/// The line, both ways.
pub(crate) struct Relay {
    /// To the node.
    pub(crate) up: Up,
    /// From the node.
    pub(crate) down: Down,
}

/// To the node.
pub(crate) struct Up(SplitSink<Socket, Message>);

/// From the node.
pub(crate) struct Down(SplitStream<Socket>);

/// What a node sends.
pub(crate) enum FromNode {
    /// A message for the client.
    Binary(Bytes),
    /// A sign of life.
    Alive,
    /// It ends the session: with which code, for which reason.
    Close(u16, String),
    /// The line is broken.
    Gone,
}

impl Relay {
    /// Connect to `url`, say `hello` and read the answer, which `accepts` must take. `client`: the address to name.
    pub(crate) async fn connect(
        url: &str,
        client: IpAddr,
        hello: Bytes,
        accepts: impl Fn(&[u8]) -> bool,
    ) -> anyhow::Result<Relay> {
        timeout(CONNECTED_WITHIN, Relay::greet(url, client, hello, accepts)).await.context("no answer in time")?
    }

    async fn greet(url: &str, client: IpAddr, hello: Bytes, accepts: impl Fn(&[u8]) -> bool) -> anyhow::Result<Relay> {
        let mut request = format!("{url}/v1/realtime_video").into_client_request()?;
        let authority = request.uri().authority().context("no host")?;
        let at = (authority.host().trim_matches(['[', ']']).to_owned(), authority.port_u16().unwrap_or(80));
        request.headers_mut().insert("x-forwarded-for", client.to_string().parse()?);
        let stream = TcpStream::connect(at).await?;
        // A key press is smaller than a packet.
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let (mut socket, _answer) = client_async_with_config(request, stream, Some(config)).await?;
        socket.send(Message::Binary(hello)).await?;
        loop {
            match socket.next().await.context("closed")?? {
                Message::Binary(answer) => {
                    ensure!(accepts(&answer), "the token was not taken");
                    break;
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => bail!("instead of an answer: {other}"),
            }
        }
        let (up, down) = socket.split();
        Ok(Relay { up: Up(up), down: Down(down) })
    }
}

impl Up {
    /// A client's message, once the node's socket has taken it.
    pub(crate) async fn send(&mut self, message: Bytes) -> anyhow::Result<()> {
        Ok(self.0.send(Message::Binary(message)).await?)
    }

    /// The client has sent text, which the node answers as it does.
    pub(crate) async fn text(&mut self) -> anyhow::Result<()> {
        Ok(self.0.send(Message::Text(Utf8Bytes::from_static(""))).await?)
    }

    /// Ask for a sign of life.
    pub(crate) async fn ping(&mut self) -> anyhow::Result<()> {
        Ok(self.0.send(Message::Ping(Bytes::new())).await?)
    }

    /// The client said goodbye.
    pub(crate) async fn close(mut self) {
        // A node that does not take it sees the line end.
        let _ = timeout(PING_EVERY, self.0.send(Message::Close(None))).await;
    }
}

impl Down {
    /// What comes next. Cancel-safe.
    pub(crate) async fn next(&mut self) -> FromNode {
        match self.0.next().await {
            Some(Ok(Message::Binary(bytes))) => FromNode::Binary(bytes),
            Some(Ok(Message::Close(Some(frame)))) => FromNode::Close(frame.code.into(), frame.reason.to_string()),
            Some(Ok(Message::Close(None)) | Err(_)) | None => FromNode::Gone,
            Some(Ok(_)) => FromNode::Alive,
        }
    }
}
