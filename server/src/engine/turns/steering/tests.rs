//! Each kind of steering over latent frames: with times and without, given early and late.

use pipeline::world::Pose;

use super::*;

const SIZE: Size = Size { width: 64, height: 48 };
/// Video frames a second: a latent frame lasts a second, and a video frame 250 ms.
const FPS: u32 = 4;

fn beginning() -> Beginning {
    Beginning { every_tap: true, ..Beginning::plain(FPS, SIZE) }
}

fn camera() -> Camera {
    Camera::new(beginning())
}

fn plan(first: usize, latent_frames: usize) -> ChunkPlan {
    ChunkPlan { index: first, first_latent_frame: first, latent_frames, pixel_frames: 4 * latent_frames }
}

fn keys(word: &str) -> Held {
    word.chars().fold(Held::default(), Held::with)
}

fn held(word: &str) -> Transition {
    keys(word).into()
}

fn ahead(rate: f64) -> Transition {
    let rates = Rates::new([rate, 0.0, 0.0, 0.0]).expect("a rate");
    Transition { rates: Some(rates), ..Transition::default() }
}

fn pose_at(x: f64) -> Transition {
    Transition { pose: Pose::new([x, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]).ok(), ..Transition::default() }
}

fn focal(pixels: f64) -> Transition {
    let lens = Intrinsics::new(pixels, pixels, 32.0, 24.0).expect("a lens");
    Transition { lens: Some(Lens::Pixels(lens)), ..Transition::default() }
}

/// When the first video frame of a latent frame is due, as `pts_ms` says it.
fn ms_of(latent_frame: usize) -> f64 {
    position(latent_frame) * 250.0
}

fn at(latent_frame: usize, transition: Transition) -> Transition {
    Transition { at_ms: Some(ms_of(latent_frame)), ..transition }
}

fn words(controls: Option<Vec<Controls>>) -> String {
    let word = |held: Held| if held.is_empty() { "-".into() } else { held.iter().collect::<String>() };
    controls.iter().flatten().map(|controls| word(controls.held())).collect::<Vec<_>>().join(" ")
}

fn rates(controls: Option<Vec<Controls>>) -> Vec<f64> {
    controls.iter().flatten().map(|controls| controls.rates().numbers()[0]).collect()
}

/// Where a camera stands after each latent frame that began at `x`, as a world follows its ways.
fn ways(from: &mut Pose, controls: Option<Vec<Controls>>) -> Vec<f64> {
    let follow = |controls: &Controls| {
        *from = controls.way().map_or(*from, |way| way.from(from));
        (from.position()[0] * 1e9).round() / 1e9
    };
    controls.iter().flatten().map(follow).collect()
}

#[test]
fn a_transition_falls_on_the_latent_frame_of_its_time() {
    let mut camera = camera();
    camera.follow(&[at(1, held("w")), at(2, held("wl")), at(4, held(""))]);
    assert_eq!(words(camera.sample(&plan(0, 3))), "- w wl");
    assert_eq!(words(camera.sample(&plan(3, 3))), "wl - -");
    // Within a latent frame, and rounded to whole milliseconds as clients are told.
    let mut camera = self::camera();
    let half = Transition { at_ms: Some(ms_of(1) + 620.0), ..held("w") };
    camera.follow(&[half, Transition { at_ms: Some(ms_of(2) - 0.5), ..held("d") }]);
    assert_eq!(words(camera.sample(&plan(0, 3))), "- w d");
    // A time that has passed is the next latent frame.
    camera.follow(&[at(0, held("s"))]);
    assert_eq!(words(camera.sample(&plan(3, 3))), "s s s");
}

