//! NATS: two streams, and the connection to them.
//!
//! `causeway_nodes` holds a record of each node, for three seconds. `causeway_line_WORLD` is the log of one world: a record
//! for each ticket, grant and resumable session, the newest of each. A grant is written with the number at which the log must
//! end (`Nats-Expected-Last-Sequence`), so it is a compare-and-set against all that the other nodes have written.
//! <https://docs.nats.io/nats-concepts/jetstream>

mod journal;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use async_nats::ConnectOptions;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::{Config, LastRawMessageErrorKind, StorageType};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{Mutex, Notify, OnceCell, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::ClusterSettings;
use super::credentials::Credentials;
use super::reading::{BEGIN, Heard, NotWritten};
use super::rules::nodes::PRESENT_MS;

/// Longest wait for an answer of NATS.
const ANSWER: Duration = Duration::from_secs(2);

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(250);

/// What was heard and not handled: a node that cannot keep up stops reading, and NATS waits.
const HEARD_WAITING: usize = 1024;

/// With so many servers each record is kept by three of them.
const REPLICATED_FROM: usize = 3;

const NODES: &str = "causeway_nodes";

/// The connection.
#[derive(Clone)]
pub(crate) struct Nats {
    context: jetstream::Context,
    line: String,
    /// For the journals of this world's sessions.
    world: String,
    replicas: usize,
    states: Arc<OnceCell<ObjectStore>>,
    heard: Arc<Mutex<mpsc::Receiver<Heard>>>,
    again: Arc<Notify>,
    /// Ends the readers with the last clone.
    _readers: Arc<JoinSet<()>>,
}

impl Nats {
    /// Whether the settings can be used: a wrong file is told before the world is loaded.
    pub(crate) fn check(settings: &ClusterSettings) -> anyhow::Result<()> {
        options(settings).map(drop)
    }

    /// Connect, now or as soon as a server is there, and read all that concerns this world.
    pub(super) async fn connect(settings: &ClusterSettings, world: &str) -> anyhow::Result<Nats> {
        let client = options(settings)?.connect(settings.servers.clone()).await.context("--cluster")?;
        let mut context = jetstream::new(client);
        context.set_timeout(ANSWER);
        let replicas = if settings.servers.len() >= REPLICATED_FROM { REPLICATED_FROM } else { 1 };
        let line = format!("causeway_line_{world}");
        let (tell, heard) = mpsc::channel(HEARD_WAITING);
        let again = Arc::new(Notify::new());
        let mut readers = JoinSet::new();
        let streams = [
            Config {
                name: line.clone(),
                subjects: vec![format!("{line}.>")],
                max_messages_per_subject: 1,
                storage: StorageType::File,
                num_replicas: replicas,
                ..Config::default()
            },
            Config {
                name: NODES.to_owned(),
                subjects: vec![format!("{NODES}.>")],
                max_messages_per_subject: 1,
                max_age: Duration::from_millis(PRESENT_MS),
                storage: StorageType::Memory,
                num_replicas: replicas,
                // The window must not be longer than records live.
                duplicate_window: Duration::from_secs(1),
                ..Config::default()
            },
        ];
        for stream in streams {
            let (context, tell, again) = (context.clone(), tell.clone(), Arc::clone(&again));
            readers.spawn(async move {
                while !tell.is_closed() {
                    tokio::select! {
                        error = read_stream(&context, &stream, &tell) => {
                            tracing::debug!(stream = stream.name, error = format!("{error:#}"), "reading NATS again");
                        }
                        () = again.notified() => {}
                    }
                    sleep(AGAIN).await;
                }
            });
        }
        let (world, states, heard) = (world.to_owned(), Arc::default(), Arc::new(Mutex::new(heard)));
        Ok(Nats { context, line, world, replicas, states, heard, again, _readers: Arc::new(readers) })
    }

    /// What is told next. Cancel-safe.
    pub(super) async fn hear(&self) -> Heard {
        match self.heard.lock().await.recv().await {
            Some(heard) => heard,
            // The readers have ended: the process does.
            None => std::future::pending().await,
        }
    }

    /// Forget the line and read it again.
    pub(super) fn read_again(&self) {
        self.again.notify_waiters();
    }

    /// Write a node's record; an empty one when it leaves. Whether NATS took it.
    pub(super) async fn announce(&self, node: &str, record: Bytes) -> bool {
        self.publish(format!("{NODES}.{node}"), PublishMessage::build().payload(record)).await.is_ok()
    }

    /// Write a record of the line: only if the log ends at `after`, where that is said. Gives its number.
    pub(super) async fn write(&self, name: &str, record: Bytes, after: Option<u64>) -> Result<u64, NotWritten> {
        let message = PublishMessage::build().payload(record);
        let message = match after {
            Some(after) => message.expected_last_sequence(after),
            None => message,
        };
        self.publish(format!("{}.{name}", self.line), message).await
    }

    async fn publish(&self, subject: String, message: PublishMessage) -> Result<u64, NotWritten> {
        let sent = async {
            let told = self.context.send_publish(subject, message).await?;
            told.await
        };
        match timeout(ANSWER, sent).await {
            Ok(Ok(ack)) => Ok(ack.sequence),
            Ok(Err(error)) if error.kind() == PublishErrorKind::WrongLastSequence => Err(NotWritten::Moved),
            Ok(Err(error)) => {
                tracing::debug!(%error, "not written to NATS");
                Err(NotWritten::Lost)
            }
            Err(_elapsed) => Err(NotWritten::Lost),
        }
    }

