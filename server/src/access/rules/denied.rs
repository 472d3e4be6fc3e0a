//! Why a client is denied: a sentence for people and a code for programs.

use std::time::Duration;

/// Why a client is denied. The text is sent to the client, so it reveals nothing about keys or other clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No key or token was shown where one is needed.
    #[error("a key is needed: as `Authorization: Bearer KEY`, `?key=KEY` in the URL, or `api_key` in init")]
    NoKey,
    /// The key is unknown, or the token was not made here.
    #[error("this key is not known here")]
    WrongKey,
    /// The token's time is over.
    #[error("this token has expired: make a new one")]
    Expired,
    /// The operator has taken the key out of the key file.
    #[error("this key, or the one this token was made with, has been taken out of use")]
    KeyRemoved,
    /// A token was shown where only a key will do.
    #[error("tokens are made with a key, not with a token")]
    NotAKey,
    /// A web page of an origin that is not allowed.
    #[error("pages of this origin may not use this server: its operator can allow it with --origin")]
    Origin,
    /// The request names a host that is not this server.
    #[error("this server does not answer to that name in Host: its operator can allow it with --origin")]
    Host,
    /// Too many wrong keys came from the address; after this time it may try again.
    #[error("too many wrong keys from this address: try again in {} s", whole_seconds(*.0))]
    WrongTooOften(Duration),
    /// Too many requests came with the key; after this time there may be another.
    #[error("too many requests with this key: try again in {} s", whole_seconds(*.0))]
    TooOften(Duration),
    /// As many connections are open as may be.
    #[error("too many connections")]
    Full,
    /// As many connections are open from the address as may be.
    #[error("too many connections from this address")]
    TooManyConnections,
    /// As many sessions run with the key or token as may, which is so many.
    #[error("{0} sessions run with this already, and no more are allowed")]
    TooManySessions(usize),
    /// What clients have sent and the server has not handled yet is as much as may be.
    #[error("messages that wait to be handled hold as much memory as they may, of this address or of all: try again")]
    TooManyBytes,
}

impl Denied {
    /// The code, for programs.
    pub fn code(self) -> &'static str {
        match self {
            Denied::NoKey | Denied::WrongKey | Denied::Expired | Denied::KeyRemoved => "unauthorized",
            Denied::NotAKey | Denied::Origin | Denied::Host => "forbidden",
            Denied::WrongTooOften(_) | Denied::TooOften(_) => "too_many_requests",
            Denied::Full | Denied::TooManyConnections => "too_many_connections",
            Denied::TooManySessions(_) => "too_many_sessions",
            Denied::TooManyBytes => "too_many_bytes",
        }
    }

    /// The reason in a close frame, for clients that see nothing else.
    pub fn close_reason(self) -> &'static str {
        match self {
            Denied::NoKey | Denied::WrongKey | Denied::Expired | Denied::KeyRemoved => "unauthorized",
            Denied::NotAKey | Denied::Origin | Denied::Host => "forbidden",
            Denied::WrongTooOften(_) | Denied::TooOften(_) => "too many requests",
            Denied::Full | Denied::TooManyConnections => "too many connections",
            Denied::TooManySessions(_) => "too many sessions",
            Denied::TooManyBytes => "too many bytes",
        }
    }

    /// For `/metrics`: one of [`REASONS`].
    pub fn reason(self) -> &'static str {
        match self {
            Denied::NoKey => "no_key",
            Denied::WrongKey => "wrong_key",
            Denied::Expired => "expired",
            Denied::KeyRemoved => "key_removed",
            Denied::NotAKey => "not_a_key",
            Denied::Origin => "origin",
            Denied::Host => "host",
            Denied::WrongTooOften(_) => "wrong_too_often",
            Denied::TooOften(_) => "too_often",
            Denied::Full => "full",
            Denied::TooManyConnections => "connections",
            Denied::TooManySessions(_) => "sessions",
            Denied::TooManyBytes => "bytes",
        }
    }

    /// When to try again.
    pub fn wait(self) -> Option<Duration> {
        match self {
            Denied::WrongTooOften(wait) | Denied::TooOften(wait) => Some(wait),
            _ => None,
        }
    }
}

/// All reasons, so that each counter exists before its first count.
pub const REASONS: [&str; 13] = [
    "no_key",
    "wrong_key",
    "expired",
    "key_removed",
    "not_a_key",
    "origin",
    "host",
    "wrong_too_often",
    "too_often",
    "full",
    "connections",
    "sessions",
    "bytes",
];

/// Whole seconds, rounded up, so that a client that waits that long is allowed.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_no_has_its_counter() {
        let wait = Duration::from_secs(1);
        let all = [
            Denied::NoKey,
            Denied::WrongKey,
            Denied::Expired,
            Denied::KeyRemoved,
            Denied::NotAKey,
            Denied::Origin,
            Denied::Host,
            Denied::WrongTooOften(wait),
            Denied::TooOften(wait),
            Denied::Full,
            Denied::TooManyConnections,
            Denied::TooManySessions(1),
            Denied::TooManyBytes,
        ];
        assert_eq!(all.map(Denied::reason), REASONS);
    }

    #[test]
    fn a_wait_is_told_in_seconds_that_are_enough() {
        let told = |millis| Denied::TooOften(Duration::from_millis(millis)).to_string();
        assert!(told(1).ends_with("in 1 s") && told(2000).ends_with("in 2 s") && told(2001).ends_with("in 3 s"));
    }
}
