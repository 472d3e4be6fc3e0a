//! The sky: a gradient, sun or moon, clouds, stars, and silhouettes on the horizon.
//!
//! The silhouettes are painted at infinity, by azimuth alone: they turn with the camera and never come nearer, which
//! gives every place a skyline for the price of a table look-up.

use crate::look::Biome;
use crate::palette::Light;
use crate::random::{fractal, noise, unit};
use crate::vector::{V3, decay, rgb, smooth, squared, turns, v3};

const AZIMUTHS: usize = 2048;
const CLOUDS: usize = 128;

pub(crate) struct Sky {
    /// Tangent of the skyline's elevation by azimuth, far ridge and near ridge.
    ridges: [Vec<f32>; 2],
    ridge_colours: [V3; 2],
    clouds: Vec<f32>,
    cover: f32,
    /// Towards the planet of crystal worlds.
    planet: Option<V3>,
    snowcaps: bool,
    lit_skyline: bool,
    seed: u64,
}

impl Sky {
    pub(crate) fn new(seed: u64, biome: Biome, light: &Light) -> Sky {
        let row = |layer: u32| (0..AZIMUTHS).map(|a| skyline(seed, biome, layer, a)).collect();
        let tone = match biome {
            Biome::Meadow | Biome::Islands => 0x5c7f8c,
            Biome::Snow => 0x7d92b8,
            Biome::Desert => 0xb0643c,
            Biome::City => 0x5a6478,
            Biome::Volcano => 0x3c2428,
            Biome::Crystal => 0x5a3aa0,
            Biome::Autumn => 0x8c6a58,
        };
        let lit = rgb(tone).tint(light.ambient + light.sun_colour * 0.3);
        let clouds = (0..CLOUDS * CLOUDS)
            .map(|c| {
                // The texture wraps: noises of its two ends are blended.
                let (x, y) = ((c % CLOUDS) as f32, (c / CLOUDS) as f32);
                let (k, side) = (12.0, CLOUDS as f32);
                let at = |x: f32, y: f32| fractal(seed, x / k, y / k, 4, 80);
                let (u, v) = (x / side, y / side);
                let top = at(x, y) * (1.0 - u) + at(x - side, y) * u;
                let bottom = at(x, y - side) * (1.0 - u) + at(x - side, y - side) * u;
                // Averaging flattens the middle of the texture: stretch it back.
                let spread = ((1.0 - u) * (1.0 - u) + u * u).sqrt() * ((1.0 - v) * (1.0 - v) + v * v).sqrt();
                smooth(0.05, 0.32, (top * (1.0 - v) + bottom * v - 0.5) / spread)
            })
            .collect();
        Sky {
            ridges: [row(0), row(1)],
            ridge_colours: [lit.mix(light.horizon, 0.55), lit.mix(light.horizon, 0.25)],
            clouds,
            cover: if light.foggy { 0.25 } else { 0.85 } * if biome == Biome::City { 0.6 } else { 1.0 },
            planet: (biome == Biome::Crystal).then(|| v3(-light.sun.x, -light.sun.y, 0.42).unit()),
            snowcaps: biome == Biome::Snow,
            lit_skyline: biome == Biome::City && light.lamps > 0.2,
            seed,
        }
    }

    /// Colour of dense fog in the direction `d`: the sky at the horizon, warmer towards the sun.
    pub(crate) fn haze(&self, light: &Light, d: V3) -> V3 {
        let k = 1.0 / (d.x * d.x + d.y * d.y).sqrt().max(1e-6);
        let s = ((d.x * light.sun.x + d.y * light.sun.y) * k).max(0.0);
        light.horizon + light.sun_colour * (squared(s, 3) * self.glow(light) * 0.7)
    }

    fn glow(&self, light: &Light) -> f32 {
        if light.night { 0.1 } else { 0.24 * (1.0 - 0.75 * light.sun.z) }
    }

