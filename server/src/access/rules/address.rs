//! The address that limits count by. It is not always the socket's.
//!
//! Behind a proxy every socket comes from the proxy. Its `X-Forwarded-For` is believed only if the operator named the
//! proxy, since any client can send the header.

use std::net::{IpAddr, Ipv6Addr};

/// The addresses of one household: an IPv4 address, or an IPv6 network of 2⁶⁴ addresses, of which a host may use
/// any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Address(IpAddr);

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Address {
        match ip.to_canonical() {
            IpAddr::V6(ip) => Address(IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64))),
            ip @ IpAddr::V4(_) => Address(ip),
        }
    }
}

impl Address {
    /// As an address: of a network of version 6 its first.
    pub(crate) fn ip(self) -> IpAddr {
        self.0
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a request comes from. `forwarded` are the values of its `X-Forwarded-For` lines: each proxy adds at the end
/// whom it was asked by. What is no address ends the search: the proxy that wrote it counts.
pub(crate) fn of_client<'a>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
    proxies: &[IpAddr],
) -> Address {
    let mut client = peer.to_canonical();
    // As bytes: a client may send a line that is not text, and a proxy adds to it what is.
    let elements = forwarded.rev().flat_map(|line| line.rsplit(|&byte| byte == b','));
    let mut earlier = elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty());
    while proxies.contains(&client)
        && let Some(asked_by) = earlier.next().and_then(parse)
    {
        client = asked_by.to_canonical();
    }
    client.into()
}

/// An address as proxies write it: with or without a port, an address of version 6 with or without brackets, all of it
/// with or without quotes. An address of version 6 without brackets has no port: its last group could not be told from
/// one.
fn parse(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?;
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return is_port.then(|| parse_v6(address)).flatten();
    }
    match text.split_once(':') {
        Some((address, port)) if !port.contains(':') => {
            is_port(port).then(|| address.parse().ok().map(IpAddr::V4)).flatten()
        }
        _ => text.parse().ok().map(IpAddr::V4).or_else(|| parse_v6(text)),
    }
}

/// Without the name of a network interface that may follow it: that is the proxy's own.
fn parse_v6(text: &str) -> Option<IpAddr> {
    let (address, _interface) = text.split_once('%').unwrap_or((text, ""));
    address.parse().ok().map(IpAddr::V6)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn only_a_named_proxy_is_believed() {
        let proxies = [ip("127.0.0.1"), ip("10.0.0.2")];
        let check = |peer: &str, forwarded: &[&str], expected: &str| {
            let found = of_client(ip(peer), forwarded.iter().map(|line| line.as_bytes()), &proxies);
            assert_eq!(found.to_string(), expected, "{peer} {forwarded:?}");
        };
        check("192.0.2.1", &[], "192.0.2.1");
        check("192.0.2.1", &["198.51.100.9"], "192.0.2.1");
        check("127.0.0.1", &["198.51.100.9"], "198.51.100.9");
        check("::ffff:127.0.0.1", &["198.51.100.9"], "198.51.100.9");
        check("127.0.0.1", &["203.0.113.1, 198.51.100.9"], "198.51.100.9");
        check("127.0.0.1", &["203.0.113.1, 198.51.100.9", "10.0.0.2"], "198.51.100.9");
        check("127.0.0.1", &["10.0.0.2"], "10.0.0.2");
        check("127.0.0.1", &["198.51.100.9, unknown"], "127.0.0.1");
        check("127.0.0.1", &[], "127.0.0.1");
    }

    #[test]
    fn an_address_is_the_same_with_a_port_brackets_or_quotes() {
        let check = |element: &str, expected: Option<&str>| {
            assert_eq!(parse(element.as_bytes()), expected.map(ip), "{element}");
        };
        for v4 in ["203.0.113.1", "203.0.113.1:51000", "203.0.113.1:0", "\"203.0.113.1\"", "\"203.0.113.1:80\""] {
            check(v4, Some("203.0.113.1"));
        }
        for v6 in ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:51000", "\"[2001:db8::1]:51000\"", "2001:db8::1%eth0"]
        {
            check(v6, Some("2001:db8::1"));
        }
        check("::ffff:203.0.113.1", Some("::ffff:203.0.113.1"));
        check("[::ffff:203.0.113.1]:80", Some("::ffff:203.0.113.1"));
        for none in [
            "",
            "unknown",
            "_hidden",
            "203.0.113.1:",
            "203.0.113.1:x",
            "203.0.113.1:+80",
            "203.0.113.1:99999",
            "203.0.113",
            "203.0.113.1:1:2",
            "[203.0.113.1]",
            "[2001:db8::1",
            "[2001:db8::1]x",
            "[2001:db8::1]:",
            "2001:db8::1]",
            "[]",
            "203.0.113.1 203.0.113.2",
            "example.org",
            "\"203.0.113.1",
            "for=203.0.113.1",
        ] {
            check(none, None);
        }
        assert_eq!(parse(b"\xff"), None);
    }

    #[test]
    fn a_line_that_a_client_spoilt_is_believed_where_its_proxy_wrote_it() {
        let proxies = [ip("127.0.0.1")];
        let check = |lines: &[&[u8]], expected: &str| {
            assert_eq!(of_client(ip("127.0.0.1"), lines.iter().copied(), &proxies).to_string(), expected, "{lines:?}");
        };
        check(&[b"\xff, 203.0.113.1"], "203.0.113.1");
        check(&[b"\xff", b"203.0.113.1:4000"], "203.0.113.1");
        check(&[b"203.0.113.9", b"203.0.113.1"], "203.0.113.1");
        check(&[b"203.0.113.1,", b"", b" , "], "203.0.113.1");
        check(&[b"203.0.113.1, 203.0.113.1:1"], "203.0.113.1");
        check(&[b"203.0.113.1, \xff"], "127.0.0.1");
    }

    #[test]
    fn a_network_of_version_6_counts_as_one() {
        let address = |text: &str| Address::from(ip(text));
        assert_eq!(address("2001:db8:1:2:3:4:5:6"), address("2001:db8:1:2::1"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
    }
}
