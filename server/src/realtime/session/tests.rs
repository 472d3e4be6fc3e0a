//! Sessions with a clock of their own: what is granted, told and closed, and when.
//!
//! Over 400 lines: one sentence of the protocol each, on one clock.

mod beside_clips;

use super::rate_limit::{EVENTS, INVALID_MESSAGES};
use super::*;
use crate::realtime::wire::message;

const FREE: Terms = Terms { fps: 10, paced: false, max_chunks: None };
const PACED: Terms = Terms { paced: true, ..FREE };
fn pauses() -> Features {
    Features { pause: true, ..Features::default() }
}
const STAY: Stay = Stay { idle: None, lifetime: None, grace: Duration::from_secs(30), yield_after: None };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn begin_with(terms: Terms, stay: Stay, start: Instant) -> (Session, Vec<Output>) {
    let mut session = Session::new(terms, pauses(), stay, start);
    let first = say(&mut session, Input::Opened, start);
    (session, first)
}

fn begin(terms: Terms, start: Instant) -> (Session, Vec<Output>) {
    begin_with(terms, STAY, start)
}

/// What it says to this, but for when it expects to grant next.
fn say(session: &mut Session, input: Input<'_>, now: Instant) -> Vec<Output> {
    session.handle(input, now);
    let outputs = std::iter::from_fn(|| session.poll_output());
    outputs.filter(|output| !matches!(output, Output::ExpectGrant { .. })).collect()
}

/// What the engine hears, once a chunk was drawn, of when the next will be granted.
fn expected(session: &mut Session, event_id: Option<u32>, now: Instant) -> Vec<Option<Instant>> {
    session.handle(Input::Chunk { event_id, frames: 9, moves: false, usual: true }, now);
    let outputs = std::iter::from_fn(|| session.poll_output());
    outputs.filter_map(|output| if let Output::ExpectGrant { at } = output { Some(at) } else { None }).collect()
}

