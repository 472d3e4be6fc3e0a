//! The rules of a cluster, with a log and a clock that are made up: nodes that die, pause and come back, and read the log late.

use std::collections::{BTreeMap, BTreeSet};

use server::admission::rules::PASSED_MAX;
use server::cluster::rules::epoch::{Fence, Held};
use server::cluster::rules::grant::Grant;
use server::cluster::rules::line::{Entry, Fit, Line};
use server::cluster::rules::ticket::{Needs, Ticket};
use tests::chance::Chance;

/// What a node holds at most. A large session takes most of it.
const ROOM: u64 = 4;
const LARGE: u64 = 3;

/// All that was written, as NATS numbers it. What each grant did is held against the rules at once.
#[derive(Default)]
struct Log {
    entries: Vec<Entry>,
    /// Of those who wait, by place in the line and session: how often they were passed in this epoch.
    waiting: BTreeMap<(u64, String), u32>,
    /// The newest grant of each session.
    newest: BTreeMap<String, (u32, String)>,
    won: BTreeSet<(String, u32)>,
}

impl Log {
    fn end(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Written only if the log ends there, where that is said.
    fn append(&mut self, expected: Option<u64>, entry: Entry) -> bool {
        if expected.is_some_and(|expected| expected != self.end()) {
            return false;
        }
        let number = self.end() + 1;
        match &entry {
            Entry::Ticket(id, ticket) => {
                self.waiting.retain(|(_, waits), _| waits != id);
                if let Some(ticket) = ticket {
                    self.waiting.insert((ticket.came.unwrap_or(number), id.clone()), 0);
                }
            }
            Entry::Grant(id, Some(grant)) => {
                assert!(self.won.insert((id.clone(), grant.epoch)), "{id} has two winners in epoch {}", grant.epoch);
                let before = self.newest.insert(id.clone(), (grant.epoch, grant.node.clone()));
                assert!(before.is_none_or(|(epoch, _)| epoch < grant.epoch), "{id} went back to epoch {}", grant.epoch);
                let at = self.waiting.keys().find(|(_, waits)| waits == id).cloned();
                let passes = at.clone().unwrap_or((u64::MAX, String::new()));
                for ((came, waits), passed) in self.waiting.range_mut(..passes) {
                    *passed += 1;
                    assert!(*passed <= PASSED_MAX, "{waits}, number {came}, was passed {passed} times");
                }
                at.into_iter().for_each(|at| _ = self.waiting.remove(&at));
            }
            Entry::Grant(_, None) | Entry::Session(..) => {}
        }
        self.entries.push(entry);
        true
    }
}

/// A node that draws.
struct Worker {
    name: String,
    line: Line,
    /// What it draws, or has a place for.
    holds: BTreeMap<String, (Held, u64)>,
    paused: bool,
}

impl Worker {
    fn new(name: String, log: &Log) -> Worker {
        let mut worker = Worker { name, line: Line::default(), holds: BTreeMap::new(), paused: false };
        worker.read(log, usize::MAX);
        worker.line.caught_up(log.end());
        worker
    }

    fn read(&mut self, log: &Log, most: usize) {
        let from = self.line.seen() as usize;
        for (at, entry) in log.entries.iter().enumerate().skip(from).take(most) {
            self.line.apply(at as u64 + 1, entry.clone());
        }
        let Worker { holds, line, .. } = self;
        holds.retain(|id, (held, _)| held.may_send(line.grant(id)));
    }

    fn free(&self) -> u64 {
        ROOM - self.holds.values().map(|(_, bytes)| bytes).sum::<u64>()
    }

    fn grant(&self, epoch: u32, came: u64) -> Grant {
        let (node, door, secret) = (self.name.clone(), "door".to_owned(), String::new());
        Grant { node, url: String::new(), door, secret, epoch, came, key: None, journal: false, place: true }
    }

    /// Grant the next that fits, on what it has read.
    fn decide(&mut self, log: &mut Log) {
        let free = self.free();
        let fits = |_: &str, ticket: &Ticket| if ticket.needs.bytes <= free { Fit::Now } else { Fit::Later };
        let Some((id, came, ticket)) = self.line.next(|_| true, fits) else { return };
        self.win(log, id, (ticket.epoch, came, ticket.needs.bytes));
    }

