//! Sessions that come and go before a desk with a made-up clock.
//!
//! Over 400 lines: one sentence of the rules each, on one clock.

use super::*;

const ROOMY: Bounds = Bounds { sessions: 100, memory_bytes: 1000, load: 0.9, queue: 100, clips: 100 };

const FREE: Wish = Wish { bytes: 1, pixels: 100, kind: Kind::Free };

fn paced(period_ms: u64) -> Wish {
    Wish { kind: Kind::Paced { period: Duration::from_millis(period_ms) }, ..FREE }
}

fn large(bytes: u64) -> Wish {
    Wish { bytes, ..FREE }
}

/// A made-up clock, and an admission that is asked by ids in order.
struct Desk {
    admission: Admission,
    now: Instant,
    asked: SeatId,
}

impl Desk {
    fn new(bounds: Bounds) -> Desk {
        Desk { admission: Admission::new(bounds), now: Instant::now(), asked: 0 }
    }

    fn ask(&mut self, wish: Wish) -> SeatId {
        self.try_ask(wish).expect("it may at least wait")
    }

    fn try_ask(&mut self, wish: Wish) -> Result<SeatId, Refused> {
        self.asked += 1;
        self.admission.ask(self.asked, wish, self.now).map(|()| self.asked)
    }

    fn leave(&mut self, id: SeatId) {
        self.admission.leave(id, self.now);
    }

    fn drew(&mut self, id: SeatId, ms: u64) {
        self.admission.drew(id, Duration::from_millis(ms), self.now);
    }

    fn placed(&self, id: SeatId) -> bool {
        self.admission.has_place(id)
    }

    /// Sessions and clips that wait.
    fn queue(&self) -> Vec<SeatId> {
        self.admission.waiting().map(|(id, _)| id).collect()
    }

    fn obstacle(&self, id: SeatId) -> &'static str {
        let found = self.admission.waiting().find(|(waiter, _)| *waiter == id);
        found.expect("it waits").1.obstacle.name()
    }
}

#[test]
fn the_one_too_many_waits_and_places_are_given_in_order() {
    let mut desk = Desk::new(Bounds { sessions: 2, ..ROOMY });
    let [a, b, c, d] = [(); 4].map(|()| desk.ask(FREE));
    assert!(desk.placed(a) && desk.placed(b));
    assert_eq!((desk.queue(), desk.obstacle(c)), (vec![c, d], "sessions"));
    desk.leave(b);
    assert!(desk.placed(c));
    assert_eq!(desk.queue(), [d]);
}

#[test]
fn one_that_leaves_while_it_waits_is_forgotten_and_those_behind_move_up() {
    let mut desk = Desk::new(Bounds { sessions: 1, ..ROOMY });
    let [a, b, c, d] = [(); 4].map(|()| desk.ask(FREE));
    desk.leave(b);
    let positions: Vec<_> = desk.admission.waiting().map(|(id, waiting)| (id, waiting.position)).collect();
    assert_eq!(positions, [(c, 1), (d, 2)]);
    desk.leave(a);
    // Twice is once: a socket that is dropped says so, and so does its rollout.
    desk.leave(a);
    assert!(desk.placed(c) && !desk.placed(d));
}

#[test]
fn a_full_queue_refuses_the_next_and_one_that_fits_needs_no_queue() {
    let mut desk = Desk::new(Bounds { sessions: 3, queue: 2, ..ROOMY });
    let a = desk.ask(large(600));
    for _ in 0..2 {
        desk.ask(large(600));
    }
    let obstacle = Obstacle::Memory { bytes: 600, free: 400, budget: 1000 };
    assert_eq!(desk.try_ask(large(600)), Err(Refused::QueueFull { waiting: 2, obstacle }));
    let small = desk.ask(FREE);
    assert!(desk.placed(small));
    desk.leave(a);
    assert_eq!(desk.queue().len(), 1);
    let mut none_wait = Desk::new(Bounds { sessions: 1, queue: 0, ..ROOMY });
    none_wait.ask(FREE);
    assert!(none_wait.try_ask(FREE).is_err());
}

