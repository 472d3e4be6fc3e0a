//! The command line as typed, and its meaning.

mod access;
mod guardrails;
mod limits;
mod profile;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Context;
use clap::builder::{NonEmptyStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use pipeline::world::{Held, Size};

pub use self::access::AccessArgs;
pub use self::guardrails::GuardrailArgs;
use self::limits::LimitArgs;
pub use self::profile::ProfileArgs;
use crate::offline::action_script;
use crate::offline::generate::{Request, Switch};
use crate::offline::replay;
use crate::whole_file::Existing;

/// Causeway lays the road while you walk: a realtime world-model server.
#[derive(Debug, Parser)]
#[command(name = "causeway", version = version(), arg_required_else_help = true)]
pub struct Cli {
    #[expect(missing_docs, reason = "clap would print it as the help")]
    #[command(subcommand)]
    pub command: Command,
}

/// The version, the commit that was built, and the features it was built with.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let features = [("h264", cfg!(feature = "h264")), ("otlp", cfg!(feature = "otlp"))];
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
    /// Serve the page and the realtime WebSocket.
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
}

#[derive(Debug, Clone, Args)]
#[expect(missing_docs, reason = "clap would print it as the command's help")]
pub struct WorldArgs {
    /// A model directory; without one, the small model that is embedded.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// A world without a model directory.
    #[arg(long, value_enum, conflicts_with = "model")]
    world: Option<Named>,
    /// How long the test card takes for a chunk; 0: no longer than it must.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    chunk_ms: u64,
    /// Threads that compute; by default one for each core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Named {
    /// No weights: draws its chunk index and the keys held.
    Testcard,
    /// The small model that is embedded.
    Pocket,
}

/// Where a world comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The test card.
    Testcard {
        /// How long it takes for a chunk.
        chunk_time: Duration,
    },
    /// A model directory.
    Directory(PathBuf),
    /// The model in the binary.
    Embedded,
}

impl WorldArgs {
    /// The world that is meant.
    pub fn source(&self) -> Source {
        match (&self.model, self.world) {
            (Some(dir), _) => Source::Directory(dir.clone()),
            (None, Some(Named::Testcard)) => Source::Testcard { chunk_time: Duration::from_millis(self.chunk_ms) },
            (None, Some(Named::Pocket) | None) => Source::Embedded,
        }
    }
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
    pub guardrails: GuardrailArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
}

#[derive(Debug, Args)]
#[expect(missing_docs, reason = "clap would print it as the command's help")]
pub struct InspectArgs {
    /// A model directory; without one, the small model that is embedded.
    pub dir: Option<PathBuf>,
    /// The size of the session to account for; by default the model's own.
    #[arg(long, value_name = "WxH")]
    pub size: Option<Size>,
    /// Its window in latent frames; by default the model's own.
    #[arg(long, value_name = "FRAMES")]
    pub window: Option<usize>,
}

#[derive(Debug, Args)]
#[expect(missing_docs, reason = "clap would print it as the command's help")]
pub struct ReplayArgs {
    #[command(flatten)]
    pub world: WorldArgs,
    /// A recording: of `serve --record` or `generate --record`.
    pub file: PathBuf,
    /// A directory for numbered PNG files, a file that ends in .mp4 for a film, or in .webp for an animation. Without it the
    /// frames are drawn and their hash is printed.
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,
    /// Draw so many chunks, and not all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub until: Option<u32>,
    /// Replace what is there already.
    #[arg(long)]
    pub force: bool,
}

impl ReplayArgs {
    /// What to draw, and where to.
    pub fn request(self) -> replay::Request {
        let existing = if self.force { Existing::Replace } else { Existing::Keep };
        replay::Request { file: self.file, out: self.out, until: self.until, existing }
    }
}

#[derive(Debug, Args)]
#[expect(missing_docs, reason = "clap would print it as the command's help")]
pub struct GenerateArgs {
    #[command(flatten)]
    pub world: WorldArgs,
    /// The first frame: a JPEG, PNG or WebP file.
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// The prompt. Again, with CHUNK: before it, the prompt from that chunk on: --prompt "a road" --prompt "4:at
    /// night".
    #[arg(long = "prompt", value_name = "TEXT", required = true, allow_hyphen_values = true)]
    pub prompts: Vec<String>,
    /// Keys for each latent frame, as KEYS*COUNT; - is none: w*12,wl*6,-*3.
    #[arg(long, value_name = "SCRIPT", value_parser = script, allow_hyphen_values = true)]
    pub actions: Option<ActionScript>,
    /// Chunks to draw; by default as many as the action script needs.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub chunks: Option<u32>,
    /// Video frames to draw, in place of chunks; by default as many as the chunks have, or the world's usual clip.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), conflicts_with = "chunks")]
    pub frames: Option<u32>,
    /// The same seed draws the same video.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Width and height in pixels; by default the world's own.
    #[arg(long, value_name = "WxH")]
    pub size: Option<Size>,
    /// A directory for numbered PNG files, a file that ends in .mp4 for a film, or in .webp for an animation.
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
    /// Replace numbered pictures, or the animation, that are there already.
    #[arg(long)]
    pub force: bool,
    /// Write what steers the video to this file too, for `causeway replay`.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    #[command(flatten)]
    pub profile: ProfileArgs,
    #[command(flatten)]
    pub guardrails: GuardrailArgs,
}

