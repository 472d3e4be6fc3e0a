//! The task of a node: it reads the log, grants what fits here, and tells the sessions that wait.
//!
//! Everything that concerns the cluster happens in this one task, in the order in which it is told. A write waits for NATS
//! (a millisecond); the rest waits for nothing.
//!
//! While NATS does not answer, a client is taken here if it fits, nobody else waited as far as is known, and its own ticket
//! never left this node. No other node could have granted it: so no session is drawn twice. What is not kept meanwhile is the
//! order between clients of different nodes, and the count of a key's sessions on all nodes.
//!
//! Over 400 lines: one task, and all that it may be told.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::levels::{Levels, is_fresh};
use super::nats::Nats;
use super::reading::{GRANT, Heard, NotWritten, SESSION, TICKET, entry, name};
use super::rules;
use super::rules::epoch::{Fence, Held};
use super::rules::grant::{Grant, NotGranted};
use super::rules::line::{Entry, Fit, Line};
use super::rules::nodes::{Nodes, Presence};
use super::rules::ticket::{KeyShare, Needs, Ticket};
use super::rules::token::GrantToken;
use super::tickets::{Ask, Claim, Command, HeldGrant, Outcome, Place, Way};
use crate::admission::queue::{Admitted, Queue};
use crate::admission::rules::{Obstacle, Refused, Waiting};
use crate::phase::Phase;

/// A place is kept for so long for the door that was granted it.
const CLAIMED_WITHIN: Duration = Duration::from_secs(10);

/// What is left of a removed record is erased after so long: by then every reader has passed it, or reads all again.
const ERASED_AFTER: Duration = Duration::from_secs(60);

/// What is looked after without being told.
const TICK: Duration = Duration::from_millis(500);

/// A node that has never reached NATS takes clients by itself after so long: before that it may only have to be read.
const ALONE_AFTER: Duration = Duration::from_secs(5);

/// After a refused grant, what moved the log must have come within this time; otherwise it is read again.
const BEHIND_MAX: Duration = Duration::from_secs(1);

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
    known: HashSet<String>,
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
    commands: mpsc::UnboundedSender<Command>,
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

struct Holding {
    held: Held,
    lost: watch::Sender<bool>,
    grant: Grant,
}