#[test]
fn memory_is_shared_out_to_the_last_byte_and_what_can_never_fit_is_refused_at_once() {
    let mut desk = Desk::new(ROOMY);
    assert_eq!(desk.try_ask(large(1001)), Err(Refused::TooLarge { bytes: 1001, budget: 1000 }));
    let a = desk.ask(large(600));
    let b = desk.ask(large(401));
    assert!(desk.placed(a) && !desk.placed(b));
    assert_eq!(desk.obstacle(b), "memory");
    let c = desk.ask(large(400));
    assert!(desk.placed(c));
    desk.leave(a);
    assert!(desk.placed(b));
}

#[test]
fn a_small_session_passes_a_large_one_but_not_for_ever() {
    let mut desk = Desk::new(ROOMY);
    let mut small = desk.ask(large(600));
    let big = desk.ask(large(1000));
    for turn in 0..PASSED_MAX {
        let next = desk.ask(large(400));
        assert!(desk.placed(next), "{turn}");
        desk.leave(std::mem::replace(&mut small, next));
    }
    // Four hundred are taken and six hundred free, and nobody may use them any more.
    let late = desk.ask(large(400));
    assert!(!desk.placed(late));
    assert_eq!((desk.obstacle(big), desk.obstacle(late)), ("memory", "order"));
    desk.leave(small);
    assert!(desk.placed(big) && !desk.placed(late));
    desk.leave(big);
    assert!(desk.placed(late), "who was held up for the large one goes next");
}

#[test]
fn when_one_that_holds_up_the_others_leaves_they_go_on() {
    let mut desk = Desk::new(ROOMY);
    let first = desk.ask(large(600));
    let big = desk.ask(large(1000));
    for _ in 0..PASSED_MAX {
        let passing = desk.ask(large(10));
        desk.leave(passing);
    }
    let held_up = [desk.ask(large(200)), desk.ask(large(200))];
    assert!(held_up.iter().all(|&id| !desk.placed(id)));
    desk.leave(big);
    assert!(held_up.iter().all(|&id| desk.placed(id)) && desk.placed(first));
}

#[test]
fn paced_sessions_get_as_much_of_the_devices_time_as_is_given_out() {
    let mut desk = Desk::new(ROOMY);
    let a = desk.ask(paced(1000));
    // Nothing is known yet: an unmeasured world turns nobody away.
    let b = desk.ask(paced(1000));
    assert!(desk.placed(a) && desk.placed(b));
    desk.drew(a, 300);
    let c = desk.ask(paced(1000));
    assert!(desk.placed(c), "three times 0.3");
    let d = desk.ask(paced(1000));
    assert_eq!(desk.obstacle(d), "time");
    desk.drew(b, 250);
    assert!(!desk.placed(d), "0.3 + 0.25, and twice the mean of both");
    for _ in 0..50 {
        desk.drew(c, 100);
    }
    assert!(desk.placed(d), "measured to be faster than it was expected to be");
}

#[test]
fn a_free_session_needs_no_time_and_passes_a_paced_one_that_waits_for_it() {
    let mut desk = Desk::new(ROOMY);
    let a = desk.ask(paced(1000));
    desk.drew(a, 800);
    let b = desk.ask(paced(1000));
    let c = desk.ask(FREE);
    assert!(!desk.placed(b) && desk.placed(c));
    assert!((desk.admission.load() - 0.8).abs() < 1e-9, "{}", desk.admission.load());
    desk.leave(a);
    assert!(desk.placed(b));
}

#[test]
fn a_paced_session_that_the_device_is_too_slow_for_gets_it_if_no_other_paced_one_is_there() {
    let mut desk = Desk::new(ROOMY);
    let free = desk.ask(FREE);
    desk.drew(free, 2000);
    let a = desk.ask(paced(1000));
    assert!(desk.placed(a));
    let b = desk.ask(paced(1000));
    assert!(!desk.placed(b));
    desk.leave(a);
    assert!(desk.placed(b));
}

#[test]
fn a_newcomer_is_expected_to_be_as_slow_as_its_size() {
    let mut desk = Desk::new(ROOMY);
    let a = desk.ask(paced(1000));
    desk.drew(a, 300);
    let twice = desk.ask(Wish { pixels: 200, ..paced(1000) });
    assert!(desk.placed(twice), "0.3 + 0.6");
    let again = desk.ask(Wish { pixels: 10, ..paced(1000) });
    assert!(!desk.placed(again));
}

