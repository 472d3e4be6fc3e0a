//! This server as a node of a cluster: what sessions ask of it, and how it is with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::ClusterSettings;
use super::levels::{Levels, Relayed, is_fresh};
use super::nats::Nats;
use super::rules;
use super::rules::grant::NotGranted;
use super::rules::nodes::Presence;
use super::rules::ticket::{KeyShare, Needs};
use super::rules::token::{GrantToken, resume_name};
use super::serving::Serving;
use super::tickets::{Ask, Asked, Claim, Command, Known, Way};
use crate::admission::queue::Queue;
use crate::observe::metrics::ClusterLevels;
use crate::phase::Phase;

/// How often a node says that it is there.
const ANNOUNCED_EVERY: Duration = Duration::from_secs(1);

/// This server in its cluster.
pub(crate) struct Cluster {
    commands: mpsc::UnboundedSender<Command>,
    levels: Arc<Levels>,
    present: watch::Receiver<Vec<String>>,
    task: JoinHandle<()>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cluster {
    /// Begin to join. It goes on in a task of its own: until NATS answers, this node is alone.
    ///
    /// # Errors
    /// If other nodes cannot reach the address that it would advertise.
    pub(crate) fn start(
        settings: &ClusterSettings,
        (queue, sessions_waiting): (Arc<Queue>, usize),
        listens: std::net::SocketAddr,
        phase: watch::Receiver<Phase>,
    ) -> anyhow::Result<Arc<Cluster>> {
        let url = advertised(settings, listens)?;
        let (commands, obeyed) = mpsc::unbounded_channel();
        let (told, present) = watch::channel(Vec::new());
        let levels = Arc::new(Levels::default());
        let (settings, own, counted) = (settings.clone(), commands.clone(), Arc::clone(&levels));
        let task = tokio::spawn(async move {
            let world = queue.world().await;
            let nats = match Nats::connect(&settings, &world).await {
                Ok(nats) => nats,
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "no cluster: this server is alone");
                    std::future::pending().await
                }
            };
            let me = uuid::Uuid::new_v4().simple().to_string();
            tracing::info!(node = me, %url, world, "joining the cluster");
            let (took, taken) = watch::channel(None);
            let describe = {
                let (queue, url, phase) = (Arc::clone(&queue), url.clone(), phase.clone());
                let world = world.clone();
                move || presence(&queue, &world, &url, *phase.borrow())
            };
            let announces = announce(nats.clone(), me.clone(), describe, (took, Arc::clone(&counted)), phase.clone());
            let serving =
                Serving::new((me, url, world), nats, (queue, sessions_waiting), (taken, phase), (own, told, counted));
            tokio::join!(announces, serving.run(obeyed));
        });
        Ok(Arc::new(Cluster { commands, levels, present, task }))
    }

    /// Stand in line for a place, on this node or another.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(crate) fn ask(&self, needs: Needs, key: Option<KeyShare>) -> anyhow::Result<Asked> {
        self.line_up(needs, key, false)
    }

    /// As [`Cluster::ask`], for a client that will come with the token, to this node too.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(crate) fn ask_ahead(&self, needs: Needs, key: Option<KeyShare>) -> anyhow::Result<Asked> {
        self.line_up(needs, key, true)
    }

    fn line_up(&self, needs: Needs, key: Option<KeyShare>, comes: bool) -> anyhow::Result<Asked> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let token = GrantToken::new(id.clone(), 1)?;
        let (waiting, hears) = watch::channel(None);
        let (outcome, told) = oneshot::channel();
        self.tell(Command::Ask(Box::new(Ask { id: id.clone(), token, needs, key, comes, waiting, outcome })));
        Ok(Asked { id, waiting: hears, outcome: told, commands: self.commands.clone(), arrived: false })
    }

    /// What a token opens here.
    ///
    /// # Errors
    /// Says why it opens nothing.
    pub(crate) async fn claim(&self, token: &str) -> Result<Claim, NotGranted> {
        let token = GrantToken::read(token).ok_or(NotGranted::NoGrant)?;
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Claim(token, reply));
        answer.await.unwrap_or(Err(NotGranted::NoAnswer))
    }

    /// The way to the session of a resume token, if another node has it.
    pub(crate) async fn find(&self, resume_token: &str, account: Option<&str>) -> Option<Way> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Find(resume_name(resume_token), account.map(str::to_owned), reply));
        answer.await.ok()?
    }

    /// Let any node find the session of this resume token.
    pub(crate) fn know(&self, resume_token: &str) -> Known {
        let name = resume_name(resume_token);
        self.tell(Command::Known(name.clone(), true));
        Known { name, commands: self.commands.clone() }
    }

    /// The node that drew this session is gone: others need not count with it.
    pub(crate) fn broken(&self, id: &str) {
        self.tell(Command::Broken(id.to_owned()));
    }

    /// Whether a node is there, as far as this one knows.
    pub(crate) fn is_present(&self, node: &str) -> bool {
        self.present.borrow().iter().any(|present| present == node)
    }

    /// How it is with the cluster.
    pub(crate) fn now(&self) -> ClusterLevels {
        let Levels { nodes, waiting, grants, relayed, .. } = &*self.levels;
        ClusterLevels {
            joined: self.is_joined(),
            nodes: nodes.load(Ordering::Relaxed),
            waiting: waiting.load(Ordering::Relaxed),
            grants: grants.load(Ordering::Relaxed),
            relayed: relayed.load(Ordering::Relaxed),
        }
    }

    /// Whether NATS takes this node's records.
    pub(crate) fn is_joined(&self) -> bool {
        *self.levels.joined.borrow()
    }

    /// One more session is drawn elsewhere for a client of this node, until this is dropped.
    pub(crate) fn relayed(&self) -> Relayed {
        Relayed::new(Arc::clone(&self.levels))
    }

    fn tell(&self, command: Command) {
        // An error: the task is gone, and the server with it.
        let _ = self.commands.send(command);
    }
}

