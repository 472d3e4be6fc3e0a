//! One page in a headless Chromium, driven over the DevTools protocol: enough to press keys and look at the picture.
//!
//! Input goes through the browser's own input pipeline, so a test does what a hand would do. Tests wait for conditions and
//! never for a time: [`Browser::until`] looks once per picture that the page draws.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::{SinkExt, StreamExt};
use pipeline::world::{Picture, Size};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// A cold start on a busy two-core machine takes five seconds.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// For one answer of the browser, and for a condition on the page.
const DEADLINE: Duration = Duration::from_secs(30);

/// One attempt takes about a millisecond; the browser's helper processes end within some tens of them.
const REMOVALS: usize = 1000;

pub struct Browser {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The page's session within the browser's one socket; empty until it is attached.
    session: Option<String>,
    calls: u64,
    problems: Vec<String>,
    _process: Process,
}

/// How Chromium is started, besides its profile.
const CHROMIUM: [&str; 11] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "about:blank",
];

/// A running browser and its profile, both gone when dropped.
pub(crate) struct Process {
    child: Child,
    profile: PathBuf,
}

impl Process {
    /// Start a browser with an empty profile of its own. `args` are made of the profile's path. The program is named as Debian's
    /// package is.
    pub(crate) fn start(program: &str, args: impl FnOnce(&Path) -> Vec<String>) -> anyhow::Result<Process> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let name = format!("causeway-browser-{}-{}", std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
        let profile = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&profile).with_context(|| format!("creating {}", profile.display()))?;
        let mut command = Command::new(program);
        command.args(args(&profile)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => Ok(Process { child, profile }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let _ = std::fs::remove_dir(&profile);
                bail!("the browser test needs {program}: install it with `apt-get install {program}`")
            }
            Err(error) => Err(error).with_context(|| format!("starting {program}")),
        }
    }

    /// What the browser writes into a file of its profile once it listens; `read` gives nothing while the file is not whole.
    pub(crate) async fn written<T>(&mut self, file: &str, read: impl Fn(&str) -> Option<T>) -> anyhow::Result<T> {
        let deadline = Instant::now() + START_DEADLINE;
        let mut look = tokio::time::interval(Duration::from_millis(20));
        loop {
            look.tick().await;
            let written = std::fs::read_to_string(self.profile.join(file)).unwrap_or_default();
            if let Some(found) = read(&written) {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the browser ended at once, with {status}");
            }
            anyhow::ensure!(Instant::now() < deadline, "the browser did not listen within {START_DEADLINE:?}");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors here mean that there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The browser's helpers end after it, and until then may write into a folder that is being deleted.
        for _ in 0..REMOVALS {
            match std::fs::remove_dir_all(&self.profile) {
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => std::thread::yield_now(),
                _ => break,
            }
        }
    }
}

