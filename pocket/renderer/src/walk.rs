//! Walks: held keys or mouse-like motion per latent frame, integrated the way LingBot does, over the ground.
//!
//! A latent frame is four video frames; the first is one. Its motion turns first and moves after. Only height is ours:
//! it follows the ground, as a function of the place alone, so a walk that returns sees the same pictures.

use anyhow::{Context, Result, bail, ensure};

use crate::camera::Pose;
use crate::random::Draws;
use crate::region::Region;
use crate::world::World;

/// Video frames of every latent frame but the first.
pub const FRAMES_PER_LATENT: usize = 4;
/// The keys, in the order of a control row.
pub const KEYS: [char; 8] = ['w', 'a', 's', 'd', 'i', 'j', 'k', 'l'];
/// Latent frames in one walk: ten minutes and more.
const MAX_LATENTS: usize = 4096;
/// Least distance between the eye and a thing, in metres.
pub const BODY_M: f32 = 1.1;

/// The motion of one latent frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Motion {
    /// Held keys in the order of [`KEYS`]; none when the motion came from elsewhere.
    pub keys: [bool; 8],
    /// Metres; sideways to the right.
    pub forward: f64,
    pub right: f64,
    /// Radians, to the right and up.
    pub yaw: f64,
    pub pitch: f64,
}

/// How far a key goes in one latent frame.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub move_m: f64,
    pub yaw_deg: f64,
    pub pitch_deg: f64,
}

impl Default for Step {
    fn default() -> Step {
        Step { move_m: 1.0, yaw_deg: 10.0, pitch_deg: 4.0 }
    }
}

impl Step {
    pub fn of_keys(&self, keys: [bool; 8]) -> Motion {
        let pull = |plus: usize, minus: usize| f64::from(i8::from(keys[plus]) - i8::from(keys[minus]));
        Motion {
            keys,
            forward: self.move_m * pull(0, 2),
            right: self.move_m * pull(3, 1),
            yaw: self.yaw_deg.to_radians() * pull(7, 5),
            pitch: self.pitch_deg.to_radians() * pull(4, 6),
        }
    }

    /// `"w*12,wl*6,,j"`: the keys held in each latent frame after the first, with counts; nothing held is idle.
    pub fn parse(&self, path: &str) -> Result<Vec<Motion>> {
        let mut motions = vec![Motion::default()];
        for item in path.split(',').filter(|_| !path.is_empty()) {
            let (held, count) = match item.split_once('*') {
                Some((held, count)) => (held, count.parse().with_context(|| format!("the count of `{item}`"))?),
                None => (item, 1),
            };
            let mut keys = [false; 8];
            for key in held.trim().chars() {
                match KEYS.iter().position(|&k| k == key) {
                    Some(index) => keys[index] = true,
                    None => bail!("`{key}` in `{item}` is not a key; the keys are w a s d (move) and i j k l (look)"),
                }
            }
            ensure!(motions.len() + count <= MAX_LATENTS, "the path has more than {MAX_LATENTS} latent frames");
            motions.extend(std::iter::repeat_n(self.of_keys(keys), count));
        }
        Ok(motions)
    }

    /// A walk for training: keys, mouse-like motion and idle stretches (a quarter), or out and back the same way.
    pub fn random(&self, draws: &mut Draws, latents: usize) -> Vec<Motion> {
        if draws.chance(0.15) { self.out_and_back(draws, latents) } else { self.mixed(draws, latents) }
    }

    fn mixed(&self, draws: &mut Draws, latents: usize) -> Vec<Motion> {
        const COMBINATIONS: [&str; 22] = [
            "w", "w", "w", "w", "wl", "wj", "wl", "wj", "wa", "wd", "s", "a", "d", "l", "j", "l", "j", "i", "k", "wi",
            "al", "dj",
        ];
        let mut motions = vec![Motion::default()];
        let mut rate = [0.0f64; 4];
        let mut pitch = 0.0f64;
        while motions.len() < latents {
            let kind = draws.unit();
            let length = 2 + draws.below(6);
            let held = draws.pick(&COMBINATIONS);
            let keys = KEYS.map(|key| held.contains(key));
            let aim = [
                f64::from(draws.between(-0.3, 1.0)) * 1.6 * self.move_m,
                f64::from(draws.bell()) * 0.35 * self.move_m,
                f64::from(draws.bell()) * 0.8 * self.yaw_deg.to_radians(),
                f64::from(draws.bell()) * 0.6 * self.pitch_deg.to_radians(),
            ];
            for _ in 0..length {
                let mut motion = if kind < 0.25 {
                    rate = [0.0; 4];
                    Motion::default()
                } else if kind < 0.68 {
                    self.of_keys(keys)
                } else {
                    for (rate, aim) in rate.iter_mut().zip(aim) {
                        *rate += 0.45 * (aim - *rate);
                    }
                    Motion { forward: rate[0], right: rate[1], yaw: rate[2], pitch: rate[3], ..Motion::default() }
                };
                // A pitch that would leave ±30° is replaced by none: people rarely look at their feet.
                if (pitch + motion.pitch).abs() > 0.52 {
                    motion.pitch = 0.0;
                    motion.keys[4] = false;
                    motion.keys[6] = false;
                }
                pitch += motion.pitch;
                motions.push(motion);
            }
        }
        motions.truncate(latents);
        motions
    }

