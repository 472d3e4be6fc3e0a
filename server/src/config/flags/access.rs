//! Who may enter, as flags.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;

use crate::access::policy::{AccessPolicy, Entry};
use crate::access::rules::keys::{ApiKeys, KeyLimits};
use crate::access::rules::origin::Allowed;

#[derive(Debug, Args)]
#[command(next_help_heading = "Who may enter")]
#[expect(missing_docs, reason = "clap would print it as the command's help")]
pub struct AccessArgs {
    /// Ask for a key: a file with a line for each that is good, read again at SIGHUP. `causeway key NAME` makes one and its
    /// line.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub keys: Option<PathBuf>,
    /// Ask for no key though --host lets others reach the server.
    #[arg(long)]
    pub insecure: bool,
    /// Let pages of this origin open a socket, beside our own: https://play.example.org; * is any. Again for more.
    #[arg(long = "origin", value_name = "ORIGIN")]
    pub origins: Vec<Allowed>,
    /// Believe a proxy at this address when it says in X-Forwarded-For for whom it asks. Again for more.
    #[arg(long = "proxy", value_name = "ADDRESS", value_parser = proxy)]
    pub proxies: Vec<IpAddr>,
    /// Sessions at once with one key, where its line says nothing else.
    #[arg(long, value_name = "N", requires = "keys", default_value_t = KeyLimits::default().sessions as u32, value_parser = clap::value_parser!(u32).range(1..))]
    pub key_sessions: u32,
    /// Requests a minute with one key, where its line says nothing else.
    #[arg(long, value_name = "N", requires = "keys", default_value_t = KeyLimits::default().requests_a_minute, value_parser = clap::value_parser!(u32).range(1..))]
    pub key_requests: u32,
}

/// An address that a connection can come from.
fn proxy(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| "one address, such as 10.0.0.2 or 2001:db8::2: no name, no port, no network".to_owned())?;
    if address.is_unspecified() || address.is_multicast() {
        return Err("no connection comes from this address: name the one that the proxy has".into());
    }
    Ok(address)
}

impl AccessArgs {
    /// What the key file says now; `None` where there is none.
    pub fn read_keys(&self) -> anyhow::Result<Option<ApiKeys>> {
        let Some(path) = &self.keys else { return Ok(None) };
        ensure!(!path.as_os_str().is_empty(), "--keys is empty: name a file, or leave it out");
        let limits = KeyLimits { sessions: self.key_sessions as usize, requests_a_minute: self.key_requests };
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        ApiKeys::parse(&text, limits).with_context(|| path.display().to_string()).map(Some)
    }

    /// For a server that listens on `host`. Reads the key file.
    pub fn policy(&self, host: IpAddr) -> anyhow::Result<AccessPolicy> {
        Ok(AccessPolicy {
            entry: Entry::choose(host, self.read_keys()?, self.insecure)?,
            origins: self.origins.clone(),
            proxies: self.proxies.iter().map(IpAddr::to_canonical).collect(),
            ..AccessPolicy::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command, ServeArgs};
    use super::*;

    fn serve(line: &[&str]) -> Result<ServeArgs, clap::Error> {
        match Cli::try_parse_from([&["causeway", "serve"], line].concat())?.command {
            Command::Serve(args) => Ok(*args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_word_only_this_machine_may_enter() {
        let args = serve(&[]).expect("nothing is needed");
        let policy = args.access.policy(args.host).expect("nothing is needed");
        assert!(matches!(policy.entry, Entry::Local) && policy.origins.is_empty() && policy.proxies.is_empty());
    }

    #[test]
    fn to_let_others_reach_the_server_takes_a_choice() {
        let args = serve(&["--host", "0.0.0.0"]).expect("both are flags");
        let error = args.access.policy(args.host).expect_err("no choice made").to_string();
        assert!(error.contains("--keys") && error.contains("--insecure"), "{error}");
        let args = serve(&["--host", "0.0.0.0", "--insecure"]).expect("all are flags");
        assert!(matches!(args.access.policy(args.host).expect("chosen").entry, Entry::Everybody));
        assert!(serve(&["--keys", "file", "--insecure"]).is_err(), "one or the other");
        let args = serve(&["--keys", "/no such file"]).expect("both are flags");
        assert!(format!("{:#}", args.access.policy(args.host).expect_err("no file")).contains("/no such file"));
    }

    #[test]
    fn origins_and_proxies_may_be_several_and_are_checked_at_the_start() {
        let line =
            ["--origin", "https://a.example", "--origin", "null", "--proxy", "::ffff:10.0.0.1", "--proxy", "::1"];
        let args = serve(&line).expect("all are flags");
        let policy = args.access.policy(args.host).expect("local");
        assert_eq!(policy.origins.len(), 2);
        assert_eq!(policy.proxies, ["10.0.0.1", "::1"].map(|ip| ip.parse::<IpAddr>().expect("an address")));
        for bad in [
            &["--origin", "a.example"][..],
            &["--origin", "https://a/b"],
            &["--origin", ""],
            &["--proxy", "proxy"],
            &["--proxy", "10.0.0.0/8"],
            &["--proxy", "10.0.0.1:80"],
            &["--proxy", "0.0.0.0"],
            &["--proxy", "::"],
            &["--proxy", ""],
            &["--fetch-allow", ""],
            &["--fetch-allow", "a.example,,b.example"],
            &["--keys", "file", "--key-sessions", "0"],
            &["--key-sessions", "2"],
            &["--key-requests", "2"],
        ] {
            assert!(serve(bad).is_err(), "{bad:?}");
        }
        let empty =
            serve(&["--keys", ""]).map(|args| format!("{:#}", args.access.policy(args.host).expect_err("no file")));
        // clap itself takes no empty path.
        assert!(empty.is_err() || empty.is_ok_and(|error| error.contains("--keys is empty")));
    }

    #[test]
    fn every_bound_is_a_flag_whose_default_is_the_one_of_the_limits() {
        let args = serve(&[]).expect("nothing is needed");
        let policy = args.access.policy(args.host).expect("local");
        assert_eq!(format!("{:?}", args.limits.limits(policy)), format!("{:?}", crate::Limits::default()));
        let line = "--sessions 1 --memory 2M --busy-wait 0.5 --write-deadline 4 --header-timeout 3 --connections 5 \
                    --connections-per-address 6 --message-bytes 70K --load 0.5 --queue 0 --queue-wait 8";
        let args = serve(&line.split_whitespace().collect::<Vec<_>>()).expect("all are flags");
        let limits = args.limits.limits(AccessPolicy::default());
        assert_eq!((limits.sessions, limits.memory_bytes), (1, 2 << 20));
        assert_eq!((limits.busy_wait.as_millis(), limits.write_deadline.as_millis()), (500, 4000));
        assert_eq!((limits.load, limits.queue, limits.queue_wait.as_secs()), (0.5, 0, 8));
        assert_eq!(limits.header_timeout, std::time::Duration::from_secs(3));
        assert_eq!((limits.connections, limits.connections_per_address, limits.message_bytes), (5, 6, 70 << 10));
    }
}