#[test]
fn the_engine_hears_with_each_paced_chunk_when_the_next_will_be_granted() {
    let start = Instant::now();
    let (mut session, _) = begin(PACED, start);
    // Nine frames at ten a second are shown until 1000, and a chunk takes 100 ms to draw.
    let told = expected(&mut session, None, start + ms(100));
    assert_eq!(say(&mut session, Input::Written, start + ms(101)), []);
    let begins = session.poll_timeout().expect("the next is put off");
    assert_eq!(told, [Some(begins)], "as the session itself will do");
    assert_eq!(begins, start + ms(1000 - 100 - 10));
    // An event that came while a chunk was drawn without it: that one is sent at once, and the next follows.
    assert!(matches!(say(&mut session, Input::Tick, begins)[..], [Output::Grant { .. }]));
    say(
        &mut session,
        Input::Binary(&message(r#"{"type":"event","kind":"prompt","payload":"p","event_id":3}"#)),
        begins + ms(10),
    );
    assert_eq!(expected(&mut session, None, start + ms(990)), [Some(start + ms(990))]);
    let (mut free, _) = begin(FREE, start);
    assert_eq!(expected(&mut free, None, start), [], "a free session has no such time");
}

#[test]
fn nothing_is_expected_of_a_session_whose_last_chunk_is_drawn_or_that_ends() {
    let start = Instant::now();
    let (mut session, _) = begin(Terms { max_chunks: Some(1), ..PACED }, start);
    assert_eq!(expected(&mut session, None, start + ms(100)), [None]);
    let (mut session, _) = begin(PACED, start);
    session.handle(Input::End(Close::SHUTDOWN), start);
    assert_eq!(expected(&mut session, None, start + ms(100)), [None]);
}

fn chunk() -> Input<'static> {
    Input::Chunk { event_id: None, frames: 9, moves: false, usual: true }
}

const SENT: Output = Output::Send { pace_wait: Duration::ZERO };

#[test]
fn a_free_session_has_two_chunks_of_credit_and_one_more_for_each_written() {
    let now = Instant::now();
    let (mut session, first) = begin(FREE, now);
    assert_eq!(first, [Output::Grant { chunks: 2, due: now }]);
    for _ in 0..5 {
        assert_eq!(say(&mut session, chunk(), now), [SENT]);
        assert_eq!(say(&mut session, Input::Written, now), [Output::Grant { chunks: 1, due: now }]);
    }
}

#[test]
fn a_session_gets_exactly_the_chunks_it_asked_for() {
    for (max, paced, grants) in [(1, false, 1), (2, false, 1), (5, false, 4), (3, true, 3)] {
        let now = Instant::now();
        let (mut session, mut all) = begin(Terms { max_chunks: Some(max), paced, fps: 240 }, now);
        for i in 0..max {
            let late = now + Duration::from_secs(i);
            session.handle(Input::Tick, late);
            session.handle(chunk(), late);
            all.extend(say(&mut session, Input::Written, late));
        }
        let granted: Vec<_> = all
            .iter()
            .filter_map(|output| if let Output::Grant { chunks, .. } = output { Some(*chunks) } else { None })
            .collect();
        assert_eq!((granted.iter().sum::<u64>(), granted.len()), (max, grants));
        assert_eq!(all.last(), Some(&Output::Close(Close::COMPLETE)));
        assert_eq!(all.iter().filter(|output| matches!(output, Output::Close(_))).count(), 1);
    }
}

#[test]
fn a_paced_chunk_is_asked_for_in_time_and_sent_when_it_is_due() {
    let start = Instant::now();
    let (mut session, first) = begin(PACED, start);
    assert_eq!(first, [Output::Grant { chunks: 1, due: start }]);
    assert_eq!(say(&mut session, chunk(), start + ms(300)), [SENT]);
    assert_eq!(say(&mut session, Input::Written, start + ms(310)), []);
    let begins = session.poll_timeout().expect("the next is put off");
    let due = start + ms(1200);
    assert_eq!(say(&mut session, Input::Tick, begins), [Output::Grant { chunks: 1, due }]);
    assert_eq!(say(&mut session, chunk(), begins + ms(100)), []);
    assert_eq!(session.poll_timeout(), Some(due));
    assert!(matches!(say(&mut session, Input::Tick, due)[..], [Output::Send { .. }]));
}

#[test]
fn an_event_steers_and_wakes_a_paced_session() {
    let start = Instant::now();
    let (mut session, _) = begin(PACED, start);
    say(&mut session, chunk(), start + ms(300));
    say(&mut session, Input::Written, start + ms(310));
    let prompt = message(r#"{"type":"event","kind":"prompt","payload":"p","event_id":3}"#);
    let woken = say(&mut session, Input::Binary(&prompt), start + ms(500));
    assert!(matches!(&woken[..], [Output::Steer(_), Output::Grant { chunks: 1, due }] if *due == start + ms(500)));
}

#[test]
fn text_and_failure_are_said_before_the_close() {
    let now = Instant::now();
    let (mut session, _) = begin(FREE, now);
    let told = say(&mut session, Input::Text, now);
    assert!(matches!(&told[..], [Output::Tell(_), Output::Close(Close { code: 1003, .. })]));
    let told = say(&mut session, Input::Failed("no memory\nat ...".into()), now);
    assert!(matches!(&told[..], [Output::Tell(error), Output::Close(Close { code: 1011, .. })]
        if error.content == "error during generate loop: no memory"));
}

#[test]
fn bad_events_are_answered_and_a_flood_of_them_is_ended() {
    let now = Instant::now();
    let (mut session, _) = begin(FREE, now);
    for i in 1..=INVALID_MESSAGES.at_once + 1 {
        let told = say(&mut session, Input::Binary(b""), now);
        assert!(matches!(&told[0], Output::Tell(error) if error.content == "invalid event"), "{told:?}");
        assert_eq!(told.contains(&Output::Close(Close::FLOOD)), i > INVALID_MESSAGES.at_once, "message {i}");
    }
}

#[test]
fn what_was_granted_is_sent_before_a_session_ends() {
    let now = Instant::now();
    for ending in [Close::SHUTDOWN, Close::IDLE] {
        let (mut session, _) = begin(FREE, now);
        assert_eq!(say(&mut session, Input::End(ending.clone()), now), []);
        assert_eq!(say(&mut session, Input::End(Close::LIFETIME), now), [], "the first reason counts");
        assert_eq!(say(&mut session, chunk(), now), [SENT]);
        assert_eq!(say(&mut session, Input::Written, now), []);
        assert_eq!(say(&mut session, chunk(), now), [SENT]);
        assert_eq!(say(&mut session, Input::Written, now), [Output::Close(ending)]);
    }
    // A chunk that was put off is not begun for it.
    let (mut session, _) = begin(PACED, now);
    say(&mut session, chunk(), now);
    say(&mut session, Input::Written, now);
    assert_eq!(say(&mut session, Input::End(Close::SHUTDOWN), now), [Output::Close(Close::SHUTDOWN)]);
}

#[test]
fn a_session_that_nobody_steers_ends_and_each_event_begins_the_wait_anew() {
    let start = Instant::now();
    let (mut session, _) = begin_with(PACED, Stay { idle: Some(ms(5000)), ..STAY }, start);
    say(&mut session, chunk(), start);
    let prompt = message(r#"{"type":"event","kind":"prompt","payload":"p"}"#);
    say(&mut session, Input::Binary(&prompt), start + ms(3000));
    assert_eq!(session.poll_timeout(), Some(start + ms(8000)));
    assert_eq!(say(&mut session, Input::Tick, start + ms(7999)), []);
    say(&mut session, Input::Tick, start + ms(8000));
    assert_eq!(say(&mut session, Input::Written, start + ms(8001)), [Output::Close(Close::IDLE)]);
}

#[test]
fn a_session_is_over_after_its_lifetime_whatever_is_steered() {
    let start = Instant::now();
    let (mut session, _) = begin_with(FREE, Stay { lifetime: Some(ms(5000)), ..STAY }, start);
    let prompt = message(r#"{"type":"event","kind":"prompt","payload":"p"}"#);
    say(&mut session, Input::Binary(&prompt), start + ms(4999));
    assert_eq!(session.poll_timeout(), Some(start + ms(5000)));
    say(&mut session, Input::Tick, start + ms(5000));
    assert_eq!(session.poll_timeout(), None, "it is ending");
    say(&mut session, Input::Written, start + ms(5001));
    assert_eq!(say(&mut session, Input::Written, start + ms(5002)), [Output::Close(Close::LIFETIME)]);
}

#[test]
fn a_session_without_a_client_draws_what_was_granted_and_no_more() {
    let now = Instant::now();
    let (mut session, _) = begin(FREE, now);
    assert_eq!(say(&mut session, Input::Lost, now), []);
    for _ in 0..CREDIT {
        assert_eq!(say(&mut session, chunk(), now), [SENT]);
        assert_eq!(say(&mut session, Input::Written, now), []);
    }
    let later = now + ms(29_999);
    assert_eq!(say(&mut session, Input::Found, later), [Output::Grant { chunks: 2, due: later }]);
    assert_eq!(session.poll_timeout(), None);
}

#[test]
fn a_paced_session_whose_client_is_back_begins_its_pace_anew() {
    let start = Instant::now();
    let (mut session, _) = begin(PACED, start);
    say(&mut session, chunk(), start);
    say(&mut session, Input::Written, start);
    assert_eq!(say(&mut session, Input::Lost, start + ms(100)), []);
    let back = start + ms(200);
    assert_eq!(say(&mut session, Input::Found, back), [Output::Grant { chunks: 1, due: back }]);
    // Lost and found while a chunk is drawn: nothing is granted twice.
    assert_eq!(say(&mut session, Input::Lost, back), []);
    assert_eq!(say(&mut session, Input::Found, back), []);
    assert_eq!(say(&mut session, chunk(), back), [SENT]);
}

fn pause() -> Vec<u8> {
    message(r#"{"type":"event","kind":"pause"}"#)
}

fn resume() -> Vec<u8> {
    message(r#"{"type":"event","kind":"resume"}"#)
}

#[test]
fn a_paused_session_sends_what_was_granted_and_goes_on_when_it_is_told_to() {
    let now = Instant::now();
    for terms in [FREE, PACED] {
        let (mut session, first) = begin(terms, now);
        let [Output::Grant { chunks, .. }] = first[..] else { panic!("{first:?}") };
        assert_eq!(say(&mut session, Input::Binary(&pause()), now), []);
        for _ in 0..chunks {
            assert_eq!(say(&mut session, chunk(), now), [SENT]);
            assert_eq!(say(&mut session, Input::Written, now), []);
        }
        let later = now + ms(60_000);
        assert_eq!(say(&mut session, Input::Tick, later), [], "{terms:?}");
        assert_eq!(say(&mut session, Input::Binary(&pause()), later), [], "twice is once");
        let back = say(&mut session, Input::Binary(&resume()), later);
        assert_eq!(back, [Output::Grant { chunks, due: later }]);
        assert_eq!(say(&mut session, Input::Binary(&resume()), later), [], "nothing is owed");
    }
}

#[test]
fn a_pause_does_not_hurry_the_next_chunk_and_what_is_drawn_is_sent_when_it_is_due() {
    let start = Instant::now();
    let (mut session, _) = begin(PACED, start);
    say(&mut session, chunk(), start + ms(300));
    say(&mut session, Input::Written, start + ms(310));
    say(&mut session, Input::Binary(&pause()), start + ms(400));
    let prompt = message(r#"{"type":"event","kind":"prompt","payload":"p","event_id":3}"#);
    let steered = say(&mut session, Input::Binary(&prompt), start + ms(450));
    assert!(matches!(steered[..], [Output::Steer(_)]), "nothing is begun for it: {steered:?}");
    let back = say(&mut session, Input::Binary(&resume()), start + ms(500));
    assert_eq!(back, [Output::Grant { chunks: 1, due: start + ms(500) }], "that prompt is new");
    let new = Input::Chunk { event_id: Some(3), frames: 9, moves: false, usual: true };
    assert!(matches!(say(&mut session, new, start + ms(600))[..], [Output::Send { .. }]));
    say(&mut session, Input::Written, start + ms(610));

    // Nothing is new: the next is due when this one will have been shown.
    let due = start + ms(600 + 900);
    say(&mut session, Input::Binary(&pause()), start + ms(700));
    assert_eq!(say(&mut session, Input::Binary(&resume()), start + ms(800)), []);
    let begins = session.poll_timeout().expect("it is put off");
    assert_eq!(say(&mut session, Input::Tick, begins), [Output::Grant { chunks: 1, due }]);
    assert_eq!(say(&mut session, chunk(), begins + ms(100)), []);
    say(&mut session, Input::Binary(&pause()), begins + ms(110));
    assert!(matches!(say(&mut session, Input::Tick, due)[..], [Output::Send { .. }]));
}

#[test]
fn more_events_than_anybody_can_mean_are_refused_by_their_ids() {
    let now = Instant::now();
    let (mut session, _) = begin(FREE, now);
    let key = |id: u32| {
        let held = format!(r#"{{"type":"event","kind":"camera_actions","payload":[["w"]],"event_id":{id}}}"#);
        message(&held)
    };
    for id in 0..EVENTS.at_once {
        assert!(matches!(say(&mut session, Input::Binary(&key(id)), now)[..], [Output::Steer(_)]), "event {id}");
    }
    let told = say(&mut session, Input::Binary(&key(7000)), now);
    assert!(matches!(&told[..], [Output::Tell(error)] if error.event_id == Some(7000)), "{told:?}");
    let told = say(&mut session, Input::Binary(&pause()), now);
    assert!(matches!(told[..], [Output::Tell(_)]), "a pause is one as well: {told:?}");
    assert!(matches!(say(&mut session, Input::Binary(&key(8000)), now + EVENTS.every)[..], [Output::Steer(_)]));
}

#[test]
fn a_pause_outlasts_a_cut_and_can_come_before_the_world_has_opened() {
    let now = Instant::now();
    let mut session = Session::new(FREE, pauses(), STAY, now);
    assert_eq!(say(&mut session, Input::Binary(&pause()), now), []);
    assert_eq!(say(&mut session, Input::Opened, now), []);
    assert_eq!(say(&mut session, Input::Lost, now), []);
    assert_eq!(say(&mut session, Input::Found, now), []);
    let begun = say(&mut session, Input::Binary(&resume()), now);
    assert_eq!(begun, [Output::Grant { chunks: CREDIT, due: now }]);
}

#[test]
fn a_client_that_does_not_come_back_in_time_is_given_up() {
    let now = Instant::now();
    let (mut session, _) = begin(FREE, now);
    session.handle(Input::Lost, now);
    assert_eq!(session.poll_timeout(), Some(now + STAY.grace));
    assert_eq!(say(&mut session, Input::Tick, now + STAY.grace), [Output::Close(Close::NOT_RESUMED)]);
}

#[test]
fn what_is_complete_waits_for_its_client_and_what_must_end_does_not() {
    let now = Instant::now();
    for (ending, waits) in [(None, true), (Some(Close::SHUTDOWN), false)] {
        let (mut session, _) = begin(Terms { max_chunks: Some(2), ..FREE }, now);
        session.handle(Input::Lost, now);
        session.handle(chunk(), now);
        session.handle(Input::Written, now);
        say(&mut session, chunk(), now);
        let end = ending.clone().unwrap_or(Close::COMPLETE);
        if let Some(close) = ending {
            session.handle(Input::End(close), now);
        }
        let closed = [Output::Close(end)];
        assert_eq!(say(&mut session, Input::Written, now) == closed, !waits);
        if waits {
            assert_eq!(say(&mut session, Input::Found, now), closed);
        }
    }
}

const YIELDS: Stay = Stay { yield_after: Some(Duration::from_secs(60)), ..STAY };

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A free session whose two chunks are drawn and written.
fn sent_all(terms: Terms, start: Instant) -> Session {
    let (mut session, _) = begin_with(Terms { max_chunks: None, ..terms }, YIELDS, start);
    say(&mut session, Input::Binary(&pause()), start);
    for _ in 0..if terms.paced { 1 } else { 2 } {
        session.handle(chunk(), start);
        say(&mut session, Input::Written, start);
    }
    session
}

#[test]
fn a_paused_session_leaves_its_place_after_a_minute_if_somebody_wants_it() {
    let start = Instant::now();
    let mut session = sent_all(FREE, start);
    assert_eq!(session.yields_at(), Some(start + seconds(60)));
    assert_eq!(say(&mut session, Input::Wanted, start + seconds(59)), []);
    assert_eq!(say(&mut session, Input::Tick, start + seconds(61)), [], "not by itself");
    assert_eq!(say(&mut session, Input::Wanted, start + seconds(61)), [Output::Close(Close::YIELDED)]);
    assert_eq!(session.yields_at(), None, "it leaves already");
}

#[test]
fn a_session_that_is_steered_or_moves_keeps_its_place() {
    let start = Instant::now();
    let (mut session, _) = begin_with(FREE, YIELDS, start);
    let moving = || Input::Chunk { event_id: None, frames: 9, moves: true, usual: true };
    say(&mut session, moving(), start + seconds(50));
    say(&mut session, Input::Written, start + seconds(50));
    assert_eq!(say(&mut session, Input::Wanted, start + seconds(100)), [], "a key was held fifty seconds ago");
    let event = message(r#"{"type":"event","kind":"prompt","payload":"rain"}"#);
    say(&mut session, Input::Binary(&event), start + seconds(100));
    assert_eq!(session.yields_at(), Some(start + seconds(160)));
    say(&mut session, chunk(), start + seconds(101));
    assert_eq!(session.yields_at(), Some(start + seconds(160)), "no key was held in that chunk");
}

#[test]
fn what_was_granted_is_sent_before_a_session_leaves_its_place() {
    let start = Instant::now();
    let (mut session, _) = begin_with(FREE, YIELDS, start);
    let late = start + seconds(60);
    assert_eq!(say(&mut session, Input::Wanted, late), []);
    for close in [vec![], vec![Output::Close(Close::YIELDED)]] {
        assert_eq!(say(&mut session, chunk(), late), [SENT]);
        assert_eq!(say(&mut session, Input::Written, late), close);
    }
}

#[test]
fn a_session_without_its_client_keeps_its_place_for_the_grace() {
    let start = Instant::now();
    let mut session = sent_all(FREE, start);
    say(&mut session, Input::Lost, start + seconds(59));
    assert_eq!(session.yields_at(), None);
    assert_eq!(say(&mut session, Input::Wanted, start + seconds(70)), []);
}

#[test]
fn a_parked_session_goes_on_when_its_client_is_back() {
    for terms in [FREE, PACED] {
        let start = Instant::now();
        let mut session = sent_all(terms, start);
        let late = start + seconds(60);
        assert_eq!(say(&mut session, Input::Wanted, late), [Output::Close(Close::YIELDED)]);
        assert_eq!(say(&mut session, Input::Parked, late), []);
        assert_eq!(session.yields_at(), None, "it has no place");
        say(&mut session, Input::Returning, late + seconds(10));
        assert_eq!(say(&mut session, Input::Found, late + seconds(20)), [], "its client has paused");
        let back = late + seconds(30);
        let granted = say(&mut session, Input::Binary(&message(r#"{"type":"event","kind":"resume"}"#)), back);
        let chunks = if terms.paced { 1 } else { CREDIT };
        assert!(matches!(granted[..], [Output::Grant { chunks: granted, .. }] if granted == chunks), "{granted:?}");
    }
}

#[test]
fn a_parked_session_ends_when_it_has_idled_too_long() {
    let start = Instant::now();
    let stay = Stay { idle: Some(seconds(900)), ..YIELDS };
    let (mut session, _) = begin_with(Terms { max_chunks: None, ..FREE }, stay, start);
    say(&mut session, Input::Binary(&pause()), start);
    for _ in 0..2 {
        session.handle(chunk(), start);
        say(&mut session, Input::Written, start);
    }
    say(&mut session, Input::Wanted, start + seconds(60));
    say(&mut session, Input::Parked, start + seconds(60));
    assert_eq!(session.poll_timeout(), Some(start + seconds(900)));
    assert_eq!(say(&mut session, Input::Tick, start + seconds(900)), [Output::Close(Close::IDLE)]);
}

#[test]
fn a_session_goes_on_when_its_client_has_shown_enough() {
    let start = Instant::now();
    let playback = |frame: u32| {
        message(&format!(r#"{{"type":"event","kind":"playback","payload":{{"frame":{frame},"lead_ms":1000}}}}"#))
    };
    for terms in [FREE, PACED] {
        let terms = Terms { max_chunks: None, fps: 16, ..terms };
        let features = Features { playback: true, ..pauses() };
        let mut session = Session::new(terms, features, STAY, start);
        session.begins(Chunking::even(3), 0);
        let credit = if terms.paced { 1 } else { CREDIT };
        let granted = |outputs: Vec<Output>| -> u64 {
            outputs.iter().map(|output| if let Output::Grant { chunks, .. } = output { *chunks } else { 0 }).sum()
        };
        assert_eq!(granted(say(&mut session, Input::Opened, start)), credit);
        say(&mut session, Input::Binary(&playback(0)), start);
        for _ in 0..credit {
            session.handle(chunk(), start);
            assert_eq!(granted(say(&mut session, Input::Written, start)), 0, "21 frames would be more than a second");
        }
        let later = start + seconds(2);
        // 9 frames of the first chunk, 12 of every other: a paced session is at 9, a free one at 21.
        let (too_few, enough) = if terms.paced { (4, 5) } else { (16, 17) };
        assert_eq!(granted(say(&mut session, Input::Binary(&playback(too_few)), later)), 0);
        assert_eq!(granted(say(&mut session, Input::Binary(&playback(enough)), later)), 1, "{terms:?}");
        // Another client that says nothing gets what it would get otherwise.
        say(&mut session, Input::Lost, later);
        session.handle(chunk(), later);
        say(&mut session, Input::Written, later);
        assert!(granted(say(&mut session, Input::Found, later)) >= 1, "{terms:?}");
    }
}