#[test]
fn a_tap_between_two_chunks_shows_even_if_another_key_is_held() {
    let check = |before: &str, words_since: &[&str], every_tap: &str, as_the_reference: &str| {
        for (every, expected) in [(true, every_tap), (false, as_the_reference)] {
            let mut camera = Camera::new(Beginning { every_tap: every, ..beginning() });
            camera.follow(&[held(before)]);
            camera.sample(&plan(0, 3));
            for word in words_since {
                camera.follow(&[held(word)]);
            }
            assert_eq!(words(camera.sample(&plan(3, 3))), expected, "{before:?}, then {words_since:?}, {every}");
        }
    };
    check("", &["w", ""], "w - -", "w - -");
    check("d", &["wd", "d"], "wd d d", "d d d");
    check("", &["w", "", "d", ""], "wd - -", "d - -");
    // A key that was only let go is no tap.
    check("w", &["wd", "d"], "d d d", "d d d");
    check("w", &[""], "- - -", "- - -");
}

#[test]
fn between_two_given_rates_the_way_is_straight() {
    let mut camera = camera();
    camera.follow(&[at(1, ahead(0.0)), at(5, ahead(1.0)), at(6, ahead(-1.0))]);
    assert_eq!(rates(camera.sample(&plan(0, 4))), [0.0, 0.0, 0.25, 0.5]);
    assert_eq!(rates(camera.sample(&plan(4, 4))), [0.75, 1.0, -1.0, -1.0]);
    // Held until the next is given: the way to it begins then.
    camera.follow(&[at(10, ahead(0.5))]);
    assert_eq!(rates(camera.sample(&plan(8, 4))), [-0.5, 0.0, 0.5, 0.5]);
    camera.follow(&[ahead(0.25)]);
    assert_eq!(rates(camera.sample(&plan(12, 2))), [0.25, 0.25]);
}

#[test]
fn a_rate_that_was_taken_back_before_the_next_latent_frame_shows_for_one() {
    let mut camera = camera();
    camera.sample(&plan(0, 1));
    for rate in [0.25, -1.0, 0.5, 0.0] {
        camera.follow(&[ahead(rate)]);
    }
    assert_eq!(rates(camera.sample(&plan(1, 3))), [-1.0, 0.0, 0.0]);
    // Between two latent frames, with times.
    let between = |ms: f64, rate| Transition { at_ms: Some(ms_of(4) + ms), ..ahead(rate) };
    camera.follow(&[at(4, ahead(0.0)), between(250.0, 1.0), between(500.0, 0.0)]);
    assert_eq!(rates(camera.sample(&plan(4, 3))), [0.0, 1.0, 0.0]);
}

#[test]
fn poses_with_times_are_reached_then_and_the_way_between_is_even() {
    let (mut camera, mut here) = (camera(), Pose::START);
    camera.follow(&[at(0, pose_at(1.0)), at(4, pose_at(14.0)), at(5, pose_at(4.0))]);
    // The very first latent frame has one video frame, the others four.
    assert_eq!(ways(&mut here, camera.sample(&plan(0, 3))), [1.0, 2.0, 6.0]);
    assert_eq!(ways(&mut here, camera.sample(&plan(3, 3))), [10.0, 14.0, 4.0]);
    // Then it rests.
    let rest = camera.sample(&plan(6, 2));
    assert!(rest.iter().flatten().all(Controls::is_still), "{rest:?}");
    // The next way begins where it is given.
    camera.follow(&[at(11, pose_at(8.0))]);
    assert_eq!(ways(&mut here, camera.sample(&plan(8, 4))), [5.0, 6.0, 7.0, 8.0]);
}

#[test]
fn poses_without_times_are_spread_over_the_next_chunk() {
    let (mut camera, mut here) = (camera(), Pose::START);
    camera.sample(&plan(0, 2));
    camera.follow(&[pose_at(3.0)]);
    assert_eq!(ways(&mut here, camera.sample(&plan(2, 3))), [1.0, 2.0, 3.0]);
    camera.follow(&[pose_at(4.0), pose_at(6.0), pose_at(5.0)]);
    assert_eq!(ways(&mut here, camera.sample(&plan(5, 3))), [4.0, 6.0, 5.0]);
    camera.follow(&(1..=6).map(|i| pose_at(5.0 + f64::from(i))).collect::<Vec<_>>());
    assert_eq!(ways(&mut here, camera.sample(&plan(8, 3))), [7.0, 9.0, 11.0]);
    assert!(camera.sample(&plan(11, 3)).iter().flatten().all(Controls::is_still));
}

