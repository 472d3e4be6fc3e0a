//! Which web pages may use the server. A browser lets any page open a WebSocket to any address, this machine
//! and its neighbours included, and names the page in the header `Origin`.
//!
//! A page's owner can make the page's name point here after it was loaded ("DNS rebinding"); to the browser
//! page and server are then one origin. The name in `Host` shows it. So a server that asks for no key, because
//! only this machine can reach it, accepts only this machine's names there.

use std::net::IpAddr;
use std::str::FromStr;

use url::Url;

/// An origin that the operator named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// Every origin.
    Any,
    /// As browsers write it: `https://play.example.org`, without the port that its scheme has by default; or `null` for
    /// a page without one.
    Origin(String),
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Allowed, String> {
        let origin = text.to_ascii_lowercase();
        match origin.as_str() {
            "*" => Ok(Allowed::Any),
            "null" => Ok(Allowed::Origin(origin)),
            _ => as_browsers_write(&origin).map(Allowed::Origin).ok_or_else(|| {
                "an origin is written https://NAME or https://NAME:PORT, with nothing after it, not even a slash; * is any"
                    .into()
            }),
        }
    }
}

/// Written otherwise an origin would be taken, and match no page: with the usual port, or an address in another form.
fn as_browsers_write(origin: &str) -> Option<String> {
    let (scheme, rest) = origin.split_once("://")?;
    let url = Url::parse(origin).ok().filter(|_| matches!(scheme, "http" | "https"))?;
    let only_a_host = !rest.contains(['/', '\\', '?', '#', '@', '*', '%']) && !rest.contains(char::is_whitespace);
    let has_port = url.port() != Some(0) && !rest.ends_with(':');
    (only_a_host && has_port).then(|| url.origin().ascii_serialization())
}

/// Where a name in a header points: a host in lower case, and a port.
type Authority<'a> = (&'a str, u16);

/// Whether a page of this origin may open a socket. Programs other than browsers send no origin.
pub fn page_may_enter(origin: Option<&str>, host: Option<&str>, allowed: &[Allowed], local: bool) -> bool {
    let Some(origin) = origin.map(str::to_ascii_lowercase) else { return true };
    if allowed.iter().any(|allowed| matches!(allowed, Allowed::Any) || *allowed == Allowed::Origin(origin.clone())) {
        return true;
    }
    let Some((page, default_port)) = parse(&origin) else { return false };
    // Ignore the scheme: behind a proxy with TLS the page has https and the server sees http.
    let host = host.map(str::to_ascii_lowercase);
    let same = host.as_deref().and_then(|host| authority(host, default_port)) == Some(page);
    // Another program on this machine serves that page, and could open the socket itself.
    same || local && is_this_machine(page.0)
}

/// Whether this is a name of this machine, for a server that only this machine can reach.
pub fn is_our_name(host: Option<&str>, allowed: &[Allowed]) -> bool {
    // Browsers always send it.
    let Some(host) = host.map(str::to_ascii_lowercase) else { return true };
    let Some((name, _)) = authority(&host, 0) else { return false };
    // An address needs no name server, so rebinding cannot change it.
    let safe = ip(name).is_some() || is_this_machine(name);
    let listed = |allowed: &Allowed| match allowed {
        Allowed::Any => true,
        Allowed::Origin(origin) => parse(origin).is_some_and(|((listed, _), _)| listed == name),
    };
    safe || allowed.iter().any(listed)
}

fn is_this_machine(host: &str) -> bool {
    // RFC 6761: a name that ends in localhost never leaves the machine.
    let name = host.strip_suffix('.').unwrap_or(host);
    name == "localhost" || name.ends_with(".localhost") || ip(host).is_some_and(|ip| ip.is_loopback())
}