#[test]
fn a_wait_is_estimated_from_how_long_others_stayed() {
    let mut desk = Desk::new(Bounds { sessions: 2, ..ROOMY });
    let [a, b, c, _] = [(); 4].map(|()| desk.ask(FREE));
    let estimates = |desk: &Desk| -> Vec<_> { desk.admission.waiting().map(|(_, w)| w.estimate).collect() };
    assert_eq!(estimates(&desk), [None, None]);
    desk.now += Duration::from_secs(60);
    desk.leave(a);
    assert!(desk.placed(b) && desk.placed(c));
    // Two places, each held for a minute.
    assert_eq!(estimates(&desk), [Some(Duration::from_secs(30))]);
}

/// A session that has rested for a minute, and offers its place.
fn rested(desk: &mut Desk, wish: Wish) -> SeatId {
    let id = desk.ask(wish);
    let since = desk.now;
    desk.now += Duration::from_secs(60);
    desk.admission.offer(id, since, desk.now);
    id
}

#[test]
fn a_session_that_rests_is_asked_for_its_place_once_somebody_waits() {
    let mut desk = Desk::new(Bounds { sessions: 2, ..ROOMY });
    let longest = rested(&mut desk, FREE);
    let later = rested(&mut desk, FREE);
    assert!(!desk.admission.must_leave(longest) && !desk.admission.must_leave(later), "nobody waits");
    let waits = desk.ask(FREE);
    assert!(desk.admission.must_leave(longest) && !desk.admission.must_leave(later), "the one that has rested longest");
    assert!(!desk.placed(waits), "not before it has left");
    desk.leave(longest);
    assert!(desk.placed(waits) && !desk.admission.must_leave(later), "nobody waits any more");
}

#[test]
fn one_that_offers_its_place_while_somebody_waits_is_asked_at_once_and_one_that_took_it_back_is_not() {
    let mut desk = Desk::new(Bounds { sessions: 1, ..ROOMY });
    let busy = desk.ask(FREE);
    let waits = desk.ask(FREE);
    assert!(!desk.admission.must_leave(busy));
    desk.admission.offer(busy, desk.now, desk.now);
    assert!(desk.admission.must_leave(busy));
    desk.admission.withdraw(busy);
    assert!(!desk.admission.must_leave(busy), "its client moved just then");
    desk.leave(waits);

    let mut desk = Desk::new(Bounds { sessions: 1, ..ROOMY });
    let moves = rested(&mut desk, FREE);
    desk.admission.withdraw(moves);
    desk.ask(FREE);
    assert!(!desk.admission.must_leave(moves));
}

#[test]
fn no_more_are_asked_than_wait() {
    let mut desk = Desk::new(Bounds { sessions: 3, ..ROOMY });
    let resting = [(); 3].map(|()| rested(&mut desk, FREE));
    let asked = |desk: &Desk| resting.map(|id| desk.admission.must_leave(id));
    desk.ask(FREE);
    assert_eq!(asked(&desk), [true, false, false]);
    desk.ask(FREE);
    assert_eq!(asked(&desk), [true, true, false]);
    desk.leave(resting[0]);
    assert_eq!(asked(&desk), [false, true, false]);
    desk.admission.withdraw(resting[1]);
    assert_eq!(asked(&desk), [false, false, true], "the next is asked instead");
}

#[test]
fn a_parked_session_keeps_its_memory_and_not_its_place() {
    let mut desk = Desk::new(Bounds { sessions: 1, ..ROOMY });
    let parked = rested(&mut desk, large(400));
    let next = desk.ask(large(600));
    assert!(desk.admission.park(parked, desk.now));
    assert!(desk.placed(next) && !desk.placed(parked) && !desk.admission.must_leave(parked));
    assert_eq!(desk.admission.ask_again(parked, desk.now), Ok(true));
    assert_eq!((desk.queue(), desk.obstacle(parked)), (vec![parked], "sessions"));
    desk.leave(next);
    assert!(desk.placed(parked), "it needs no memory that it has not");
}

