//! What is kept, what is chosen, and what it looks like from elsewhere, beside hand-computed values and a plain twin.

use super::*;
use crate::lingbot::camera::Matrix;
use crate::packed::VERSION;
use crate::recording::cursor::{Cursor, Writer};
use crate::world::{Intrinsics, Pose};

const CONFIG: MemoryConfig =
    MemoryConfig { frames: 6, seen: 2, apart_metres: 0.75, apart_degrees: 7.5, reach_metres: 4.0, eye_height: 2.0 };
const SIZE: Size = Size { width: 8, height: 4 };

/// A window that holds nothing.
const NONE: usize = 0;

/// As keys turn a camera: right, then up.
fn turned(yaw: f64, pitch: f64) -> Matrix {
    let ((s, c), (t, d)) = (yaw.to_radians().sin_cos(), pitch.to_radians().sin_cos());
    [[c, s * t, s * d], [0.0, d, -t], [-s, c * t, c * d]]
}

/// A quarter of a circle wide.
fn view(position: [f64; 3], yaw: f64, pitch: f64) -> View {
    View { pose: Pose::of(&turned(yaw, pitch), position), lens: Intrinsics::centred(4.0, SIZE) }
}

/// Red grows to the right, green down.
fn ramps() -> Vec<u8> {
    (0..SIZE.height).flat_map(|y| (0..SIZE.width).flat_map(move |x| [10 * x as u8, 20 * y as u8, 100])).collect()
}

fn grey(value: u8) -> Vec<u8> {
    vec![value; SIZE.frame_bytes() as usize]
}

impl Memory {
    /// A latent frame that was drawn with nothing but this picture.
    fn draw(&mut self, frame: usize, view: View, rgb: &[u8]) {
        self.drew(&(frame..frame + 1), &[view]);
        self.keep(rgb);
    }

    fn frames(&self) -> Vec<usize> {
        self.kept.iter().map(|kept| kept.place.frame).collect()
    }

    /// One picture, as `view` sees it.
    fn of_one(kept: View, rgb: &[u8], view: View) -> Option<Shown> {
        let mut memory = Memory::new(CONFIG, SIZE);
        memory.draw(0, kept, rgb);
        memory.look(&(1..2), &[view], NONE).map(|mut shown| shown.remove(0).expect("one view"))
    }
}

#[test]
fn what_was_drawn_first_stays_and_only_other_views_are_kept_beside_it() {
    let mut memory = Memory::new(CONFIG, SIZE);
    let at = |x: f64, yaw: f64| view([x, 0.0, 0.0], yaw, 0.0);
    let draws = [(0.0, 0.0), (0.0, 7.0), (0.0, 8.0), (0.5, 0.0), (1.0, 0.0), (1.0, 359.0), (0.2, 6.0)];
    for (frame, (x, yaw)) in draws.into_iter().enumerate() {
        memory.draw(frame, at(x, yaw), &grey(frame as u8));
    }
    assert_eq!(memory.frames(), [0, 2, 4]);
    assert_eq!(memory.kept[0].rgb[..], grey(0)[..]);
    // Of several pictures of a latent frame the last is kept.
    memory.draw(9, at(9.0, 0.0), &[grey(1), grey(2), grey(3)].concat());
    assert_eq!(memory.kept.last().expect("it is new").rgb[..], grey(3)[..]);
}

#[test]
fn without_room_the_farthest_goes_and_of_equals_the_oldest() {
    let mut memory = Memory::new(MemoryConfig { frames: 3, ..CONFIG }, SIZE);
    for (frame, x) in [(0, 2.0), (1, -2.0), (2, 1.0)] {
        memory.draw(frame, view([x, 0.0, 0.0], 0.0, 0.0), &grey(0));
    }
    memory.draw(3, view([0.0; 3], 0.0, 0.0), &grey(0));
    assert_eq!(memory.frames(), [1, 2, 3]);
    memory.draw(4, view([3.0, 0.0, 0.0], 0.0, 0.0), &grey(0));
    assert_eq!(memory.frames(), [2, 3, 4]);
    assert_eq!(memory.bytes(), Memory::bytes_max(&memory.config, SIZE));
}

