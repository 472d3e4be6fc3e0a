//! Tokens: a page's own server makes one with its key and gives it to a browser, so that no page contains a key.
//!
//! A token states what it allows and is signed, so the server stores none. The signing key is made when the server
//! starts: a restart ends all tokens, and no file holds a secret. Their time is counted from the server's start, so
//! setting a clock does not lengthen a token.

use std::fmt;
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A token names what it is, as a key does.
pub(crate) const TOKEN_PREFIX: &str = "cwt_";

/// A token of a cluster: it opens one place once.
pub(crate) const GRANT_TOKEN_PREFIX: &str = "cwg_";

/// A token's content: `cwt_KEY.FINGERPRINT.EXPIRES.SESSIONS.ID.SIGNATURE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// The name of the key it was made with.
    pub(crate) key: String,
    /// Fingerprint of that key, which may be exchanged while the token is valid.
    pub(crate) fingerprint: u64,
    /// When it expires, since the server's start; written in milliseconds.
    pub(crate) expires: Duration,
    /// Sessions at once.
    pub(crate) sessions: usize,
    /// Distinguishes tokens of equal content.
    pub(crate) id: u64,
}

/// Why a token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadToken {
    /// Not made here, or changed since.
    NotOurs,
    /// Its time is over.
    Expired,
}

/// Makes tokens, and knows its own again.
pub(crate) struct Signer(Hmac<Sha256>);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// With a secret of its own. `Err`: the system has no random numbers.
    pub(crate) fn random() -> anyhow::Result<Signer> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).context("the system has no random numbers")?;
        Ok(Signer::new(&secret))
    }

    /// With this secret.
    pub(crate) fn new(secret: &[u8; 32]) -> Signer {
        Signer(Hmac::new_from_slice(secret).expect("HMAC takes keys of any length"))
    }

    /// The token as it is handed out.
    pub(crate) fn sign(&self, token: &Token) -> String {
        let Token { key, fingerprint, expires, sessions, id } = token;
        let said = format!("{TOKEN_PREFIX}{key}.{fingerprint:016x}.{}.{sessions}.{id:016x}", expires.as_millis());
        let signature = self.0.clone().chain_update(said.as_bytes()).finalize().into_bytes();
        format!("{said}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// `now` is since the server's start.
    pub(crate) fn verify(&self, presented: &str, now: Duration) -> Result<Token, BadToken> {
        let (said, signature) = presented.rsplit_once('.').ok_or(BadToken::NotOurs)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| BadToken::NotOurs)?;
        // Verify in constant time, before any field is used.
        self.0.clone().chain_update(said.as_bytes()).verify_slice(&signature).map_err(|_| BadToken::NotOurs)?;
        let token = read(said).expect("we signed it, so we wrote it");
        if now < token.expires { Ok(token) } else { Err(BadToken::Expired) }
    }
}

fn read(said: &str) -> Option<Token> {
    let mut parts = said.strip_prefix(TOKEN_PREFIX)?.split('.');
    let key = parts.next()?.to_owned();
    let fingerprint = u64::from_str_radix(parts.next()?, 16).ok()?;
    let expires = Duration::from_millis(parts.next()?.parse().ok()?);
    let sessions = parts.next()?.parse().ok()?;
    let id = u64::from_str_radix(parts.next()?, 16).ok()?;
    Some(Token { key, fingerprint, expires, sessions, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token { key: "alice-2".into(), fingerprint: 0xabc, expires: Duration::from_secs(300), sessions: 2, id: 7 }
    }

    #[test]
    fn a_token_is_good_until_the_moment_it_expires() {
        let signer = Signer::new(&[1; 32]);
        let text = signer.sign(&token());
        assert!(text.starts_with("cwt_alice-2.0000000000000abc.300000.2.0000000000000007."), "{text}");
        assert_eq!(signer.verify(&text, Duration::ZERO), Ok(token()));
        assert_eq!(signer.verify(&text, Duration::from_millis(299_999)), Ok(token()));
        assert_eq!(signer.verify(&text, Duration::from_secs(300)), Err(BadToken::Expired));
    }

    #[test]
    fn a_token_with_any_one_byte_changed_is_not_ours() {
        let signer = Signer::new(&[1; 32]);
        let text = signer.sign(&token());
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'3' { b'4' } else { b'3' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert_eq!(signer.verify(&changed, Duration::ZERO), Err(BadToken::NotOurs), "{changed}");
        }
        for end in 0..text.len() {
            assert_eq!(signer.verify(&text[..end], Duration::ZERO), Err(BadToken::NotOurs), "{}", &text[..end]);
        }
        for wrong in ["", ".", "cwt_", "cwt_.....", "cwt_alice-2.300000.2.7.", "é.é"] {
            assert_eq!(signer.verify(wrong, Duration::ZERO), Err(BadToken::NotOurs), "{wrong}");
        }
    }

    #[test]
    fn another_servers_token_is_not_ours() {
        let text = Signer::new(&[2; 32]).sign(&token());
        assert_eq!(Signer::new(&[1; 32]).verify(&text, Duration::ZERO), Err(BadToken::NotOurs));
        let text = Signer::random().expect("random numbers").sign(&token());
        assert!(Signer::random().expect("random numbers").verify(&text, Duration::ZERO).is_err());
    }

    #[test]
    fn a_signature_is_hmac_sha_256_of_what_stands_before_it() {
        use sha2::Digest;
        // Once more by hand, from RFC 2104.
        let text = Signer::new(&[1; 32]).sign(&token());
        let (said, signature) = text.rsplit_once('.').expect("a signature");
        let pad = |with: u8| [[1 ^ with; 32], [with; 32]].concat();
        let inner = Sha256::digest([&pad(0x36), said.as_bytes()].concat());
        let outer = Sha256::digest([&pad(0x5c), &inner[..]].concat());
        assert_eq!(signature, URL_SAFE_NO_PAD.encode(outer));
    }
}
