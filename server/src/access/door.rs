//! The door: every decision about access, and the state it needs.
//!
//! It is given the time and reads no clock. Its state is bounded: by the size of a table, or by the number of sockets,
//! sessions and keys.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::policy::{AccessPolicy, Entry};
use super::rules::address::Address;
use super::rules::denied::Denied;
use super::rules::keys::{ApiKeys, KEYS_MAX, Key};
use super::rules::throttle::Throttle;
use super::rules::tokens::{BadToken, Signer, TOKEN_PREFIX, Token};
use super::rules::{address, origin};
use crate::rate::Rate;

/// Wrong keys allowed at once: a person who pastes the wrong text tries a few times; more tries come from a program.
const WRONG_KEYS: Rate = Rate { at_once: 10, every: Duration::from_secs(6) };

/// Addresses remembered for a wrong key: 100 bytes each.
const ADDRESSES_MAX: usize = 4096;

/// Longer than any key or token. A longer credential is wrong and is not hashed.
const PRESENTED_BYTES_MAX: usize = 256;

/// Light requests that count as one.
const LIGHT_PARTS: u32 = 10;

/// A token's lifetime if none is asked for. A page that stays open gets a new one before the hour is over.
pub(crate) const TOKEN_LIFE_MAX: Duration = Duration::from_secs(3600);
pub(crate) const TOKEN_LIFE: Duration = Duration::from_secs(300);

pub(crate) struct Door {
    policy: AccessPolicy,
    connections_per_address: usize,
    signer: Signer,
    opened: Instant,
    state: Mutex<State>,
}

struct State {
    wrong: Throttle<Address>,
    requests: Throttle<Arc<str>>,
    /// Sessions of each key that has any: never more entries than sessions.
    sessions: HashMap<Holder, usize>,
    /// Sessions of each token that has any.
    connections: HashMap<Address, usize>,
}

/// The account that a session is counted on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    Key(Arc<str>),
    Token(u64),
}

/// The credential with which a client was admitted.
#[derive(Debug, Clone)]
pub(crate) enum Pass {
    /// None: the server asks for none.
    Everybody,
    Key(Key),
    Token(Key, Token),
}

/// How much a request counts of what a key may ask in a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    Whole,
    /// A tenth: a client that looks whether its job is done asks often.
    Light,
}

impl Pass {
    /// Whose jobs are seen with it: the key's, also by a token made with it. `None`: all clients are one.
    pub(crate) fn account(&self) -> Option<Arc<str>> {
        match self {
            Pass::Everybody => None,
            Pass::Key(key) | Pass::Token(key, _) => Some(key.name.clone()),
        }
    }

    /// The key that it is, or was made with.
    pub(crate) fn key(&self) -> Option<&Key> {
        match self {
            Pass::Everybody => None,
            Pass::Key(key) | Pass::Token(key, _) => Some(key),
        }
    }

    /// A token. Its sessions also count for its key.
    fn holders(&self) -> Vec<(Holder, usize)> {
        let of_key = |key: &Key| (Holder::Key(key.name.clone()), key.limits.sessions);
        match self {
            Pass::Everybody => Vec::new(),
            Pass::Key(key) => vec![of_key(key)],
            Pass::Token(key, token) => vec![of_key(key), (Holder::Token(token.id), token.sessions)],
        }
    }
}

