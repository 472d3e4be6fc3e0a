//! The door with a clock of its own: who is let in, who is denied, and until when.

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
