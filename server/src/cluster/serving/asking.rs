//! Clients of this node that seek a place: their tickets, and what they are told.

use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::super::reading::{GRANT, TICKET, name};
use super::super::rules;
use super::super::rules::epoch::Fence;
use super::super::rules::ticket::{KeyShare, Needs, Ticket};
use super::super::rules::token::GrantToken;
use super::super::tickets::{Ask, Outcome, Way};
use super::{Asking, Reserved, Serving};
use crate::admission::rules::{Obstacle, Refused, Waiting};
use crate::phase::Phase;

/// A node that has never reached NATS takes clients by itself after so long: before that it may only have to be read.
const ALONE_AFTER: Duration = Duration::from_secs(5);

impl Serving {
    pub(super) async fn ask(&mut self, Ask { id, token, needs, key, comes, moves, waiting, outcome }: Ask) {
        if let Some(budget) = self.nodes.too_large(needs.bytes) {
            return drop(outcome.send(Outcome::Refused(Refused::TooLarge { bytes: needs.bytes, budget })));
        }
        if let Some(most) = self.has_all_its_sessions(key.as_ref()) {
            return drop(outcome.send(Outcome::TooManySessions(most)));
        }
        let asking = self.asks.values().filter(|asking| asking.outcome.is_some()).count();
        let free: usize = self.nodes.all().filter(|(_, node)| !node.draining).map(|(_, node)| node.sessions_free).sum();
        // A session that moves has been admitted before.
        if moves.is_none() && asking >= self.sessions_waiting + free.max(1) {
            let refused = Refused::QueueFull { waiting: asking, obstacle: self.obstacle(&needs, asking + 1) };
            return drop(outcome.send(Outcome::Refused(refused)));
        }
        let (fence, outcome) = (Fence::default(), Some(outcome));
        self.order += 1;
        let order = self.order;
        let asking =
            Asking { token, fence, needs, key, comes, came: moves, order, was_written: false, waiting, outcome };
        self.asks.insert(id.clone(), asking);
        if self.may_grant() && self.line.is_empty(|door| self.nodes.present(door).is_some()) && self.take(&id).await {
            return;
        }
        self.put(&id);
    }

    pub(super) fn obstacle(&self, needs: &Needs, position: usize) -> Obstacle {
        self.nodes.obstacle(needs, position, |node| self.line.granted_to(node))
    }

    pub(super) fn has_all_its_sessions(&self, key: Option<&KeyShare>) -> Option<usize> {
        let KeyShare { name, sessions } = key?;
        let has = self.line.sessions_of(name, |node| self.nodes.present(node).is_some());
        (has >= *sessions).then_some(*sessions)
    }

    /// Grant a client of this node a place here without a ticket: nobody waits. Whether it was.
    pub(super) async fn take(&mut self, id: &str) -> bool {
        let asking = &self.asks[id];
        let Ok(admitted) = self.queue.try_place(asking.needs.wish()) else { return false };
        let ticket = self.ticket(asking);
        let grant = self.grant_of(&ticket, ticket.came.unwrap_or(self.line.seen() + 1));
        self.write_grant(id, grant, admitted).await
    }

    pub(super) fn ticket(&self, asking: &Asking) -> Ticket {
        Ticket {
            door: self.me.clone(),
            secret: asking.token.hash(),
            epoch: asking.fence.epoch(),
            came: asking.came,
            needs: asking.needs,
            key: asking.key.clone(),
        }
    }

    /// Put a client's ticket into the line.
    pub(super) fn put(&mut self, id: &str) {
        let ticket = self.ticket(&self.asks[id]);
        self.owe(name(TICKET, id), rules::write(&ticket));
    }

    /// While NATS does not answer: see above.
    pub(super) fn decide_alone(&mut self) {
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
    pub(super) fn granted(&mut self, id: &str) {
        let Some(grant) = self.line.grant(id).cloned() else { return };
        let Some(asking) = self.asks.get_mut(id).filter(|asking| asking.fence.passes(grant.epoch)) else { return };
        asking.came = Some(grant.came);
        let (token, comes) = (asking.token.clone(), asking.comes);
        let is_here = grant.node == self.me && !comes;
        if is_here && asking.outcome.is_some() && !self.reserved.contains_key(id) {
            // Nobody heard of this grant in time, and its place was given up.
            return self.grant_again(id);
        }
        let Some(outcome) = asking.outcome.take() else { return };
        if asking.was_written {
            self.owe(name(TICKET, id), Ok(Vec::new()));
        } else {
            self.owed.remove(&name(TICKET, id));
        }
        let told = if is_here {
            let Reserved { admitted, .. } = self.reserved.remove(id).expect("it was just seen");
            Outcome::Here(self.hold(id, grant, admitted))
        } else {
            Outcome::Elsewhere(Way { url: grant.url, token, node: grant.node, journal: grant.journal })
        };
        // Where nobody listens, the ticket's end is on its way.
        let _ = outcome.send(told);
    }

    /// The node that was granted does not answer: the ticket goes back to where it stood, in the next epoch.
    pub(super) fn again(
        &mut self,
        id: &str,
        waiting: watch::Sender<Option<Waiting>>,
        outcome: oneshot::Sender<Outcome>,
    ) {
        let Some(asking) = self.asks.get_mut(id) else { return };
        (asking.waiting, asking.outcome) = (waiting, Some(outcome));
        self.grant_again(id);
    }

    /// The ticket of a client of this node goes back to where it stood, in the next epoch.
    fn grant_again(&mut self, id: &str) {
        let Some(asking) = self.asks.get_mut(id) else { return };
        let epoch = asking.fence.advance();
        // An error: the client waits in vain, and is told so in time.
        let Ok(token) = GrantToken::new(id.to_owned(), epoch) else { return };
        asking.token = token;
        // `grant` sorts before `ticket`: the old grant is removed first.
        self.owe(name(GRANT, id), Ok(Vec::new()));
        self.put(id);
    }

    pub(super) fn leave(&mut self, id: &str) {
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
}