    pub(crate) fn colour(&self, light: &Light, d: V3) -> V3 {
        let up = d.z.max(0.0);
        let mut sky = light.horizon.mix(light.zenith, 1.0 - decay(3.6 * up));
        let s = d.dot(light.sun).max(0.0);
        let near_sun = squared(s, 3) * self.glow(light) + squared(s, 6) * self.glow(light) * 1.6;
        sky += light.sun_colour * near_sun;
        if light.night && !light.foggy && up > 0.06 {
            sky += self.stars(d, up);
        }
        if let Some(towards) = self.planet {
            sky = self.planet(light, sky, d, towards);
        }
        let disc = if light.night { smooth(0.9978, 0.9984, s) * 1.6 } else { smooth(0.9974, 0.9984, s) * 2.2 };
        if disc > 0.0 && !light.foggy {
            sky = sky.mix(
                (light.sun_colour * 1.2 + v3(0.12, 0.12, 0.12)) * if light.night { 1.3 } else { 1.0 },
                disc.min(1.0),
            );
        }
        if d.z > 0.015 {
            sky = self.cloud(light, sky, d);
        }
        self.silhouettes(light, sky, d)
    }

    fn stars(&self, d: V3, up: f32) -> V3 {
        // Cells of a dome; a star is a round dot in its cell, large enough not to flicker as it crosses pixels.
        let k = 26.0 / (1.0 + d.z);
        let (u, v) = (d.x * k, d.y * k);
        let (i, j) = (u.floor(), v.floor());
        let (si, sj) = (i as i32, j as i32);
        if unit(self.seed, si, sj, 90) > 0.22 {
            return V3::default();
        }
        let (a, b) = (u - i - 0.3 - 0.4 * unit(self.seed, si, sj, 91), v - j - 0.3 - 0.4 * unit(self.seed, si, sj, 92));
        let bright = (1.0 - (a * a + b * b) * 45.0).max(0.0) * (0.25 + 0.75 * unit(self.seed, si, sj, 93));
        v3(0.75, 0.8, 1.0) * (bright * smooth(0.06, 0.3, up) * 0.9)
    }

    fn planet(&self, light: &Light, sky: V3, d: V3, towards: V3) -> V3 {
        let c = d.dot(towards);
        let cover = smooth(0.9755, 0.9765, c);
        if cover == 0.0 {
            return sky;
        }
        // Lit from above on one side: a gradient across the disc is enough to read as a globe.
        let shade = smooth(-0.2, 0.25, d.z - towards.z + 0.06);
        let bands = 0.85 + 0.15 * noise(self.seed, (d.z - towards.z) * 40.0, 0.5, 95);
        let globe = sky.mix(rgb(0xc890f0) * (bands * (0.35 + 0.5 * light.sun_colour.y.min(1.2))), 0.25 + 0.6 * shade);
        sky.mix(globe, cover)
    }

    fn cloud(&self, light: &Light, sky: V3, d: V3) -> V3 {
        let k = 9.0 / (d.z + 0.18);
        let at = |u: f32, v: f32| {
            let (fi, fj) = (u.floor(), v.floor());
            let wrap = |n: f32| (n as i32).rem_euclid(CLOUDS as i32) as usize;
            let (i, j, i2, j2) = (wrap(fi), wrap(fj), wrap(fi + 1.0), wrap(fj + 1.0));
            let (u, v) = (u - fi, v - fj);
            let texel = |i: usize, j: usize| self.clouds[j * CLOUDS + i];
            let low = texel(i, j) + (texel(i2, j) - texel(i, j)) * u;
            low + (texel(i, j2) + (texel(i2, j2) - texel(i, j2)) * u - low) * v
        };
        let (u, v) = (d.x * k + 31.0, d.y * k + 17.0);
        let thick = at(u, v);
        if thick <= 0.0 {
            return sky;
        }
        // Thinner towards the sun means lit from there.
        let lit = (thick - at(u + light.sun.x * 1.6, v + light.sun.y * 1.6)).clamp(-0.5, 0.5) + 0.5;
        let base = light.horizon * 0.62 + light.ambient * 0.35;
        let bright = base + light.sun_colour * (0.12 + 0.26 * lit);
        sky.mix(bright, thick * self.cover * smooth(0.015, 0.2, d.z))
    }