#[test]
fn the_nearest_are_chosen_and_of_equals_the_older() {
    let mut memory = Memory::new(MemoryConfig { seen: 3, ..CONFIG }, SIZE);
    for (frame, (x, yaw)) in
        [(2.0, 0.0), (-2.0, 0.0), (1.0, 0.0), (0.0, 80.0), (5.0, 0.0), (0.0, 91.0)].into_iter().enumerate()
    {
        memory.draw(frame, view([x, 0.0, 0.0], yaw, 0.0), &grey(0));
    }
    let chosen = |count: usize| -> Vec<usize> {
        let nearest = memory.nearest(&memory.kept[..count], &view([0.0; 3], 0.0, 0.0));
        nearest.iter().map(|kept| kept.place.frame).collect()
    };
    // A turn by 80 of 90 degrees counts as much as 0.44 m; two are too far away, or turned too far.
    assert_eq!(chosen(6), [3, 2, 0]);
    assert_eq!(chosen(3), [2, 0, 1]);
    assert_eq!(chosen(2), [0, 1]);
    assert!(chosen(0).is_empty());
}

#[test]
fn what_the_window_holds_is_shown_only_where_all_of_a_view_was_seen() {
    let mut memory = Memory::new(CONFIG, SIZE);
    let here = |yaw: f64| view([0.0; 3], yaw, 0.0);
    memory.draw(0, here(0.0), &ramps());
    memory.draw(1, here(20.0), &ramps());
    let seen = |memory: &Memory, yaw: f64, window: usize| {
        let shown = memory.look(&(4..5), &[here(yaw)], window)?.remove(0);
        Some(shown.expect("one view").is_whole())
    };
    // The window of four latent frames begins with the second one: 1, 2, 3 and the one that is drawn.
    assert_eq!(seen(&memory, 0.0, 4), Some(true));
    assert_eq!(seen(&memory, 20.0, 4), Some(true));
    assert_eq!(seen(&memory, 30.0, 4), Some(false), "the first one alone");
    assert_eq!(seen(&memory, 30.0, 5), None, "the window holds both");
    assert_eq!(seen(&memory, 20.0, 5), Some(true));
    // Each latent frame of a chunk has a view of its own: the second looks where nothing was seen.
    let shown = memory.look(&(4..6), &[here(0.0), here(180.0)], 2).expect("one is seen");
    assert!(shown[0].is_some() && shown[1].is_none());
    assert!(memory.look(&(4..6), &[here(180.0); 2], 2).is_none());
}

#[test]
fn the_same_view_is_the_same_picture_and_a_turn_is_exact() {
    let here = view([3.0, 1.0, -7.0], 0.0, 0.0);
    let same = Memory::of_one(here, &ramps(), here).expect("it is seen");
    assert_eq!(same.picture, ramps().iter().map(|&byte| f32::from(byte)).collect::<Vec<_>>());
    assert!(same.is_whole());

    // 3 to the right for 4 ahead: the ray of a pixel (x, y, 1) was at (0.8x + 0.6, y, 0.8 − 0.6x).
    let right =
        Memory::of_one(here, &ramps(), view([3.0, 1.0, -7.0], 0.75_f64.atan().to_degrees(), 0.0)).expect("seen");
    let (row, column) = (1, 3);
    let at = row * 8 + column;
    let (x, y): (f64, f64) = (-0.125, -0.125);
    let (u, v) = ((0.8 * x + 0.6) / (0.8 - 0.6 * x) * 4.0 + 3.5, y / (0.8 - 0.6 * x) * 4.0 + 1.5);
    let expected = [10.0 * u, 20.0 * v, 100.0];
    for (found, expected) in right.picture[3 * at..].iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} is not {expected}");
    }
    // The right edge looks where nothing was seen: it is grey and masked.
    assert_eq!((right.known[8 + 7], &right.picture[3 * (8 + 7)..][..3]), (false, &[0.0; 3][..]));
    assert!(Memory::of_one(here, &ramps(), view([3.0, 1.0, -7.0], 180.0, 0.0)).is_none());
}

#[test]
fn after_a_step_the_ground_moves_and_the_sky_does_not() {
    let seen = Memory::of_one(view([0.0; 3], 0.0, 0.0), &ramps(), view([0.0, 0.0, 1.0], 0.0, 0.0)).expect("it is seen");
    // Above the horizon, the picture as it was; below it, a point 2·8/3 ahead that was 1 further.
    assert_eq!(seen.picture[..48], ramps()[..48].iter().map(|&byte| f32::from(byte)).collect::<Vec<_>>());
    let at = 3 * (3 * 8 + 4);
    let ahead: f64 = 2.0 / 0.375 + 1.0;
    let (u, v) = (2.0 / 3.0 / ahead * 4.0 + 3.5, 2.0 / ahead * 4.0 + 1.5);
    assert!((f64::from(seen.picture[at]) - 10.0 * u).abs() < 1e-4, "{} is not {}", seen.picture[at], 10.0 * u);
    assert!((f64::from(seen.picture[at + 1]) - 20.0 * v).abs() < 1e-4);
}