impl GenerateArgs {
    /// What happens to what is there already.
    pub fn existing(&self) -> Existing {
        if self.force { Existing::Replace } else { Existing::Keep }
    }

    /// What to draw, and where to.
    ///
    /// # Errors
    /// If a prompt is empty, or one after the first does not say with which chunk it begins; if a guardrail cannot be had.
    pub fn request(self) -> anyhow::Result<Request> {
        let existing = self.existing();
        Ok(Request {
            image: self.image,
            prompts: switches(&self.prompts)?,
            actions: self.actions.map(|script| script.0),
            chunks: self.chunks,
            frames: self.frames,
            seed: self.seed,
            size: self.size,
            out: self.out,
            existing,
            record: self.record,
            profile: self.profile.profile()?,
            guardrails: self.guardrails.build()?,
        })
    }
}

/// A list in one argument, so that clap does not take it for a repeated one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionScript(pub Vec<Held>);

fn script(text: &str) -> Result<ActionScript, String> {
    action_script::parse(text).map(ActionScript)
}

/// The first prompt is text, whatever stands in it; the others begin with their chunk.
fn switches(prompts: &[String]) -> anyhow::Result<Vec<Switch>> {
    let switch = |(index, prompt): (usize, &String)| {
        let (chunk, text) = if index == 0 {
            (0, prompt.as_str())
        } else {
            let numbered = prompt.split_once(':').and_then(|(chunk, text)| Some((chunk.trim().parse().ok()?, text)));
            numbered
                .with_context(|| format!("--prompt {prompt:?}: say with which chunk it begins, as in \"4:at night\""))?
        };
        anyhow::ensure!(!text.trim().is_empty(), "--prompt {prompt:?} is empty");
        Ok(Switch { chunk, text: text.trim().to_owned() })
    };
    prompts.iter().enumerate().map(switch).collect()
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

    #[test]
    fn a_script_may_begin_with_nothing_held() {
        let line = ["causeway", "generate", "--prompt", "x", "--out", "o.webp", "--actions", "-*2,w*2"];
        let cli = Cli::try_parse_from(line).expect("a script, and no flag");
        let Command::Generate(args) = cli.command else { panic!("the line says generate") };
        assert_eq!(args.actions.map(|script| script.0.len()), Some(4));
    }

    #[test]
    fn the_first_prompt_is_text_and_the_others_say_with_which_chunk_they_begin() {
        let check = |prompts: &[&str], expected: &[(usize, &str)]| {
            let prompts: Vec<_> = prompts.iter().map(|&prompt| prompt.to_owned()).collect();
            let read = switches(&prompts).expect("prompts");
            let read: Vec<_> = read.iter().map(|switch| (switch.chunk, switch.text.as_str())).collect();
            assert_eq!(read, expected);
        };
        check(&[" a road "], &[(0, "a road")]);
        check(
            &["12:30 on a clock", "4:at 5:00", " 8 : - night"],
            &[(0, "12:30 on a clock"), (4, "at 5:00"), (8, "- night")],
        );
        for second in ["at night", "note: at night", ":at night", "-1:at night", "4:", ""] {
            assert!(switches(&["a road".into(), second.into()]).is_err(), "{second}");
        }
        assert!(switches(&["\t".into()]).is_err());
    }

    #[test]
    fn the_world_is_a_directory_or_a_name_or_the_embedded_one() {
        let source = |line: &[&str]| {
            let cli = Cli::try_parse_from([&["causeway", "serve"], line].concat()).ok()?;
            let Command::Serve(args) = cli.command else { return None };
            Some(args.world.source())
        };
        assert_eq!(source(&[]), Some(Source::Embedded));
        assert_eq!(source(&["--model", "dir"]), Some(Source::Directory("dir".into())));
        let chunk_time = Duration::from_millis(70);
        assert_eq!(source(&["--world", "testcard", "--chunk-ms", "70"]), Some(Source::Testcard { chunk_time }));
        assert_eq!(source(&["--world", "testcard", "--model", "dir"]), None);
        assert_eq!(source(&["--world", "nothing"]), None);
    }
}
