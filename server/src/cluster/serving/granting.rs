//! Grants of this node: what it draws, under which grant, and who may open it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::super::reading::{GRANT, NotWritten, SESSION, name};
use super::super::rules;
use super::super::rules::epoch::Held;
use super::super::rules::grant::{Grant, NotGranted};
use super::super::rules::line::{Entry, Fit};
use super::super::rules::stand::Stand;
use super::super::rules::ticket::Ticket;
use super::super::rules::token::GrantToken;
use super::super::tickets::{Claim, HeldGrant, Located, Place, Way};
use super::{Holding, Reserved, Serving};
use crate::admission::queue::Admitted;
use crate::admission::rules::Refused;

/// A place is kept for so long for the door that was granted it.
const CLAIMED_WITHIN: Duration = Duration::from_secs(10);

impl Serving {
    /// End what is drawn here if its grant stands no more. Others remove the grants of a node that was silent for long: a session
    /// whose client is connected here is granted again. One whose door is elsewhere was given up by that door.
    pub(super) fn fence(&mut self, id: &str) {
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

    /// A resumable session stands there. End it here if that is another node.
    pub(super) fn stands(&mut self, known: &str, stand: Option<&Stand>) {
        if let Some(mine) = self.known.get(known)
            && stand.is_some_and(|stand| stand.node() != self.me)
            // Unless it has just come here, and that is not written yet.
            && !self.owed.contains_key(&name(SESSION, known))
        {
            tracing::info!("another node has a session of this one: it ends here");
            mine.lost.send_replace(true);
        }
    }

    /// After all was read again: what others have removed of this node's while it was silent is written again.
    pub(super) fn assert_again(&mut self) {
        let ids: Vec<String> = self.held.keys().cloned().collect();
        ids.iter().for_each(|id| self.fence(id));
        let missing: Vec<String> =
            self.known.keys().filter(|name| self.line.session(name).is_none()).cloned().collect();
        // This node was paused: another has gone on with a session of a journal, and it is over there.
        let was_paused = !self.levels.is_steady();
        for known in missing {
            let mine = &self.known[&known];
            let is_written = !self.owed.contains_key(&name(SESSION, &known));
            if was_paused && is_written && mine.stand.has_journal() {
                mine.lost.send_replace(true);
                continue;
            }
            self.owe(name(SESSION, &known), rules::write(&self.known[&known].stand));
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

    /// Remove a grant of this node, unless another has the session by now.
    pub(super) fn remove_grant(&mut self, id: &str, epoch: u32) {
        let is_ours = self.line.grant(id).is_none_or(|grant| grant.node == self.me && grant.epoch == epoch);
        if is_ours {
            self.owe(name(GRANT, id), Ok(Vec::new()));
        }
    }

    pub(super) fn grant_of(&self, ticket: &Ticket, came: u64) -> Grant {
        Grant {
            node: self.me.clone(),
            url: self.url.clone(),
            door: ticket.door.clone(),
            secret: ticket.secret.clone(),
            epoch: ticket.epoch,
            came,
            key: ticket.key.as_ref().map(|key| key.name.clone()),
            journal: self.has_journals,
            place: true,
        }
    }

    /// Grant what fits here, as long as something does.
    pub(super) async fn decide(&mut self) {
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
    pub(super) async fn write_grant(&mut self, id: &str, grant: Grant, admitted: Admitted) -> bool {
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

    pub(super) fn hold(&mut self, id: &str, grant: Grant, admitted: Admitted) -> Place {
        let (lost, hears) = watch::channel(false);
        let (epoch, came) = (grant.epoch, grant.came);
        let held = Held { node: self.me.clone(), epoch };
        self.held.insert(id.to_owned(), Holding { held, lost, grant });
        let grant = HeldGrant { id: id.to_owned(), epoch, came, lost: hears, commands: self.commands.clone() };
        Place { admitted, grant }
    }

    pub(super) async fn claim(&mut self, token: &GrantToken) -> Result<Claim, NotGranted> {
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

    pub(super) async fn find(&mut self, known: &str, account: Option<String>) -> Located {
        // Of NATS itself, while it is there: a session that has just moved is found where it is now.
        let read = match self.is_joined() {
            true => self.nats.read(&name(SESSION, known)).await.ok(),
            false => None,
        };
        let stand = match read {
            Some(record) => record.filter(|record| !record.is_empty()).and_then(|record| rules::read(&record).ok()),
            None => self.line.session(known).cloned(),
        };
        let Some(stand) = stand.filter(|stand| stand.node() != self.me) else { return Located::Nowhere };
        let Some(there) = self.nodes.present(stand.node()) else {
            return match stand {
                Stand::Journaled { needs, key, .. } => Located::Lost(needs, key),
                Stand::Node(_) => Located::Nowhere,
            };
        };
        let (node, url, journal) = (stand.node().to_owned(), there.url.clone(), stand.has_journal());
        let id = uuid::Uuid::new_v4().simple().to_string();
        let Ok(token) = GrantToken::new(id.clone(), 1) else { return Located::Nowhere };
        let way = Way { url: url.clone(), token, node: node.clone(), journal };
        let (door, secret) = (self.me.clone(), way.token.hash());
        let grant = Grant { node, url, door, secret, epoch: 1, came: 0, key: account, journal, place: false };
        let Ok(record) = rules::write(&grant) else { return Located::Nowhere };
        match self.nats.write(&name(GRANT, &id), record.into(), None).await {
            Ok(_) => Located::At(way),
            Err(_) => Located::Nowhere,
        }
    }
}
