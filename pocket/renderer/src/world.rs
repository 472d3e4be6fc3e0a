//! A world: a seed and a look determine everything in it.

use crate::camera::Pose;
use crate::look::{Biome, Look};
use crate::palette::{Light, Palette};
use crate::random::{Draws, bits, unit};
use crate::region::{Region, Sight};
use crate::scatter::{self, BLOCK, STREET};
use crate::sky::Sky;
use crate::terrain::{CELL_M, Terrain};
use crate::walk::Start;

pub struct World {
    pub seed: u64,
    pub look: Look,
    pub(crate) terrain: Terrain,
    pub(crate) palette: Palette,
    pub(crate) light: Light,
    pub(crate) sky: Sky,
}

impl World {
    pub fn new(seed: u64, look: Look) -> World {
        let light = Light::of(look, unit(seed, 0, 0, 1));
        let sky = Sky::new(seed, look.biome, &light);
        World { seed, look, terrain: Terrain::new(seed, look.biome), palette: Palette::of(look.biome), light, sky }
    }

    /// The piece of the world that can be seen along these poses.
    pub fn region(&self, poses: &[Pose]) -> Region {
        let axis = |k: usize| poses.iter().map(move |pose| pose.position()[k]);
        let low = |k| axis(k).fold(f64::INFINITY, f64::min);
        let high = |k| axis(k).fold(f64::NEG_INFINITY, f64::max);
        assert!(!poses.is_empty(), "a path has a pose");
        Region::new(self, [low(0), low(1)], [high(0), high(1)])
    }

    /// Height of the ground or the water at a place, in metres.
    pub fn surface(&self, x: f64, y: f64) -> f64 {
        self.terrain.ground(x, y).max(f64::from(self.terrain.water))
    }

    /// The smooth surface a walk follows: never below [`World::surface`].
    pub fn footing(&self, x: f64, y: f64) -> f64 {
        self.terrain.footing(x, y)
    }

    /// Unit vector towards the sun or the moon.
    pub fn sun(&self) -> [f32; 3] {
        [self.light.sun.x, self.light.sun.y, self.light.sun.z]
    }

    /// Whether a city's cell is grass.
    pub(crate) fn is_park(&self, i: i32, j: i32) -> bool {
        let origin = |k: i32| k.div_euclid(BLOCK) * BLOCK + STREET;
        let street = i.rem_euclid(BLOCK) < STREET || j.rem_euclid(BLOCK) < STREET;
        self.look.biome == Biome::City
            && !street
            && Draws::new(bits(self.seed, origin(i), origin(j), 70), 71).unit() < 0.16
    }
}

impl World {
    /// A place near `around` where one can stand; in a city on a street, looking along it.
    pub(crate) fn spawn(&self, draws: &mut Draws, around: [f64; 2], eye_m: f64) -> Start {
        let block = f64::from(BLOCK) * f64::from(CELL_M);
        let mut start = Start { x: around[0], y: around[1], yaw: 0.0, eye_m };
        for _ in 0..30 {
            let shift = |draws: &mut Draws| f64::from(draws.between(-110.0, 110.0));
            (start.x, start.y) = (around[0] + shift(draws), around[1] + shift(draws));
            start.yaw = f64::from(draws.unit()) * std::f64::consts::TAU;
            if self.look.biome == Biome::City {
                // Along the middle of a street, a little askew.
                start.x = (start.x / block).floor() * block + f64::from(STREET) * f64::from(CELL_M) * 0.5;
                let ahead = if draws.chance(0.5) { 0.25 } else { 0.75 };
                start.yaw = (ahead + 0.015 * f64::from(draws.bell())) * std::f64::consts::TAU;
            }
            if self.terrain.ground(start.x, start.y) > f64::from(self.terrain.water) + 0.3 {
                break;
            }
        }
        start
    }

