//! The transcript in `docs/wire.md` is what client and server say: this test holds the session and compares.
//!
//! After a change of the wire, run the test: it prints the whole transcript, to be put into the page.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use pipeline::testcard::Testcard;
use rmpv::Value;
use server::Limits;
use tests::Server;
use tests::message::{Event, Init, resume};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const PATIENCE: Duration = Duration::from_secs(30);

/// Characters of a line of the page; longer messages are continued on the next.
const COLUMNS: usize = 118;

/// Fields that differ from run to run. Their length does not.
const IDENTIFIERS: [&str; 4] = ["session_id", "request_id", "resume_token", "token"];

/// What was said so far, as the page shows it.
#[derive(Default)]
struct Transcript {
    text: String,
    /// The newest frame header and the newest statistics: later ones are shown by their differences.
    header: Option<Value>,
    stats: Option<Value>,
    /// Bytes of the frame messages of this chunk: as they came, and with the sizes that are shown.
    came: u64,
    shown: u64,
}

/// One connection that writes down what passes.
struct Line {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Transcript {
    fn note(&mut self, note: &str) {
        self.text.push_str(&format!("  {note}\n"));
    }

    fn line(&mut self, arrow: char, size: u64, words: Vec<String>) {
        let mut line = format!("{arrow} {size:>6}  ");
        let indent = " ".repeat(10);
        for (index, word) in words.iter().enumerate() {
            let space = if index == 0 || line == indent { "" } else { " " };
            if line.chars().count() + space.len() + word.chars().count() > COLUMNS {
                self.text.push_str(line.trim_end());
                self.text.push('\n');
                line = format!("{indent}{word}");
            } else {
                line.push_str(space);
                line.push_str(word);
            }
        }
        self.text.push_str(&line);
        self.text.push('\n');
    }

    fn sent(&mut self, message: &Value, bytes: usize) -> Result<()> {
        self.line('→', bytes as u64, fields(message, |_| true)?);
        Ok(())
    }

    /// A message of the server. Durations count as one byte, whatever they took this time.
    fn came(&mut self, message: &Value, bytes: usize) -> Result<()> {
        let size = bytes as u64 - extra_bytes(message);
        match message["type"].as_str().context("a type")? {
            "frame_batch" | "frame_batch_header" => {
                self.came += bytes as u64;
                self.shown += size;
                let shown = differences(message, self.header.replace(message.clone()))?;
                self.line('←', size, shown);
            }
            "chunk_stats" => {
                ensure!(message["ws_payload_bytes"].as_u64() == Some(self.came), "{message}: {} came", self.came);
                let message = with(message, "ws_payload_bytes", self.shown.into())?;
                (self.came, self.shown) = (0, 0);
                let shown = differences(&message, self.stats.replace(message.clone()))?;
                self.line('←', size, shown);
            }
            _ => self.line('←', size, fields(message, |_| true)?),
        }
        Ok(())
    }

    fn payload(&mut self, header: &Value, bytes: usize) -> Result<()> {
        self.came += bytes as u64;
        self.shown += bytes as u64;
        let frames = header["num_frames"].as_u64().context("num_frames")?;
        self.line('←', bytes as u64, vec![format!("<{frames} frames of {} bytes>", bytes as u64 / frames)]);
        Ok(())
    }
}

impl Line {
    async fn open(server: &Server) -> Result<Line> {
        Ok(Line { socket: connect_async(server.url()).await?.0 })
    }

    async fn say(&mut self, message: impl Into<Value>, transcript: &mut Transcript) -> Result<()> {
        let (message, mut bytes) = (message.into(), Vec::new());
        rmpv::encode::write_value(&mut bytes, &message)?;
        transcript.sent(&message, bytes.len())?;
        Ok(self.socket.send(Message::Binary(bytes.into())).await?)
    }

    /// Everything up to a message of this type, and its payload if it has one.
    async fn hear_until(&mut self, last: &str, transcript: &mut Transcript) -> Result<Value> {
        loop {
            let Some(bytes) = self.hear().await? else { bail!("closed before a message of the type {last}") };
            let message = rmpv::decode::read_value(&mut &bytes[..])?;
            transcript.came(&message, bytes.len())?;
            if message["type"].as_str() == Some("frame_batch_header") {
                let payload = self.hear().await?.context("a payload follows its header")?;
                transcript.payload(&message, payload.len())?;
            }
            if message["type"].as_str() == Some(last) {
                return Ok(message);
            }
        }
    }

    async fn hear_close(&mut self, transcript: &mut Transcript) -> Result<()> {
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await?.context("the line ended")?? {
                Message::Close(Some(close)) => {
                    transcript.line(
                        '←',
                        2 + close.reason.len() as u64,
                        vec![format!("close {} {:?}", close.code, close.reason.as_str())],
                    );
                    return Ok(());
                }
                Message::Ping(_) => {}
                other => bail!("{other:?} where a close is due"),
            }
        }
    }

    /// The next binary message; `None` for a close.
    async fn hear(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await?.context("the line ended")?? {
                Message::Binary(bytes) => return Ok(Some(bytes.into())),
                Message::Close(_) => return Ok(None),
                _ => {}
            }
        }
    }
}

