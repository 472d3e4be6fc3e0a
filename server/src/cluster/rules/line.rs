//! The line: who waits in the whole cluster, and which grants stand, as the log tells it.
//!
//! FIFO by the number that NATS gave to a ticket. A ticket that fits a node may pass those that do not fit it yet, but none
//! is passed more than [`PASSED_MAX`] times: then nobody passes it any more. A node that has just joined does not know how
//! often the tickets that it finds were passed, so it passes none of them.

use std::collections::{BTreeMap, HashMap};

use super::grant::Grant;
use super::stand::Stand;
use super::ticket::Ticket;
use crate::admission::rules::PASSED_MAX;

/// How far a node looks for a ticket that fits it. Those behind wait until the line is shorter.
const LOOK_AHEAD: usize = 64;

/// One entry of the log, by the id of its session. `None`: removed.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A session waits, or no longer does.
    Ticket(String, Option<Ticket>),
    /// A session is granted, or over.
    Grant(String, Option<Grant>),
    /// Where a resumable session is, by the hash of its token.
    Session(String, Option<Stand>),
}

/// Whether a ticket fits a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Yes.
    Now,
    /// When others have left.
    Later,
    /// Not this node, or not while its key has so many sessions: others may pass it.
    Never,
}

/// The state that a log gives.
#[derive(Debug, Default)]
pub struct Line {
    /// Number of the last entry that was read.
    seen: u64,
    /// All that was written before this node joined has been read.
    is_current: bool,
    /// By place in the line and session.
    waiting: BTreeMap<(u64, String), Waiter>,
    places: HashMap<String, u64>,
    grants: HashMap<String, Grant>,
    sessions: HashMap<String, Stand>,
}

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    passed: u32,
}

impl Line {
    /// Number of the last entry that was read: a grant is written only if the log ends there.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether all was read that had been written when this node joined. Before that it grants nothing.
    pub fn is_current(&self) -> bool {
        self.is_current
    }

    /// All up to this number has been read, also where entries were removed.
    pub fn caught_up(&mut self, to: u64) {
        self.seen = self.seen.max(to);
        self.is_current = true;
    }

    /// An entry that says nothing here.
    pub fn pass(&mut self, number: u64) {
        self.seen = self.seen.max(number);
    }

    /// The next entry. One that was applied already changes nothing.
    pub fn apply(&mut self, number: u64, entry: Entry) {
        if number <= self.seen {
            return;
        }
        self.seen = number;
        match entry {
            Entry::Ticket(id, Some(ticket)) => self.wait(number, id, ticket),
            Entry::Ticket(id, None) => drop(self.stop_waiting(&id)),
            Entry::Grant(id, Some(grant)) => {
                let waits = self.places.get(&id).and_then(|&at| self.waiting.get(&(at, id.clone())));
                if grant.place && waits.is_some_and(|waiter| waiter.ticket.epoch <= grant.epoch) {
                    let at = self.stop_waiting(&id).expect("it waits");
                    self.waiting.range_mut(..(at, id.clone())).for_each(|(_, waiter)| waiter.passed += 1);
                } else if grant.place {
                    // It never waited: it was granted where it came, because nobody waited.
                    self.waiting.values_mut().for_each(|waiter| waiter.passed += 1);
                }
                self.grants.insert(id, grant);
            }
            Entry::Grant(id, None) => drop(self.grants.remove(&id)),
            Entry::Session(name, Some(stand)) => drop(self.sessions.insert(name, stand)),
            Entry::Session(name, None) => drop(self.sessions.remove(&name)),
        }
    }

    fn wait(&mut self, number: u64, id: String, ticket: Ticket) {
        self.stop_waiting(&id);
        if self.grants.get(&id).is_some_and(|grant| grant.epoch >= ticket.epoch) {
            return;
        }
        let at = ticket.came.unwrap_or(number);
        // Nobody knows how often those were passed that waited before this node came.
        let passed = if self.is_current { 0 } else { PASSED_MAX };
        self.places.insert(id.clone(), at);
        self.waiting.insert((at, id), Waiter { ticket, passed });
    }

    fn stop_waiting(&mut self, id: &str) -> Option<u64> {
        let at = self.places.remove(id)?;
        self.waiting.remove(&(at, id.to_owned()));
        Some(at)
    }

    /// The next session to grant on this node. `is_there`: whether a node is. `fits`: whether a ticket fits this node.
    pub fn next(
        &self,
        is_there: impl Fn(&str) -> bool,
        mut fits: impl FnMut(&str, &Ticket) -> Fit,
    ) -> Option<(String, u64, Ticket)> {
        let there = self.waiting.iter().filter(|(_, waiter)| is_there(&waiter.ticket.door));
        for ((at, id), Waiter { ticket, passed }) in there.take(LOOK_AHEAD) {
            match fits(id, ticket) {
                Fit::Now => return Some((id.clone(), *at, ticket.clone())),
                Fit::Later if *passed >= PASSED_MAX => return None,
                Fit::Later | Fit::Never => {}
            }
        }
        None
    }

    /// Whether nobody waits, of those whose door is there.
    pub fn is_empty(&self, is_there: impl Fn(&str) -> bool) -> bool {
        !self.waiting.values().any(|waiter| is_there(&waiter.ticket.door))
    }

    /// Tickets that wait, with their doors, the next one first.
    pub fn waiting(&self) -> impl Iterator<Item = (&str, &Ticket)> {
        self.waiting.iter().map(|((_, id), waiter)| (&**id, &waiter.ticket))
    }

    /// How often a ticket was passed, if it waits.
    pub fn passed(&self, id: &str) -> Option<u32> {
        let at = *self.places.get(id)?;
        self.waiting.get(&(at, id.to_owned())).map(|waiter| waiter.passed)
    }

    /// The grant of a session, if one stands.
    pub fn grant(&self, id: &str) -> Option<&Grant> {
        self.grants.get(id)
    }

    /// All grants that stand.
    pub fn grants(&self) -> impl Iterator<Item = (&str, &Grant)> {
        self.grants.iter().map(|(id, grant)| (&**id, grant))
    }

    /// Sessions that a node draws, or has a place for.
    pub fn granted_to(&self, node: &str) -> usize {
        self.grants.values().filter(|grant| grant.place && grant.node == node).count()
    }

    /// Sessions that a key has in the whole cluster.
    pub fn sessions_of(&self, key: &str, is_there: impl Fn(&str) -> bool) -> usize {
        let counts = |grant: &&Grant| grant.place && grant.key.as_deref() == Some(key) && is_there(&grant.node);
        self.grants.values().filter(counts).count()
    }

    /// Where a resumable session is, by the hash of its token.
    pub fn session(&self, name: &str) -> Option<&Stand> {
        self.sessions.get(name)
    }

    /// All resumable sessions.
    pub fn sessions(&self) -> impl Iterator<Item = (&str, &Stand)> {
        self.sessions.iter().map(|(name, stand)| (&**name, stand))
    }
}