    fn win(&mut self, log: &mut Log, id: String, (epoch, came, bytes): (u32, u64, u64)) {
        let seen = self.line.seen();
        let entry = Entry::Grant(id.clone(), Some(self.grant(epoch, came)));
        if log.append(Some(seen), entry.clone()) {
            self.line.apply(seen + 1, entry);
            self.holds.insert(id, (Held { node: self.name.clone(), epoch }, bytes));
        }
    }
}

/// A client's session, at its door.
struct Client {
    fence: Fence,
    came: u64,
    bytes: u64,
    over: bool,
}

impl Client {
    fn ticket(&self, came: Option<u64>) -> Ticket {
        let needs = Needs { bytes: self.bytes, pixels: 1, period_us: None };
        Ticket { door: "door".into(), secret: String::new(), epoch: self.fence.epoch(), came, needs, key: None }
    }
}

struct Cluster {
    log: Log,
    workers: Vec<Worker>,
    clients: BTreeMap<String, Client>,
    chance: Chance,
    names: usize,
}

impl Cluster {
    fn new(seed: u64) -> Cluster {
        let log = Log::default();
        let workers = (0..3).map(|at| Worker::new(format!("n{at}"), &log)).collect();
        Cluster { log, workers, clients: BTreeMap::new(), chance: Chance::new(seed), names: 3 }
    }

    fn step(&mut self) {
        let at = self.chance.below(self.workers.len());
        match self.chance.below(16) {
            0..=2 => {
                let id = format!("s{}", self.clients.len());
                let bytes = if self.chance.one_in(8) { LARGE } else { 1 };
                let client = Client { fence: Fence::default(), came: self.log.end() + 1, bytes, over: false };
                self.log.append(None, Entry::Ticket(id.clone(), Some(client.ticket(None))));
                self.clients.insert(id, client);
            }
            // A client that came to a node with a place while nobody waited, as far as the node knew.
            3 => {
                let worker = &mut self.workers[at];
                if !worker.paused && worker.line.is_empty(|_| true) && worker.free() > 0 {
                    let id = format!("s{}", self.clients.len());
                    let came = worker.line.seen() + 1;
                    worker.win(&mut self.log, id.clone(), (1, came, 1));
                    if worker.holds.contains_key(&id) {
                        self.clients.insert(id, Client { fence: Fence::default(), came, bytes: 1, over: false });
                    }
                }
            }
            4..=7 => {
                let most = self.chance.below(6);
                let worker = &mut self.workers[at];
                if !worker.paused {
                    worker.read(&self.log, most);
                }
            }
            8..=10 => {
                // Often it has read all; else it decides on what it knows, and loses to one that knows more.
                let knows_all = self.chance.one_in(2);
                let worker = &mut self.workers[at];
                if !worker.paused {
                    worker.read(&self.log, if knows_all { usize::MAX } else { 0 });
                    worker.decide(&mut self.log);
                }
            }
            11 => self.workers[at].paused ^= true,
            // Seldom: a node that has just joined passes nobody.
            12 if self.chance.one_in(4) => {
                // It dies, and another of its kind begins, which knows nothing.
                self.names += 1;
                self.workers[at] = Worker::new(format!("n{}", self.names), &self.log);
            }
            13 => self.regrant(),
            _ => {
                let ids: Vec<String> = self.workers[at].holds.keys().cloned().collect();
                if let Some(id) = ids.first() {
                    self.end(id);
                }
            }
        }
        self.send();
    }

