//! Where a session goes on that leaves this server, and whose sessions this server takes.
//!
//! A session that leaves is posted to another node as bytes, with a secret that lets it in. Which node that is, a [`Nodes`]
//! says: two nodes of one operator are told in flags ([`Pair`]).

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::http::StatusCode;
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

/// The nodes that a server knows.
pub trait Nodes: Send + Sync + fmt::Debug {
    /// A node for a session that leaves. `Err`: why there is none, for the log.
    fn choose<'a>(&'a self, wish: &'a Wish) -> Pin<Box<dyn Future<Output = Result<Node, String>> + Send + 'a>>;

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
}

/// A node that takes a session.
pub struct Node {
    /// Its address for other nodes, of http or https.
    pub address: Url,
    /// Lets the session in.
    pub secret: String,
    /// Its WebSocket, for clients. `None`: the address that they know leads there.
    pub clients: Option<String>,
}

/// Post a session to a node. `Err`: why it stays, for the log.
pub async fn send(node: &Node, session: Vec<u8>) -> Result<(), String> {
    let post = async {
        let mut url = node.address.clone();
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let post = Post::new("a node", url.join(PATH)?)?;
        let content_type = "application/octet-stream";
        post.send(Said { body: session.into(), content_type, bearer: Some(node.secret.clone()) }, ANSWER_BYTES_MAX)
            .await
    };
    match timeout(TAKEN_WITHIN, post).await {
        Ok(Ok((StatusCode::OK, _))) => Ok(()),
        Ok(Ok((status, answer))) => {
            Err(format!("it answered {}: {}", status.as_u16(), String::from_utf8_lossy(&answer)))
        }
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_elapsed) => Err(format!("no answer within {} s", TAKEN_WITHIN.as_secs())),
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
    fn choose<'a>(&'a self, _wish: &'a Wish) -> Pin<Box<dyn Future<Output = Result<Node, String>> + Send + 'a>> {
        let node = match &self.to {
            Some((address, clients)) => {
                Ok(Node { address: address.clone(), secret: self.secret.clone(), clients: clients.clone() })
            }
            None => Err("no other node is named: --move-to".to_owned()),
        };
        Box::pin(std::future::ready(node))
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
