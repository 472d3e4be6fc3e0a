//! What prompts and frames are checked with, as flags.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::ensure;
use clap::Args;
use url::Url;

use crate::guardrails::rules::answer::Dialect;
use crate::guardrails::rules::blocklist::Match;
use crate::guardrails::{
    External, ExternalFrames, FrameGuardrail, Guardrails, OnError, Policy, TextGuardrail, WordList,
};

#[derive(Debug, Args)]
#[command(next_help_heading = "What may be drawn")]
#[expect(missing_docs, reason = "clap would print it as the command's help")]
pub struct GuardrailArgs {
    /// Block prompts with these words: a file with an entry a line, or a folder with the folders exact_match, custom
    /// and whitelist of such files.
    #[arg(long, value_name = "PATH")]
    pub blocklist: Option<PathBuf>,
    /// How near a word is to an entry that it is blocked: exact, or CHARACTERS:DIFFER, the fewest characters of an
    /// entry and how many of them may differ.
    #[arg(long, value_name = "HOW", requires = "blocklist", default_value = "6:0.4")]
    pub blocklist_match: Match,
    /// Ask a classifier about each prompt: POST {"prompt"} is answered {"safe", "category"} within 2 s.
    #[arg(long, value_name = "URL")]
    pub guardrail_url: Option<Url>,
    /// The URL is an OpenAI chat endpoint with this model, which answers with a line Safety: Safe or Unsafe.
    #[arg(long, value_name = "NAME", requires = "guardrail_url")]
    pub guardrail_model: Option<String>,
    /// Ask a classifier about drawn frames before they leave, four at most at once: POST {"frames"}, JPEG files in
    /// base64, is answered {"safe", "category"} within 5 s; with "frames", pictures that stand in their place, or null.
    #[arg(long, value_name = "URL")]
    pub frame_guardrail_url: Option<Url>,
    /// What happens if a classifier does not answer.
    #[arg(long, value_enum, default_value_t)]
    pub guardrail_on_error: OnError,
    /// Whether prompts and frames are checked: off, on (a request may go without), or required.
    #[arg(long, value_enum, default_value_t)]
    pub guardrails: Policy,
}

impl GuardrailArgs {
    /// The guardrails that are meant. Reads the lists.
    pub fn build(&self) -> anyhow::Result<Guardrails> {
        let mut text: Vec<Arc<dyn TextGuardrail>> = Vec::new();
        if let Some(path) = &self.blocklist {
            let list = WordList::read(path, self.blocklist_match)?;
            tracing::info!(entries = list.len(), "blocklist read");
            text.push(Arc::new(list));
        }
        if let Some(url) = &self.guardrail_url {
            let dialect = match &self.guardrail_model {
                None => Dialect::Verdict,
                Some(model) => Dialect::Chat { model: model.clone() },
            };
            text.push(Arc::new(External::new(url.clone(), dialect)?));
        }
        let mut frames: Vec<Arc<dyn FrameGuardrail>> = Vec::new();
        if let Some(url) = &self.frame_guardrail_url {
            frames.push(Arc::new(ExternalFrames::new(url.clone())?));
        }
        ensure!(
            self.guardrails != Policy::Required || !text.is_empty() || !frames.is_empty(),
            "--guardrails required, but there are none: give --blocklist, --guardrail-url or --frame-guardrail-url"
        );
        Ok(Guardrails::new(text, frames, self.guardrails, self.guardrail_on_error))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;
    use crate::scratch::Scratch;

    fn guardrails(line: &[&str]) -> anyhow::Result<Guardrails> {
        match Cli::try_parse_from([&["causeway", "serve"], line].concat())?.command {
            Command::Serve(args) => args.guardrails.build(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn there_are_as_many_guardrails_as_are_configured() {
        assert!(guardrails(&[]).expect("nothing is needed").is_empty());
        let dir = Scratch::new();
        let list = dir.path("words.txt");
        std::fs::write(&list, "poison\n").expect("a file");
        let list = list.to_str().expect("text");
        let both = guardrails(&["--blocklist", list, "--guardrail-url", "http://127.0.0.1:1/check"]).expect("both");
        assert_eq!(both.described()["text"], serde_json::json!(["blocklist", "classifier"]));
        let frames = guardrails(&["--frame-guardrail-url", "http://127.0.0.1:1/", "--guardrails", "required"]);
        assert_eq!(frames.expect("one").described()["frames"], serde_json::json!(["frame_classifier"]));
        assert!(guardrails(&["--blocklist", list, "--guardrails", "off"]).expect("off").is_empty());
        assert!(guardrails(&["--blocklist", list]).expect("on").check(["poison"]).is_err());
        for wrong in [
            &["--guardrails", "required"][..],
            &["--guardrail-model", "guard"],
            &["--blocklist-match", "exact"],
            &["--blocklist", list, "--blocklist-match", "near"],
            &["--blocklist", "/no such list"],
            &["--guardrail-url", "ftp://x/"],
            &["--frame-guardrail-url", "ftp://x/"],
        ] {
            assert!(guardrails(wrong).is_err(), "{wrong:?}");
        }
    }
}