fn pairs(message: &Value) -> Result<Vec<(&str, &Value)>> {
    let pairs = message.as_map().context("a message is a map")?.iter();
    pairs.map(|(key, value)| Ok((key.as_str().context("a key is text")?, value))).collect()
}

fn with(message: &Value, key: &str, value: Value) -> Result<Value> {
    let replaced = pairs(message)?
        .into_iter()
        .map(|(name, old)| (Value::from(name), if name == key { value.clone() } else { old.clone() }));
    Ok(Value::Map(replaced.collect()))
}

/// How long something took: another number in every run.
fn is_measured(key: &str) -> bool {
    key.ends_with("_ms") && !["grace_ms", "pts_ms", "client_ts_ms"].contains(&key)
}

/// What the fields that differ from run to run take beyond one byte each.
fn extra_bytes(message: &Value) -> u64 {
    let measured = pairs(message).unwrap_or_default().into_iter().filter(|(key, _)| is_measured(key));
    let width = |value: &Value| {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, value).expect("a Vec takes everything");
        bytes.len() as u64
    };
    measured.map(|(_, value)| width(value) - 1).sum()
}

/// A map in words that stay together, of the fields that `shown` lets pass.
fn fields(message: &Value, shown: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let pairs = pairs(message)?;
    let kept: Vec<_> = pairs.iter().filter(|(key, _)| shown(key)).collect();
    let mut words: Vec<String> = kept.iter().map(|(key, value)| format!("{key}: {},", masked(key, value))).collect();
    let (first, last) = (words.first_mut().context("no field")?, if kept.len() < pairs.len() { " …}" } else { "}" });
    first.insert(0, '{');
    let end = words.last_mut().context("no field")?;
    if last == "}" {
        end.pop();
    }
    end.push_str(last);
    Ok(words)
}

/// All of the first message of a kind; of a later one its type and what is not as in the one before.
fn differences(message: &Value, before: Option<Value>) -> Result<Vec<String>> {
    let Some(before) = before.filter(|before| before["type"] == message["type"]) else {
        return fields(message, |_| true);
    };
    let same = |key: &str| masked(key, &before[key]) == masked(key, &message[key]);
    fields(message, |key| key == "type" || !same(key))
}

fn masked(key: &str, value: &Value) -> String {
    if IDENTIFIERS.contains(&key) {
        return "\"…\"".to_owned();
    }
    if is_measured(key) { "…".to_owned() } else { written(value) }
}

fn written(value: &Value) -> String {
    let joined = |items: Vec<String>| items.join(", ");
    match value {
        Value::Binary(bytes) => format!("<{} bytes>", bytes.len()),
        Value::Array(items) => format!("[{}]", joined(items.iter().map(written).collect())),
        Value::Map(pairs) => {
            let entry = |(key, value): &(Value, Value)| format!("{}: {}", key.as_str().unwrap_or("?"), written(value));
            format!("{{{}}}", joined(pairs.iter().map(entry).collect()))
        }
        other => other.to_string(),
    }
}

/// Four frames a second: a chunk is shown for three seconds, so the order of messages does not depend on a machine's speed.
async fn hold_the_session() -> Result<String> {
    let server = Server::start(Box::new(|| Ok(Box::new(Testcard::new(Duration::ZERO)))), Limits::default())?;
    let (mut line, mut transcript) = (Line::open(&server).await?, Transcript::default());
    let features = ["session", "ack", "timing", "pause"];
    let init = Init::new("a meadow").size(160, 120).max_chunks(3).paced(4).features(features);

    line.say(init, &mut transcript).await?;
    let hello = line.hear_until("session", &mut transcript).await?;
    line.hear_until("chunk_stats", &mut transcript).await?;

    transcript.note("W goes down: the next chunk begins at once");
    line.say(Event::hold("w").id(1), &mut transcript).await?;
    line.hear_until("chunk_stats", &mut transcript).await?;

    transcript.note("a mistake: the session goes on");
    line.say(Event::new("jump", Value::Nil).id(2), &mut transcript).await?;
    line.hear_until("error", &mut transcript).await?;

    transcript.note("nobody looks: nothing more comes");
    line.say(Event::pause(), &mut transcript).await?;

    transcript.note("the line is cut; the client connects again and names the last chunk that it has");
    drop(line);
    let mut line = Line::open(&server).await?;
    line.say(resume(hello["resume_token"].as_str().context("a token")?, Some(1)), &mut transcript).await?;
    line.hear_until("session", &mut transcript).await?;

    transcript.note("W goes up, another prompt, and on");
    let parts = [Event::hold(""), Event::prompt("a meadow at night")];
    line.say(Event::composite(parts).id(3), &mut transcript).await?;
    line.say(Event::resume(), &mut transcript).await?;
    line.hear_until("chunk_stats", &mut transcript).await?;
    line.hear_close(&mut transcript).await?;
    Ok(transcript.text)
}

#[tokio::test]
async fn the_transcript_in_the_documentation_is_what_is_said() -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/wire.md");
    let page = std::fs::read_to_string(path).context(path)?;
    let documented = page.split("<!-- transcript -->\n```text\n").nth(1).and_then(|rest| rest.split("```").next());
    let said = hold_the_session().await?;
    ensure!(documented == Some(said.as_str()), "docs/wire.md does not show what is said, which is:\n{said}");
    Ok(())
}
