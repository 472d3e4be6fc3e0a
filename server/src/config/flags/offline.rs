//! Commands that need no network, as flags.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use pipeline::world::{Cancel, Held, Size};

use super::guardrails::GuardrailArgs;
use super::profile::ProfileArgs;
use super::world::{DeviceArgs, TeamArgs, WorldArgs};
use crate::offline::action_script;
use crate::offline::generate::{Request, Switch};
use crate::offline::replay;
use crate::whole_file::Existing;

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
    /// Print JSON, for scripts.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub team: TeamArgs,
}

#[derive(Debug, Args)]
#[expect(missing_docs, reason = "clap would print it as the command's help")]
pub struct BenchArgs {
    #[command(flatten)]
    pub world: WorldArgs,
    /// Width and height in pixels; by default the world's own.
    #[arg(long, value_name = "WxH")]
    pub size: Option<Size>,
    /// How long to measure, after a warm-up; at least three rounds are measured.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// Print JSON, for scripts and for --compare.
    #[arg(long)]
    pub json: bool,
    /// Say what became slower, and end with status 1 if something did, since this report: a file with what --json printed.
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[expect(missing_docs, reason = "clap would print it as the command's help")]
pub struct CheckArgs {
    #[command(flatten)]
    pub device: DeviceArgs,
    /// A model directory: also compare blocks of it, then draw a chunk.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Tensors of a few thousand numbers, and not those of a latent frame at 832x480.
    #[arg(long)]
    pub small: bool,
    /// Write what a maintainer needs to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
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
        replay::Request { file: self.file, out: self.out, until: self.until, existing, cancel: Cancel::default() }
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
            cancel: Cancel::default(),
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
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

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
}
