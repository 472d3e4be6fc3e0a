//! When chunks of a paced session begin and are sent, on a clock of the tests' own.

use super::*;

/// Nine frames at ten a second: a chunk is shown for 900 ms.
const FRAMES: usize = 9;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One that is begun at the start.
fn begun(start: Instant) -> Pace {
    let mut pace = Pace::new(10);
    assert_eq!(pace.start(start), start);
    pace
}

/// What becomes of a chunk that is drawn now.
fn drawn(pace: &mut Pace, event_id: Option<u32>, now: Instant) -> Option<Duration> {
    pace.drawn(event_id, (FRAMES, true), now);
    pace.release(now)
}

#[test]
fn a_chunk_is_held_until_the_one_before_has_been_shown() {
    let start = Instant::now();
    let mut pace = begun(start);
    assert_eq!(drawn(&mut pace, None, start + ms(300)), Some(ms(0)));
    assert_eq!(drawn(&mut pace, None, start + ms(600)), None);
    assert_eq!(pace.poll_timeout(), Some(start + ms(1200)));
    assert_eq!(pace.release(start + ms(1199)), None);
    assert_eq!(pace.release(start + ms(1200)), Some(ms(600)));
    assert_eq!(pace.poll_timeout(), None);
    // One that comes late goes at once, and the pace goes on from there.
    assert_eq!(drawn(&mut pace, None, start + ms(5000)), Some(ms(0)));
    assert_eq!(drawn(&mut pace, None, start + ms(5100)), None);
    assert_eq!(pace.poll_timeout(), Some(start + ms(5900)));
}

#[test]
fn only_a_usual_chunk_says_how_early_the_next_must_begin() {
    let start = Instant::now();
    let mut pace = begun(start);
    // Drawn in 300 ms, and shown for 900.
    assert_eq!(drawn(&mut pace, None, start + ms(300)), Some(ms(0)));
    assert_eq!(pace.written(start + ms(300)), None);
    assert_eq!(pace.poll_timeout(), Some(start + ms(1200 - 300) - MARGIN));
    // Begun at once for an event, and again for another, and so drawn in 700 ms.
    pace.event(Some(1), start + ms(400)).expect("at once");
    assert_eq!(pace.event(Some(2), start + ms(600)), None);
    pace.drawn(Some(2), (FRAMES, false), start + ms(1100));
    pace.release(start + ms(1100)).expect("it is due");
    assert_eq!(pace.written(start + ms(1100)), None);
    assert_eq!(pace.poll_timeout(), Some(start + ms(1100 + 900 - 300) - MARGIN));
}

#[test]
fn what_is_under_way_is_sent_at_once_for_a_client_that_goes_elsewhere() {
    let start = Instant::now();
    let mut pace = begun(start);
    assert_eq!(drawn(&mut pace, None, start + ms(300)), Some(ms(0)));
    // Held back.
    assert_eq!(drawn(&mut pace, None, start + ms(600)), None);
    pace.hurry(start + ms(650));
    assert_eq!(pace.release(start + ms(650)), Some(ms(50)));
    // Still drawn.
    pace.written(start + ms(650));
    pace.tick(start + ms(1400)).expect("it begins by then");
    pace.hurry(start + ms(1500));
    assert_eq!(drawn(&mut pace, None, start + ms(1501)), Some(ms(750)));
}

#[test]
fn a_little_lateness_is_made_up_for_and_much_of_it_is_not() {
    let check = |late: Duration, put_off: Duration| {
        let start = Instant::now();
        let mut pace = begun(start);
        assert_eq!(drawn(&mut pace, None, start), Some(ms(0)));
        assert_eq!(drawn(&mut pace, None, start + ms(900) + late), Some(ms(0)));
        pace.drawn(None, (FRAMES, true), start + ms(1200));
        assert_eq!(pace.poll_timeout(), Some(start + ms(1800) + put_off), "{late:?} late");
    };
    check(ms(1), ms(0));
    check(MADE_UP_FOR - ms(1), ms(0));
    check(MADE_UP_FOR, MADE_UP_FOR);
    check(ms(2900), ms(2900));
}

