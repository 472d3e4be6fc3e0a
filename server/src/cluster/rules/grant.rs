//! A grant: which node draws a session, in which epoch. It stands in NATS as long as the session does.

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::token::GrantToken;

/// Which node draws a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The node that draws.
    pub node: String,
    /// Where it is reached: `ws://HOST:PORT`.
    pub url: String,
    /// The node that the client came to.
    pub door: String,
    /// SHA-256 of the secret with which the door comes, in hexadecimal.
    pub secret: String,
    /// One more than that of the grant before.
    pub epoch: u32,
    /// Where its ticket stood in the line.
    pub came: u64,
    /// The key that it counts for. Absent: all clients are one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether another node can go on with the session, if its client can come back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub journal: bool,
    /// Whether it takes a place. `false`: it leads a client back to a session that has one.
    pub place: bool,
}

/// Why a token opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotGranted {
    /// No grant of this session stands.
    NoGrant,
    /// Another node draws it.
    OtherNode,
    /// The session has been granted again since, or never was in this epoch.
    OtherEpoch,
    /// The secret is wrong.
    WrongSecret,
    /// It was used before, or its time is over.
    Used,
    /// NATS could not be asked.
    NoAnswer,
}

impl NotGranted {
    /// For a client.
    pub fn reason(self) -> &'static str {
        match self {
            NotGranted::NoGrant => "names no grant that stands",
            NotGranted::OtherNode => "is a grant of another node",
            NotGranted::OtherEpoch => "is of another epoch: the session was granted again",
            NotGranted::WrongSecret => "has a wrong secret",
            NotGranted::Used => "was used, or came too late: a token is good once",
            NotGranted::NoAnswer => "could not be checked: NATS does not answer",
        }
    }
}

impl Grant {
    /// Whether `token` opens this grant on `node`. The secret is compared in constant time.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn opens(&self, node: &str, token: &GrantToken) -> Result<(), NotGranted> {
        if self.node != node {
            return Err(NotGranted::OtherNode);
        }
        if self.epoch != token.epoch {
            return Err(NotGranted::OtherEpoch);
        }
        let same: bool = self.secret.as_bytes().ct_eq(token.hash().as_bytes()).into();
        if same { Ok(()) } else { Err(NotGranted::WrongSecret) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_opens_to_its_secret_on_its_node_in_its_epoch_alone() {
        let token = GrantToken::with_secret("s", 3, [1; 32]);
        let grant = Grant {
            node: "a".into(),
            url: String::new(),
            door: "d".into(),
            secret: token.hash(),
            epoch: 3,
            came: 9,
            key: None,
            journal: false,
            place: true,
        };
        assert_eq!(grant.opens("a", &token), Ok(()));
        assert_eq!(grant.opens("b", &token), Err(NotGranted::OtherNode));
        for epoch in [2, 4] {
            assert_eq!(grant.opens("a", &GrantToken::with_secret("s", epoch, [1; 32])), Err(NotGranted::OtherEpoch));
        }
        assert_eq!(grant.opens("a", &GrantToken::with_secret("s", 3, [2; 32])), Err(NotGranted::WrongSecret));
    }
}
