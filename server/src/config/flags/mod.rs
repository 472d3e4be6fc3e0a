//! The command line as typed, and its meaning.

mod access;
mod cluster;
mod guardrails;
mod limits;
mod load;
mod moving;
mod offline;
mod profile;
mod world;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::{NonEmptyStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub use self::access::AccessArgs;
pub use self::cluster::ClusterArgs;
pub use self::guardrails::GuardrailArgs;
use self::limits::LimitArgs;
pub use self::load::LoadArgs;
pub use self::moving::MovingArgs;
pub use self::offline::{ActionScript, BenchArgs, CheckArgs, GenerateArgs, InspectArgs, ReplayArgs};
pub use self::profile::ProfileArgs;
pub use self::world::{ComputeChoice, DeviceArgs, DeviceChoice, Gpus, Ranks, Source, TeamArgs, WorldArgs};

/// Causeway lays the road while you walk: a realtime world-model server.
///
/// Without a command it serves. Each flag can also be given by a variable that is named after it: CAUSEWAY_PORT for --port.
/// What is typed wins.
#[derive(Debug, Parser)]
#[command(name = "causeway", version = version())]
pub struct Cli {
    #[expect(missing_docs, reason = "clap would print it as the help")]
    #[command(subcommand)]
    pub command: Command,
}

/// The version, the commit that was built, and the features it was built with: what `--version` prints behind the name.
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let features = [
            ("cluster", cfg!(feature = "cluster")),
            ("h264", cfg!(feature = "h264")),
            ("otlp", cfg!(feature = "otlp")),
        ];
        let features: Vec<&str> = features.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect();
        let features = if features.is_empty() { "none".to_owned() } else { features.join(" ") };
        let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("CAUSEWAY_COMMIT"));
        format!("{version} (commit {commit}, features: {features})")
    });
    &VERSION
}

#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "clap would print it as the command's help")]
pub enum Command {
    /// Serve the page and the realtime WebSocket: what `causeway` alone does.
    #[command(after_help = "Each flag can also be given by a variable: CAUSEWAY_PORT for --port. What is typed wins.")]
    Serve(Box<ServeArgs>),
    /// Make a key: prints it, once, and the line for the file that --keys names.
    Key {
        /// Whose it is: letters, digits, - and _.
        name: String,
    },
    /// Draw a video offline, from a first frame, prompts and an action script.
    Generate(Box<GenerateArgs>),
    /// Draw a recorded video again: from the same world the same bytes.
    Replay(ReplayArgs),
    /// Say what a model directory holds and what it takes to run it.
    Inspect(InspectArgs),
    /// Measure how fast a world is on this machine.
    Bench(BenchArgs),
    /// Measure a running server with many clients: how soon, how evenly, how many.
    Load(Box<LoadArgs>),
    /// Hold a GPU to this machine's processor, operation by operation.
    Check(CheckArgs),
    /// Print what lets a shell complete this program's commands and flags.
    Completions {
        /// Which shell it is for.
        shell: Shell,
    },
    /// Print the manual page of this program, or of one of its commands: causeway man serve | man -l -
    Man {
        /// The command, such as serve.
        command: Option<String>,
    },
}

#[derive(Debug, Args)]
#[expect(missing_docs, reason = "clap would print it as the command's help")]
pub struct ServeArgs {
    #[command(flatten)]
    pub world: WorldArgs,
    /// The address to listen on. Any but this machine's own asks for --keys, or --insecure.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// The port to listen on; 0: any that is free.
    #[arg(long, default_value_t = 30000)]
    pub port: u16,
    /// Show the page in a browser once the server listens.
    #[arg(long)]
    pub open: bool,
    /// Write what every stage did when, for ui.perfetto.dev or chrome://tracing: a JSON file of 128 MiB at most.
    #[arg(long, value_name = "FILE")]
    pub trace_file: Option<PathBuf>,
    /// Let requests for clips and pictures ask for a profile, and write each into this folder, for ui.perfetto.dev: what
    /// its steps and their parts took. Whoever may ask can fill the disk.
    #[arg(long, value_name = "DIR", value_parser = NonEmptyStringValueParser::new().map(PathBuf::from))]
    pub profile_dir: Option<PathBuf>,
    /// Send a span for every session and chunk to an OpenTelemetry collector that takes OTLP over HTTP:
    /// http://127.0.0.1:4318
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<url::Url>,
    #[command(flatten)]
    pub access: AccessArgs,
    #[command(flatten)]
    pub cluster: ClusterArgs,
    #[command(flatten)]
    pub guardrails: GuardrailArgs,
    #[command(flatten)]
    pub moving: MovingArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn the_version_names_the_program_its_commit_and_its_features() {
        let told =
            Cli::try_parse_from(["causeway", "--version"]).expect_err("the version is told in place of a command");
        let told = told.to_string();
        let begin = concat!("causeway ", env!("CARGO_PKG_VERSION"), " (commit ");
        assert!(told.starts_with(begin) && told.trim_end().ends_with(')'), "{told}");
        assert_eq!(told.contains("h264"), cfg!(feature = "h264"), "{told}");
        assert!(!told.contains("commit )") && !told.contains("commit ,"), "{told}");
    }
}