    /// Some moves, then their opposites in reverse order, exactly back at the start; then idle.
    fn out_and_back(&self, draws: &mut Draws, latents: usize) -> Vec<Motion> {
        const WAYS: [(&str, &str); 6] = [("l", "j"), ("j", "l"), ("w", "s"), ("i", "k"), ("a", "d"), ("d", "a")];
        let of = |held: &str| self.of_keys(KEYS.map(|key| held.contains(key)));
        let half = (latents.saturating_sub(1)) / 2;
        let mut out = Vec::new();
        while out.len() < half {
            let way = WAYS[draws.below(WAYS.len())];
            let length = 2 + draws.below(4);
            out.extend(std::iter::repeat_n(way, length));
        }
        out.truncate(half);
        let mut motions = vec![Motion::default()];
        motions.extend(out.iter().map(|way| of(way.0)));
        motions.extend(out.iter().rev().map(|way| of(way.1)));
        motions.resize(latents, Motion::default());
        motions
    }
}

/// Where a walk begins.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    pub x: f64,
    pub y: f64,
    /// Radians, from east to north.
    pub yaw: f64,
    /// Height of the eye over the footing.
    pub eye_m: f64,
}

/// The poses of a walk, one a video frame: `1 + 4 (motions - 1)`.
pub fn poses(world: &World, start: Start, motions: &[Motion]) -> Vec<Pose> {
    const STEEPEST: f64 = 85.0;
    let (mut x, mut y, mut yaw, mut pitch) = (start.x, start.y, start.yaw, 0.0f64);
    let pose = |x, y, yaw, pitch| Pose::looking([x, y, world.footing(x, y) + start.eye_m], yaw, pitch);
    let mut poses = vec![pose(x, y, yaw, pitch)];
    for motion in motions.iter().skip(1) {
        let from = (x, y, yaw, pitch);
        if (pitch + motion.pitch).abs() <= STEEPEST.to_radians() {
            pitch += motion.pitch;
        }
        // Right is clockwise from above.
        yaw -= motion.yaw;
        let (s, c) = (libm::sin(yaw), libm::cos(yaw));
        x += c * motion.forward + s * motion.right;
        y += s * motion.forward - c * motion.right;
        for frame in 1..=FRAMES_PER_LATENT {
            let k = frame as f64 / FRAMES_PER_LATENT as f64;
            let part = |a: f64, b: f64| a + (b - a) * k;
            poses.push(pose(part(from.0, x), part(from.1, y), part(from.2, yaw), part(from.3, pitch)));
        }
    }
    poses
}

/// A walk in pieces that a region can each hold. All but walks of kilometres are one piece.
pub fn stretches(path: &[Pose]) -> impl Iterator<Item = &[Pose]> {
    const FURTHEST_M: f64 = 1200.0;
    let mut rest = path;
    std::iter::from_fn(move || {
        let from = rest.first()?.position();
        let gone = |pose: &Pose| {
            let to = pose.position();
            (to[0] - from[0]).abs().max((to[1] - from[1]).abs()) > FURTHEST_M
        };
        let (stretch, next) = rest.split_at(rest.iter().position(gone).unwrap_or(rest.len()));
        rest = next;
        Some(stretch)
    })
}

/// What a stretch of a path sees, without what stands in the path's way.
pub fn cleared(world: &World, stretch: &[Pose], path: &[Pose]) -> Region {
    let mut region = world.region(stretch);
    let places: Vec<_> = path.iter().map(Pose::position).collect();
    region.clear(&places, BODY_M);
    region
}

/// A place to begin with a view: the best of `tries` by what lies ahead, for walks with these motions.
pub fn begin(world: &World, draws: &mut Draws, motions: &[Motion], tries: usize) -> (Start, Vec<Pose>) {
    let eye_m =
        if draws.chance(0.75) { f64::from(draws.between(1.8, 2.6)) } else { f64::from(draws.between(3.0, 10.0)) };
    let mut best: Option<(f64, Start, Vec<Pose>)> = None;
    let (cx, cy) = (f64::from(draws.between(-2000.0, 2000.0)), f64::from(draws.between(-2000.0, 2000.0)));
    for _ in 0..tries.max(1) {
        let start = world.spawn(draws, [cx, cy], eye_m);
        let poses = poses(world, start, motions);
        let score = world.view_score(&poses);
        if best.as_ref().is_none_or(|(least, ..)| score > *least) {
            best = Some((score, start, poses));
        }
    }
    let (_, start, poses) = best.expect("one try is made at least");
    (start, poses)
}
