//! What the tests share: a server on a free port with a world of the test's choice, and clients.
//!
//! The server runs on threads and a runtime of its own, so that a test that blocks or panics cannot stop it from stopping:
//! dropping a [`Server`] shuts it down, waits for it, and fails the test if it does not end.

pub mod actions;
pub mod browser;
pub mod bystander;
pub mod chance;
pub mod client;
pub mod cluster;
pub mod cosmos3;
pub mod document;
pub mod emulated;
pub mod encoding;
pub mod exposition;
pub mod fault;
pub mod firefox;
pub mod fuzz;
pub mod key_press;
pub mod keyed;
pub mod mp4;
pub mod openai;
pub mod order;
pub mod path_proxy;
pub mod pocket_walk;
pub mod puppet;
pub mod raw;
pub mod reference;
pub mod secure;
pub mod shaper;
pub mod waves;

use anyhow::{Result, ensure};
pub use causeway_client::message;
use client::Client;
use message::{Init, Message, Refused};
use puppet::{Puppet, Strings};
use server::engine::thread::Engine;
use server::{Limits, Phase};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Longer than any shutdown, shorter than a test runner's patience.
const STOPPED_WITHIN: Duration = Duration::from_secs(15);

/// A server on a free port of this machine, until it is dropped.
pub struct Server {
    pub address: SocketAddr,
    phase: watch::Sender<Phase>,
    thread: Option<std::thread::JoinHandle<Result<()>>>,
}

impl Server {
    /// With a puppet for a world and the limits a user gets.
    pub fn with(puppet: Puppet) -> Result<(Server, Strings)> {
        Server::limited(puppet, Limits::default())
    }

    pub fn limited(puppet: Puppet, limits: Limits) -> Result<(Server, Strings)> {
        let (load, strings) = puppet.rig();
        Ok((Server::start(load, limits)?, strings))
    }

    pub fn start(load: server::LoadWorld, limits: Limits) -> Result<Server> {
        Server::start_telling(load, limits, |_engine| ())
    }

    /// With its engine, to be asked for clips. The engine must be dropped before the server.
    pub fn with_engine(load: server::LoadWorld, limits: Limits) -> Result<(Server, Engine)> {
        let (tell, told) = std::sync::mpsc::channel();
        let server = Server::start_telling(load, limits, move |engine| {
            // Nobody listens to a server that was given up already.
            let _ = tell.send(engine);
        })?;
        let engine = told.recv_timeout(STOPPED_WITHIN).map_err(|_| anyhow::anyhow!("the engine did not start"))?;
        Ok((server, engine))
    }

    fn start_telling(
        load: server::LoadWorld,
        limits: Limits,
        tell: impl FnOnce(Engine) + Send + 'static,
    ) -> Result<Server> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (phase, phase_said) = watch::channel(Phase::Serving);
        // As few threads that encode as a user's server has.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(4)
            .enable_all()
            .build()?;
        let run = move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                server::serve_telling(listener, load, limits, phase_said, tell).await
            })
        };
        let thread = std::thread::Builder::new().name("server under test".into()).spawn(run)?;
        Ok(Server { address, phase, thread: Some(thread) })
    }

    pub fn url(&self) -> String {
        format!("ws://{}/v1/realtime_video/generate", self.address)
    }

    pub async fn connect(&self) -> Result<Client> {
        Client::connect(&self.url()).await
    }

    /// A connection on which this init was sent.
    pub async fn session(&self, init: Init) -> Result<Client> {
        let mut client = self.connect().await?;
        client.send(init).await?;
        Ok(client)
    }

    /// Let no new session in, and let the running ones finish.
    pub fn drain(&self) {
        self.phase.send_replace(Phase::Draining);
    }

    /// Stop it now, and see how it ended.
    pub fn stop(mut self) -> Result<()> {
        self.phase.send_replace(Phase::Stopping);
        self.join()
    }

    /// Wait until it ends by itself, and return how.
    pub fn ended(mut self) -> Result<()> {
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let deadline = Instant::now() + STOPPED_WITHIN;
        while !thread.is_finished() {
            ensure!(Instant::now() < deadline, "the server did not stop within {STOPPED_WITHIN:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        thread.join().map_err(|_| anyhow::anyhow!("the server panicked"))?
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Stopping);
        let ended = self.join();
        if !std::thread::panicking() {
            ended.expect("a server that was told to stop stops, without an error");
        }
    }
}

/// The smallest session: 16x16, raw, endless.
pub fn small() -> Init {
    Init::new("a meadow").size(16, 16)
}

/// Wait until so many sessions wait for a place.
pub async fn waiting(server: &Server, sessions: u64) -> Result<()> {
    counted(server, "sessions_waiting", sessions).await
}

/// Wait until so many clients have sent an init and are not running yet.
pub async fn opening(server: &Server, sessions: u64) -> Result<()> {
    counted(server, "sessions_opening", sessions).await
}

async fn counted(server: &Server, field: &str, sessions: u64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let (_, page) = raw::Raw::get(server.address, "/server_info").await?;
        let page: serde_json::Value = serde_json::from_str(&page)?;
        if page[field] == sessions {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{field} should be {sessions}: {page}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The next message refuses an init. What follows the reference's words is ours.
pub async fn refusal(client: &mut Client) -> Result<Refused> {
    match client.next().await? {
        Message::Error(error) => {
            ensure!(error.content.starts_with("invalid generate request"), "{error}");
            Ok(error)
        }
        other => anyhow::bail!("instead of a refusal: {other:?}"),
    }
}