#[test]
fn of_two_pictures_the_nearer_is_seen_where_it_shows_something() {
    let mut memory = Memory::new(CONFIG, SIZE);
    memory.draw(0, view([0.0; 3], 30.0, 0.0), &grey(50));
    memory.draw(1, view([0.0; 3], -60.0, 0.0), &grey(200));
    let shown = memory.look(&(2..3), &[view([0.0; 3], 0.0, 0.0)], NONE).expect("it is seen").remove(0).expect("a view");
    let row: Vec<f32> = shown.picture[..24].iter().step_by(3).copied().collect();
    assert_eq!((row[0], row[7]), (200.0, 50.0));
    assert!(row.is_sorted_by(|a, b| a >= b));
}

/// By what is looked at: where a ray meets the ground, or its direction, seen from the other camera.
fn plain_twin(kept: &View, rgb: &[u8], view: &View) -> Vec<Option<[f64; 3]>> {
    let matrix = |view: &View| view.pose.world_from_camera();
    let apply = |m: Matrix, v: [f64; 3]| m.map(|row| (0..3).map(|i| row[i] * v[i]).sum::<f64>());
    let back = |m: Matrix, v: [f64; 3]| [0, 1, 2].map(|i| (0..3).map(|j| m[j][i] * v[j]).sum::<f64>());
    let mut all = Vec::new();
    for y in 0..SIZE.height {
        for x in 0..SIZE.width {
            let ray = apply(matrix(view), [(f64::from(x) - 3.5) / 4.0, (f64::from(y) - 1.5) / 4.0, 1.0]);
            let seen = if ray[1] > 0.0 {
                let far = CONFIG.eye_height / ray[1];
                let meets = [0, 1, 2].map(|i| view.pose.position()[i] + far * ray[i] - kept.pose.position()[i]);
                back(matrix(kept), meets)
            } else {
                back(matrix(kept), ray)
            };
            let (u, v) = (4.0 * seen[0] / seen[2] + 3.5, 4.0 * seen[1] / seen[2] + 1.5);
            let inside = seen[2] > 0.0 && (-0.5..=7.5).contains(&u) && (-0.5..=3.5).contains(&v);
            all.push(inside.then(|| {
                let (u, v) = (u.clamp(0.0, 7.0), v.clamp(0.0, 3.0));
                let mut colour = [0.0; 3];
                for (row, column) in (0..4).flat_map(|row| (0..8).map(move |column| (row, column))) {
                    let weight =
                        (1.0 - (u - f64::from(column)).abs()).max(0.0) * (1.0 - (v - f64::from(row)).abs()).max(0.0);
                    let pixel = &rgb[3 * (8 * row + column) as usize..];
                    colour.iter_mut().zip(pixel).for_each(|(sum, &byte)| *sum += weight * f64::from(byte));
                }
                colour
            }));
        }
    }
    all
}

/// Numbers that look random, 0 to 1.
fn numbers(mut state: u64) -> impl FnMut() -> f64 {
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24)
    }
}

#[test]
fn it_is_what_a_plain_twin_sees_from_anywhere() {
    let mut random = numbers(1);
    let rgb: Vec<u8> = (0..SIZE.frame_bytes()).map(|_| (255.0 * random()) as u8).collect();
    let (mut compared, mut masked) = (0, 0);
    for _ in 0..200 {
        let mut anywhere = || {
            let position = [2.0 * random(), 0.0, 2.0 * random()];
            view(position, 60.0 * random(), 30.0 * random() - 15.0)
        };
        let (kept, here) = (anywhere(), anywhere());
        let expected = plain_twin(&kept, &rgb, &here);
        let found = Memory::of_one(kept, &rgb, here);
        for (at, expected) in expected.iter().enumerate() {
            let known = found.as_ref().is_some_and(|found| found.known[at]);
            assert_eq!(known, expected.is_some(), "pixel {at} from {kept:?} to {here:?}");
            let Some(expected) = expected else {
                masked += 1;
                continue;
            };
            compared += 1;
            let found = &found.as_ref().expect("known").picture[3 * at..][..3];
            for (found, expected) in found.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-2, "{found} is not {expected}");
            }
        }
    }
    assert!(compared > 1000 && masked > 1000, "{compared} compared, {masked} masked");
}