impl Door {
    pub(crate) fn new(policy: AccessPolicy, connections_per_address: usize, now: Instant) -> anyhow::Result<Door> {
        let state = State {
            wrong: Throttle::new(ADDRESSES_MAX),
            requests: Throttle::new(KEYS_MAX),
            sessions: HashMap::new(),
            connections: HashMap::new(),
        };
        let signer = Signer::random()?;
        Ok(Door { policy, connections_per_address, signer, opened: now, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this")
    }

    pub(crate) fn key_within(&self) -> Duration {
        self.policy.key_within
    }

    pub(crate) fn address<'a>(&self, peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a [u8]>) -> Address {
        address::of_client(peer, forwarded, &self.policy.proxies)
    }

    /// Whether this is a proxy whose `X-Forwarded-For` is believed.
    pub(crate) fn is_proxy(&self, peer: IpAddr) -> bool {
        self.policy.proxies.contains(&peer.to_canonical())
    }

    fn is_local(&self) -> bool {
        matches!(self.policy.entry, Entry::Local)
    }

    /// Check the `Host` of every request: is this server meant?
    pub(crate) fn check_host(&self, host: Option<&str>) -> Result<(), Denied> {
        // With keys, rebinding gains a page nothing: it has no key. With --insecure the operator lets everybody in.
        let ours = !self.is_local() || origin::is_our_name(host, &self.policy.origins);
        if ours { Ok(()) } else { Err(Denied::Host) }
    }

    /// Check the `Origin` of every upgrade: may this page use the server?
    pub(crate) fn check_origin(&self, origin: Option<&str>, host: Option<&str>) -> Result<(), Denied> {
        let may = origin::page_may_enter(origin, host, &self.policy.origins, self.is_local());
        if may { Ok(()) } else { Err(Denied::Origin) }
    }

    /// A key, a token, or nothing.
    pub(crate) fn enter(&self, address: Address, presented: Option<&str>, now: Instant) -> Result<Pass, Denied> {
        self.enter_as(address, presented, Weight::Whole, now)
    }

    /// A client that another node of the cluster has let in with the key of this name.
    pub(crate) fn enter_for(&self, account: Option<&str>) -> Result<Pass, Denied> {
        let Entry::Keys(keys) = &self.policy.entry else { return Ok(Pass::Everybody) };
        let key = keys.now().named(account.ok_or(Denied::NoKey)?).cloned();
        key.map(Pass::Key).ok_or(Denied::KeyRemoved)
    }

    /// As [`Door::enter`], for a request that counts so much.
    pub(crate) fn enter_as(
        &self,
        address: Address,
        presented: Option<&str>,
        weight: Weight,
        now: Instant,
    ) -> Result<Pass, Denied> {
        let Entry::Keys(keys) = &self.policy.entry else { return Ok(Pass::Everybody) };
        let keys = keys.now();
        // A missing credential is no guess, and refusing it costs nothing.
        let presented = presented.ok_or(Denied::NoKey)?;
        let mut state = self.state();
        // Before the credential is checked; otherwise guessing would have no limit.
        if let Some(wait) = state.wrong.wait(&address, WRONG_KEYS, now) {
            return Err(Denied::WrongTooOften(wait));
        }
        let pass = self.recognise(&keys, presented, now);
        match &pass {
            Ok(Pass::Key(key) | Pass::Token(key, _)) => {
                let rate = Rate::a_minute(key.limits.requests_a_minute);
                let parts = if weight == Weight::Light { LIGHT_PARTS } else { 1 };
                state.requests.take_part(&key.name, rate, parts, now).map_err(Denied::TooOften)?;
            }
            // The token was valid once: a page that slept is not guessing.
            Ok(Pass::Everybody) | Err(Denied::Expired | Denied::KeyRemoved) => {}
            Err(_) => state.wrong.count(&address, WRONG_KEYS, now),
        }
        pass
    }

    fn recognise(&self, keys: &ApiKeys, presented: &str, now: Instant) -> Result<Pass, Denied> {
        if presented.len() > PRESENTED_BYTES_MAX {
            return Err(Denied::WrongKey);
        }
        if !presented.starts_with(TOKEN_PREFIX) {
            return keys.find(presented).cloned().map(Pass::Key).ok_or(Denied::WrongKey);
        }
        let token = self.signer.verify(presented, now - self.opened).map_err(|bad| match bad {
            BadToken::NotOurs => Denied::WrongKey,
            BadToken::Expired => Denied::Expired,
        })?;
        Ok(Pass::Token(in_use(keys, &token.key, token.fingerprint)?, token))
    }

    /// Check again: a credential may have expired between opening the socket and beginning a session.
    fn still_good(&self, pass: &Pass, now: Instant) -> Result<Pass, Denied> {
        let Entry::Keys(keys) = &self.policy.entry else { return Ok(Pass::Everybody) };
        let keys = keys.now();
        match pass {
            Pass::Everybody => unreachable!("where there are keys, nobody is let in without one"),
            Pass::Key(key) => in_use(&keys, &key.name, key.fingerprint()).map(Pass::Key),
            Pass::Token(_, token) if now - self.opened >= token.expires => Err(Denied::Expired),
            Pass::Token(_, token) => Ok(Pass::Token(in_use(&keys, &token.key, token.fingerprint)?, token.clone())),
        }
    }

    /// Check a key where one is always needed. `None`: the server has no keys.
    pub(crate) fn has_keys(&self) -> bool {
        matches!(self.policy.entry, Entry::Keys(_))
    }

    /// Make a token on the account of a key. `sessions` is at most the key's own limit.
    pub(crate) fn mint(&self, key: &Key, life: Duration, sessions: usize, now: Instant) -> anyhow::Result<String> {
        assert!(life <= TOKEN_LIFE_MAX && sessions <= key.limits.sessions, "checked where it was asked for");
        let mut id = [0; 8];
        getrandom::fill(&mut id)?;
        let expires = now - self.opened + life;
        let (name, fingerprint) = (key.name.to_string(), key.fingerprint());
        let token = Token { key: name, fingerprint, expires, sessions, id: u64::from_le_bytes(id) };
        Ok(self.signer.sign(&token))
    }

    /// A permit for one more connection of an address, until it is dropped.
    pub(crate) fn connect(self: &Arc<Self>, address: Address) -> Result<Connected, Denied> {
        let most = self.connections_per_address;
        add(&mut self.state().connections, address, most).map_err(|_most| Denied::TooManyConnections)?;
        Ok(Connected { door: self.clone(), address })
    }

    /// One more session on this account, until it is dropped. A session goes on even if its key or token becomes
    /// invalid.
    pub(crate) fn begin_session(self: &Arc<Self>, pass: &Pass, now: Instant) -> Result<Lease, Denied> {
        let pass = self.still_good(pass, now)?;
        let mut lease = Lease { door: self.clone(), holders: Vec::new() };
        for (holder, most) in pass.holders() {
            // The guard ends with this statement, because dropping a lease takes the lock again.
            add(&mut self.state().sessions, holder.clone(), most).map_err(Denied::TooManySessions)?;
            lease.holders.push(holder);
        }
        Ok(lease)
    }
}

/// The key of this name, if it is still the one with this fingerprint.
fn in_use(keys: &ApiKeys, name: &str, fingerprint: u64) -> Result<Key, Denied> {
    let same = |key: &&Key| key.fingerprint() == fingerprint;
    keys.named(name).filter(same).cloned().ok_or(Denied::KeyRemoved)
}

fn add<Who: Hash + Eq>(counts: &mut HashMap<Who, usize>, who: Who, most: usize) -> Result<(), usize> {
    match counts.entry(who) {
        Slot::Occupied(count) if *count.get() >= most => return Err(most),
        Slot::Vacant(_) if most == 0 => return Err(most),
        slot => *slot.or_insert(0) += 1,
    }
    Ok(())
}

fn take_away<Who: Hash + Eq>(counts: &mut HashMap<Who, usize>, who: Who) {
    if let Slot::Occupied(mut count) = counts.entry(who) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

pub(crate) struct Connected {
    door: Arc<Door>,
    address: Address,
}

impl Drop for Connected {
    fn drop(&mut self) {
        take_away(&mut self.door.state().connections, self.address);
    }
}

pub(crate) struct Lease {
    door: Arc<Door>,
    holders: Vec<Holder>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        for holder in self.holders.drain(..) {
            take_away(&mut self.door.state().sessions, holder);
        }
    }
}

#[cfg(test)]
mod tests;
