//! Who may enter. By default only this machine can reach the server, and it asks for nothing; whoever lets others reach it
//! must choose between keys and letting everybody in.
//!
//! A web page counts as whoever wrote it, not as the person who looks at it: see [`origin`].

pub mod address;
pub(crate) mod door;
pub(crate) mod http;
pub mod keys;
pub mod origin;
pub mod throttle;
pub mod tokens;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::bail;
use tracing_subscriber::EnvFilter;

use keys::{KeyRing, Keys};
use origin::Allowed;

/// What the operator decided.
#[derive(Debug, Clone)]
pub struct Policy {
    pub entry: Entry,
    /// Pages of these origins may open a socket, beside our own.
    pub origins: Vec<Allowed>,
    /// Believed when they say for whom they ask.
    pub proxies: Vec<IpAddr>,
    /// How long a socket may stay open before it has shown a key.
    pub key_within: Duration,
}

#[derive(Debug, Clone)]
pub enum Entry {
    /// Only this machine can knock: nobody is asked for anything.
    Local,
    /// Everybody who can reach it.
    Everybody,
    Keys(KeyRing),
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { entry: Entry::Local, origins: Vec::new(), proxies: Vec::new(), key_within: KEY_WITHIN }
    }
}

/// Longer than a browser needs from the upgrade to its first message over a slow line.
const KEY_WITHIN: Duration = Duration::from_secs(10);

impl Entry {
    /// For a server that listens on `host`.
    pub fn choose(host: IpAddr, keys: Option<Keys>, insecure: bool) -> anyhow::Result<Entry> {
        match keys {
            Some(keys) => Ok(Entry::Keys(keys.into())),
            None if host.to_canonical().is_loopback() => Ok(Entry::Local),
            None if insecure => Ok(Entry::Everybody),
            None => bail!(
                "--host {host} lets others reach this server: give --keys FILE to say who may enter (`causeway key NAME` \
                 makes a key), or --insecure to let everybody in"
            ),
        }
    }
}

/// Why somebody may not. The text is for them, and says nothing that they do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("a key is needed: as `Authorization: Bearer KEY`, `?key=KEY` in the URL, or `api_key` in init")]
    NoKey,
    #[error("this key is not known here")]
    WrongKey,
    #[error("this token has expired: make a new one")]
    Expired,
    #[error("this key, or the one this token was made with, has been taken out of use")]
    KeyRemoved,
    #[error("tokens are made with a key, not with a token")]
    NotAKey,
    #[error("pages of this origin may not use this server: its operator can allow it with --origin")]
    Origin,
    #[error("this server does not answer to that name in Host: its operator can allow it with --origin")]
    Host,
    #[error("too many wrong keys from this address: try again in {} s", whole_seconds(*.0))]
    WrongTooOften(Duration),
    #[error("too many requests with this key: try again in {} s", whole_seconds(*.0))]
    TooOften(Duration),
    #[error("too many connections")]
    Full,
    #[error("too many connections from this address")]
    TooManyConnections,
    #[error("{0} sessions run with this already, and no more are allowed")]
    TooManySessions(usize),
}

impl Denied {
    /// For programs.
    pub fn code(self) -> &'static str {
        match self {
            Denied::NoKey | Denied::WrongKey | Denied::Expired | Denied::KeyRemoved => "unauthorized",
            Denied::NotAKey | Denied::Origin | Denied::Host => "forbidden",
            Denied::WrongTooOften(_) | Denied::TooOften(_) => "too_many_requests",
            Denied::Full | Denied::TooManyConnections => "too_many_connections",
            Denied::TooManySessions(_) => "too_many_sessions",
        }
    }

    /// For people who see only how a socket was closed.
    pub fn close_reason(self) -> &'static str {
        match self {
            Denied::NoKey | Denied::WrongKey | Denied::Expired | Denied::KeyRemoved => "unauthorized",
            Denied::NotAKey | Denied::Origin | Denied::Host => "forbidden",
            Denied::WrongTooOften(_) | Denied::TooOften(_) => "too many requests",
            Denied::Full | Denied::TooManyConnections => "too many connections",
            Denied::TooManySessions(_) => "too many sessions",
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

/// All there are, so that a counter is there before it counts.
pub const REASONS: [&str; 12] = [
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
];

/// Rounded up: whoever waits that long has waited long enough.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// What is logged, but for the one thing that would put keys into it: at `trace` the WebSocket layer writes out every byte of
/// every frame, and an init may hold a key.
pub fn without_secrets(levels: EnvFilter) -> EnvFilter {
    levels.add_directive("tungstenite::protocol::frame=debug".parse().expect("a directive"))
}

#[cfg(test)]
mod tests {
    use super::keys::{KeyLimits, new_key};
    use super::*;

    #[test]
    fn a_server_that_others_can_reach_needs_keys_or_a_word_that_it_does_not() {
        let (_, line) = new_key("alice").expect("a name");
        let keys = || Some(Keys::parse(&line, KeyLimits::default()).expect("a key"));
        let choose = |host: &str, keys, insecure| {
            Entry::choose(host.parse().expect("an address"), keys, insecure).map_err(|error| error.to_string())
        };
        for host in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert!(matches!(choose(host, None, false), Ok(Entry::Local)), "{host}");
            assert!(matches!(choose(host, keys(), false), Ok(Entry::Keys(_))), "{host}");
        }
        for host in ["0.0.0.0", "::", "192.168.1.7", "2001:db8::1"] {
            let error = choose(host, None, false).expect_err(host);
            assert!(error.contains("--keys") && error.contains("--insecure") && error.contains(host), "{error}");
            assert!(matches!(choose(host, None, true), Ok(Entry::Everybody)), "{host}");
            assert!(matches!(choose(host, keys(), false), Ok(Entry::Keys(_))), "{host}");
        }
    }

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
        ];
        assert_eq!(all.map(Denied::reason), REASONS);
    }

    #[test]
    fn a_wait_is_told_in_seconds_that_are_enough() {
        let told = |millis| Denied::TooOften(Duration::from_millis(millis)).to_string();
        assert!(told(1).ends_with("in 1 s") && told(2000).ends_with("in 2 s") && told(2001).ends_with("in 3 s"));
    }
}