impl Browser {
    /// Start a browser with a profile of its own and one empty page of 1280x800.
    pub async fn launch() -> anyhow::Result<Browser> {
        let mut process = Process::start("chromium", |profile| {
            let mut args = vec![format!("--user-data-dir={}", profile.display())];
            args.extend(CHROMIUM.map(String::from));
            args
        })?;
        // Its port and its path. The last line is there when the file is whole.
        let address = process
            .written("DevToolsActivePort", |written| {
                let (port, path) = written.split_once('\n').filter(|(_, path)| path.starts_with('/'))?;
                Some(format!("ws://127.0.0.1:{port}{}", path.trim_end()))
            })
            .await?;
        // A screenshot is a message of a few megabytes, in base64.
        let config = WebSocketConfig::default().max_message_size(Some(64 << 20)).max_frame_size(Some(64 << 20));
        let (socket, _response) = connect_async_with_config(&address, Some(config), true).await.context(address)?;

        let mut browser = Browser { socket, session: None, calls: 0, problems: Vec::new(), _process: process };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await?;
        browser.session = Some(attached["sessionId"].as_str().context("a session id")?.to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({})).await?;
        }
        browser.resize(1280, 800).await?;
        Ok(browser)
    }

    pub async fn navigate(&mut self, url: &str) -> anyhow::Result<()> {
        let went = self.call("Page.navigate", json!({ "url": url })).await?;
        anyhow::ensure!(went["errorText"].is_null(), "{url}: {}", went["errorText"]);
        self.until("document.readyState === 'complete'").await
    }

    /// Run this script in every page that is opened from here on, before the page's own.
    pub async fn before_every_page(&mut self, script: &str) -> anyhow::Result<()> {
        self.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await.map(drop)
    }

    pub async fn resize(&mut self, width: u32, height: u32) -> anyhow::Result<()> {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", metrics).await.map(drop)
    }

    /// The picture that a `<video>` element shows at `seconds`. `film`: a JavaScript expression for the element.
    pub async fn film_frame(&mut self, film: &str, seconds: f64) -> anyhow::Result<Picture> {
        let script = format!(
            "new Promise((resolve, reject) => {{
               const film = {film};
               film.onerror = () => reject(film.error.message);
               const draw = () => {{
                 const canvas = document.createElement('canvas');
                 [canvas.width, canvas.height] = [film.videoWidth, film.videoHeight];
                 canvas.getContext('2d').drawImage(film, 0, 0);
                 resolve(canvas.toDataURL('image/png').split(',')[1]);
               }};
               // On a busy machine the seek ends before its picture is there; a picture that is there already comes no more.
               const seeked = new Promise((done) => film.onseeked = done);
               const shown = new Promise((done) => film.requestVideoFrameCallback(done));
               const late = seeked.then(() => new Promise((done) => setTimeout(done, 1000)));
               Promise.all([seeked, Promise.race([shown, late])]).then(draw);
               film.currentTime = {seconds};
             }})"
        );
        let png = self.evaluate(&script).await?;
        let png = BASE64_STANDARD.decode(png.as_str().context("a picture in base64")?)?;
        let picture = image::load_from_memory(&png)?.into_rgb8();
        let (width, height) = picture.dimensions();
        Ok(Picture { size: Size { width, height }, rgb: picture.into_raw() })
    }

    /// The value of a JavaScript expression; of a promise, what it becomes.
    pub async fn evaluate(&mut self, expression: &str) -> anyhow::Result<Value> {
        let evaluate = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut evaluated = self.call("Runtime.evaluate", evaluate).await?;
        if let Some(exception) = evaluated.get("exceptionDetails") {
            bail!("{expression}: {}", described(exception));
        }
        Ok(evaluated["result"]["value"].take())
    }

    /// Wait until an expression is true, looking once per animation frame.
    pub async fn until(&mut self, condition: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while self.evaluate(condition).await? != Value::Bool(true) {
            if Instant::now() > deadline {
                let alert = self.evaluate("document.getElementById('alert-text')?.textContent").await?;
                bail!("not within {DEADLINE:?}: {condition}; the page says {alert}; problems: {:?}", self.problems);
            }
            self.next_frame().await?;
        }
        Ok(())
    }

    /// Wait until the page's canvas shows a picture for which `seen` returns something, and return that.
    pub async fn until_picture<T>(&mut self, what: &str, seen: impl Fn(&Picture) -> Option<T>) -> anyhow::Result<T> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = seen(&self.canvas().await?) {
                return Ok(found);
            }
            anyhow::ensure!(Instant::now() < deadline, "no picture within {DEADLINE:?}: {what}; {:?}", self.problems);
            self.next_frame().await?;
        }
    }

    async fn next_frame(&mut self) -> anyhow::Result<()> {
        self.evaluate("new Promise((next) => requestAnimationFrame(() => next(true)))").await.map(drop)
    }

    /// What the page's canvas holds now, pixel for pixel.
    pub async fn canvas(&mut self) -> anyhow::Result<Picture> {
        picture_of(&self.evaluate(READ_CANVAS).await?)
    }

    /// A key goes down and stays down. `code` is its place on the keyboard: `KeyW`, `ArrowUp`, `Enter`.
    pub async fn key_down(&mut self, code: &str) -> anyhow::Result<()> {
        self.key("keyDown", code).await
    }

    pub async fn key_up(&mut self, code: &str) -> anyhow::Result<()> {
        self.key("keyUp", code).await
    }

    async fn key(&mut self, kind: &str, code: &str) -> anyhow::Result<()> {
        let letter = code.strip_prefix("Key").map(str::to_ascii_lowercase);
        let name = if code == "Space" { " " } else { letter.as_deref().unwrap_or(code) };
        let mut event = json!({ "type": kind, "code": code, "key": name });
        // Without a text, a key-down writes nothing: so arrows and Enter have none, and letters have their own.
        if let Some(letter) = letter.filter(|_| kind == "keyDown") {
            event["text"] = Value::from(letter);
        }
        self.call("Input.dispatchKeyEvent", event).await.map(drop)
    }

    pub async fn click(&mut self, selector: &str) -> anyhow::Result<()> {
        self.mouse_down(selector).await?;
        self.mouse_up(selector).await
    }

    pub async fn mouse_down(&mut self, selector: &str) -> anyhow::Result<()> {
        self.mouse("mousePressed", selector).await
    }

    pub async fn mouse_up(&mut self, selector: &str) -> anyhow::Result<()> {
        self.mouse("mouseReleased", selector).await
    }

    /// The mouse, pressed or not, goes to the middle of an element.
    pub async fn mouse_move(&mut self, selector: &str) -> anyhow::Result<()> {
        self.mouse("mouseMoved", selector).await
    }

    async fn mouse(&mut self, kind: &str, selector: &str) -> anyhow::Result<()> {
        let middle = format!(
            "(() => {{ const e = document.querySelector({}); e.scrollIntoView({{ block: 'nearest' }});
              const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()",
            Value::from(selector)
        );
        let middle = self.evaluate(&middle).await?;
        let event = json!({ "type": kind, "x": middle[0], "y": middle[1], "button": "left", "clickCount": 1 });
        self.call("Input.dispatchMouseEvent", event).await.map(drop)
    }

    /// Text comes into the focused field, as from an input method.
    pub async fn type_text(&mut self, text: &str) -> anyhow::Result<()> {
        self.call("Input.insertText", json!({ "text": text })).await.map(drop)
    }

    /// The page as a PNG file.
    pub async fn screenshot(&mut self, path: &Path) -> anyhow::Result<()> {
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" })).await?;
        let png = BASE64_STANDARD.decode(shot["data"].as_str().context("a screenshot's data")?)?;
        std::fs::write(path, png).with_context(|| format!("writing {}", path.display()))
    }

    /// What the page's console has reported as an error so far, uncaught exceptions and failed requests included.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    async fn call(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.calls += 1;
        let id = self.calls;
        let mut call = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            call["sessionId"] = Value::from(session.as_str());
        }
        let deadline = Instant::now() + DEADLINE;
        timeout(DEADLINE, self.socket.send(Message::text(call.to_string())))
            .await
            .context("sending to the browser")??;
        loop {
            let next = timeout_at(deadline, self.socket.next());
            let message = next.await.with_context(|| format!("{method} had no answer within {DEADLINE:?}"))?;
            let Message::Text(text) = message.context("the browser closed its socket")?? else { continue };
            let mut message: Value = serde_json::from_str(&text).context("the browser's JSON")?;
            if message["id"] == id {
                anyhow::ensure!(message["error"].is_null(), "{method}: {}", message["error"]["message"]);
                return Ok(message["result"].take());
            }
            self.problems.extend(problem(&message));
        }
    }
}

