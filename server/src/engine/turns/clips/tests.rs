//! Turns of clips on a made-up clock: beside free sessions, beside paced ones, and when nobody else draws.

use super::*;

const CLIP: SeatId = 7;
const PIXELS: u64 = 100;

const NOBODY: Against = Against { paced: false, free: false, next_grant: NextGrant::Never };
const FREE: Against = Against { free: true, ..NOBODY };
const PACED: Against = Against { paced: true, ..NOBODY };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn next_grant(next_grant: NextGrant) -> Against {
    Against { next_grant, ..NOBODY }
}

/// A clip that is opened and has drawn pieces of so many milliseconds; the next one can be drawn from `start` on.
fn drawn(pieces: &[u64], start: Instant) -> Clips {
    let mut clips = Clips::default();
    clips.begin(CLIP, PIXELS, start);
    clips.opened(PIXELS, ms(1));
    for &piece in pieces {
        clips.drew(PIXELS, ms(piece));
    }
    clips
}

/// Whether a clip has the turn that waits for it since `start`.
fn has_turn(mut clips: Clips, against: Against, now: Instant) -> bool {
    match clips.take_turn(against, now) {
        Some(id) => id == CLIP,
        None => false,
    }
}

#[test]
fn a_clip_that_nobody_stands_against_is_drawn_at_once() {
    let start = Instant::now();
    assert!(has_turn(drawn(&[20], start), NOBODY, start));
    assert_eq!(Clips::default().take_turn(NOBODY, start), None);
}

#[test]
fn free_sessions_lose_the_time_of_a_piece_a_second_and_paced_ones_in_five() {
    let start = Instant::now();
    let check = |against, after: Duration| {
        assert!(!has_turn(drawn(&[20], start), against, start + after - ms(1)), "{against:?}");
        assert!(has_turn(drawn(&[20], start), against, start + after), "{against:?}");
    };
    check(FREE, BESIDE_FREE);
    check(PACED, BESIDE_ANYBODY);
    check(Against { free: true, ..PACED }, BESIDE_ANYBODY);
    check(next_grant(NextGrant::Soon), BESIDE_ANYBODY);
    // A paced grant that is near stands against it beside free sessions, too.
    check(Against { next_grant: NextGrant::At(start + BESIDE_ANYBODY), ..FREE }, BESIDE_FREE);
    check(Against { next_grant: NextGrant::At(start + BESIDE_FREE), ..FREE }, BESIDE_ANYBODY);
}

#[test]
fn the_wait_is_counted_from_when_the_piece_could_be_drawn() {
    let start = Instant::now();
    let mut clips = drawn(&[20], start);
    assert_eq!(clips.take_turn(NOBODY, start), Some(CLIP));
    let read = start + Duration::from_secs(10);
    assert_eq!(clips.take_turn(NOBODY, read), None, "its reader has not taken what was drawn");
    assert_eq!(clips.look_again_at(NextGrant::Never), None);
    clips.taken(CLIP, read);
    assert_eq!(clips.take_turn(FREE, read + ms(999)), None);
    assert_eq!(clips.take_turn(FREE, read + ms(1000)), Some(CLIP));
}

#[test]
fn a_piece_is_drawn_before_a_paced_grant_only_if_it_ends_before_it() {
    let start = Instant::now();
    let before = |clips, in_ms| has_turn(clips, next_grant(NextGrant::At(start + ms(in_ms))), start);
    assert!(before(drawn(&[20, 30], start), 26), "the mean of its last pieces");
    assert!(!before(drawn(&[20, 30], start), 25));
    // A grant that should have come by now.
    assert!(!before(drawn(&[20], start), 0));
}

#[test]
fn a_first_piece_counts_as_the_slowest_that_was_seen_and_an_opening_as_the_slowest_opening() {
    let start = Instant::now();
    let before = |clips: Clips, in_ms| has_turn(clips, next_grant(NextGrant::At(start + ms(in_ms))), start);
    let seen = || {
        let mut clips = Clips::default();
        for took in [20, 80, 20] {
            clips.drew(PIXELS, ms(took));
            clips.opened(PIXELS, ms(10 * took));
        }
        clips.begin(CLIP, PIXELS, start);
        clips
    };
    assert!(!before(seen(), 800) && before(seen(), 801));
    let opened = || {
        let mut clips = seen();
        clips.opened(PIXELS, ms(1));
        clips
    };
    assert!(!before(opened(), 80) && before(opened(), 81));
}

#[test]
fn where_nothing_was_ever_seen_a_clip_waits_for_a_time_without_paced_sessions() {
    let start = Instant::now();
    let begun = || {
        let mut clips = Clips::default();
        clips.begin(CLIP, PIXELS, start);
        clips
    };
    assert!(!has_turn(begun(), next_grant(NextGrant::At(start + Duration::from_secs(3600))), start));
    assert!(has_turn(begun(), NOBODY, start));
}

#[test]
fn a_grant_that_does_not_come_is_waited_for_only_so_long() {
    let start = Instant::now();
    let expected = NextGrant::At(start);
    assert_eq!(expected.still_expected(start + GRANT_OVERDUE - ms(1)), expected);
    assert_eq!(expected.still_expected(start + GRANT_OVERDUE), NextGrant::Never);
    let soon = NextGrant::Soon.still_expected(start + Duration::from_secs(3600));
    assert_eq!(soon, NextGrant::Soon);
    assert!(NextGrant::Soon < expected && expected < NextGrant::Never, "the nearest is the least");
}

#[test]
fn the_engine_looks_again_when_a_clip_may_have_its_turn() {
    let start = Instant::now();
    let clips = drawn(&[20], start);
    let anyway = start + BESIDE_ANYBODY;
    let check = |next_grant, expected| assert_eq!(clips.look_again_at(next_grant), Some(expected), "{next_grant:?}");
    check(NextGrant::At(start + ms(10)), start + ms(10) + GRANT_OVERDUE);
    check(NextGrant::At(anyway), anyway);
    check(NextGrant::Soon, anyway);
    assert_eq!(Clips::default().look_again_at(NextGrant::Soon), None);
}

#[test]
fn what_comes_too_late_for_a_clip_that_has_ended_goes_nowhere() {
    let start = Instant::now();
    let mut clips = drawn(&[20], start);
    clips.end(CLIP + 1);
    assert_eq!(clips.take_turn(NOBODY, start), Some(CLIP));
    clips.end(CLIP);
    clips.taken(CLIP, start);
    assert_eq!(clips.take_turn(NOBODY, start), None);
    clips.begin(CLIP + 1, PIXELS, start);
    clips.taken(CLIP, start);
    assert_eq!(clips.take_turn(NOBODY, start), Some(CLIP + 1));
}
