//! The door: every decision about access, and the state it needs.
//!
//! It is given the time and reads no clock. Its state is bounded: by the size of a table, or by the number of sockets,
//! sessions
//! and keys.

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

impl Pass {
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
                state.requests.take(&key.name, rate, now).map_err(Denied::TooOften)?;
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
mod tests {
    use sha2::{Digest, Sha256};

    use super::super::rules::keys::{KeyLimits, new_key};
    use super::*;

    const LIMITS: KeyLimits = KeyLimits { sessions: 2, requests_a_minute: 60 };

    struct Scene {
        door: Arc<Door>,
        key: String,
        start: Instant,
    }

    fn scene() -> Scene {
        let (key, line) = new_key("alice").expect("a name");
        let keys = ApiKeys::parse(&line, LIMITS).expect("a key");
        Scene { key, ..scene_with(Entry::Keys(keys.into())) }
    }

    fn scene_with(entry: Entry) -> Scene {
        let start = Instant::now();
        let door = Door::new(AccessPolicy { entry, ..AccessPolicy::default() }, 2, start).expect("a door");
        Scene { door: Arc::new(door), key: String::new(), start }
    }

    fn from(address: &str) -> Address {
        address.parse::<IpAddr>().expect("an address").into()
    }

    impl Scene {
        fn shows(&self, presented: &str, seconds: u64) -> Result<Pass, Denied> {
            self.door.enter(from("192.0.2.1"), Some(presented), self.start + Duration::from_secs(seconds))
        }

        fn begin(&self, pass: &Pass) -> Result<Lease, Denied> {
            self.door.begin_session(pass, self.start)
        }

        fn token(&self, life: Duration) -> String {
            self.door.mint(&self.key_of(0), life, 1, self.start).expect("a token")
        }

        /// The key file has been changed, and is this.
        fn changed_to(&self, lines: &[&str]) {
            let Entry::Keys(ring) = &self.door.policy.entry else { panic!("no keys") };
            ring.replace(ApiKeys::parse(&lines.join("\n"), LIMITS).expect("a key file"));
        }

