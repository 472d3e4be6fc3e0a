//! A WebSocket client made by hand, one byte at a time: it does what a library would never do.
//!
//! It sends frames that break off, never reads, offers extensions, answers no ping. It masks with zeros, which is legal and
//! keeps the bytes readable.

use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;

/// A connection on which the test writes every byte itself.
pub struct Raw {
    pub stream: TcpStream,
}

/// One frame, as it came.
#[derive(Debug, PartialEq, Eq)]
pub struct RawFrame {
    pub opcode: u8,
    /// False for a frame of a fragmented message.
    pub whole: bool,
    pub payload: Vec<u8>,
}

impl Raw {
    /// Ask for `path` with these header lines beside those of an upgrade; gives the answer's head too.
    pub async fn ask(address: SocketAddr, path: &str, headers: &[&str]) -> Result<(Raw, String)> {
        let mut stream = timeout(PATIENCE, TcpStream::connect(address)).await.context("no connection")??;
        stream.set_nodelay(true)?;
        let mut lines = vec![format!("GET {path} HTTP/1.1"), format!("Host: {address}")];
        lines.extend(headers.iter().map(|&line| line.to_owned()));
        stream.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, stream.read_u8()).await.context("no answer")??);
        }
        Ok((Raw { stream }, String::from_utf8(head)?))
    }

    /// Head and body of a page.
    pub async fn get(address: SocketAddr, path: &str) -> Result<(String, String)> {
        let (mut raw, head) = Raw::ask(address, path, &["Connection: close"]).await?;
        let mut body = String::new();
        timeout(PATIENCE, raw.stream.read_to_string(&mut body)).await.context("no body")??;
        Ok((head, body))
    }

    /// The head of an upgrade's answer.
    pub async fn upgrade(address: SocketAddr, headers: &[&str]) -> Result<(Raw, String)> {
        let mut lines = vec![
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        lines.extend(headers);
        Raw::ask(address, "/v1/realtime_video/generate", &lines).await
    }

    /// An open WebSocket.
    pub async fn open(address: SocketAddr) -> Result<Raw> {
        let (raw, head) = Raw::upgrade(address, &[]).await?;
        ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Ok(raw)
    }

    pub async fn send(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        self.announce(opcode, payload.len() as u64).await?;
        Ok(timeout(PATIENCE, self.stream.write_all(payload)).await.context("the server took no frame")??)
    }

    /// Only the start of a frame: what it is, and how long it will be.
    pub async fn announce(&mut self, opcode: u8, length: u64) -> Result<()> {
        let mut head = vec![0x80 | opcode];
        match length {
            0..=125 => head.push(0x80 | length as u8),
            126..=0xffff => {
                head.push(0x80 | 126);
                head.extend((length as u16).to_be_bytes());
            }
            _ => {
                head.push(0x80 | 127);
                head.extend(length.to_be_bytes());
            }
        }
        head.extend([0; 4]);
        Ok(self.stream.write_all(&head).await?)
    }

    /// The next frame, or `None` where the connection ended.
    pub async fn receive(&mut self) -> Result<Option<RawFrame>> {
        receive(&mut self.stream).await
    }
}

/// The next frame, from any reader of a connection.
pub async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<RawFrame>> {
    timeout(PATIENCE, frame(stream)).await.context("the server said nothing")?
}

async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<RawFrame>> {
    let Ok(first) = stream.read_u8().await else { return Ok(None) };
    ensure!(first & 0x70 == 0, "reserved bits set ({first:02x}): no extension was agreed");
    let second = stream.read_u8().await?;
    ensure!(second & 0x80 == 0, "a server does not mask");
    let length = match second {
        126 => u64::from(stream.read_u16().await?),
        127 => stream.read_u64().await?,
        short => u64::from(short),
    };
    let mut payload = vec![0; usize::try_from(length)?];
    stream.read_exact(&mut payload).await?;
    Ok(Some(RawFrame { opcode: first & 0x0f, whole: first & 0x80 != 0, payload }))
}
