//! `causeway load`, as flags.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, value_parser};
use pipeline::world::Size;

use crate::offline::action_script;
use crate::offline::load::Request;
use crate::offline::load::plan::{Actions, Plan, Unreported};
use crate::whole_file::Existing;

#[derive(Debug, Args)]
#[expect(missing_docs, reason = "clap would print it as the command's help")]
pub struct LoadArgs {
    /// The realtime endpoint of the server that is measured.
    #[arg(long, default_value = "ws://127.0.0.1:30000/v1/realtime_video/generate")]
    pub url: String,
    /// Clients at once.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=10_000))]
    pub clients: u32,
    /// Look for the most clients, up to this, whose frames are on time: rounds of twice as many until one does not hold,
    /// then of numbers between.
    #[arg(long, value_name = "MAX", value_parser = value_parser!(u32).range(1..=10_000))]
    pub ramp: Option<u32>,
    /// How long each client stays.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// The clients of a round come evenly over this time.
    #[arg(long, value_name = "N", default_value_t = 750, value_parser = value_parser!(u32).range(0..=3_600_000))]
    pub spread_ms: u32,
    /// Connections that say nothing, beside the clients.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u32).range(0..=100_000))]
    pub idle: u32,
    /// How pictures are sent.
    #[arg(long, default_value = "jpeg", value_parser = ["raw", "jpeg", "webp", "h264"])]
    pub format: String,
    /// Width and height in pixels; by default the server's own.
    #[arg(long, value_name = "WxH")]
    pub size: Option<Size>,
    /// Of JPEG and WebP, 0 to 100; by default the server's own.
    #[arg(long, value_name = "N", value_parser = value_parser!(u8).range(0..=100))]
    pub quality: Option<u8>,
    /// Frames that a player shows in a second.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = value_parser!(u32).range(1..=240))]
    pub fps: u32,
    /// Ask the server to send frames at --fps, and no faster.
    #[arg(long)]
    pub paced: bool,
    /// A player begins so long after the first frame: each frame has this much time in hand.
    #[arg(long, value_name = "N", default_value_t = 250, value_parser = value_parser!(u32).range(0..=60_000))]
    pub buffer_ms: u32,
    /// A round holds if so many of 100 frames are on time, and every client plays to the end.
    #[arg(long, value_name = "PERCENT", default_value_t = 99.9)]
    pub share: f64,
    /// Keys to press: none, random (which follow from the seed), or a script such as w*12,wl*6,-*3, again and again.
    #[arg(long, value_name = "KEYS", default_value = "none", allow_hyphen_values = true)]
    pub actions: String,
    /// How long a step of the script takes, or the mean time between two random actions.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = value_parser!(u32).range(10..=3_600_000))]
    pub actions_ms: u32,
    /// The prompt of every session.
    #[arg(long, value_name = "TEXT", default_value = "a quiet meadow in the morning", allow_hyphen_values = true)]
    pub prompt: String,
    /// The first picture of every session, for worlds that need one: a JPEG, PNG or WebP file.
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// The same seed asks for the same videos and presses the same keys.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A key or token, where the server asks for one. It stands in no report.
    #[arg(long, value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    pub api_key: Option<String>,
    /// What is measured, for whoever reads the report: the server's machine, commit and arguments.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Print JSON, for scripts.
    #[arg(long)]
    pub json: bool,
    /// Write a page with plots to this file, too.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Replace the page that is there already.
    #[arg(long)]
    pub force: bool,
}

impl LoadArgs {
    /// What happens to a page that is there already.
    pub fn existing(&self) -> Existing {
        if self.force { Existing::Replace } else { Existing::Keep }
    }

    /// What to do, as `program`, which every report names.
    ///
    /// # Errors
    /// If the keys are none that can be pressed, the share is no percentage, or the picture cannot be read.
    pub fn request(self, program: String) -> anyhow::Result<Request> {
        ensure!((0.0..=100.0).contains(&self.share), "--share {}: 0 to 100 is allowed", self.share);
        let actions = match self.actions.as_str() {
            "none" => Actions::None,
            "random" => Actions::Random,
            script => Actions::Script(
                action_script::parse(script)
                    .map_err(|wrong| anyhow::anyhow!("--actions: none, random, or a script; {wrong}"))?,
            ),
        };
        let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
        let unreported = Unreported { api_key: self.api_key, first_frame: self.image.as_ref().map(read).transpose()? };
        let plan = Plan {
            url: self.url,
            clients: self.clients as usize,
            ramp: self.ramp.map(|most| most as usize),
            idle: self.idle as usize,
            seconds: self.seconds,
            spread_ms: self.spread_ms,
            format: self.format,
            size: self.size.map(|size| size.to_string()),
            quality: self.quality,
            fps: self.fps,
            is_paced: self.paced,
            buffer_ms: self.buffer_ms,
            share: self.share,
            actions: self.actions,
            actions_ms: self.actions_ms,
            prompt: self.prompt,
            seed: self.seed,
            note: self.note,
        };
        Ok(Request { plan, unreported, actions, program })
    }
}