    /// A score for the first view of a walk: open ground ahead, something to see that does not block
    /// the way, no steep climbs. Larger is better.
    pub(crate) fn view_score(&self, poses: &[Pose]) -> f64 {
        let first = poses[0];
        let ([x, y, z], [fx, fy, _]) = (first.position(), first.forward());
        // Slopes ahead hide the view when they rise over the eye, and make one when they do so far away.
        let rise = |metres: f64, side: f64| {
            let (px, py) = (x + fx * metres - fy * side, y + fy * metres + fx * side);
            ((self.surface(px, py) - z) / metres).clamp(-0.5, 0.9)
        };
        let near: f64 = [6.0, 12.0, 20.0].iter().map(|&m| (rise(m, 0.0) + 0.12).max(0.0)).sum();
        let far = [-40.0, 0.0, 40.0].iter().map(|&side| rise(80.0, side)).fold(0.0, f64::max);
        let steps = poses.windows(2).map(|w| (w[1].position()[2] - w[0].position()[2]).abs());
        let climb = steps.fold(0.0, f64::max);
        // A thing this close fills the picture; further away it makes the view better.
        let (crowding, far_enough) = ((3.0, 13.0), (14.0, 70.0));
        let ahead = |[px, py]: [f64; 2]| {
            let (dx, dy) = (px - x, py - y);
            let metres = (dx * dx + dy * dy).sqrt();
            (dx * fx + dy * fy > 0.8 * metres).then_some(metres)
        };
        let between = |metres: f64, (least, most): (f64, f64)| (least..most).contains(&metres);
        let (mut seen, mut crowd, mut trees) = (0.0f64, 0.0, 0.0);
        for metres in self.landmarks_near([x, y], 100.0).iter().filter_map(|s| ahead([s.position[0], s.position[1]])) {
            seen = seen.max(if between(metres, far_enough) { 1.0 } else { 0.25 });
            crowd += if metres < 20.0 { 1.0 } else { 0.0 };
        }
        for metres in self.things_near([x, y], 48.0).filter_map(ahead) {
            crowd += if between(metres, crowding) { 1.0 - metres / crowding.1 } else { 0.0 };
            trees += if between(metres, far_enough) { 0.08 } else { 0.0 };
        }
        let wet = (0..9).filter(|n| {
            let (metres, side) = (f64::from(15 + 15 * (n / 3)), f64::from(n % 3 - 1) * 0.5);
            let (px, py) = (x + (fx - fy * side) * metres, y + (fy + fx * side) * metres);
            self.terrain.ground(px, py) < f64::from(self.terrain.water)
        });
        let wet = f64::from(wet.count() as u8) / 9.0;
        // A third of an island's view should be sea; more is a view of nothing.
        let water = if self.look.biome == Biome::Islands { 1.8 * wet.min(0.34) } else { 0.8 * wet.min(0.34) };
        let water = water - 1.5 * (wet - 0.5).max(0.0);
        let sun = f64::from(self.light.sun.x) * fx + f64::from(self.light.sun.y) * fy;
        let view = seen + f64::min(trees, 0.6) + water + 0.8 * far.min(0.4) + 0.25 * sun.max(0.0);
        view - 1.2 * f64::min(crowd, 2.0) - 3.0 * near - 2.5 * climb
    }

    /// Positions of ordinary things within some metres. Water and slopes are not considered.
    fn things_near(&self, [x, y]: [f64; 2], metres: f64) -> impl Iterator<Item = [f64; 2]> {
        let cells = |at: f64| {
            let cell = |metres: f64| (metres / f64::from(CELL_M)).floor() as i32;
            cell(at - metres)..=cell(at + metres)
        };
        let (seed, biome, columns) = (self.seed, self.look.biome, cells(x));
        cells(y)
            .flat_map(move |j| columns.clone().map(move |i| (i, j)))
            .filter_map(move |(i, j)| scatter::thing(seed, biome, i, j).map(|(place, _)| place))
    }

    /// Landmarks within this distance.
    pub fn landmarks_near(&self, [x, y]: [f64; 2], metres: f64) -> Vec<Sight> {
        Region::landmarks(self, [x - metres, y - metres], [x + metres, y + metres])
    }
}
