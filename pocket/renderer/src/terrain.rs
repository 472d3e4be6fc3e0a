//! The ground: heights at the corners of 4 m cells, a pure function of the corner's number, so it never ends.
//!
//! A cell is two triangles, split along its (0,0)-(1,1) diagonal. The walker does not follow the triangles but a
//! smooth surface over them, which depends on the place alone: a walker who returns to a place has the same height again.

use crate::look::Biome;
use crate::random::fractal;
use crate::vector::smooth;

/// Side of a cell in metres.
pub(crate) const CELL_M: f32 = 4.0;
/// Height of the water in a world without water: far below everything.
pub(crate) const DRY: f32 = -1000.0;

#[derive(Clone, Debug)]
pub(crate) struct Terrain {
    seed: u64,
    biome: Biome,
    pub(crate) water: f32,
}

impl Terrain {
    pub(crate) fn new(seed: u64, biome: Biome) -> Terrain {
        let water = match biome {
            Biome::Meadow => -3.2,
            Biome::Snow => -3.0,
            Biome::Islands | Biome::Volcano => 0.0,
            Biome::Crystal => -3.4,
            Biome::Autumn => -2.8,
            Biome::Desert | Biome::City => DRY,
        };
        Terrain { seed, biome, water }
    }

    /// Height of the corner between cells `(i-1, j-1)` and `(i, j)`.
    pub(crate) fn corner(&self, i: i32, j: i32) -> f32 {
        let (x, y) = (i as f32, j as f32);
        let field = |period: f32, octaves, salt| fractal(self.seed, x / period, y / period, octaves, salt);
        let broad = || field(44.0, 4, 10);
        let hills = || field(19.0, 3, 20);
        let bumps = || field(6.5, 2, 30);
        match self.biome {
            Biome::Meadow => 30.0 * (broad() - 0.47) + 2.2 * bumps(),
            Biome::Snow => {
                let ridge = 1.0 - (2.0 * hills() - 1.0).abs();
                let b = broad();
                52.0 * b * ridge * ridge * smooth(0.25, 0.6, b) + 7.0 * b + 2.0 * bumps() - 6.8
            }
            Biome::Desert => {
                let (b, h) = (broad(), hills());
                let mesa = smooth(0.56, 0.63, h);
                let step = 0.55 + 0.45 * (b * 7.0).round() / 7.0;
                // Dunes: long waves that bend with the broad noise.
                let wave = libm::sinf((x * 0.8 + y * 0.45) * 0.32 + b * 9.0);
                9.0 * b + 24.0 * mesa * step + (1.0 - mesa) * 1.3 * wave + 0.6 * bumps()
            }
            Biome::Islands => 36.0 * (hills() * 0.65 + broad() * 0.35 - 0.495) + 2.2 * bumps(),
            Biome::City => 0.0,
            Biome::Volcano => {
                let ridge = (2.0 * hills() - 1.0).abs();
                24.0 * ridge + 16.0 * broad() - 11.0 + 2.4 * bumps()
            }
            Biome::Crystal => 26.0 * (broad() - 0.47) + 6.0 * (hills() - 0.4) + 1.4 * bumps(),
            Biome::Autumn => 26.0 * (broad() - 0.46) + 2.2 * bumps(),
        }
    }

    /// Height of the triangle over (or under) a place in metres, water not counted.
    pub(crate) fn ground(&self, x: f64, y: f64) -> f64 {
        let (u, v) = (x / f64::from(CELL_M), y / f64::from(CELL_M));
        let (i, j) = (u.floor(), v.floor());
        let corner = |a: i32, b: i32| f64::from(self.corner(i as i32 + a, j as i32 + b));
        let (u, v) = (u - i, v - j);
        let (low, high) = (corner(0, 0), corner(1, 1));
        if u >= v {
            let side = corner(1, 0);
            low + (side - low) * u + (high - side) * v
        } else {
            let side = corner(0, 1);
            low + (high - side) * u + (side - low) * v
        }
    }

    /// The surface under a walker: a cubic B-spline through the corners or the water between them, raised where the
    /// triangles rise above it.
    pub(crate) fn footing(&self, x: f64, y: f64) -> f64 {
        let (u, v) = (x / f64::from(CELL_M), y / f64::from(CELL_M));
        let (i, j) = (u.floor(), v.floor());
        let weights = |t: f64| {
            let (t2, t3) = (t * t, t * t * t);
            [
                (1.0 - 3.0 * t + 3.0 * t2 - t3) / 6.0,
                (4.0 - 6.0 * t2 + 3.0 * t3) / 6.0,
                (1.0 + 3.0 * t + 3.0 * t2 - 3.0 * t3) / 6.0,
                t3 / 6.0,
            ]
        };
        let (wu, wv) = (weights(u - i), weights(v - j));
        let mut spline = 0.0;
        for (a, wu) in wu.iter().enumerate() {
            for (b, wv) in wv.iter().enumerate() {
                let corner = self.corner(i as i32 + a as i32 - 1, j as i32 + b as i32 - 1).max(self.water);
                spline += wu * wv * f64::from(corner);
            }
        }
        // A kink at a ridge would show in the walk: the nearer the triangles come from below, the more they push.
        let gap = self.ground(x, y).max(f64::from(self.water)) - spline;
        spline + 0.5 * (gap + (gap * gap + 0.25).sqrt())
    }

    /// How steep the cell is: height difference of its corners in metres.
    pub(crate) fn step(&self, i: i32, j: i32) -> f32 {
        let corners = [self.corner(i, j), self.corner(i + 1, j), self.corner(i, j + 1), self.corner(i + 1, j + 1)];
        corners.iter().fold(f32::MIN, |a, &b| a.max(b)) - corners.iter().fold(f32::MAX, |a, &b| a.min(b))
    }
}