    /// The record of this name as it stands now; empty: removed.
    pub(super) async fn read(&self, name: &str) -> Result<Option<Bytes>, NotWritten> {
        let read = async {
            let stream = self.context.get_stream_no_info(&self.line).await.map_err(|_| NotWritten::Lost)?;
            match stream.get_last_raw_message_by_subject(&format!("{}.{name}", self.line)).await {
                Ok(message) => Ok(Some(message.payload)),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(_) => Err(NotWritten::Lost),
            }
        };
        timeout(ANSWER, read).await.unwrap_or(Err(NotWritten::Lost))
    }

    /// Remove what is left of a record that was removed.
    pub(super) async fn erase(&self, number: u64) {
        let erase = async {
            let stream = self.context.get_stream_no_info(&self.line).await.ok()?;
            stream.delete_message(number).await.ok()
        };
        // It is a few bytes; the next node that joins removes it.
        let _ = timeout(ANSWER, erase).await;
    }
}

/// Tell all that a stream holds and will hold, until something fails.
async fn read_stream(context: &jetstream::Context, config: &Config, tell: &mpsc::Sender<Heard>) -> anyhow::Error {
    match tell_stream(context, config, tell).await {
        Ok(()) => anyhow::anyhow!("the stream ended"),
        Err(error) => error,
    }
}

async fn tell_stream(context: &jetstream::Context, config: &Config, tell: &mpsc::Sender<Heard>) -> anyhow::Result<()> {
    let is_line = config.name != NODES;
    let prefix = format!("{}.", config.name);
    let stream = context.get_or_create_stream(config.clone()).await?;
    let mut state = stream.get_info().await?.state;
    if is_line && state.last_sequence == 0 {
        let told = context.publish(format!("{prefix}{BEGIN}"), Bytes::new()).await?;
        told.await?;
        state = stream.get_info().await?.state;
    }
    let consumer = push::OrderedConfig {
        deliver_subject: context.client().new_inbox(),
        deliver_policy: DeliverPolicy::All,
        ..push::OrderedConfig::default()
    };
    let mut messages = stream.create_consumer(consumer).await?.messages().await?;
    let mut is_current = !is_line;
    if is_line {
        tell.send(Heard::Anew).await?;
        if state.messages == 0 {
            tell.send(Heard::Current(state.last_sequence)).await?;
            is_current = true;
        }
    }
    loop {
        let next = messages.next();
        let message = match is_current {
            true => next.await,
            // All that was counted may have been erased since.
            false => timeout(ANSWER, next).await.context("the line did not come to its end")?,
        };
        let message = message.context("no more messages")??;
        let told = message.info().map_err(|error| anyhow::anyhow!("{error}"))?;
        let (number, pending) = (told.stream_sequence, told.pending);
        let at_ms = u64::try_from(told.published.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        let name = message.subject.strip_prefix(&prefix).unwrap_or_default().to_owned();
        let record = message.payload.clone();
        let heard = if is_line { Heard::Entry(number, name, record) } else { Heard::Presence(name, record, at_ms) };
        tell.send(heard).await?;
        if !is_current && pending == 0 {
            is_current = true;
            tell.send(Heard::Current(state.last_sequence.max(number))).await?;
        }
    }
}

fn options(settings: &ClusterSettings) -> anyhow::Result<ConnectOptions> {
    for server in &settings.servers {
        let url = url::Url::parse(server).ok().filter(|url| matches!(url.scheme(), "nats" | "tls") && url.has_host());
        let url = url.context("--cluster: each server is nats://HOST:PORT or tls://HOST:PORT")?;
        ensure!(
            url.username().is_empty() && url.password().is_none(),
            "--cluster: no user and no password here, where all can read them: name a file with --cluster-credentials"
        );
    }
    let options = ConnectOptions::new()
        .name("causeway")
        .retry_on_initial_connect()
        .connection_timeout(ANSWER)
        .request_timeout(Some(ANSWER))
        .ping_interval(Duration::from_secs(2))
        .reconnect_delay_callback(|attempts| AGAIN.mul_f64((attempts as f64).clamp(1.0, 4.0)))
        .event_callback(|event| async move { tracing::info!(%event, "NATS") });
    let Some(path) = &settings.credentials else { return Ok(options) };
    let at = || format!("--cluster-credentials {}", path.display());
    let text = std::fs::read_to_string(path).with_context(at)?;
    let said = match Credentials::parse(&text) {
        Ok(said) => said,
        Err(wrong) => bail!("{}: {wrong}", at()),
    };
    let mut options = options;
    if let Some(nsc) = &said.nsc {
        options = options.credentials(nsc).with_context(at)?;
    }
    if let Some(seed) = said.nkey {
        options = options.nkey(seed);
    }
    if let Some((user, password)) = said.user {
        options = options.user_and_password(user, password);
    }
    if let Some(ca) = said.ca {
        options = options.add_root_certificates(ca).require_tls(true);
    }
    if let Some((cert, key)) = said.own {
        options = options.add_client_certificate(cert, key).require_tls(true);
    }
    Ok(options)
}
