//! Records that this node owes the line, and what only time brings: places that nobody came for, records of lost nodes.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::journal;
use super::super::reading::{GRANT, SESSION, TICKET, name};
use super::super::rules::nodes::JOURNAL_LOST_MS;
use super::super::rules::stand::Stand;
use super::Serving;

/// What is left of a removed record is erased after so long: by then every reader has passed it, or reads all again.
const ERASED_AFTER: Duration = Duration::from_secs(60);

/// After a refused grant, what moved the log must have come within this time; otherwise it is read again.
const BEHIND_MAX: Duration = Duration::from_secs(1);

impl Serving {
    pub(super) fn owe(&mut self, name: String, record: Result<Vec<u8>, String>) {
        match record {
            Ok(record) => drop(self.owed.insert(name, record.into())),
            Err(error) => tracing::error!(name, error, "a record of the cluster was not written"),
        }
    }

    /// Write what is owed. While NATS does not answer, no ticket leaves this node.
    pub(super) async fn pay(&mut self) {
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

    /// Tell those whose sessions all nodes can find by now.
    pub(super) fn is_known(&mut self) {
        for (known, reply) in std::mem::take(&mut self.to_be_known) {
            match self.owed.contains_key(&name(SESSION, &known)) {
                true => self.to_be_known.push((known, reply)),
                // An error: nobody waits.
                false => drop(reply.send(())),
            }
        }
    }

    pub(super) fn next_owed(&self) -> Option<(String, Bytes)> {
        if !self.is_joined() || !self.line.is_current() {
            return None;
        }
        self.owed.first_key_value().map(|(name, record)| (name.clone(), record.clone()))
    }

    /// What time does: places that nobody came for, records of nodes that are lost, what is left of removed ones.
    pub(super) fn look_after(&mut self) {
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
            let gone = |stand: &Stand| match stand.has_journal() {
                false => lost(stand.node()),
                true => self.nodes.is_lost_for(stand.node(), JOURNAL_LOST_MS),
            };
            for (known, stand) in self.line.sessions().filter(|(_, stand)| gone(stand)) {
                names.push(name(SESSION, known));
                if stand.has_journal() {
                    let (nats, known) = (self.nats.clone(), known.to_owned());
                    tokio::spawn(async move { journal::remove(&nats, &known).await });
                }
            }
            for name in names {
                self.owe(name, Ok(Vec::new()));
            }
        }
        while let Some((_, number)) = self.removed.pop_front_if(|(at, _)| now.duration_since(*at) > ERASED_AFTER) {
            let nats = self.nats.clone();
            tokio::spawn(async move { nats.erase(number).await });
        }
    }
}
