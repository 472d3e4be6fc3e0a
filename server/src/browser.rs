//! Shows an address in the browser of whoever started the server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// What opens an address on this system, in the browser that its user chose.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// Show `url`. Returns when the opener has ended: with some desktops that is when the browser is closed.
///
/// # Errors
/// If there is no opener, or if it finds no browser.
pub fn open(url: &str) -> anyhow::Result<()> {
    open_with(OPENER, url)
}

fn open_with(opener: &str, url: &str) -> anyhow::Result<()> {
    // A browser for terminals would take the server's own.
    let silent = || Stdio::null();
    let mut command = Command::new(opener);
    command.arg(url).stdin(silent()).stdout(silent()).stderr(silent());
    let ended = command.status().with_context(|| format!("{opener} cannot be run"))?;
    ensure!(ended.success(), "{opener} found no browser ({ended})");
    Ok(())
}

/// The address under which this machine reaches a server that listens at `address`: of all its addresses, the loopback.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_browser_can_be_opened_it_says_why() {
        assert!(open_with("true", "http://127.0.0.1/").is_ok());
        let failed = |opener| format!("{:#}", open_with(opener, "http://127.0.0.1/").expect_err("no browser"));
        assert!(failed("false").contains("false found no browser"), "{}", failed("false"));
        assert!(failed("no-such-opener").contains("no-such-opener cannot be run"), "{}", failed("no-such-opener"));
    }

    #[test]
    fn a_server_on_all_addresses_is_reached_at_the_loopback() {
        let check = |address: &str, expected: &str| {
            assert_eq!(reachable(address.parse().expect("an address")).to_string(), expected);
        };
        check("0.0.0.0:80", "127.0.0.1:80");
        check("[::]:80", "[::1]:80");
        check("10.0.0.1:80", "10.0.0.1:80");
    }
}
