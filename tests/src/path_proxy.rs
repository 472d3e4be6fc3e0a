//! A proxy that serves a server below a path of its own, as `https://host/world/` is often set up.

use anyhow::{Context, Result};
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// For any number of connections, until it is dropped.
pub struct PathProxy {
    /// Where a browser connects instead.
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl PathProxy {
    /// Requests for `below` and more, `/world/` for example, are the server's; it is asked for what follows.
    pub async fn before(server: SocketAddr, below: &'static str) -> Result<PathProxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            let mut lines = JoinSet::new();
            while let Ok((client, _peer)) = listener.accept().await {
                // A line that ends badly is for its two ends to notice.
                lines.spawn(async move { pass(client, server, below).await.ok() });
            }
        });
        Ok(PathProxy { address, accepting })
    }
}

impl Drop for PathProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(client: TcpStream, server: SocketAddr, below: &str) -> Result<()> {
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(server).await?.into_split();
    tokio::select! {
        asked = requests(BufReader::new(from_client), &mut to_server, below) => asked,
        answered = copy(&mut from_server, &mut to_client) => Ok(answered.map(drop)?),
    }
}

/// Heads without bodies, as a page asks, until one asks for a WebSocket: what comes then is no HTTP.
async fn requests(
    mut client: BufReader<impl AsyncRead + Unpin>,
    server: &mut (impl AsyncWrite + Unpin),
    below: &str,
) -> Result<()> {
    let mut upgrades = false;
    while !upgrades {
        let mut line = String::new();
        if client.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let (method, rest) = line.split_once(' ').context("a request has a method")?;
        // Others than those below are asked for as they are, behind something that the server has not.
        let path =
            rest.strip_prefix(below).map_or_else(|| format!("/not-below-the-path{rest}"), |rest| format!("/{rest}"));
        server.write_all(format!("{method} {path}").as_bytes()).await?;
        loop {
            line.clear();
            client.read_line(&mut line).await?;
            server.write_all(line.as_bytes()).await?;
            upgrades |= line.to_ascii_lowercase().starts_with("upgrade: websocket");
            if line.trim().is_empty() {
                break;
            }
        }
    }
    copy(&mut client, server).await?;
    Ok(())
}