#[test]
fn a_new_event_is_shown_at_once_and_its_repetition_is_not() {
    let start = Instant::now();
    let mut pace = begun(start);
    assert_eq!(drawn(&mut pace, None, start), Some(ms(0)));
    assert_eq!(pace.event(Some(4), start + ms(50)), None);
    assert_eq!(drawn(&mut pace, Some(4), start + ms(100)), Some(ms(0)));
    assert_eq!(drawn(&mut pace, Some(4), start + ms(200)), None);
    assert_eq!(pace.release(start + ms(1000)), Some(ms(800)));
    assert_eq!(pace.event(Some(5), start + ms(1050)), None);
    assert_eq!(drawn(&mut pace, Some(5), start + ms(1100)), Some(ms(0)));
}

#[test]
fn an_id_that_no_event_hurried_with_waits_for_its_turn() {
    let start = Instant::now();
    let mut pace = begun(start);
    assert_eq!(drawn(&mut pace, None, start), Some(ms(0)));
    assert_eq!(drawn(&mut pace, Some(7), start + ms(100)), None);
    assert_eq!(pace.release(start + ms(900)), Some(ms(800)));
    // A later event with a smaller id asks for nothing new.
    assert_eq!(pace.written(start + ms(910)), None);
    assert_eq!(pace.event(Some(6), start + ms(920)), None);
    assert!(pace.event(Some(8), start + ms(930)).is_some());
}

/// Its first chunk was drawn in 300 ms and is written at 310: it is shown until 1200.
fn second_chunk_ahead(start: Instant) -> Pace {
    let mut pace = begun(start);
    assert_eq!(drawn(&mut pace, None, start + ms(300)), Some(ms(0)));
    assert_eq!(pace.written(start + ms(310)), None);
    pace
}

#[test]
fn a_chunk_begins_so_late_that_it_is_drawn_just_when_it_is_due() {
    let start = Instant::now();
    let mut pace = second_chunk_ahead(start);
    let begins = start + ms(1200 - 300) - MARGIN;
    assert_eq!(pace.poll_timeout(), Some(begins));
    assert_eq!(pace.tick(begins - ms(1)), None);
    assert_eq!(pace.tick(begins), Some(start + ms(1200)));
    // It is early by the margin, and waited for its pace from the time the first was written.
    assert_eq!(drawn(&mut pace, None, start + ms(1190)), None);
    assert_eq!(pace.release(start + ms(1200)), Some(ms(890 - 310 + 10)));
}

#[test]
fn the_slowest_of_the_last_chunks_says_when_the_next_begins_until_it_is_forgotten() {
    let mut now = Instant::now();
    let mut pace = begun(now);
    for i in 0..2 * REMEMBERED {
        pace.drawn(None, (FRAMES, true), now + if i == 0 { ms(500) } else { ms(100) });
        let sent = pace.poll_timeout().expect("it is held");
        assert!(pace.release(sent).is_some());
        assert_eq!(pace.written(sent), None);
        let due = pace.shown_at.expect("one was sent");
        now = pace.poll_timeout().expect("the next is not begun yet");
        let slowest = if i < REMEMBERED { ms(500) } else { ms(100) };
        assert_eq!(due - now, slowest + MARGIN, "after chunk {i}");
        assert_eq!(pace.tick(now), Some(due));
    }
}

#[test]
fn an_input_with_a_new_id_begins_the_next_chunk_at_once_and_any_other_does_not() {
    let start = Instant::now();
    let mut pace = second_chunk_ahead(start);
    assert_eq!(pace.event(None, start + ms(400)), None);
    assert_eq!(pace.event(Some(3), start + ms(500)), Some(start + ms(500)));
    assert_eq!(pace.poll_timeout(), None);
    assert_eq!(drawn(&mut pace, Some(3), start + ms(800)), Some(ms(0)));
    assert_eq!(pace.written(start + ms(810)), None);
    assert_eq!(pace.event(Some(3), start + ms(820)), None, "it has been shown already");
    // One that came while a chunk was drawn without it is not kept waiting either.
    assert!(pace.tick(start + ms(1800)).is_some());
    assert_eq!(pace.event(Some(4), start + ms(1850)), None, "a chunk is being drawn");
    assert!(drawn(&mut pace, Some(3), start + ms(1900)).is_some());
    assert_eq!(pace.written(start + ms(1900)), Some(start + ms(1900)));
}

