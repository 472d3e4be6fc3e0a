//! This server as a node of a cluster: what sessions ask of it, and how it is with it.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::ClusterSettings;
use super::journal::{self, Journal, Kept};
use super::levels::{Levels, Relayed, is_fresh};
use super::nats::Nats;
use super::rules;
use super::rules::grant::NotGranted;
use super::rules::nodes::Presence;
use super::rules::ticket::{KeyShare, Needs};
use super::rules::token::{GrantToken, resume_name};
use super::serving::Serving;
use super::tickets::{Ask, Asked, Claim, Command, Commands, Ending, Knowing, Known, Located};
use crate::admission::queue::Queue;
use crate::observe::metrics::ClusterLevels;
use crate::phase::Phase;

/// How often a node says that it is there.
const ANNOUNCED_EVERY: Duration = Duration::from_secs(1);

/// How often a node looks whether it was paused.
const BEATS_EVERY: Duration = Duration::from_millis(250);

/// This server in its cluster.
pub(crate) struct Cluster {
    commands: Commands,
    levels: Arc<Levels>,
    present: watch::Receiver<Vec<String>>,
    /// Set once the world is known.
    nats: Arc<OnceLock<Nats>>,
    /// Chunks from state to state, where sessions have journals.
    journal: Option<u32>,
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
        (queue, sessions_waiting, connections): (Arc<Queue>, usize, usize),
        listens: std::net::SocketAddr,
        phase: watch::Receiver<Phase>,
    ) -> anyhow::Result<Arc<Cluster>> {
        let url = advertised(settings, listens)?;
        let (commands, obeyed) = Commands::new(connections);
        let (told, present) = watch::channel(Vec::new());
        let levels = Arc::new(Levels::default());
        let (settings, own, counted) = (settings.clone(), commands.clone(), Arc::clone(&levels));
        let (journal, nats) = (settings.journal, Arc::new(OnceLock::new()));
        let connected: Arc<OnceLock<Nats>> = Arc::clone(&nats);
        let task = tokio::spawn(async move {
            let world = queue.world().await;
            let nats = match Nats::connect(&settings, &world).await {
                Ok(nats) => nats,
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "no cluster: this server is alone");
                    std::future::pending().await
                }
            };
            // It is connected once.
            let _ = connected.set(nats.clone());
            let me = uuid::Uuid::new_v4().simple().to_string();
            tracing::info!(node = me, %url, world, "joining the cluster");
            let (took, taken) = watch::channel(None);
            let describe = {
                let (queue, url, phase) = (Arc::clone(&queue), url.clone(), phase.clone());
                let world = world.clone();
                move || presence(&queue, &world, &url, *phase.borrow())
            };
            let announces = announce(nats.clone(), me.clone(), describe, (took, Arc::clone(&counted)), phase.clone());
            let serving = Serving::new(
                (me, url, world),
                (nats, journal.is_some()),
                (queue, sessions_waiting),
                (taken, phase),
                (own.clone(), told, Arc::clone(&counted)),
            );
            tokio::join!(announces, serving.run(obeyed), beat(counted, own));
        });
        Ok(Arc::new(Cluster { commands, levels, present, nats, journal, task }))
    }

    /// Stand in line for a place, on this node or another.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(crate) fn ask(&self, needs: Needs, key: Option<KeyShare>) -> anyhow::Result<Asked> {
        self.line_up(needs, key, (false, None))
    }

    /// As [`Cluster::ask`], for a client that will come with the token, to this node too.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(crate) fn ask_ahead(&self, needs: Needs, key: Option<KeyShare>) -> anyhow::Result<Asked> {
        self.line_up(needs, key, (true, None))
    }

    /// As [`Cluster::ask`], for a session that runs here and leaves: before all that came after it. It counts for its key, and
    /// is not stopped by it.
    pub(crate) fn ask_to_move(&self, needs: Needs, account: Option<String>, came: u64) -> anyhow::Result<Asked> {
        let key = account.map(|name| KeyShare { name, sessions: usize::MAX });
        self.line_up(needs, key, (false, Some(came)))
    }

    fn line_up(
        &self,
        needs: Needs,
        key: Option<KeyShare>,
        (comes, moves): (bool, Option<u64>),
    ) -> anyhow::Result<Asked> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let token = GrantToken::new(id.clone(), 1)?;
        let (waiting, hears) = watch::channel(None);
        let (outcome, told) = oneshot::channel();
        self.tell(Command::Ask(Box::new(Ask { id: id.clone(), token, needs, key, comes, moves, waiting, outcome })));
        Ok(Asked { id, waiting: hears, outcome: Some(told), commands: self.commands.clone(), arrived: false })
    }

    /// What a token opens here.
    ///
    /// # Errors
    /// Says why it opens nothing.
    pub(crate) async fn claim(&self, token: &str) -> Result<Claim, NotGranted> {
        let token = GrantToken::read(token).ok_or(NotGranted::NoGrant)?;
        let (reply, answer) = oneshot::channel();
        self.commands.ask(Command::Claim(token, reply)).await;
        answer.await.unwrap_or(Err(NotGranted::NoAnswer))
    }

    /// Where the session of a resume token is, which is not here.
    pub(crate) async fn find(&self, resume_token: &str, account: Option<&str>) -> Located {
        let (reply, answer) = oneshot::channel();
        self.commands.ask(Command::Find(resume_name(resume_token), account.map(str::to_owned), reply)).await;
        answer.await.unwrap_or(Located::Nowhere)
    }

    /// Let any node find the session of this resume token. `journaled`: what a node needs to go on with it, and whose it is.
    pub(crate) fn know(&self, resume_token: &str, journaled: Option<(Needs, Option<String>)>) -> Known {
        let name = resume_name(resume_token);
        let (reply, told) = oneshot::channel();
        let (lost, hears) = watch::channel(false);
        self.tell(Command::Known(Knowing { known: name.clone(), journaled, lost, reply }));
        Known {
            name,
            ending: Ending::Over,
            told: Some(told),
            lost: hears,
            levels: Arc::clone(&self.levels),
            commands: self.commands.clone(),
        }
    }

    /// Whether sessions here have journals.
    pub(crate) fn has_journals(&self) -> bool {
        self.journal.is_some()
    }

    /// The journal of a session that `wants` it. `from`: which of its two states it has gone on from.
    pub(crate) fn journal(&self, resume_token: &str, wants: Arc<AtomicBool>, from: Option<usize>) -> Option<Journal> {
        Some(Journal::new(
            self.nats.get()?.clone(),
            self.levels.joined.subscribe(),
            self.journal?,
            resume_token,
            wants,
            from,
        ))
    }

    /// What the journal of this session has.
    pub(crate) async fn read_journal(&self, resume_token: &str) -> anyhow::Result<Kept> {
        journal::read(self.nats.get().context("this node has not joined")?, resume_token).await
    }

    /// The node that drew this session is gone: others need not count with it.
    pub(crate) fn broken(&self, token: &GrantToken) {
        self.tell(Command::Broken(token.id.clone(), token.epoch));
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
        self.commands.say(command);
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

/// Notice a pause of the whole process. It waits for nothing else: a NATS that does not answer is no pause.
async fn beat(levels: Arc<Levels>, commands: Commands) {
    let mut ticks = interval(BEATS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !levels.beat() {
            commands.ask(Command::Paused).await;
        }
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