/// Of any walk: within the bound, in order, apart, and nothing of it after it is forgotten.
#[test]
fn any_walk_keeps_pictures_apart_within_the_bound_and_forgets_all_of_them_at_once() {
    for seed in 0..40 {
        let (mut random, mut memory) = (numbers(seed), Memory::new(CONFIG, SIZE));
        let (mut position, mut yaw, mut forgotten) = ([0.0; 3], 0.0, 0);
        for frame in 0..60 {
            if random() < 0.03 {
                memory.forget();
                forgotten = frame;
                assert_eq!(memory.bytes(), 0);
                assert!(memory.look(&(frame..frame + 1), &[view(position, yaw, 0.0)], NONE).is_none());
            }
            position = [position[0] + random() - 0.5, 0.0, position[2] + random()];
            yaw = (yaw + 40.0 * (random() - 0.5)) % 360.0;
            let place = Place { frame, view: view(position, yaw, 0.0) };
            memory.drew(&(frame..frame + 1), &[place.view]);
            assert_eq!(memory.keeps_next(), memory.is_new(&place));
            let before = memory.frames();
            memory.keep(&grey(frame as u8));
            let after = memory.frames();
            assert!(after.len() <= CONFIG.frames && after.is_sorted());
            assert!(after.iter().all(|kept| *kept >= forgotten), "{after:?} after {forgotten}");
            assert!(memory.bytes() <= Memory::bytes_max(&CONFIG, SIZE));
            // At most one goes, and it is not the one that came.
            assert!(
                before.iter().filter(|kept| !after.contains(kept)).count()
                    <= usize::from(before.len() == CONFIG.frames)
            );
            assert!(memory.kept.iter().enumerate().all(|(at, one)| memory.kept[..at].iter().all(|other| {
                let (metres, degrees) = one.place.view.apart(&other.place.view);
                metres >= CONFIG.apart_metres || degrees >= CONFIG.apart_degrees
            })));
        }
    }
}

#[test]
fn a_copy_shares_pictures_and_goes_its_own_way() {
    let mut memory = Memory::new(CONFIG, SIZE);
    memory.draw(0, view([0.0; 3], 0.0, 0.0), &grey(1));
    let mut other = memory.clone();
    assert!(Arc::ptr_eq(&memory.kept[0], &other.kept[0]));
    other.draw(1, view([0.0; 3], 90.0, 0.0), &grey(2));
    memory.forget();
    assert_eq!((memory.frames(), other.frames()), (vec![], vec![0, 1]));
}

fn packed(memory: &Memory) -> Vec<u8> {
    let mut writer = Writer::default();
    memory.write(&mut writer).expect("bytes");
    writer.into_bytes()
}

#[test]
fn it_is_read_as_it_was_written_and_what_it_cannot_be_is_refused_by_name() {
    let mut memory = Memory::new(CONFIG, SIZE);
    for frame in 0..5 {
        memory.draw(3 * frame, view([frame as f64, 0.0, 0.0], 7.0 * frame as f64, -4.0), &grey(frame as u8));
    }
    let bytes = packed(&memory);
    let read = |bytes: &[u8], ours: &Memory, frames| ours.read(&mut Cursor::new(bytes), VERSION, frames);
    let empty = Memory::new(CONFIG, SIZE);
    let back = read(&bytes, &empty, 13).expect("what was written");
    assert_eq!(packed(&back), bytes);
    assert!(memory.kept.iter().zip(&back.kept).all(|(one, two)| one.place == two.place && one.rgb == two.rgb));

    let refused = |bytes: &[u8], ours: &Memory, frames, said: &str| {
        let error = format!("{:?}", read(bytes, ours, frames).err().expect("it is refused"));
        assert!(error.contains(said), "{error} does not say {said}");
    };
    refused(&bytes, &empty, 12, "12: only 12 were drawn");
    refused(&bytes, &Memory::new(MemoryConfig { frames: 4, ..CONFIG }, SIZE), 13, "5 items");
    refused(&bytes, &Memory::new(CONFIG, Size { width: 8, height: 8 }), 13, "96 bytes; a picture of 8x8 has 192");
    memory.kept.swap(1, 2);
    refused(&packed(&memory), &empty, 13, "is not after the one before it");
    // Damaged anywhere: an error or a memory, and never a panic; cut off anywhere: an error.
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] = 0xc1;
        drop(read(&damaged, &empty, 13));
        assert!(read(&bytes[..at], &empty, 13).is_err());
    }
}
