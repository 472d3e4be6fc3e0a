//! Which addresses on the internet a picture may come from. By default none.
//!
//! A server fetches URLs of its clients from inside its own network, where many services trust every connection.
//! So the operator names the hosts; and since a host's owner can point its name anywhere, the addresses are checked
//! too.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use url::{Host, Url};

/// Longest URL in bytes: longer than a signed URL of a picture in cloud storage.
const URL_BYTES_MAX: usize = 8192;

/// The operator's settings.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Hosts that pictures may come from. Empty: nothing is fetched.
    pub hosts: Vec<AllowedHost>,
    /// Whether the server may connect to an address. Asked for every address of a host.
    pub address: fn(IpAddr) -> bool,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { hosts: Vec::new(), address: is_public }
    }
}

/// `HOST`, at the usual port of its scheme, or `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    host: Host,
    port: Option<u16>,
}

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<AllowedHost, String> {
        let strange = text.contains(['/', '\\', '@', '?', '#', '%', '*']) || text.contains(char::is_whitespace);
        if strange || text.starts_with('.') {
            return Err("a host or HOST:PORT, and nothing else".into());
        }
        let url = Url::parse(&format!("http://{text}/")).map_err(|error| format!("a host or HOST:PORT: {error}"))?;
        let host = url.host().ok_or("a host or HOST:PORT")?.to_owned();
        let port = text.rsplit_once(':').filter(|(before, _)| !before.contains(':') || before.ends_with(']'));
        let port = port.map(|(_, port)| port.parse::<u16>().map_err(|_| "a port is a number")).transpose()?;
        if port == Some(0) {
            return Err("no host answers at port 0".into());
        }
        let allowed = AllowedHost { host, port };
        // A number may be an address in an unusual form, and is more likely a mistake.
        let plain = allowed.to_string().eq_ignore_ascii_case(text) || !text.is_ascii();
        if plain { Ok(allowed) } else { Err(format!("it means {allowed}: write that")) }
    }
}

impl AllowedHost {
    /// Whether its name or address can stand for a public address. What a name stands for is looked up later.
    pub fn can_be_public(&self) -> bool {
        match &self.host {
            Host::Ipv4(address) => is_public((*address).into()),
            Host::Ipv6(address) => is_public((*address).into()),
            // RFC 6761: these never leave the machine.
            Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                name != "localhost" && !name.ends_with(".localhost")
            }
        }
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => write!(f, "{}", self.host),
        }
    }
}

impl Rules {
    /// Check a URL that a client gave.
    pub fn asked(&self, text: &str) -> Result<Url, String> {
        if self.hosts.is_empty() {
            return Err(
                "this server fetches no URLs, so that nobody can send it to places only it can reach: send the \
                        picture's bytes"
                    .into(),
            );
        }
        if text.len() > URL_BYTES_MAX {
            return Err(format!("must be at most {URL_BYTES_MAX} bytes long, as a URL"));
        }
        let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
        self.check(&url).map_err(|reason| format!("must not be fetched: {reason}"))?;
        Ok(url)
    }

    /// Check the target of a redirect from `url`.
    pub fn redirected(&self, url: &Url, location: &str) -> Result<Url, String> {
        let next = (location.len() <= URL_BYTES_MAX).then(|| url.join(location).ok()).flatten();
        let next = next.ok_or("its host redirected to what is not a URL")?;
        if url.scheme() == "https" && next.scheme() != "https" {
            return Err("its host redirected from https to http".into());
        }
        self.check(&next).map_err(|reason| format!("its host redirected, and {reason}"))?;
        Ok(next)
    }

    fn check(&self, url: &Url) -> Result<(), &'static str> {
        let usual_port = match url.scheme() {
            "http" => 80,
            "https" => 443,
            _ => return Err("it is neither http nor https"),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("there is a user or a password in it");
        }
        let port = url.port().unwrap_or(usual_port);
        let named = |allowed: &AllowedHost| {
            url.host().is_some_and(|host| host.to_owned() == allowed.host) && port == allowed.port.unwrap_or(usual_port)
        };
        if self.hosts.iter().any(named) { Ok(()) } else { Err("this server does not fetch from that host") }
    }

    /// Check all addresses of a name: one forbidden address among allowed ones is an attack.
    pub fn may_connect(&self, addresses: &[IpAddr]) -> bool {
        !addresses.is_empty() && addresses.iter().all(|&address| (self.address)(address))
    }
}

