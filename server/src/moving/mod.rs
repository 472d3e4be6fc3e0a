//! Where a session goes on that leaves this server, and whose sessions this server takes.
//!
//! A session that leaves is posted to another node as bytes, with a secret that lets it in. Which node that is, a [`Nodes`]
//! says: two nodes of one operator are told in flags ([`Pair`]), those of a cluster ask its line (`cluster::leaving`).

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::http::StatusCode;
use bytes::Bytes;
use pipeline::world::Origin;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::timeout;
use url::Url;

use crate::post::{Post, Said};

/// The most bytes of a session that moves: its rollout, what is kept for its client, and all the rest.
pub const SESSION_BYTES_MAX: usize = 64 << 20;

/// Where a node takes sessions, below its address.
pub const PATH: &str = "internal/sessions";

/// Time for a node to take a session: 64 MiB are there in a second, and the node waits for a place and opens the video.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// Bytes of a node's answer: a sentence.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The shortest secret that is taken: 16 characters that nobody can guess.
const SECRET_BYTES_MIN: usize = 16;

/// What a [`Nodes`] promises.
pub type Promise<'a, Answer> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// The nodes that a server knows.
pub trait Nodes: Send + Sync + fmt::Debug {
    /// Give a session that leaves to another node. `Err`: why it stays, for the log.
    fn give<'a>(&'a self, wish: &'a Wish, session: Bytes) -> Promise<'a, Result<Taken, String>>;

    /// Whether a session may come in with this secret.
    fn admits(&self, secret: &str) -> bool;
}

/// A session that looks for a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Its id.
    pub session_id: String,
    /// What draws it. Only the same goes on with it.
    pub origin: Origin,
    /// Bytes that it was admitted with.
    pub bytes: u64,
    /// Pixels of a frame.
    pub pixels: u64,
    /// Between two of its chunks. `None`: it takes what others leave.
    pub period: Option<Duration>,
    /// Whose it is, by the name of a key.
    pub account: Option<String>,
    /// Where it stood in the line of a cluster.
    pub came: u64,
    /// Its client can be sent to any node.
    pub goes_itself: bool,
}

/// A node has taken a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its host, for the log.
    pub node: String,
    /// Its WebSocket, for clients. `None`: the address that they know leads there.
    pub clients: Option<String>,
}

/// A node has not taken a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken {
    /// Why, for the log.
    pub reason: String,
    /// Another may take it.
    pub for_now: bool,
}

/// Post a session to the node at this address, which lets it in with this secret.
pub async fn send(address: &Url, secret: &str, session: Bytes) -> Result<(), NotTaken> {
    let post = async {
        let mut url = address.clone();
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let post = Post::new("a node", url.join(PATH)?)?;
        let content_type = "application/octet-stream";
        post.send(Said { body: session.into(), content_type, bearer: Some(secret.to_owned()) }, ANSWER_BYTES_MAX).await
    };
    let not = |reason: String, for_now| Err(NotTaken { reason: format!("{address}: {reason}"), for_now });
    match timeout(TAKEN_WITHIN, post).await {
        Ok(Ok((StatusCode::OK, _))) => Ok(()),
        Ok(Ok((status, answer))) => {
            let reason = format!("it answered {}: {}", status.as_u16(), String::from_utf8_lossy(&answer));
            not(reason, status != StatusCode::BAD_REQUEST && status != StatusCode::CONFLICT)
        }
        Ok(Err(error)) => not(format!("{error:#}"), true),
        Err(_elapsed) => not(format!("no answer within {} s", TAKEN_WITHIN.as_secs()), true),
    }
}

/// Two nodes of one operator, with a secret in a file of both.
pub struct Pair {
    /// Its digest is compared: the time says nothing about the secret.
    digest: [u8; 32],
    secret: String,
    /// Where sessions go that leave; `None`: they end here.
    to: Option<(Url, Option<String>)>,
}

impl Pair {
    /// `text` of the file with the secret. `to`: the address of the other node, and what clients are told of it.
    pub fn new(text: &str, to: Option<(Url, Option<String>)>) -> anyhow::Result<Pair> {
        let secret = text.trim().to_owned();
        let is_one = secret.len() >= SECRET_BYTES_MIN && secret.bytes().all(|byte| byte.is_ascii_graphic());
        ensure!(is_one, "a secret is one line of at least {SECRET_BYTES_MIN} visible ASCII characters without spaces");
        if let Some((url, _)) = &to {
            Post::new("--move-to", url.clone()).context("the other node")?;
        }
        Ok(Pair { digest: Sha256::digest(&secret).into(), secret, to })
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pair({:?})", self.to.as_ref().map(|(to, _)| to.host_str()))
    }
}

impl Nodes for Pair {
    fn give<'a>(&'a self, _wish: &'a Wish, session: Bytes) -> Promise<'a, Result<Taken, String>> {
        Box::pin(async move {
            let Some((address, clients)) = &self.to else { return Err("no other node is named: --move-to".to_owned()) };
            send(address, &self.secret, session).await.map_err(|not| not.reason)?;
            Ok(Taken { node: address.host_str().unwrap_or_default().to_owned(), clients: clients.clone() })
        })
    }

    fn admits(&self, secret: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(secret).into();
        given.ct_eq(&self.digest).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_lets_in_and_is_not_printed() {
        let to = Some(("http://10.0.0.2:30000".parse().expect("a URL"), None));
        let pair = Pair::new("  correct-horse-battery\n", to).expect("a secret");
        assert!(pair.admits("correct-horse-battery"));
        assert!(!pair.admits("correct-horse-batterz") && !pair.admits("") && !pair.admits("correct-horse-battery "));
        assert!(!format!("{pair:?}").contains("horse"), "{pair:?}");
        for bad in ["", "short", "two words of a sentence", "line one of it\nline two of it"] {
            assert!(Pair::new(bad, None).is_err(), "{bad:?}");
        }
        let ftp = Some(("ftp://10.0.0.2".parse().expect("a URL"), None));
        assert!(Pair::new("correct-horse-battery", ftp).is_err());
    }
}