#[test]
fn a_parked_session_goes_when_its_memory_is_needed_and_would_be_enough() {
    let mut desk = Desk::new(Bounds { sessions: 2, ..ROOMY });
    let first = rested(&mut desk, large(300));
    let second = rested(&mut desk, large(300));
    assert!(desk.admission.park(first, desk.now));
    desk.now += Duration::from_secs(1);
    assert!(desk.admission.park(second, desk.now));
    let must_leave = |desk: &Desk| [first, second].map(|id| desk.admission.must_leave(id));
    let fits = desk.ask(large(400));
    assert!(desk.placed(fits));
    assert_eq!(must_leave(&desk), [false, false]);
    let waits = desk.ask(large(700));
    assert_eq!(must_leave(&desk), [false, false], "both together would not be enough");
    desk.leave(waits);
    let waits = desk.ask(large(200));
    assert_eq!(must_leave(&desk), [true, false], "the one parked first is enough");
    assert_eq!(desk.admission.ask_again(first, desk.now), Ok(false), "its client comes too late");
    desk.leave(first);
    assert!(desk.placed(waits));
    assert_eq!(must_leave(&desk), [false, false]);
}

#[test]
fn a_parked_session_that_waits_for_a_place_is_not_sent_away() {
    let mut desk = Desk::new(Bounds { sessions: 1, ..ROOMY });
    let parked = rested(&mut desk, large(600));
    assert!(desk.admission.park(parked, desk.now));
    let runs = desk.ask(large(400));
    assert_eq!(desk.admission.ask_again(parked, desk.now), Ok(true));
    let waits = desk.ask(large(500));
    desk.leave(runs);
    assert!(desk.placed(parked) && !desk.placed(waits));
}

#[test]
fn one_that_stops_waiting_is_parked_as_before() {
    let mut desk = Desk::new(Bounds { sessions: 1, ..ROOMY });
    let parked = rested(&mut desk, large(600));
    desk.ask(FREE);
    assert!(desk.admission.park(parked, desk.now));
    assert_eq!(desk.admission.ask_again(parked, desk.now), Ok(true));
    desk.admission.stop_waiting(parked, desk.now);
    assert!(desk.queue().is_empty());
    let waits = desk.ask(large(500));
    assert_eq!(desk.obstacle(waits), "sessions");
    assert_eq!(desk.admission.ask_again(parked, desk.now), Ok(true), "nobody has sent it away");
}

#[test]
fn no_more_are_parked_than_there_are_places() {
    let mut desk = Desk::new(Bounds { sessions: 1, ..ROOMY });
    let first = rested(&mut desk, FREE);
    assert!(desk.admission.park(first, desk.now));
    let second = rested(&mut desk, FREE);
    assert!(!desk.admission.park(second, desk.now));
    assert!(desk.placed(second), "it leaves its place when its rollout is gone");
}

fn clip(bytes: u64) -> Wish {
    Wish { kind: Kind::Clip, ..large(bytes) }
}

#[test]
fn one_clip_is_drawn_at_a_time_and_the_others_wait_in_order() {
    let mut desk = Desk::new(Bounds { sessions: 1, ..ROOMY });
    let [a, b, c] = [(); 3].map(|()| desk.ask(clip(1)));
    assert!(desk.placed(a) && !desk.placed(b));
    assert_eq!((desk.obstacle(b), desk.obstacle(c)), ("clip", "clip"));
    desk.leave(a);
    assert!(desk.placed(b) && !desk.placed(c));
    desk.leave(c);
    desk.leave(b);
    assert!(desk.queue().is_empty());
}

#[test]
fn a_clip_takes_no_sessions_place_and_no_session_takes_a_clips() {
    let mut desk = Desk::new(Bounds { sessions: 1, ..ROOMY });
    let a_clip = desk.ask(clip(1));
    let session = desk.ask(FREE);
    let (waits, next_clip) = (desk.ask(FREE), desk.ask(clip(1)));
    assert!(desk.placed(a_clip) && desk.placed(session) && !desk.placed(waits) && !desk.placed(next_clip));
    let positions: Vec<_> = desk.admission.waiting().map(|(id, waiting)| (id, waiting.position)).collect();
    assert_eq!(positions, [(waits, 1), (next_clip, 1)], "each is the next of its kind");
    let sessions: Vec<_> = desk.admission.sessions_waiting().map(|(id, _)| id).collect();
    assert_eq!(sessions, [waits]);
    desk.leave(a_clip);
    assert!(desk.placed(next_clip) && !desk.placed(waits));
}