    fn silhouettes(&self, light: &Light, sky: V3, d: V3) -> V3 {
        let flat = (d.x * d.x + d.y * d.y).sqrt().max(1e-6);
        let tangent = d.z / flat;
        if tangent > 0.42 {
            return sky;
        }
        let azimuth = turns(d.x, d.y) * AZIMUTHS as f32;
        let whole = azimuth.floor();
        let (a, f) = (whole as usize % AZIMUTHS, azimuth - whole);
        let haze = self.haze(light, d);
        // Fog leaves a hint of the nearer ridge.
        let presence = if light.foggy { 0.12 } else { 1.0 };
        let mut colour = sky;
        for (layer, ridge) in self.ridges.iter().enumerate() {
            let height = ridge[a] + (ridge[(a + 1) % AZIMUTHS] - ridge[a]) * f;
            let cover = smooth(height + 0.004, height - 0.004, tangent) * presence;
            if cover > 0.0 {
                let rise = (tangent / height.max(1e-3)).clamp(0.0, 1.0);
                let mut face = haze.mix(self.ridge_colours[layer], 0.25 + 0.75 * rise);
                if self.snowcaps && height > 0.1 {
                    let jag = 0.03 * noise(self.seed, azimuth / 9.0, layer as f32, 88);
                    let snow = (light.ambient * 0.8 + light.sun_colour * 0.35).mix(haze, 0.25);
                    face = face.mix(snow, smooth(0.075 + jag, 0.1 + jag, tangent));
                }
                if self.lit_skyline && layer == 1 {
                    let (i, j) = ((azimuth / 5.0) as i32, (tangent * 90.0) as i32);
                    if unit(self.seed, i, j, 89) < 0.3 && tangent > 0.02 {
                        face = face.mix(rgb(0xffd890), 0.55 * light.lamps);
                    }
                }
                colour = colour.mix(face, cover);
            }
        }
        colour
    }
}

/// Tangent of the elevation of a skyline at one of the azimuths.
fn skyline(seed: u64, biome: Biome, layer: u32, azimuth: usize) -> f32 {
    let turn = azimuth as f32 / AZIMUTHS as f32;
    // Noise on a circle has no seam.
    let angle = turn * std::f32::consts::TAU;
    let (c, s) = (libm::cosf(angle), libm::sinf(angle));
    let wave = |k: f32, octaves: u32, salt: u32| fractal(seed, c * k + 40.0, s * k + 40.0, octaves, salt + layer * 7);
    let near = layer as f32;
    match biome {
        Biome::Meadow | Biome::Autumn => 0.17 * wave(2.6 + near, 3, 81) - 0.02 - 0.035 * near,
        Biome::Snow => {
            let w = wave(3.5 + near, 4, 81);
            0.42 * squared(1.0 - (2.0 * w - 1.0).abs(), 1) * (1.0 - 0.45 * near) * wave(1.5, 2, 83) + 0.02
        }
        Biome::Desert => {
            0.015
                + 0.12
                    * smooth(0.5, 0.535, wave(4.0 + near, 2, 81))
                    * (1.0 - 0.4 * near)
                    * (0.6 + 0.6 * wave(2.0, 1, 83))
        }
        Biome::Islands => 0.3 * (wave(4.0, 3, 81) - 0.56).max(-0.01) * (1.0 - 0.4 * near),
        Biome::City => {
            let cell = (turn * (150.0 - 40.0 * near)) as i32;
            let tall = unit(seed, cell, layer as i32, 81);
            0.025 + (0.2 - 0.08 * near) * tall * tall * wave(1.6, 2, 83) * 1.5
        }
        Biome::Volcano => {
            // One great cone, and jagged rock before it.
            let middle = unit(seed, 0, 0, 84);
            let away = ((turn - middle + 1.5).fract() - 0.5).abs();
            let cone = (0.4 - 3.6 * away).min(0.3);
            let rock = 0.16 * wave(6.0, 4, 81) - 0.03;
            if layer == 0 { cone.max(rock) } else { rock * 0.8 }
        }
        Biome::Crystal => {
            let w = wave(7.0, 2, 81);
            0.03 + 0.24 * squared(1.0 - (2.0 * w - 1.0).abs(), 2) * (1.0 - 0.4 * near)
        }
    }
}
