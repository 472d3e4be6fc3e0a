//! The token with which a door, or a client that was sent on, comes to the node that draws: `cwg_SESSION.EPOCH.SECRET`.
//!
//! It is good once, for one session in one epoch. NATS holds the SHA-256 of its secret alone.

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::access::rules::tokens::GRANT_TOKEN_PREFIX;

/// A session, its epoch, and the secret that opens its place once.
#[derive(Clone, PartialEq, Eq)]
pub struct GrantToken {
    /// The session, as the cluster calls it.
    pub id: String,
    /// The epoch of its grant.
    pub epoch: u32,
    secret: [u8; 32],
}

impl std::fmt::Debug for GrantToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GrantToken({}, epoch {})", self.id, self.epoch)
    }
}

impl GrantToken {
    /// With a secret that nobody can guess.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn new(id: String, epoch: u32) -> anyhow::Result<GrantToken> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).context("the system has no random numbers")?;
        Ok(GrantToken { id, epoch, secret })
    }

    /// With this secret, for tests.
    pub fn with_secret(id: &str, epoch: u32, secret: [u8; 32]) -> GrantToken {
        GrantToken { id: id.to_owned(), epoch, secret }
    }

    /// SHA-256 of its secret, in hexadecimal: what tickets and grants hold.
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(self.secret))
    }

    /// As it is sent.
    pub fn text(&self) -> String {
        format!("{GRANT_TOKEN_PREFIX}{}.{}.{}", self.id, self.epoch, URL_SAFE_NO_PAD.encode(self.secret))
    }

    /// `None`: this is no such token.
    pub fn read(text: &str) -> Option<GrantToken> {
        let mut parts = text.strip_prefix(GRANT_TOKEN_PREFIX)?.split('.');
        let (id, epoch, secret) = (parts.next()?, parts.next()?, parts.next()?);
        let is_id = !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_id || parts.next().is_some() {
            return None;
        }
        let secret = URL_SAFE_NO_PAD.decode(secret).ok()?.try_into().ok()?;
        Some(GrantToken { id: id.to_owned(), epoch: epoch.parse().ok()?, secret })
    }
}

/// An id is part of a subject in NATS.
const ID_BYTES_MAX: usize = 64;

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the cluster knows a client's resume token by: the token itself is never in NATS.
pub fn resume_name(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is() {
        let token = GrantToken::with_secret("a1b2", 7, [9; 32]);
        assert_eq!(GrantToken::read(&token.text()), Some(token.clone()));
        let text = token.text();
        for wrong in [
            "",
            "cwg_",
            "cwg_..",
            "cwk_a1b2.7.x",
            &text[..text.len() - 1],
            &format!("{text}.x"),
            &text.replace("a1b2", "a.b"),
            &text.replace("a1b2", "a*"),
            &text.replace("a1b2", ""),
            &text.replace(".7.", ".-7."),
            &text.replace("a1b2", &"a".repeat(65)),
        ] {
            assert_eq!(GrantToken::read(wrong), None, "{wrong}");
        }
        assert!(!format!("{token:?}").contains(&URL_SAFE_NO_PAD.encode([9; 32])), "its secret is not printed");
    }

    #[test]
    fn two_tokens_have_two_secrets_and_a_hash_does_not_tell_one() {
        let tokens = [0, 1].map(|_| GrantToken::new("a".to_owned(), 1).expect("random numbers"));
        assert_ne!(tokens[0].hash(), tokens[1].hash());
        assert_eq!(tokens[0].hash().len(), 64);
    }
}
