//! What is profiled, as flags.

use std::path::PathBuf;

use crate::observe::profile::{Profiled, STEPS};
use clap::Args;
use clap::builder::{NonEmptyStringValueParser, TypedValueParser};

#[derive(Debug, Args)]
#[command(next_help_heading = "Profile")]
#[expect(missing_docs, reason = "clap would print it as the command's help")]
pub struct ProfileArgs {
    /// Write what each chunk's parts took into this folder, for ui.perfetto.dev.
    #[arg(long, value_name = "DIR", value_parser = NonEmptyStringValueParser::new().map(PathBuf::from))]
    pub profile_dir: Option<PathBuf>,
    /// Chunks in the profile, from the second on; -1: all of them.
    #[arg(long, value_name = "N", requires = "profile_dir", default_value_t = STEPS, allow_negative_numbers = true)]
    pub num_profiled_timesteps: i64,
    /// Everything from the first frame to the file, in place of single chunks.
    #[arg(long, requires = "profile_dir")]
    pub profile_all_stages: bool,
}

impl ProfileArgs {
    /// The folder, and what is kept.
    pub fn profile(&self) -> anyhow::Result<Option<(PathBuf, Profiled)>> {
        let Some(folder) = &self.profile_dir else { return Ok(None) };
        Ok(Some((folder.clone(), Profiled::new(self.num_profiled_timesteps, self.profile_all_stages)?)))
    }
}
