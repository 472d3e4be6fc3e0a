//! The operator's access policy: who may use the server, and from where.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::bail;

use super::key_ring::KeyRing;
use super::rules::keys::ApiKeys;
use super::rules::origin::Allowed;

/// The operator's settings.
#[derive(Debug, Clone)]
pub struct AccessPolicy {
    /// Who may enter at all.
    pub entry: Entry,
    /// Pages of these origins may open a socket, beside the server's own page.
    pub origins: Vec<Allowed>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub proxies: Vec<IpAddr>,
    /// How long a socket may stay open before it has shown a key.
    pub key_within: Duration,
}

/// Who may enter.
#[derive(Debug, Clone)]
pub enum Entry {
    /// Only this machine can knock: nobody is asked for anything.
    Local,
    /// Everybody who can reach it.
    Everybody,
    /// Clients with one of these keys, or a token made with one.
    Keys(KeyRing),
}

impl Default for AccessPolicy {
    fn default() -> AccessPolicy {
        AccessPolicy { entry: Entry::Local, origins: Vec::new(), proxies: Vec::new(), key_within: KEY_WITHIN }
    }
}

/// Longer than a browser needs from the upgrade to its first message over a slow line.
const KEY_WITHIN: Duration = Duration::from_secs(10);

impl Entry {
    /// For a server that listens on `host`.
    pub fn choose(host: IpAddr, keys: Option<ApiKeys>, insecure: bool) -> anyhow::Result<Entry> {
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

#[cfg(test)]
mod tests {
    use super::super::rules::keys::{KeyLimits, new_key};
    use super::*;

    #[test]
    fn a_server_that_others_can_reach_needs_keys_or_a_word_that_it_does_not() {
        let (_, line) = new_key("alice").expect("a name");
        let keys = || Some(ApiKeys::parse(&line, KeyLimits::default()).expect("a key"));
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
}