fn ip(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

/// A web origin, and the port its scheme has by default.
fn parse(origin: &str) -> Option<(Authority<'_>, u16)> {
    let (scheme, rest) = origin.split_once("://")?;
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some((authority(rest, default_port)?, default_port))
}

fn authority(text: &str, default_port: u16) -> Option<Authority<'_>> {
    // An address of version 6 has colons of its own, and brackets for that reason.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, default_port),
    };
    let name = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    (name || ip(host).is_some()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(list: &str) -> Vec<Allowed> {
        list.split_whitespace().map(|origin| origin.parse().expect(origin)).collect()
    }

    #[test]
    fn a_page_of_ours_may_enter_and_a_page_of_anybody_elses_may_not() {
        let check = |origin: &str, host: &str, expected: bool| {
            for local in [false, true] {
                let entered = page_may_enter(Some(origin), Some(host), &[], local);
                assert_eq!(entered, expected, "{origin} at {host}, local: {local}");
            }
        };
        check("http://10.0.0.7:30000", "10.0.0.7:30000", true);
        check("https://play.example.org", "play.example.org", true);
        check("https://Play.Example.org:443", "play.example.ORG", true);
        check("http://play.example.org", "play.example.org:80", true);
        check("http://[fe80::1]:30000", "[fe80::1]:30000", true);
        check("https://evil.example", "play.example.org", false);
        check("https://evil.example", "127.0.0.1:30000", false);
        check("http://10.0.0.7:8000", "10.0.0.7:30000", false);
        check("https://play.example.org.evil.example", "play.example.org", false);
        check("https://play.example.org@evil.example", "play.example.org", false);
        for odd in ["null", "", "file://", "chrome-extension://abc", "https://", "https://a/b", "play.example.org"] {
            check(odd, "play.example.org", false);
        }
    }

    #[test]
    fn what_is_no_browser_has_no_origin_and_may_knock() {
        assert!(page_may_enter(None, Some("play.example.org"), &[], false));
        assert!(page_may_enter(None, None, &[], true));
    }

    #[test]
    fn a_page_that_this_machine_serves_may_use_a_server_that_only_this_machine_can_reach() {
        let pages = ["http://localhost:3000", "http://127.0.0.1:8080", "http://[::1]:1", "https://app.localhost"];
        for page in pages {
            assert!(page_may_enter(Some(page), Some("127.0.0.1:30000"), &[], true), "{page}");
            assert!(!page_may_enter(Some(page), Some("10.0.0.7:30000"), &[], false), "{page}");
        }
        assert!(!page_may_enter(Some("http://localhost.evil.example"), Some("localhost:30000"), &[], true));
    }

    #[test]
    fn a_page_that_was_named_may_enter_and_no_other() {
        let allowed = allow("https://Game.example http://dev.example:8000 null");
        let enters = |origin: &str| page_may_enter(Some(origin), Some("gpu.example"), &allowed, false);
        for page in ["https://game.example", "http://dev.example:8000", "null"] {
            assert!(enters(page), "{page}");
        }
        for page in ["http://game.example", "https://game.example:8443", "http://dev.example", "https://x.game.example"]
        {
            assert!(!enters(page), "{page}");
        }
        assert!(page_may_enter(Some("https://any.example"), None, &allow("*"), false));
    }

    #[test]
    fn a_local_server_answers_to_addresses_and_to_localhost_and_to_what_was_named() {
        let allowed = allow("https://play.example.org");
        let hosts =
            ["127.0.0.1:30000", "localhost:30000", "LOCALHOST", "a.localhost:1", "[::1]:30000", "192.168.1.7:30000"];
        for host in hosts.into_iter().chain(["play.example.org", "play.example.org:8443"]) {
            assert!(is_our_name(Some(host), &allowed), "{host}");
        }
        for host in ["evil.example:30000", "localhost.evil.example", "127.0.0.1.evil.example", "", "a:b", "[::1", "h"] {
            assert!(!is_our_name(Some(host), &allowed), "{host}");
        }
        assert!(is_our_name(None, &[]), "what sends no name is no browser");
        assert!(is_our_name(Some("any.example"), &allow("*")));
    }

    #[test]
    fn an_origin_that_browsers_write_otherwise_matches_what_they_write() {
        for (written, by_browsers) in [
            ("https://game.example:443", "https://game.example"),
            ("http://game.example:80", "http://game.example"),
            ("HTTPS://GAME.example:8443", "https://game.example:8443"),
            ("https://b\u{fc}cher.example", "https://xn--bcher-kva.example"),
            ("http://127.1:8000", "http://127.0.0.1:8000"),
            ("http://[2001:db8:0::1]", "http://[2001:db8::1]"),
        ] {
            assert_eq!(written.parse(), Ok(Allowed::Origin(by_browsers.into())), "{written}");
            assert!(page_may_enter(Some(by_browsers), Some("gpu.example"), &allow(written), false), "{written}");
        }
    }

    #[test]
    fn an_origin_on_the_command_line_is_an_origin() {
        let bad =
            ["example.org", "https://example.org/", "https://example.org/play", "ftp://example.org", "https://:1"];
        for bad in bad.into_iter().chain([
            "",
            "https://example.org:port",
            "https://example.org:",
            "https://example.org:0",
            "https://example.org:99999",
            "https://a b",
            "https://user@example.org",
            "https://*.example.org",
            "https://example.org?",
            "https://example.org#",
            "https:example.org",
            "wss://example.org",
        ]) {
            assert!(bad.parse::<Allowed>().is_err(), "{bad}");
        }
    }
}
