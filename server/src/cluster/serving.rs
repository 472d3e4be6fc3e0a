//! The task of a node: it reads the log, grants what fits here, and tells the sessions that wait.
//!
//! Everything that concerns the cluster happens in this one task, in the order in which it is told. A write waits for NATS
//! (a millisecond); the rest waits for nothing.
//!
//! While NATS does not answer, a client is taken here if it fits, nobody else waited as far as is known, and its own ticket
//! never left this node. No other node could have granted it: so no session is drawn twice. What is not kept meanwhile is the
//! order between clients of different nodes, and the count of a key's sessions on all nodes.
//!
//! Beside it: `asking` (clients of this node in the line), `granting` (what it draws), `owing` (records to be written).

mod asking;
mod granting;
mod owing;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::levels::{Levels, is_fresh};
use super::nats::Nats;
use super::reading::{GRANT, Heard, SESSION, entry, name};
use super::rules;
use super::rules::epoch::{Fence, Held};
use super::rules::grant::Grant;
use super::rules::line::{Entry, Line};
use super::rules::nodes::{Nodes, Presence};
use super::rules::stand::Stand;
use super::rules::ticket::{KeyShare, Needs};
use super::rules::token::GrantToken;
use super::tickets::{Command, Commands, Ending, Knowing, Outcome};
use crate::admission::queue::{Admitted, Queue};
use crate::admission::rules::{Obstacle, Waiting};
use crate::phase::Phase;

/// What is looked after without being told.
const TICK: Duration = Duration::from_millis(500);

pub(super) struct Serving {
    me: String,
    url: String,
    world: String,
    nats: Nats,
    queue: Arc<Queue>,
    /// Clients of this node that may wait.
    sessions_waiting: usize,
    line: Line,
    nodes: Nodes,
    /// Clients of this node in the line, by session.
    asks: BTreeMap<String, Asking>,
    /// Places for doors that have not come yet.
    reserved: HashMap<String, Reserved>,
    /// What is drawn here.
    held: HashMap<String, Holding>,
    /// Resumable sessions here, by the hash of their tokens.
    known: HashMap<String, Mine>,
    /// Who waits until all nodes can find a session.
    to_be_known: Vec<(String, oneshot::Sender<()>)>,
    used: HashSet<String>,
    /// Records to be written that no other node competes for: the newest of each name.
    owed: BTreeMap<String, Bytes>,
    removed: VecDeque<(Instant, u64)>,
    taken: watch::Receiver<Option<Instant>>,
    phase: watch::Receiver<Phase>,
    was_joined: bool,
    began: Instant,
    /// Of the client that asked last.
    order: u64,
    /// The end of the log at which a grant was refused, and when.
    moved: Option<(u64, Instant)>,
    /// Sessions here have journals.
    has_journals: bool,
    commands: Commands,
    told: watch::Sender<Vec<String>>,
    levels: Arc<Levels>,
}

struct Asking {
    token: GrantToken,
    fence: Fence,
    needs: Needs,
    key: Option<KeyShare>,
    comes: bool,
    came: Option<u64>,
    /// Which of this node's clients asked first.
    order: u64,
    /// Its ticket may be in NATS.
    was_written: bool,
    waiting: watch::Sender<Option<Waiting>>,
    /// `None`: it was told.
    outcome: Option<oneshot::Sender<Outcome>>,
}

struct Reserved {
    admitted: Admitted,
    epoch: u32,
    until: Instant,
}

/// A resumable session here.
struct Mine {
    stand: Stand,
    /// Another node has it.
    lost: watch::Sender<bool>,
}

struct Holding {
    held: Held,
    lost: watch::Sender<bool>,
    grant: Grant,
}

impl Serving {
    pub(super) fn new(
        (me, url, world): (String, String, String),
        (nats, has_journals): (Nats, bool),
        (queue, sessions_waiting): (Arc<Queue>, usize),
        (taken, phase): (watch::Receiver<Option<Instant>>, watch::Receiver<Phase>),
        (commands, told, levels): (Commands, watch::Sender<Vec<String>>, Arc<Levels>),
    ) -> Serving {
        Serving {
            me,
            url,
            world,
            nats,
            queue,
            sessions_waiting,
            line: Line::default(),
            nodes: Nodes::default(),
            asks: BTreeMap::new(),
            reserved: HashMap::new(),
            held: HashMap::new(),
            known: HashMap::new(),
            to_be_known: Vec::new(),
            used: HashSet::new(),
            owed: BTreeMap::new(),
            removed: VecDeque::new(),
            taken,
            phase,
            was_joined: false,
            began: Instant::now(),
            order: 0,
            moved: None,
            has_journals,
            commands,
            told,
            levels,
        }
    }

