//! A cluster of servers, as flags.

use std::path::PathBuf;

use clap::Args;

use crate::cluster::ClusterSettings;
use crate::cluster::nats::Nats;

#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
#[expect(missing_docs, reason = "clap would print it as the command's help")]
pub struct ClusterArgs {
    /// Join the servers of the same world that use these servers of NATS: nats://HOST:PORT, several with commas. With three
    /// and more each record is kept by three. Needs a build with the feature cluster.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub cluster: Vec<String>,
    /// How to sign in to NATS: a file of nsc, or lines such as `nkey SEED`, `user NAME` and `password WORD`, `ca FILE`.
    #[arg(long, value_name = "FILE", requires = "cluster")]
    pub cluster_credentials: Option<PathBuf>,
    /// Where the other nodes reach this one; by default the address that it listens on.
    #[arg(long, value_name = "ws://HOST:PORT", requires = "cluster")]
    pub advertise: Option<String>,
    /// Keep what steers each session in NATS, and its state after every so many chunks: when this node dies, another goes on
    /// with the session. Prompts and first frames are in NATS then.
    #[arg(long, value_name = "CHUNKS", requires = "cluster", num_args = 0..=1, default_missing_value = "16",
        value_parser = clap::value_parser!(u32).range(4..=256))]
    pub journal: Option<u32>,
}

impl ClusterArgs {
    /// How to join; `None`: this server is alone.
    ///
    /// # Errors
    /// If a server that is alone may draw no session, or this one cannot join as it is told to.
    pub fn settings(&self, sessions: u16) -> anyhow::Result<Option<ClusterSettings>> {
        if self.cluster.is_empty() {
            anyhow::ensure!(
                sessions > 0,
                "--sessions 0 draws nothing: 1 to 1024, or 0 with --cluster for a node that only passes clients on"
            );
            return Ok(None);
        }
        let settings = ClusterSettings {
            servers: self.cluster.clone(),
            credentials: self.cluster_credentials.clone(),
            advertise: self.advertise.clone(),
            journal: self.journal,
        };
        Nats::check(&settings)?;
        Ok(Some(settings))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use crate::cluster::ClusterSettings;

    fn settings(line: &[&str]) -> Result<Option<ClusterSettings>, String> {
        let cli = Cli::try_parse_from([&["causeway", "serve"], line].concat()).map_err(|error| error.to_string())?;
        let Command::Serve(args) = cli.command else { panic!("it serves") };
        args.cluster.settings(args.limits.sessions).map_err(|error| error.to_string())
    }

    #[test]
    fn a_server_that_draws_nothing_needs_a_cluster() {
        assert!(settings(&[]).is_ok_and(|alone| alone.is_none()));
        assert!(settings(&["--sessions", "0"]).is_err_and(|error| error.contains("--cluster")));
        let door = settings(&["--sessions", "0", "--cluster", "nats://a:4222,nats://b:4222"]).expect("a door");
        assert_eq!(door.map(|door| door.servers), Some(vec!["nats://a:4222".to_owned(), "nats://b:4222".to_owned()]));
        for alone in [["--advertise", "ws://a:1"], ["--cluster-credentials", "file"], ["--journal", "16"]] {
            assert!(settings(&alone).is_err_and(|error| error.contains("--cluster")), "{alone:?}");
        }
    }
}