/// An expression for the pixels of the page's canvas, for [`picture_of`].
pub(crate) const READ_CANVAS: &str = "(() => {
    const canvas = document.querySelector('canvas') ?? document.querySelector('causeway-world').shadowRoot.querySelector('canvas');
    const { width, height } = canvas;
    const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
    let rgb = '';
    for (let i = 0; i < data.length; i += 4) rgb += String.fromCharCode(data[i], data[i + 1], data[i + 2]);
    return { width, height, rgb: btoa(rgb) };
})()";

/// The picture that [`READ_CANVAS`] gave.
pub(crate) fn picture_of(read: &Value) -> anyhow::Result<Picture> {
    let side = |name: &str| read[name].as_u64().and_then(|side| u32::try_from(side).ok()).context("a canvas's side");
    let size = Size { width: side("width")?, height: side("height")? };
    let rgb = BASE64_STANDARD.decode(read["rgb"].as_str().context("a canvas's pixels")?)?;
    Ok(Picture { size, rgb })
}

/// The words of an event that reports an error.
fn problem(event: &Value) -> Option<String> {
    let params = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(described(&params["exceptionDetails"])),
        "Runtime.consoleAPICalled" if params["type"] == "error" => Some(params["args"].to_string()),
        "Log.entryAdded" if params["entry"]["level"] == "error" => {
            Some(format!("{} {}", params["entry"]["text"], params["entry"]["url"]))
        }
        _ => None,
    }
}

fn described(exception: &Value) -> String {
    match exception["exception"]["description"].as_str() {
        Some(description) => description.to_owned(),
        None => exception["text"].to_string(),
    }
}