    pub(super) async fn run(mut self, mut obeyed: mpsc::Receiver<Command>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changed = self.queue.changes();
        let nats = self.nats.clone();
        loop {
            tokio::select! {
                heard = nats.hear() => self.hear(heard),
                command = obeyed.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => return,
                },
                _ = changed.changed() => {}
                _ = ticks.tick() => self.look_after(),
            }
            self.pay().await;
            self.decide().await;
            self.pay().await;
            self.is_known();
            self.tell();
        }
    }

    /// Whether this node may grant: it has read all, the others know of it, and it takes sessions.
    fn may_grant(&self) -> bool {
        let is_behind = self.behind_since().is_some();
        self.is_joined() && self.line.is_current() && !is_behind && *self.phase.borrow() == Phase::Serving
    }

    /// Since when this node knows that the log has gone on, and has not read how.
    fn behind_since(&self) -> Option<Instant> {
        self.moved.filter(|(seen, _)| *seen == self.line.seen()).map(|(_, since)| since)
    }

    fn is_joined(&self) -> bool {
        is_fresh(*self.taken.borrow()) && self.nodes.present(&self.me).is_some()
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Anew => self.line = Line::default(),
            Heard::Current(number) => {
                self.line.caught_up(number);
                self.assert_again();
                self.levels.has_read();
            }
            Heard::Entry(number, name, record) => self.read(number, &name, &record),
            Heard::Presence(node, record, at_ms) => match rules::read(&record) {
                Ok(presence) => {
                    let presence: Presence = presence;
                    // Nodes of another world have a line of their own.
                    if presence.world == self.world {
                        self.nodes.heard(&node, presence, at_ms);
                    }
                }
                Err(_) if record.is_empty() => self.nodes.left(&node),
                Err(error) => tracing::warn!(node, error, "a node's record cannot be read"),
            },
        }
    }

    fn read(&mut self, number: u64, name: &str, record: &[u8]) {
        if number <= self.line.seen() {
            return;
        }
        if record.is_empty() && !self.line.is_current() && name.contains('.') {
            // Left by somebody who has not erased it.
            self.removed.push_back((Instant::now(), number));
        }
        let Some(entry) = entry(name, record) else { return self.line.pass(number) };
        self.line.apply(number, entry.clone());
        if let Entry::Session(known, stand) = &entry {
            self.stands(known, stand.as_ref());
        }
        if let Entry::Grant(id, grant) = entry {
            if grant.is_none() {
                self.reserved.remove(&id);
                self.used.remove(&id);
            }
            self.fence(&id);
            self.granted(&id);
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Ask(ask) => self.ask(*ask).await,
            Command::Again(id, waiting, outcome) => self.again(&id, waiting, outcome),
            Command::Arrived(id) => drop(self.asks.remove(&id)),
            Command::Leave(id) => self.leave(&id),
            Command::Claim(token, reply) => {
                let claim = self.claim(&token).await;
                // Where nobody listens, its place is given back.
                let _ = reply.send(claim);
            }
            Command::Over(id, epoch) => {
                if self.held.get(&id).is_some_and(|holding| holding.held.epoch == epoch) {
                    self.held.remove(&id);
                    self.remove_grant(&id, epoch);
                }
            }
            Command::Broken(id, epoch) => {
                if self.line.grant(&id).is_some_and(|grant| grant.epoch == epoch) {
                    self.owe(name(GRANT, &id), Ok(Vec::new()));
                }
            }
            Command::Known(Knowing { known, journaled, lost, reply }) => {
                let node = self.me.clone();
                let stand = match journaled {
                    None => Stand::Node(node),
                    Some((needs, key)) => Stand::Journaled { node, needs, key },
                };
                self.owe(name(SESSION, &known), rules::write(&stand));
                self.to_be_known.push((known.clone(), reply));
                self.known.insert(known, Mine { stand, lost });
            }
            Command::Paused => {
                // What was written meanwhile may be that another node has a session of this one.
                tracing::warn!("this node was paused: it reads the line again before it sends");
                self.nats.read_again();
            }
            Command::Forget(known, Ending::Over) => {
                if self.known.remove(&known).is_some() {
                    self.owe(name(SESSION, &known), Ok(Vec::new()));
                }
            }
            // Its name is the other node's from now on.
            Command::Forget(known, Ending::Moved) => {
                self.known.remove(&known);
                self.owed.remove(&name(SESSION, &known));
            }
            Command::Find(known, account, reply) => {
                let located = self.find(&known, account).await;
                let _ = reply.send(located);
            }
        }
    }

    /// Tell clients where they stand, and the status pages how it is.
    fn tell(&mut self) {
        let nodes: Vec<String> = self.nodes.all().map(|(node, _)| node.to_owned()).collect();
        self.levels.nodes.store(nodes.len(), Ordering::Relaxed);
        self.told.send_if_modified(|told| std::mem::replace(told, nodes.clone()) != nodes);
        let there = self.line.waiting().filter(|(_, ticket)| self.nodes.present(&ticket.door).is_some());
        let positions: HashMap<&str, usize> = there.enumerate().map(|(at, (id, _))| (id, at + 1)).collect();
        self.levels.waiting.store(positions.len(), Ordering::Relaxed);
        let is_joined = self.is_joined();
        for (id, asking) in self.asks.iter().filter(|(_, asking)| asking.outcome.is_some()) {
            let position = positions.get(&**id).copied().unwrap_or(positions.len() + 1);
            let obstacle = if is_joined { self.obstacle(&asking.needs, position) } else { Obstacle::Order };
            let new = Some(Waiting { position, estimate: None, obstacle });
            asking.waiting.send_if_modified(|waiting| std::mem::replace(waiting, new) != new);
        }
    }
}
