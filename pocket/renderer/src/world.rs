//! A world: a seed and a look, and everything that follows from them.

use crate::camera::Pose;
use crate::look::{Biome, Look};
use crate::palette::{Light, Palette};
use crate::random::{Draws, bits, unit};
use crate::region::Region;
use crate::scatter::{BLOCK, STREET};
use crate::sky::Sky;
use crate::terrain::Terrain;

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