        fn key_of(&self, seconds: u64) -> Key {
            match self.shows(&self.key, seconds) {
                Ok(Pass::Key(key)) => key,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn where_keys_are_asked_for_a_good_one_enters_and_nothing_else_does() {
        let scene = scene();
        assert!(matches!(scene.shows(&scene.key, 0), Ok(Pass::Key(key)) if &*key.name == "alice"));
        assert_eq!(scene.door.enter(from("192.0.2.1"), None, scene.start).err(), Some(Denied::NoKey));
        for wrong in ["", "alice", "cwt_", &"k".repeat(10_000), &format!("{} ", scene.key)] {
            assert_eq!(scene.shows(wrong, 0).err(), Some(Denied::WrongKey));
        }
    }

    /// Refused even if the key file lists it.
    #[test]
    fn a_key_has_a_length() {
        let shown = |bytes: usize| {
            let key = "k".repeat(bytes);
            let hash: String = Sha256::digest(&key).iter().map(|byte| format!("{byte:02x}")).collect();
            let keys = ApiKeys::parse(&format!("alice sha256:{hash}"), LIMITS).expect("a key");
            scene_with(Entry::Keys(keys.into())).shows(&key, 0).err()
        };
        assert_eq!((shown(256), shown(257)), (None, Some(Denied::WrongKey)));
    }

    #[test]
    fn where_no_keys_are_asked_for_everybody_enters_whatever_they_show() {
        for entry in [Entry::Local, Entry::Everybody] {
            let scene = scene_with(entry);
            assert!(matches!(scene.shows("anything", 0), Ok(Pass::Everybody)));
            let all: Vec<_> = (0..100).map(|_| scene.begin(&Pass::Everybody)).collect();
            assert!(all.iter().all(Result::is_ok), "there is no account to count on");
        }
    }

    #[test]
    fn an_address_that_shows_ten_wrong_keys_waits_and_another_does_not() {
        let scene = scene();
        for _ in 0..10 {
            assert_eq!(scene.shows("wrong", 0).err(), Some(Denied::WrongKey));
        }
        let wait = Denied::WrongTooOften(Duration::from_secs(6));
        assert_eq!(scene.shows("wrong", 0).err(), Some(wait));
        assert_eq!(scene.shows(&scene.key, 0).err(), Some(wait), "a guess that is right is not told so");
        assert!(scene.door.enter(from("192.0.2.2"), Some(&scene.key), scene.start).is_ok());
        assert!(scene.shows(&scene.key, 6).is_ok());
        assert_eq!(scene.door.enter(from("192.0.2.1"), None, scene.start).err(), Some(Denied::NoKey), "is no guess");
    }

    #[test]
    fn good_keys_are_no_wrong_ones_however_many() {
        let scene = scene();
        for second in 0..200 {
            assert!(scene.shows(&scene.key, second).is_ok());
        }
    }

    #[test]
    fn a_key_makes_only_so_many_requests_a_minute_and_its_tokens_count_on_it() {
        let scene = scene();
        let token = scene.door.mint(&scene.key_of(0), TOKEN_LIFE, 1, scene.start).expect("a token");
        for _ in 0..29 {
            assert!(scene.shows(&scene.key, 0).is_ok());
            assert!(scene.shows(&token, 0).is_ok());
        }
        assert!(scene.shows(&token, 0).is_ok(), "the sixtieth");
        let wait = Some(Denied::TooOften(Duration::from_secs(1)));
        assert_eq!(scene.shows(&scene.key, 0).err(), wait);
        assert_eq!(scene.shows(&token, 0).err(), wait);
        assert!(scene.shows(&token, 1).is_ok());
    }

    #[test]
    fn a_token_enters_until_it_expires_and_an_expired_one_is_no_guess() {
        let scene = scene();
        let key = scene.key_of(0);
        let token = scene.door.mint(&key, Duration::from_secs(30), 1, scene.start + Duration::from_secs(5));
        let token = token.expect("a token");
        assert!(matches!(scene.shows(&token, 34), Ok(Pass::Token(key, _)) if &*key.name == "alice"));
        for _ in 0..100 {
            assert_eq!(scene.shows(&token, 35).err(), Some(Denied::Expired));
        }
        let other = scene_with(scene.door.policy.entry.clone());
        assert_eq!(other.shows(&token, 6).err(), Some(Denied::WrongKey), "a restart ends all tokens");
    }

    #[test]
    fn sessions_are_counted_on_the_token_and_on_its_key() {
        let scene = scene();
        let key = scene.key_of(0);
        let pass = || {
            let token = scene.door.mint(&key, TOKEN_LIFE, 1, scene.start).expect("a token");
            scene.shows(&token, 0).expect("a good token")
        };
        let (one, two, three) = (pass(), pass(), pass());
        let first = scene.begin(&one).expect("the first");
        assert_eq!(scene.begin(&one).err(), Some(Denied::TooManySessions(1)), "the token has its one");
        let second = scene.begin(&two).expect("the second");
        let full = Some(Denied::TooManySessions(2));
        assert_eq!(scene.begin(&three).err(), full, "the key has its two");
        assert_eq!(scene.begin(&Pass::Key(key.clone())).err(), full);
        drop(first);
        let again = scene.begin(&Pass::Key(key)).expect("there is room again");
        assert_eq!(scene.begin(&one).err(), full);
        drop((second, again));
        assert!(scene.door.state().sessions.is_empty(), "nothing is remembered of what has ended");
    }

    #[test]
    fn a_token_that_expired_after_the_socket_was_opened_begins_no_session_and_ends_none() {
        let scene = scene();
        let pass = scene.shows(&scene.token(Duration::from_secs(30)), 0).expect("a good token");
        let at = |seconds| scene.door.begin_session(&pass, scene.start + Duration::from_secs(seconds));
        let running = at(29).expect("still good");
        drop(at(29));
        assert_eq!(at(30).err(), Some(Denied::Expired));
        assert_eq!(scene.door.state().sessions.len(), 2, "the one that runs, on its token and its key");
        drop(running);
    }

    #[test]
    fn a_key_that_was_taken_out_of_the_file_and_its_tokens_open_nothing_more() {
        let scene = scene();
        let token = scene.token(TOKEN_LIFE);
        let (of_key, of_token) = (Pass::Key(scene.key_of(0)), scene.shows(&token, 0).expect("a good token"));
        let _running = scene.begin(&of_key).expect("a good key");
        let (bob, line) = new_key("bob").expect("a name");
        let (_, another_alice) = new_key("alice").expect("a name");
        for lines in [vec![&*line], vec![&line, &another_alice]] {
            scene.changed_to(&lines);
            assert!(scene.shows(&bob, 0).is_ok(), "the new key is good at once");
            assert_eq!(scene.begin(&of_key).err(), Some(Denied::KeyRemoved));
            assert_eq!(scene.begin(&of_token).err(), Some(Denied::KeyRemoved));
            for _ in 0..12 {
                assert_eq!(scene.shows(&token, 0).err(), Some(Denied::KeyRemoved), "a page is no guesser");
            }
            assert_eq!(scene.shows(&scene.key, 0).err(), Some(Denied::WrongKey));
        }
    }

    #[test]
    fn a_key_whose_line_was_changed_has_its_new_limits_at_the_next_session() {
        let scene = scene();
        let (key, line) = new_key("carol").expect("a name");
        scene.changed_to(&[&line]);
        let pass = scene.shows(&key, 0).expect("a good key");
        let _first = scene.begin(&pass).expect("the first of two");
        scene.changed_to(&[&format!("{line} sessions=1")]);
        assert_eq!(scene.begin(&pass).err(), Some(Denied::TooManySessions(1)));
    }

    #[test]
    fn connections_are_counted_by_address() {
        let scene = scene();
        let connect = |address| scene.door.connect(from(address));
        let first = connect("192.0.2.1").ok();
        let second = connect("192.0.2.1").ok();
        assert!(first.is_some() && second.is_some());
        assert_eq!(connect("192.0.2.1").err(), Some(Denied::TooManyConnections));
        assert!(connect("192.0.2.2").is_ok());
        drop(first);
        let third = connect("192.0.2.1").ok();
        assert!(third.is_some());
        drop((second, third));
        assert!(scene.door.state().connections.is_empty());
    }

    #[test]
    fn only_a_local_server_minds_by_which_name_it_is_called() {
        let local = scene_with(Entry::Local);
        assert_eq!(local.door.check_host(Some("evil.example")), Err(Denied::Host));
        assert_eq!(local.door.check_host(Some("localhost:30000")), Ok(()));
        assert_eq!(scene().door.check_host(Some("play.example.org")), Ok(()));
        assert_eq!(scene_with(Entry::Everybody).door.check_host(Some("gpu-box:30000")), Ok(()));
    }

    #[test]
    fn a_page_from_elsewhere_is_refused_in_every_mode() {
        for scene in [scene(), scene_with(Entry::Local), scene_with(Entry::Everybody)] {
            let check = |origin| scene.door.check_origin(Some(origin), Some("127.0.0.1:30000"));
            assert_eq!(check("https://evil.example"), Err(Denied::Origin));
            assert_eq!(check("http://127.0.0.1:30000"), Ok(()));
            assert_eq!(check("http://localhost:3000").is_ok(), scene.door.is_local());
        }
    }
}