#[test]
fn the_first_pose_is_gone_to_from_where_keys_have_led() {
    let (mut camera, mut here) = (camera(), Pose::START);
    camera.follow(&[held("w")]);
    camera.sample(&plan(0, 3));
    camera.follow(&[at(6, pose_at(8.0))]);
    // A world knows where it is: here at 4, wherever the keys have led it.
    here = here.toward(&Pose::new([4.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]).expect("a pose"), 1.0);
    assert_eq!(ways(&mut here, camera.sample(&plan(3, 2))), [5.0, 6.0]);
    assert_eq!(ways(&mut here, camera.sample(&plan(5, 2))), [7.0, 8.0]);
}

#[test]
fn what_was_said_last_moves_the_camera() {
    let mut camera = camera();
    camera.follow(&[held("w"), ahead(0.5)]);
    camera.sample(&plan(0, 3));
    camera.follow(&[at(5, pose_at(3.0))]);
    let led = camera.sample(&plan(3, 2)).expect("used");
    assert!(led.iter().all(|controls| controls.way().is_some()), "{led:?}");
    // Keys end the way, and what was held before it is not held any more.
    camera.follow(&[held("d")]);
    assert_eq!(words(camera.sample(&plan(5, 2))), "d d");
    camera.follow(&[pose_at(1.0)]);
    camera.follow(&[Transition { held: Some(Held::default()), ..Transition::default() }]);
    assert!(camera.sample(&plan(7, 1)).expect("used")[0].way().is_some(), "letting go of keys ends no way");
    assert_eq!(words(camera.sample(&plan(8, 1))), "-");
    camera.follow(&[pose_at(2.0)]);
    camera.play(vec![keys("a")]);
    assert_eq!(words(camera.sample(&plan(9, 2))), "a -");
}

#[test]
fn a_lens_is_held_and_changes_evenly_whatever_moves_the_camera() {
    let focals = |controls: Option<Vec<Controls>>| -> Vec<f64> {
        controls.iter().flatten().map(|c| c.intrinsics().expect("a lens").numbers()[0]).collect()
    };
    let lens = Lens::FieldOfView(90.0);
    let mut camera = Camera::new(Beginning { script: Some(vec![keys("w")]), lens: Some(lens), ..beginning() });
    let controls = camera.sample(&plan(0, 2));
    assert_eq!(words(controls.clone()), "w -");
    assert!(focals(controls).iter().all(|focal| (focal - 32.0).abs() < 1e-9));
    let mut camera = Camera::new(Beginning { lens: Some(lens), ..beginning() });
    camera.follow(&[focal(40.0), at(3, focal(76.0))]);
    assert_eq!(focals(camera.sample(&plan(0, 4))), [40.0, 44.0, 60.0, 76.0]);
}

#[test]
fn a_session_that_never_steers_has_no_controls_and_one_with_a_lens_has() {
    assert_eq!(camera().sample(&plan(0, 3)), None);
    let mut camera = Camera::new(Beginning { lens: Some(Lens::FieldOfView(60.0)), ..beginning() });
    assert_eq!(camera.sample(&plan(0, 3)).map(|controls| controls.len()), Some(3));
    let mut camera = self::camera();
    assert_eq!((camera.follow(&[]), camera.sample(&plan(0, 1))), (None, None));
}

#[test]
fn what_was_to_take_effect_at_once_still_does_when_the_video_goes_back() {
    let mut camera = camera();
    camera.follow(&[ahead(0.5)]);
    camera.sample(&plan(0, 9));
    camera.follow(&[held("w"), ahead(0.25), focal(50.0), at(12, held("d"))]);
    camera.goes_back_to(3);
    let again = camera.sample(&plan(3, 3)).expect("steered");
    assert_eq!(rates(Some(again.clone())), [0.25; 3]);
    assert!(again.iter().all(|controls| controls.intrinsics().is_some()));
    assert_eq!(words(Some(again)), "w w w");
    assert_eq!(words(camera.sample(&plan(6, 7))), "w w w w w w d");
}

