//! Whose address counts: limits are by address, and an address is not always what the socket says.
//!
//! Behind a proxy every socket comes from the proxy. What it says of its own client is believed only of a proxy that the
//! operator named: everybody can send the header.

use std::net::{IpAddr, Ipv6Addr};

/// All that one household has: an address of version 4, or a network of 2⁶⁴ addresses of version 6, of which a host may use
/// any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address(IpAddr);

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Address {
        match ip.to_canonical() {
            IpAddr::V6(ip) => Address(IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64))),
            ip @ IpAddr::V4(_) => Address(ip),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a request comes from. `forwarded` are the values of its `X-Forwarded-For` lines: each proxy adds at the end whom it
/// was asked by.
pub fn of_client<'a>(peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a str>, proxies: &[IpAddr]) -> Address {
    let mut client = peer.to_canonical();
    let mut earlier = forwarded.rev().flat_map(|line| line.rsplit(',')).map(|one| one.trim().parse::<IpAddr>());
    while proxies.contains(&client)
        && let Some(Ok(asked_by)) = earlier.next()
    {
        client = asked_by.to_canonical();
    }
    client.into()
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
            let found = of_client(ip(peer), forwarded.iter().copied(), &proxies);
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
    fn a_network_of_version_6_counts_as_one() {
        let address = |text: &str| Address::from(ip(text));
        assert_eq!(address("2001:db8:1:2:3:4:5:6"), address("2001:db8:1:2::1"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
    }
}
