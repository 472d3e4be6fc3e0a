//! The flags that let sessions go on at another node, and those of another node here.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use clap::builder::{NonEmptyStringValueParser, TypedValueParser};
use url::Url;

use crate::moving::{Nodes, Pair};

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Moving")]
#[expect(missing_docs, reason = "clap would print it as the command's help")]
pub struct MovingArgs {
    /// Take sessions from another node that shows the secret in this file: one line of at least 16 characters.
    #[arg(long, value_name = "FILE", conflicts_with = "cluster", value_parser = NonEmptyStringValueParser::new().map(PathBuf::from))]
    pub move_secret: Option<PathBuf>,
    /// When told to stop, let sessions go on at this node, which has the same world, version and secret:
    /// http://10.0.0.2:30000
    #[arg(long, value_name = "URL", requires = "move_secret")]
    pub move_to: Option<Url>,
    /// Its address for clients, which is told to those that understand it: wss://b.example/v1/realtime_video. By default the
    /// address that they know leads there.
    #[arg(long, value_name = "URL", requires = "move_to", value_parser = socket)]
    pub moved_url: Option<Url>,
}

fn socket(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("{error}"))?;
    match url.scheme() {
        "ws" | "wss" => Ok(url),
        other => Err(format!("{other} is no WebSocket: ws or wss")),
    }
}

impl MovingArgs {
    /// The nodes that these flags name. `None`: no session moves.
    pub fn nodes(self) -> anyhow::Result<Option<Arc<dyn Nodes>>> {
        let Some(file) = self.move_secret else { return Ok(None) };
        let text = std::fs::read_to_string(&file).with_context(|| format!("--move-secret {}", file.display()))?;
        let to = self.move_to.map(|to| (to, self.moved_url.map(String::from)));
        let pair = Pair::new(&text, to).with_context(|| format!("--move-secret {}", file.display()))?;
        Ok(Some(Arc::new(pair)))
    }
}