impl Serving {
    pub(super) fn new(
        (me, url, world): (String, String, String),
        nats: Nats,
        (queue, sessions_waiting): (Arc<Queue>, usize),
        (taken, phase): (watch::Receiver<Option<Instant>>, watch::Receiver<Phase>),
        (commands, told, levels): (mpsc::UnboundedSender<Command>, watch::Sender<Vec<String>>, Arc<Levels>),
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
            known: HashSet::new(),
            used: HashSet::new(),
            owed: BTreeMap::new(),
            removed: VecDeque::new(),
            taken,
            phase,
            was_joined: false,
            began: Instant::now(),
            order: 0,
            moved: None,
            commands,
            told,
            levels,
        }
    }

    pub(super) async fn run(mut self, mut obeyed: mpsc::UnboundedReceiver<Command>) {
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
        if let Entry::Grant(id, grant) = entry {
            if grant.is_none() {
                self.reserved.remove(&id);
                self.used.remove(&id);
            }
            self.fence(&id);
            self.granted(&id);
        }
    }

    /// End what is drawn here if its grant stands no more. Others remove the grants of a node that was silent for long: a session
    /// whose client is connected here is granted again. One whose door is elsewhere was given up by that door.
    fn fence(&mut self, id: &str) {
        let Some(holding) = self.held.get(id).filter(|_| self.line.is_current()) else { return };
        let standing = self.line.grant(id);
        if holding.held.may_send(standing) {
            return;
        }
        if standing.is_none() && holding.grant.door == self.me {
            let grant = rules::write(&holding.grant);
            return self.owe(name(GRANT, id), grant);
        }
        tracing::info!(session = id, epoch = holding.held.epoch, "its grant stands no more: it ends here");
        holding.lost.send_replace(true);
    }

    /// After all was read again: what others have removed of this node's while it was silent is written again.
    fn assert_again(&mut self) {
        let ids: Vec<String> = self.held.keys().cloned().collect();
        ids.iter().for_each(|id| self.fence(id));
        let missing: Vec<String> =
            self.known.iter().filter(|name| self.line.session(name).is_none()).cloned().collect();
        for known in missing {
            self.owe(name(SESSION, &known), rules::write(&self.me));
        }
        let asked: Vec<String> = self.asks.keys().cloned().collect();
        for id in asked {
            let is_known = self.line.passed(&id).is_some() || self.line.grant(&id).is_some();
            if self.asks[&id].outcome.is_some() && !is_known {
                self.put(&id);
            }
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
            Command::Broken(id) => self.owe(name(GRANT, &id), Ok(Vec::new())),
            Command::Known(known, true) => {
                self.owe(name(SESSION, &known), rules::write(&self.me));
                self.known.insert(known);
            }
            Command::Known(known, false) => {
                if self.known.remove(&known) {
                    self.owe(name(SESSION, &known), Ok(Vec::new()));
                }
            }
            Command::Find(known, account, reply) => {
                let way = self.find(&known, account).await;
                let _ = reply.send(way);
            }
        }
    }

    /// Remove a grant of this node, unless another has the session by now.
    fn remove_grant(&mut self, id: &str, epoch: u32) {
        let is_ours = self.line.grant(id).is_none_or(|grant| grant.node == self.me && grant.epoch == epoch);
        if is_ours {
            self.owe(name(GRANT, id), Ok(Vec::new()));
        }
    }

    async fn ask(&mut self, Ask { id, token, needs, key, comes, waiting, outcome }: Ask) {
        if let Some(budget) = self.nodes.too_large(needs.bytes) {
            return drop(outcome.send(Outcome::Refused(Refused::TooLarge { bytes: needs.bytes, budget })));
        }
        if let Some(most) = self.has_all_its_sessions(key.as_ref()) {
            return drop(outcome.send(Outcome::TooManySessions(most)));
        }
        let asking = self.asks.values().filter(|asking| asking.outcome.is_some()).count();
        let free: usize = self.nodes.all().filter(|(_, node)| !node.draining).map(|(_, node)| node.sessions_free).sum();
        if asking >= self.sessions_waiting + free.max(1) {
            let refused = Refused::QueueFull { waiting: asking, obstacle: self.obstacle(&needs, asking + 1) };
            return drop(outcome.send(Outcome::Refused(refused)));
        }
        let (fence, outcome) = (Fence::default(), Some(outcome));
        self.order += 1;
        let order = self.order;
        let asking =
            Asking { token, fence, needs, key, comes, came: None, order, was_written: false, waiting, outcome };
        self.asks.insert(id.clone(), asking);
        if self.may_grant() && self.line.is_empty(|door| self.nodes.present(door).is_some()) && self.take(&id).await {
            return;
        }
        self.put(&id);
    }

    fn obstacle(&self, needs: &Needs, position: usize) -> Obstacle {
        self.nodes.obstacle(needs, position, |node| self.line.granted_to(node))
    }

    fn has_all_its_sessions(&self, key: Option<&KeyShare>) -> Option<usize> {
        let KeyShare { name, sessions } = key?;
        let has = self.line.sessions_of(name, |node| self.nodes.present(node).is_some());
        (has >= *sessions).then_some(*sessions)
    }

    /// Grant a client of this node a place here without a ticket: nobody waits. Whether it was.
    async fn take(&mut self, id: &str) -> bool {
        let asking = &self.asks[id];
        let Ok(admitted) = self.queue.try_place(asking.needs.wish()) else { return false };
        let ticket = self.ticket(asking);
        let grant = self.grant_of(&ticket, self.line.seen() + 1);
        self.write_grant(id, grant, admitted).await
    }

    fn ticket(&self, asking: &Asking) -> Ticket {
        Ticket {
            door: self.me.clone(),
            secret: asking.token.hash(),
            epoch: asking.fence.epoch(),
            came: asking.came,
            needs: asking.needs,
            key: asking.key.clone(),
        }
    }

    fn grant_of(&self, ticket: &Ticket, came: u64) -> Grant {
        Grant {
            node: self.me.clone(),
            url: self.url.clone(),
            door: ticket.door.clone(),
            secret: ticket.secret.clone(),
            epoch: ticket.epoch,
            came,
            key: ticket.key.as_ref().map(|key| key.name.clone()),
            place: true,
        }
    }

    /// Put a client's ticket into the line.
    fn put(&mut self, id: &str) {
        let ticket = self.ticket(&self.asks[id]);
        self.owe(name(TICKET, id), rules::write(&ticket));
    }

    fn owe(&mut self, name: String, record: Result<Vec<u8>, String>) {
        match record {
            Ok(record) => drop(self.owed.insert(name, record.into())),
            Err(error) => tracing::error!(name, error, "a record of the cluster was not written"),
        }
    }

    /// Write what is owed. While NATS does not answer, no ticket leaves this node.
    async fn pay(&mut self) {
        while let Some((name, record)) = self.next_owed() {
            if let Some(asking) = name.strip_prefix("ticket.").and_then(|id| self.asks.get_mut(id)) {
                asking.was_written = true;
            }
            match self.nats.write(&name, record.clone(), None).await {
                Ok(number) => {
                    self.owed.remove(&name);
                    if record.is_empty() {
                        self.removed.push_back((Instant::now(), number));
                    }
                }
                Err(error) => {
                    tracing::debug!(name, ?error, "still to be written");
                    return;
                }
            }
        }
    }

    fn next_owed(&self) -> Option<(String, Bytes)> {
        if !self.is_joined() || !self.line.is_current() {
            return None;
        }
        self.owed.first_key_value().map(|(name, record)| (name.clone(), record.clone()))
    }

    /// Grant what fits here, as long as something does.
    async fn decide(&mut self) {
        if !self.may_grant() {
            return self.decide_alone();
        }
        loop {
            let Serving { line, nodes, queue, .. } = self;
            let is_there = |node: &str| nodes.present(node).is_some();
            let mut place = None;
            let next = line.next(is_there, |_, ticket| {
                let key = ticket.key.as_ref();
                if key.is_some_and(|key| line.sessions_of(&key.name, is_there) >= key.sessions) {
                    return Fit::Never;
                }
                match queue.try_place(ticket.needs.wish()) {
                    Ok(admitted) => {
                        place = Some(admitted);
                        Fit::Now
                    }
                    Err(Refused::TooLarge { .. }) => Fit::Never,
                    Err(_) => Fit::Later,
                }
            });
            let (Some((id, came, ticket)), Some(admitted)) = (next, place) else { return };
            let grant = self.grant_of(&ticket, came);
            if !self.write_grant(&id, grant, admitted).await {
                return;
            }
        }
    }

    /// Write a grant if the log has not gone on. Whether it was written.
    async fn write_grant(&mut self, id: &str, grant: Grant, admitted: Admitted) -> bool {
        let record = rules::write(&grant).expect("a grant is shorter than its ticket");
        let (seen, epoch) = (self.line.seen(), grant.epoch);
        let reserved = Reserved { admitted, epoch, until: Instant::now() + CLAIMED_WITHIN };
        match self.nats.write(&name(GRANT, id), record.into(), Some(seen)).await {
            Ok(number) => {
                self.reserved.insert(id.to_owned(), reserved);
                self.levels.grants.fetch_add(1, Ordering::Relaxed);
                self.line.apply(number, Entry::Grant(id.to_owned(), Some(grant)));
                self.granted(id);
                true
            }
            Err(NotWritten::Moved) => {
                self.moved = Some((seen, Instant::now()));
                false
            }
            Err(NotWritten::Lost) => {
                // It may stand all the same: the log will tell.
                self.reserved.insert(id.to_owned(), reserved);
                if let Some(asking) = self.asks.get_mut(id) {
                    asking.was_written = true;
                }
                false
            }
        }
    }

    /// While NATS does not answer: see above.
    fn decide_alone(&mut self) {
        let knows_the_line = self.line.is_current() || self.began.elapsed() > ALONE_AFTER;
        if *self.phase.borrow() != Phase::Serving || self.is_joined() || !knows_the_line {
            return;
        }
        let others_wait = !self.line.is_empty(|door| door != self.me);
        let mine = self.asks.iter().filter(|(_, asking)| asking.outcome.is_some());
        let Some((id, asking)) =
            mine.filter(|(_, asking)| !asking.was_written && !asking.comes).min_by_key(|(_, asking)| asking.order)
        else {
            return;
        };
        if others_wait || self.has_all_its_sessions(asking.key.as_ref()).is_some() {
            return;
        }
        let Ok(admitted) = self.queue.try_place(asking.needs.wish()) else { return };
        let (id, grant) = (id.clone(), self.grant_of(&self.ticket(asking), self.line.seen()));
        self.owed.remove(&name(TICKET, &id));
        self.owe(name(GRANT, &id), rules::write(&grant));
        let place = self.hold(&id, grant, admitted);
        let outcome = self.asks.get_mut(&id).and_then(|asking| asking.outcome.take());
        let _ = outcome.expect("it waited").send(Outcome::Here(place));
    }

    /// Tell a client of this node that its session is granted, if it is.
    fn granted(&mut self, id: &str) {
        let Some(grant) = self.line.grant(id).cloned() else { return };
        let Some(asking) = self.asks.get_mut(id).filter(|asking| asking.fence.passes(grant.epoch)) else { return };
        asking.came = Some(grant.came);
        let (token, comes) = (asking.token.clone(), asking.comes);
        let Some(outcome) = asking.outcome.take() else { return };
        if asking.was_written {
            self.owe(name(TICKET, id), Ok(Vec::new()));
        } else {
            self.owed.remove(&name(TICKET, id));
        }
        let told = if grant.node == self.me && !comes {
            let Some(Reserved { admitted, .. }) = self.reserved.remove(id) else { return };
            Outcome::Here(self.hold(id, grant, admitted))
        } else {
            Outcome::Elsewhere(Way { url: grant.url, token, node: grant.node })
        };
        // Where nobody listens, the ticket's end is on its way.
        let _ = outcome.send(told);
    }

    fn hold(&mut self, id: &str, grant: Grant, admitted: Admitted) -> Place {
        let (lost, hears) = watch::channel(false);
        let epoch = grant.epoch;
        let held = Held { node: self.me.clone(), epoch };
        self.held.insert(id.to_owned(), Holding { held, lost, grant });
        let grant = HeldGrant { id: id.to_owned(), epoch, lost: hears, commands: self.commands.clone() };
        Place { admitted, grant }
    }

    /// The node that was granted does not answer: the ticket goes back to where it stood, in the next epoch.
    fn again(&mut self, id: &str, waiting: watch::Sender<Option<Waiting>>, outcome: oneshot::Sender<Outcome>) {
        let Some(asking) = self.asks.get_mut(id) else { return };
        let epoch = asking.fence.advance();
        // An error: the client waits in vain, and is told so in time.
        let Ok(token) = GrantToken::new(id.to_owned(), epoch) else { return };
        (asking.token, asking.waiting, asking.outcome) = (token, waiting, Some(outcome));
        // `grant` sorts before `ticket`: the old grant is removed first.
        self.owe(name(GRANT, id), Ok(Vec::new()));
        self.put(id);
    }

    fn leave(&mut self, id: &str) {
        let Some(asking) = self.asks.remove(id) else { return };
        if asking.was_written {
            self.owe(name(TICKET, id), Ok(Vec::new()));
        } else {
            self.owed.remove(&name(TICKET, id));
        }
        // What was granted and is not drawn here is given back; what is drawn here ends with its session.
        let is_granted = self.line.grant(id).is_some() || self.reserved.remove(id).is_some();
        if is_granted && !self.held.contains_key(id) {
            self.owe(name(GRANT, id), Ok(Vec::new()));
        }
    }

    async fn claim(&mut self, token: &GrantToken) -> Result<Claim, NotGranted> {
        // Of NATS itself, and not of what was read here: a grant that was taken back must not open anything.
        let record = self.nats.read(&name(GRANT, &token.id)).await.map_err(|_| NotGranted::NoAnswer)?;
        let record = record.filter(|record| !record.is_empty()).ok_or(NotGranted::NoGrant)?;
        let grant: Grant = rules::read(&record).map_err(|_| NotGranted::NoGrant)?;
        grant.opens(&self.me, token)?;
        let account = grant.key.clone();
        if !grant.place {
            if !self.used.insert(token.id.clone()) {
                return Err(NotGranted::Used);
            }
            self.owe(name(GRANT, &token.id), Ok(Vec::new()));
            return Ok(Claim { account, place: None });
        }
        let is_it = self.reserved.get(&token.id).is_some_and(|reserved| reserved.epoch == grant.epoch);
        let reserved = self.reserved.remove(&token.id).filter(|_| is_it).ok_or(NotGranted::Used)?;
        Ok(Claim { account, place: Some(self.hold(&token.id, grant, reserved.admitted)) })
    }

    async fn find(&mut self, known: &str, account: Option<String>) -> Option<Way> {
        let node = self.line.session(known)?.to_owned();
        let url = self.nodes.present(&node)?.url.clone();
        let id = uuid::Uuid::new_v4().simple().to_string();
        let token = GrantToken::new(id.clone(), 1).ok()?;
        let (door, secret) = (self.me.clone(), token.hash());
        let grant =
            Grant { node: node.clone(), url: url.clone(), door, secret, epoch: 1, came: 0, key: account, place: false };
        let record = rules::write(&grant).ok()?;
        self.nats.write(&name(GRANT, &id), record.into(), None).await.ok()?;
        Some(Way { url, token, node })
    }

    /// What time does: places that nobody came for, records of nodes that are lost, what is left of removed ones.
    fn look_after(&mut self) {
        let now = Instant::now();
        let is_joined = self.is_joined();
        if is_joined && !std::mem::replace(&mut self.was_joined, is_joined) && self.line.is_current() {
            // Records may have been erased while nothing was heard.
            self.nats.read_again();
        }
        self.was_joined = is_joined;
        if self.behind_since().is_some_and(|since| now.duration_since(since) > BEHIND_MAX) {
            self.moved = None;
            self.nats.read_again();
        }
        let late: Vec<String> =
            self.reserved.iter().filter(|(_, reserved)| reserved.until <= now).map(|(id, _)| id.clone()).collect();
        for id in late {
            let reserved = self.reserved.remove(&id).expect("it was just seen");
            tracing::info!(session = id, "nobody came for its place");
            self.remove_grant(&id, reserved.epoch);
        }
        if is_joined && self.line.is_current() {
            let mut names: Vec<String> = Vec::new();
            let lost = |node: &str| self.nodes.is_lost(node);
            let tickets = self.line.waiting().filter(|(_, ticket)| lost(&ticket.door));
            names.extend(tickets.map(|(id, _)| name(TICKET, id)));
            let grants =
                self.line.grants().filter(|(_, grant)| lost(if grant.place { &grant.node } else { &grant.door }));
            names.extend(grants.map(|(id, _)| name(GRANT, id)));
            names.extend(self.line.sessions().filter(|(_, node)| lost(node)).map(|(known, _)| name(SESSION, known)));
            for name in names {
                self.owe(name, Ok(Vec::new()));
            }
        }
        while let Some((_, number)) = self.removed.pop_front_if(|(at, _)| now.duration_since(*at) > ERASED_AFTER) {
            let nats = self.nats.clone();
            tokio::spawn(async move { nats.erase(number).await });
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