#[test]
fn it_is_told_which_latent_frame_is_the_first_to_change() {
    let mut camera = camera();
    camera.sample(&plan(0, 3));
    assert_eq!(camera.next_ms(), ms_of(3));
    assert_eq!(camera.follow(&[held("w")]), Some(3));
    assert_eq!(camera.follow(&[at(7, held(""))]), Some(7));
    assert_eq!(camera.follow(&[at(6, ahead(0.5))]), Some(6), "before the first rate there is none");
    assert_eq!(camera.follow(&[at(9, ahead(1.0))]), Some(7), "the way to it begins behind the one before");
    assert_eq!(camera.follow(&[ahead(0.1)]), Some(3));
    assert_eq!(camera.follow(&[at(12, pose_at(1.0))]), Some(3), "the first pose is gone to at once");
    camera.sample(&plan(3, 1));
    assert_eq!(camera.follow(&[at(20, pose_at(1.0))]), Some(4));
}

#[test]
fn as_many_changes_wait_as_there_is_room_for_and_those_without_a_time_take_none() {
    let mut camera = camera();
    let timed: Vec<_> = (0..STEPS_WAITING_MAX).map(|i| at(i + 1, ahead(0.5))).collect();
    camera.check_room(&timed).expect("just as many");
    camera.follow(&timed);
    assert_eq!(camera.waiting(), STEPS_WAITING_MAX);
    for one_more in [at(3, held("w")), pose_at(1.0), at(3, focal(50.0))] {
        let refusal = camera.check_room(&[one_more]).expect_err("full");
        assert!(refusal.field == "transitions" && refusal.reason.contains("at most 1024"), "{refusal}");
    }
    let untimed: Vec<_> = (0..5000).map(|i| if i % 2 == 0 { held("w") } else { ahead(0.1) }).collect();
    camera.check_room(&untimed).expect("they join what is there");
    camera.follow(&untimed);
    assert!(camera.waiting() <= STEPS_WAITING_MAX + 2, "{}", camera.waiting());
}

#[test]
fn where_the_video_has_gone_back_it_is_steered_anew() {
    let mut camera = camera();
    camera.follow(&[ahead(1.0)]);
    assert_eq!(rates(camera.sample(&plan(0, 6))), [1.0; 6]);
    camera.goes_back_to(3);
    assert_eq!(camera.next_ms(), ms_of(3));
    // A time that has been drawn once can be steered again.
    camera.follow(&[at(5, held("a"))]);
    assert_eq!(words(camera.sample(&plan(3, 6))), "- - a a a a");
    // The way to a rate begins where the video goes on, and not where it had come to.
    camera.goes_back_to(3);
    camera.follow(&[at(7, ahead(0.0))]);
    assert_eq!(rates(camera.sample(&plan(3, 5))), [1.0, 0.75, 0.5, 0.25, 0.0]);
    // A pose is gone to from where the camera was then, which only the world knows.
    camera.follow(&[at(9, pose_at(9.0))]);
    let mut here = Pose::START;
    ways(&mut here, camera.sample(&plan(8, 2)));
    camera.goes_back_to(6);
    camera.follow(&[at(7, pose_at(5.0))]);
    let mut here = pose_at(1.0).pose.expect("given");
    assert_eq!(ways(&mut here, camera.sample(&plan(6, 2))), [3.0, 5.0]);
}

#[test]
fn after_a_recorded_beginning_the_first_latent_frame_is_the_one_after_it() {
    let mut camera = Camera::new(Beginning { from: 6, ..beginning() });
    assert_eq!(camera.next_ms(), ms_of(6));
    // Its time has passed, so it is the earlier of the two.
    camera.follow(&[at(2, held("w"))]);
    camera.follow(&[held("d")]);
    assert_eq!(words(camera.sample(&plan(6, 2))), "wd d");
}