#[test]
fn clips_that_wait_have_a_bound_of_their_own() {
    let mut desk = Desk::new(Bounds { sessions: 1, queue: 1, clips: 2, ..ROOMY });
    let _drawn = desk.ask(clip(1));
    let [_, _] = [(); 2].map(|()| desk.ask(clip(1)));
    assert_eq!(desk.try_ask(clip(1)), Err(Refused::ClipsFull { waiting: 2 }));
    let [_, _] = [(); 2].map(|()| desk.ask(FREE));
    assert!(matches!(desk.try_ask(FREE), Err(Refused::QueueFull { waiting: 1, .. })));
    assert_eq!(desk.try_ask(clip(1001)), Err(Refused::TooLarge { bytes: 1001, budget: 1000 }));
}

/// V091.
#[test]
fn a_clip_that_does_not_fit_waits_and_sessions_pass_it_but_not_for_ever() {
    let mut desk = Desk::new(ROOMY);
    let mut small = desk.ask(large(600));
    let big = desk.ask(clip(500));
    assert_eq!(desk.obstacle(big), "memory");
    for turn in 0..PASSED_MAX {
        let next = desk.ask(large(400));
        assert!(desk.placed(next), "{turn}");
        desk.leave(next);
    }
    let late = desk.ask(large(400));
    assert_eq!((desk.placed(late), desk.obstacle(late)), (false, "order"));
    desk.leave(std::mem::replace(&mut small, late));
    assert!(desk.placed(big) && desk.placed(late));
}

#[test]
fn a_clip_behind_another_is_not_passed_however_many_sessions_come_and_go() {
    let mut desk = Desk::new(ROOMY);
    let (drawn, waits) = (desk.ask(clip(1)), desk.ask(clip(1)));
    for _ in 0..3 * PASSED_MAX {
        let session = desk.ask(FREE);
        assert!(desk.placed(session));
        desk.leave(session);
    }
    desk.leave(drawn);
    assert!(desk.placed(waits));
}

#[test]
fn a_clip_passes_a_session_that_waits_for_memory_at_most_so_often_and_any_other_freely() {
    let mut desk = Desk::new(Bounds { sessions: 2, ..ROOMY });
    let first = desk.ask(large(600));
    let big = desk.ask(large(1000));
    let draw = |desk: &mut Desk| {
        let id = desk.ask(clip(10));
        let placed = desk.placed(id);
        desk.leave(id);
        placed
    };
    for turn in 0..PASSED_MAX {
        assert!(draw(&mut desk), "{turn}");
    }
    assert!(!draw(&mut desk), "the session has been passed often enough");
    desk.leave(big);
    // One that waits for a place loses nothing to a clip.
    let (_second, waits) = (desk.ask(large(10)), desk.ask(large(10)));
    assert_eq!(desk.obstacle(waits), "sessions");
    for turn in 0..3 * PASSED_MAX {
        assert!(draw(&mut desk), "{turn}");
    }
    desk.leave(first);
    assert!(desk.placed(waits));
}

#[test]
fn how_long_a_clip_was_drawn_says_nothing_of_how_long_sessions_stay() {
    let mut desk = Desk::new(Bounds { sessions: 1, ..ROOMY });
    let (a_clip, _session, waits) = (desk.ask(clip(1)), desk.ask(FREE), desk.ask(FREE));
    desk.now += Duration::from_secs(60);
    desk.leave(a_clip);
    let estimate = |desk: &Desk| desk.admission.waiting().find(|(id, _)| *id == waits).expect("it waits").1.estimate;
    assert_eq!(estimate(&desk), None);
}

#[test]
fn what_was_measured_before_anybody_came_bounds_a_burst() {
    let mut desk = Desk::new(ROOMY);
    desk.admission.measured(FREE.pixels, Duration::from_millis(300));
    let burst = [(); 5].map(|()| desk.ask(paced(1000)));
    assert_eq!(burst.map(|id| desk.placed(id)), [true, true, true, false, false]);
    assert_eq!(desk.obstacle(burst[3]), "time");
}