#[test]
fn a_chunk_without_the_effect_of_a_new_input_is_not_held_back_from_the_one_with_it() {
    // The input comes while the chunk is drawn; it is ready 200 ms before it is due.
    let start = Instant::now();
    let mut pace = second_chunk_ahead(start);
    assert_eq!(pace.tick(start + ms(890)), Some(start + ms(1200)));
    assert_eq!(pace.event(Some(3), start + ms(900)), None);
    assert_eq!(drawn(&mut pace, None, start + ms(1000)), Some(ms(890 - 310)));
    assert_eq!(pace.written(start + ms(1001)), Some(start + ms(1001)));
    assert_eq!(drawn(&mut pace, Some(3), start + ms(1300)), Some(ms(0)));

    // It comes while the drawn chunk is held.
    let mut pace = second_chunk_ahead(start);
    assert_eq!(pace.tick(start + ms(890)), Some(start + ms(1200)));
    assert_eq!(drawn(&mut pace, None, start + ms(1000)), None);
    assert_eq!(pace.event(None, start + ms(1050)), None);
    assert_eq!(pace.release(start + ms(1050)), None, "an input without an id waits for nothing");
    assert_eq!(pace.event(Some(3), start + ms(1100)), None);
    assert_eq!(pace.poll_timeout(), Some(start + ms(1100)));
    assert!(pace.release(start + ms(1100)).is_some());
    assert_eq!(pace.written(start + ms(1101)), Some(start + ms(1101)));
}

/// A device that three free sessions keep busy, on a made-up clock: how late each of a thousand paced chunks is
/// sent.
fn beside_three_free_ones(chunk_ms: u64) -> Vec<Duration> {
    use crate::engine::turns::scheduler::{Next, Scheduler};
    const PACED: u64 = 0;
    let mut scheduler = Scheduler::default();
    let mut now = Instant::now();
    for id in 0..4 {
        scheduler.open(id, id == PACED);
        scheduler.grant(id, if id == PACED { 1 } else { 2 }, now);
    }
    let mut pace = begun(now);
    let (mut running, mut late, mut dice) = (None, Vec::new(), 1u64);
    while late.len() < 1000 {
        if running.is_none() {
            // No chunk takes exactly as long as another, so that they begin anywhere in each other.
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let took = Duration::from_micros(940 * chunk_ms + (dice >> 33) % (120 * chunk_ms));
            if let Some(Next::Chunk(id)) = scheduler.take_turn(now) {
                running = Some((now + took, id));
            }
        }
        let ends = running.map(|(ends, _)| ends);
        now = ends.into_iter().chain(pace.poll_timeout()).min().expect("somebody is busy").max(now);
        let begin = pace.tick(now);
        if let Some((_, id)) = running.take_if(|(ends, _)| *ends <= now) {
            match id {
                PACED => pace.drawn(None, (FRAMES, true), now),
                free => scheduler.grant(free, 1, now),
            }
        }
        let due = if let Chunk::Held { due, .. } = pace.chunk { Some(due) } else { None };
        let sent = pace.release(now).and(due);
        late.extend(sent.map(|due| now - due));
        if let Some(due) = begin.or_else(|| sent.and_then(|_| pace.written(now))) {
            scheduler.grant(PACED, 1, due);
        }
    }
    late
}

#[test]
fn chunks_are_on_time_beside_free_sessions_that_keep_the_device_busy() {
    for chunk_ms in [5, 50, 200, 400] {
        let late = beside_three_free_ones(chunk_ms);
        let on_time = late.iter().filter(|late| late.is_zero()).count();
        println!("{chunk_ms} ms: {on_time} of {} on time", late.len());
        assert!(on_time * 100 >= late.len() * 99, "{chunk_ms} ms: {on_time} of {}", late.len());
    }
}

#[test]
fn after_a_rest_the_pace_starts_anew() {
    let start = Instant::now();
    let mut pace = second_chunk_ahead(start);
    assert!(pace.rest());
    assert_eq!(pace.poll_timeout(), None);
    assert!(!pace.rest());
    let back = start + ms(400);
    assert_eq!(pace.start(back), back);
    assert_eq!(
        drawn(&mut pace, None, start + ms(600)),
        Some(ms(0)),
        "nobody has the video that would be shown until 1200"
    );
}