/// Where others reach this node.
fn advertised(settings: &ClusterSettings, listens: std::net::SocketAddr) -> anyhow::Result<String> {
    let Some(said) = &settings.advertise else {
        ensure!(
            !listens.ip().is_unspecified(),
            "--cluster: this server listens on all addresses: say with --advertise ws://HOST:PORT where other nodes reach it"
        );
        return Ok(format!("ws://{listens}"));
    };
    let url = url::Url::parse(said).ok().filter(|url| url.scheme() == "ws" && url.has_host());
    let url = url.context("--advertise: must be ws://HOST:PORT; nodes speak to each other without TLS")?;
    ensure!(
        url.path() == "/" && url.query().is_none() && url.username().is_empty() && url.password().is_none(),
        "--advertise: a host and a port alone, as in ws://10.0.0.1:30000"
    );
    Ok(said.trim_end_matches('/').to_owned())
}

fn presence(queue: &Queue, world: &str, url: &str, phase: Phase) -> Presence {
    let room = queue.room();
    Presence {
        world: world.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        url: url.to_owned(),
        sessions_max: room.sessions_max,
        sessions_free: room.sessions_max.saturating_sub(room.sessions),
        bytes_max: room.bytes_max,
        bytes_free: room.bytes_max.saturating_sub(room.bytes),
        load: room.load,
        load_max: room.load_max,
        draining: phase != Phase::Serving,
    }
}

/// Say each second that this node is there, and at the end that it leaves.
async fn announce(
    nats: Nats,
    me: String,
    describe: impl Fn() -> Presence,
    (took, levels): (watch::Sender<Option<Instant>>, Arc<Levels>),
    mut phase: watch::Receiver<Phase>,
) {
    let mut ticks = interval(ANNOUNCED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = Phase::Stopping.reached(&mut phase) => break,
        }
        let began = Instant::now();
        let record = rules::write(&describe()).expect("a node's record is short");
        let was_taken = nats.announce(&me, record.into()).await;
        if was_taken {
            took.send_replace(Some(began));
        }
        let is_joined = is_fresh(*took.borrow());
        levels.joined.send_if_modified(|joined| std::mem::replace(joined, is_joined) != is_joined);
    }
    nats.announce(&me, Bytes::new()).await;
}
