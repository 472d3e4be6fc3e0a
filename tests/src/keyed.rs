//! A server that asks for a key, a client that has one, and the refusals of clients that have none.

use crate::Server;
use crate::client::Client;
use crate::message::{Close, Message};
use crate::puppet::Puppet;
use anyhow::{Context, Result};
use serde_json::Value;
use server::Limits;
use server::access::key_ring::KeyRing;
use server::access::policy::{AccessPolicy, Entry};
use server::access::rules::keys::{ApiKeys, KeyLimits, new_key};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server that asks for a key, and the one that it knows.
pub struct Keyed {
    pub server: Server,
    pub key: String,
    /// The keys that the server knows; a test may change them as an operator does.
    pub ring: KeyRing,
}

impl Keyed {
    pub fn new() -> Result<Keyed> {
        Keyed::with(KeyLimits::default(), AccessPolicy::default())
    }

    pub fn with(limits: KeyLimits, policy: AccessPolicy) -> Result<Keyed> {
        let (key, line) = new_key("alice")?;
        let ring = KeyRing::from(ApiKeys::parse(&line, limits)?);
        let access = AccessPolicy { entry: Entry::Keys(ring.clone()), ..policy };
        let (server, _strings) = Server::limited(Puppet::default(), Limits { access, ..Limits::default() })?;
        Ok(Keyed { server, key, ring })
    }

    /// With `shown` in the URL.
    pub async fn connect(&self, shown: &str) -> Result<Client> {
        Client::connect(&format!("{}?key={shown}", self.server.url())).await
    }

    pub async fn ask(&self, request: &str, headers: &str, body: &str) -> Result<Answer> {
        ask(self.server.address, &self.server.address.to_string(), request, headers, body).await
    }

    /// `POST /v1/tokens` with `shown`.
    pub async fn token(&self, shown: &str, wish: Value) -> Result<Answer> {
        let wish = if wish.is_null() { String::new() } else { wish.to_string() };
        self.ask("POST /v1/tokens", &bearer(shown), &wish).await
    }
}

pub fn bearer(shown: &str) -> String {
    format!("Authorization: Bearer {shown}\r\n")
}

pub struct Answer {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: String,
}

/// One request, every line of it ours; of an upgrade only the head is read.
pub async fn ask(address: SocketAddr, host: &str, request: &str, headers: &str, body: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    let close = if headers.contains("Upgrade") { "" } else { "Connection: close\r\n" };
    let length = body.len();
    let text = format!("{request} HTTP/1.1\r\nHost: {host}\r\n{close}{headers}Content-Length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await?;
    let mut head = Vec::new();
    let answer = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let mut body = String::new();
        if !head.starts_with(b"HTTP/1.1 101") && !close.is_empty() {
            stream.read_to_string(&mut body).await?;
        }
        anyhow::Ok(body)
    };
    let body = tokio::time::timeout(Duration::from_secs(20), answer).await.context("no answer")??;
    let head = String::from_utf8(head)?.to_ascii_lowercase();
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok(Answer { status, head, body })
}

/// The next message says why, and after it comes the close.
pub async fn turned_away(client: &mut Client) -> Result<(String, Close)> {
    let Message::Error(error) = client.next().await? else { anyhow::bail!("not an error") };
    let Message::Closed(close) = client.next().await? else { anyhow::bail!("not closed") };
    Ok((error.code.context("a code")?, close))
}
