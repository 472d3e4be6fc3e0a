//! A client of the video and image API, written out: it sends what a test says, byte by byte, and reads the answer.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pipeline::first_frame::Fit;
use pipeline::world::{ByMode, Card, ClipCard, FrameRule, Knob, Knobs, Size, Sizes, Steering};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::Server;

/// Longer than anything takes here, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// The boundary of every form here.
const BOUNDARY: &str = "a-boundary";

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    head: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| String::from_utf8_lossy(&self.body).into_owned())
    }

    /// The body of an answer that must have this status, as JSON.
    pub fn expect(&self, status: u16) -> Result<Value> {
        ensure!(self.status == status, "{} instead of {status}: {}", self.status, String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// What is wrong, of an answer that must have this status. Both shapes of an error must say the same.
    pub fn error(&self, status: u16) -> Result<String> {
        let body = self.expect(status)?;
        let message = body["error"]["message"].as_str().with_context(|| format!("no message in {body}"))?;
        ensure!(body["error"]["type"].is_string() && body["error"]["code"].is_string(), "{body}");
        if status == 422 {
            ensure!(body["detail"][0]["loc"].is_array(), "{body}");
        } else {
            ensure!(body["detail"] == message, "{body}");
        }
        Ok(message.to_owned())
    }
}

/// A request under way: its client may leave before the answer.
pub struct Asked {
    pub stream: TcpStream,
}

impl Asked {
    /// Wait for the whole answer.
    pub async fn answer(mut self) -> Result<Answer> {
        timeout(PATIENCE, read_answer(&mut self.stream)).await.context("no answer")?
    }
}

async fn read_answer(stream: &mut TcpStream) -> Result<Answer> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").context("no end of the head")?;
    let text = String::from_utf8(bytes[..end].to_vec())?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?.parse()?;
    let line = |line: &str| {
        let (name, value) = line.split_once(':').context("a header without a colon")?;
        anyhow::Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let head = lines.map(line).collect::<Result<_>>()?;
    Ok(Answer { status, head, body: bytes[end + 4..].to_vec() })
}

/// Wait until the world is loaded, or the server gone.
async fn loaded(address: SocketAddr) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while ask_now(address, "GET /health", &[], b"").await?.body.windows(7).any(|word| word == b"loading") {
        ensure!(Instant::now() < end, "the world does not load");
    }
    Ok(())
}

/// Send a request once the world is loaded, and do not wait for the answer.
pub async fn send(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Asked> {
    if !body.is_empty() {
        loaded(address).await?;
    }
    send_now(address, line, headers, body).await
}

/// Send a request, whatever state the server is in.
async fn send_now(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Asked> {
    let mut stream = timeout(PATIENCE, TcpStream::connect(address)).await.context("no connection")??;
    let mut head =
        format!("{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    // A server that refuses by the head alone may not read all of it.
    let _ = stream.write_all(body).await;
    Ok(Asked { stream })
}

/// Send a request, whatever state the server is in, and read the answer.
pub async fn ask_now(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
    send_now(address, line, headers, body).await?.answer().await
}

/// Send a request once the world is loaded, and read the answer.
pub async fn ask(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
    send(address, line, headers, body).await?.answer().await
}

/// `GET`, or another method without a body.
pub async fn get(address: SocketAddr, line: &str) -> Result<Answer> {
    ask(address, line, &[], b"").await
}

/// `POST` of JSON.
pub async fn post(address: SocketAddr, path: &str, body: Value) -> Result<Answer> {
    let json = [("Content-Type", "application/json")];
    ask(address, &format!("POST {path}"), &json, body.to_string().as_bytes()).await
}

/// A part of a form.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// Its name and its text.
    Text(&'a str, &'a str),
    /// Its name, the file's name and type, and the file.
    File(&'a str, &'a str, &'a str, &'a [u8]),
}

/// The content type of a form, and its bytes.
pub fn form(parts: &[Part<'_>]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for part in parts {
        let (head, content) = match *part {
            Part::Text(name, text) => (format!("name=\"{name}\""), text.as_bytes()),
            Part::File(name, file, kind, bytes) => {
                (format!("name=\"{name}\"; filename=\"{file}\"\r\nContent-Type: {kind}"), bytes)
            }
        };
        body.extend(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n").bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").bytes());
    (format!("multipart/form-data; boundary={BOUNDARY}"), body)
}

/// `POST` of a form.
pub async fn post_form(address: SocketAddr, path: &str, parts: &[Part<'_>]) -> Result<Answer> {
    let (kind, body) = form(parts);
    ask(address, &format!("POST {path}"), &[("Content-Type", &kind)], &body).await
}

/// `POST /v1/videos` of JSON that must be taken: the job.
pub async fn job(server: &Server, body: Value) -> Result<Value> {
    post(server.address, "/v1/videos", body).await?.expect(200)
}

/// The job as it is now.
pub async fn look(server: &Server, job: &Value) -> Result<Value> {
    get(server.address, &format!("GET {}", path(job, ""))).await?.expect(200)
}

/// `/v1/videos/{id}` and what follows.
pub fn path(job: &Value, rest: &str) -> String {
    format!("/v1/videos/{}{rest}", job["id"].as_str().expect("a job has an id"))
}

/// Wait until the job has this status.
pub async fn until(server: &Server, job: &Value, status: &str) -> Result<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let now = look(server, job).await?;
        if now["status"] == status {
            return Ok(now);
        }
        let over = ["completed", "failed"].contains(&now["status"].as_str().unwrap_or_default());
        ensure!(!over && Instant::now() < end, "never {status}: {now}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A card with the values of Cosmos3-Nano: the rules of its requests can be tested on any world.
pub fn cosmos3_card() -> Card {
    let steady = |value| Knob { usual: ByMode { video: value, picture: value }, free: true };
    let picture_size = Size { width: 1024, height: 1024 };
    Card {
        name: "Cosmos3-Nano".into(),
        sizes: Sizes::MultiplesOf { multiple: 16, pixels_max: 1920 * 1088 },
        default_size: Size { width: 1280, height: 720 },
        fps: 24,
        chunk: 3,
        first_chunk: 3,
        sink: 3,
        window: 18,
        window_is_fixed: true,
        needs_first_frame: false,
        look_step: None,
        steering: Steering::default(),
        quick_steps: None,
        gallery: Vec::new(),
        presets: Vec::new(),
        words: None,
        clips: ClipCard {
            family: "Cosmos3".into(),
            realtime: false,
            from_text: true,
            from_picture: true,
            picture_fit: Fit::Cover,
            pictures: true,
            steerable: false,
            frames: FrameRule::FourAndOne,
            frames_max: Some(300),
            side_min: 64,
            picture_size,
            seconds: 4.0,
            knobs: Knobs {
                num_inference_steps: Some(Knob { usual: ByMode { video: 35, picture: 35 }, free: true }),
                guidance_scale: Some(steady(4.0)),
                guidance_interval: Some(ByMode { video: None, picture: Some([400.0, 1000.0]) }),
                negative_prompt: true,
                flow_shift: Some(Knob { usual: ByMode { video: 10.0, picture: 3.0 }, free: true }),
                max_sequence_length: Some(Knob { usual: ByMode { video: 4096, picture: 4096 }, free: true }),
                use_duration_template: Some(true),
                use_resolution_template: Some(false),
                use_system_prompt: Some(false),
            },
        },
    }
}

/// A request that has a prompt, and these fields.
pub fn asking(mut fields: Value) -> Value {
    if let Some(fields) = fields.as_object_mut() {
        fields.entry("prompt").or_insert(json!("a"));
    }
    fields
}