    /// Doors whose node is dead, or silent, want their sessions granted again.
    fn regrant(&mut self) {
        let silent = |name: &str| self.workers.iter().all(|worker| worker.name != name || worker.paused);
        let lost: Vec<String> = self
            .clients
            .iter()
            .filter(|(id, client)| {
                let newest = self.log.newest.get(*id);
                !client.over && newest.is_some_and(|(epoch, node)| client.fence.passes(*epoch) && silent(node))
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in lost {
            let client = self.clients.get_mut(&id).expect("it was just seen");
            client.fence.advance();
            let ticket = client.ticket(Some(client.came));
            self.log.append(None, Entry::Grant(id.clone(), None));
            self.log.append(None, Entry::Ticket(id, Some(ticket)));
        }
    }

    fn end(&mut self, id: &str) {
        self.clients.get_mut(id).expect("a session has a client").over = true;
        for entry in [Entry::Ticket(id.to_owned(), None), Entry::Grant(id.to_owned(), None)] {
            self.log.append(None, entry);
        }
        self.workers.iter_mut().filter(|worker| !worker.paused).for_each(|worker| drop(worker.holds.remove(id)));
    }

    /// Every node sends all that it believes it may. What a door passes on must come from the newest winner.
    fn send(&self) {
        for worker in self.workers.iter().filter(|worker| !worker.paused) {
            for (id, (held, _)) in &worker.holds {
                let client = &self.clients[id];
                if !client.over && held.may_send(worker.line.grant(id)) && client.fence.passes(held.epoch) {
                    assert_eq!(self.log.newest[id], (held.epoch, worker.name.clone()), "{id} is drawn by a stale node");
                }
            }
        }
    }
}

#[test]
fn nodes_that_die_pause_and_come_back_never_win_twice_never_pass_more_than_eight_times_and_leave_nobody_waiting() {
    let (mut granted, mut regranted, mut passed) = (0, 0, 0);
    for seed in 0..300 {
        let mut cluster = Cluster::new(seed);
        for _ in 0..400 {
            cluster.step();
            passed = passed.max(cluster.log.waiting.values().copied().max().unwrap_or(0));
        }
        // From now on nothing fails, and sessions end: all that wait get their place.
        cluster.workers.iter_mut().for_each(|worker| worker.paused = false);
        for round in 0.. {
            cluster.regrant();
            if cluster.log.waiting.is_empty() {
                break;
            }
            assert!(round < 1000, "seed {seed}: these wait for ever: {:?}", cluster.log.waiting);
            for at in 0..cluster.workers.len() {
                cluster.workers[at].read(&cluster.log, usize::MAX);
                cluster.workers[at].decide(&mut cluster.log);
                passed = passed.max(cluster.log.waiting.values().copied().max().unwrap_or(0));
                let oldest = cluster.workers[at].holds.keys().next().cloned();
                if let Some(id) = oldest.filter(|_| round % 3 == 2) {
                    cluster.end(&id);
                }
            }
            cluster.send();
        }
        granted += cluster.log.won.len();
        regranted += cluster.log.won.iter().filter(|(_, epoch)| *epoch > 1).count();
    }
    // The simulation reaches what it is for.
    assert!(granted > 10_000 && regranted > 500 && passed == PASSED_MAX, "{granted}, {regranted}, {passed}");
}

#[test]
fn without_large_sessions_the_line_is_strictly_first_come_first_served() {
    let mut log = Log::default();
    let mut workers: Vec<Worker> = (0..2).map(|at| Worker::new(format!("n{at}"), &log)).collect();
    let client = Client { fence: Fence::default(), came: 0, bytes: 1, over: false };
    for at in 0..8 {
        log.append(None, Entry::Ticket(format!("s{at}"), Some(client.ticket(None))));
    }
    let mut order = Vec::new();
    for at in [0, 1, 1, 0, 1, 0, 0, 1] {
        workers[at].read(&log, usize::MAX);
        workers[at].decide(&mut log);
        let Some(Entry::Grant(id, Some(_))) = log.entries.last() else { panic!("nobody was granted") };
        order.push(id.clone());
    }
    assert_eq!(order, (0..8).map(|at| format!("s{at}")).collect::<Vec<_>>());
}

#[test]
fn a_node_that_has_read_too_little_grants_nothing() {
    let mut log = Log::default();
    let mut workers: Vec<Worker> = (0..2).map(|at| Worker::new(format!("n{at}"), &log)).collect();
    let client = Client { fence: Fence::default(), came: 0, bytes: 1, over: false };
    log.append(None, Entry::Ticket("s".to_owned(), Some(client.ticket(None))));
    workers.iter_mut().for_each(|worker| worker.read(&log, usize::MAX));
    workers[0].decide(&mut log);
    workers[1].decide(&mut log);
    assert_eq!(log.newest["s"], (1, "n0".to_owned()));
    assert!(workers[1].holds.is_empty(), "the second decided on a log that had gone on");
}
