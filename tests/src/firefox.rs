//! One page in a headless Firefox, driven over WebDriver BiDi (<https://w3c.github.io/webdriver-bidi/>): enough to walk.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use pipeline::world::Picture;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::browser::{Process, READ_CANVAS, picture_of};

/// For one answer of the browser, and for a condition on the page. Firefox starts more slowly than Chromium.
const DEADLINE: Duration = Duration::from_secs(60);

pub struct Firefox {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The one tab.
    context: String,
    calls: u64,
    problems: Vec<String>,
    _process: Process,
}

impl Firefox {
    /// Start a browser with a profile of its own and one empty tab of 1280x800.
    pub async fn launch() -> anyhow::Result<Firefox> {
        let mut process = Process::start("firefox-esr", |profile| {
            let profile = profile.display().to_string();
            ["--headless", "--no-remote", "--remote-debugging-port", "0", "--profile", &profile, "about:blank"]
                .map(String::from)
                .to_vec()
        })?;
        let address = process
            .written("WebDriverBiDiServer.json", |written| {
                let listens: Value = serde_json::from_str(written).ok()?;
                Some(format!("ws://{}:{}/session", listens["ws_host"].as_str()?, listens["ws_port"]))
            })
            .await?;
        let (socket, _response) = connect_async(&address).await.context(address)?;
        let mut firefox = Firefox { socket, context: String::new(), calls: 0, problems: Vec::new(), _process: process };
        firefox.call("session.new", json!({ "capabilities": {} })).await?;
        firefox.call("session.subscribe", json!({ "events": ["log.entryAdded"] })).await?;
        let tree = firefox.call("browsingContext.getTree", json!({})).await?;
        firefox.context = tree["contexts"][0]["context"].as_str().context("a tab")?.to_owned();
        let viewport = json!({ "width": 1280, "height": 800 });
        firefox
            .call("browsingContext.setViewport", json!({ "context": firefox.context, "viewport": viewport }))
            .await?;
        Ok(firefox)
    }

    pub async fn navigate(&mut self, url: &str) -> anyhow::Result<()> {
        let navigate = json!({ "context": self.context, "url": url, "wait": "complete" });
        self.call("browsingContext.navigate", navigate).await.map(drop)
    }

    /// The value of a JavaScript expression.
    pub async fn evaluate(&mut self, expression: &str) -> anyhow::Result<Value> {
        let evaluate = json!({
            "expression": format!("JSON.stringify({expression})"),
            "target": { "context": self.context },
            "awaitPromise": true,
        });
        let evaluated = self.call("script.evaluate", evaluate).await?;
        ensure!(evaluated["type"] == "success", "{expression}: {}", evaluated["exceptionDetails"]["text"]);
        match evaluated["result"]["value"].as_str() {
            Some(value) => serde_json::from_str(value).context("the page's JSON"),
            None => Ok(Value::Null),
        }
    }

    /// Wait until an expression is true.
    pub async fn until(&mut self, condition: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while self.evaluate(condition).await? != Value::Bool(true) {
            ensure!(Instant::now() < deadline, "not within {DEADLINE:?}: {condition}; problems: {:?}", self.problems);
        }
        Ok(())
    }

    /// Wait until the page's canvas shows a picture for which `seen` returns something, and return that.
    pub async fn until_picture<T>(&mut self, what: &str, seen: impl Fn(&Picture) -> Option<T>) -> anyhow::Result<T> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = seen(&picture_of(&self.evaluate(READ_CANVAS).await?)?) {
                return Ok(found);
            }
            ensure!(Instant::now() < deadline, "no picture within {DEADLINE:?}: {what}; {:?}", self.problems);
        }
    }

    /// A key goes down and stays down. `key`: the letter on it.
    pub async fn key_down(&mut self, key: char) -> anyhow::Result<()> {
        self.key("keyDown", key).await
    }

    pub async fn key_up(&mut self, key: char) -> anyhow::Result<()> {
        self.key("keyUp", key).await
    }

    async fn key(&mut self, kind: &str, key: char) -> anyhow::Result<()> {
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": [{ "type": kind, "value": key }] });
        let perform = json!({ "context": self.context, "actions": [keyboard] });
        self.call("input.performActions", perform).await.map(drop)
    }

    /// What the page's console has reported as an error so far, uncaught exceptions included.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    async fn call(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.calls += 1;
        let id = self.calls;
        self.socket.send(Message::text(json!({ "id": id, "method": method, "params": params }).to_string())).await?;
        let deadline = Instant::now() + DEADLINE;
        loop {
            let next = timeout_at(deadline, self.socket.next());
            let message = next.await.with_context(|| format!("{method} had no answer within {DEADLINE:?}"))?;
            let Message::Text(text) = message.context("the browser closed its socket")?? else { continue };
            let mut message: Value = serde_json::from_str(&text).context("the browser's JSON")?;
            if message["method"] == "log.entryAdded" && message["params"]["level"] == "error" {
                self.problems.push(message["params"]["text"].to_string());
            }
            if message["id"] != id {
                continue;
            }
            if message["type"] == "error" {
                bail!("{method}: {}", message["message"]);
            }
            return Ok(message["result"].take());
        }
    }
}