/// Whether an address is publicly routable, by the special-purpose registries (RFC 6890 and its updates).
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let own = address.is_private() || address.is_loopback() || address.is_link_local() || address.is_documentation();
    let special = match (a, b, c) {
        // This network; carrier-grade NAT, and some clouds' metadata in it; IETF; 6to4 relays; benchmarks.
        (0, ..) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18..=19, _) => true,
        // Multicast, reserved, broadcast.
        (224.., ..) => true,
        _ => false,
    };
    // Looks public, but is the metadata service of Azure's machines.
    let metadata = address == Ipv4Addr::new(168, 63, 129, 16);
    !(own || special || metadata)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // IETF protocol assignments with Teredo; documentation; 6to4, which contains an IPv4 address.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Global unicast. Outside of it are loopback, link-local, unique local, multicast and NAT64.
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(hosts: &[&str]) -> Rules {
        Rules { hosts: hosts.iter().map(|host| host.parse().expect(host)).collect(), ..Rules::default() }
    }

    #[test]
    fn nothing_is_fetched_unless_a_host_is_named() {
        assert!(Rules::default().asked("https://example.org/a.png").expect_err("none").contains("fetches no URLs"));
    }

    #[test]
    fn only_a_named_host_at_its_port_is_asked() {
        let rules = rules(&["example.org", "Pictures.Example:8443", "192.0.2.1", "bücher.example", "[2001:db8::1]:80"]);
        for good in [
            "https://example.org/a.png",
            "http://example.org/",
            "HTTPS://EXAMPLE.ORG:443/a?b#c",
            "https://pictures.example:8443/x",
            "http://192.0.2.1/a",
            // All of them the same number.
            "http://0xc0000201/",
            "http://192.0.513/",
            "https://xn--bcher-kva.example/",
            "http://[2001:db8:0::1]/a",
        ] {
            assert!(rules.asked(good).is_ok(), "{good}: {:?}", rules.asked(good));
        }
        for bad in [
            "https://example.org:8443/a.png",
            "https://pictures.example/x",
            "https://www.example.org/",
            "https://example.org.evil.example/",
            "https://example.org@evil.example/",
            "https://evil.example\\@example.org/",
            "https://evil.example/example.org",
            "http://example.org./",
            "https://user@example.org/",
            "https://:secret@example.org/",
            "ftp://example.org/",
            "file:///etc/passwd",
            "gopher://example.org/",
            "http://",
            "http://example.org:99999/",
            "http://127.0.0.1/",
            "http://2130706433/",
        ] {
            assert!(rules.asked(bad).is_err(), "{bad}");
        }
        assert!(rules.asked(&format!("https://example.org/{}", "a".repeat(9000))).is_err());
    }

    #[test]
    fn a_redirect_is_judged_as_what_was_asked_for_is() {
        let rules = rules(&["a.example", "b.example"]);
        let from = Url::parse("https://a.example/x/y").expect("a URL");
        let to = |location: &str| rules.redirected(&from, location).map(|url| url.to_string());
        assert_eq!(to("z.png"), Ok("https://a.example/x/z.png".into()));
        assert_eq!(to("//b.example/z"), Ok("https://b.example/z".into()));
        for bad in
            ["https://evil.example/", "//169.254.169.254/", "http://a.example/", "file:///etc/passwd", "//a@b.example"]
        {
            assert!(to(bad).is_err(), "{bad}");
        }
        let plain = Url::parse("http://a.example/").expect("a URL");
        assert!(rules.redirected(&plain, "https://a.example/").is_ok());
    }

    #[test]
    fn what_is_no_host_is_not_allowed_to_be_named() {
        for bad in [
            "",
            "a b",
            "http://a",
            "a/b",
            "a@b",
            "a:b",
            "a:99999",
            "*",
            "*.example.org",
            ".example.org",
            "a?b",
            "a#b",
            "2130706433",
        ] {
            assert!(bad.parse::<AllowedHost>().is_err(), "{bad}: {:?}", bad.parse::<AllowedHost>());
        }
        let shown = |text: &str| text.parse::<AllowedHost>().map(|host| host.to_string());
        assert_eq!(shown("Example.org:443"), Ok("example.org:443".into()));
        assert_eq!(shown("[::1]:8080"), Ok("[::1]:8080".into()));
    }

    #[test]
    fn addresses_of_no_ones_internet_are_not_public() {
        let public = |text: &str| is_public(text.parse().expect(text));
        for own in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "2001::1",
            "2001:1::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "4000::1",
            "5f00::1",
        ] {
            assert!(!public(own), "{own}");
        }
        for theirs in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.0.0.1",
            "128.0.0.1",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "168.63.129.17",
            "::ffff:1.1.1.1",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00::1",
        ] {
            assert!(public(theirs), "{theirs}");
        }
    }

    #[test]
    fn one_private_address_among_public_ones_is_enough_to_stay_away() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let rules = Rules::default();
        assert!(rules.may_connect(&[ip("1.1.1.1"), ip("2606:4700::1111")]));
        assert!(!rules.may_connect(&[ip("1.1.1.1"), ip("127.0.0.1")]));
        assert!(!rules.may_connect(&[]));
    }
}
