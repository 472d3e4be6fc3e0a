//! A picture: rays through pixels, what they meet, how it is lit, and the film that records it.

use rayon::prelude::*;

use crate::camera::{Intrinsics, Pose};
use crate::look::Biome;
use crate::palette::Material;
use crate::part::{Part, Shape};
use crate::random::{bits, noise, unit};
use crate::region::Region;
use crate::scatter::{BLOCK, STREET};
use crate::terrain::{CELL_M, DRY};
use crate::trace::{Hit, Surface};
use crate::vector::{V3, decay, smooth, squared, v3};
use crate::world::World;

/// Longest distance of shadow rays and of reflection rays, in metres.
const SHADOW_M: f32 = 55.0;
const MIRROR_M: f32 = 120.0;
/// Floors and windows of a building, in metres.
const FLOOR_M: f32 = 1.7;
const BAY_M: f32 = 1.5;

/// One world, one region, one camera lens: draws any number of poses.
pub struct Renderer<'a> {
    world: &'a World,
    region: &'a Region,
    lens: Intrinsics,
    /// Offsets of a pixel's samples.
    samples: Vec<[f64; 2]>,
}

impl<'a> Renderer<'a> {
    /// `samples` rays a pixel, 1 or more. The region must have been made for the poses that will be drawn.
    pub fn new(world: &'a World, region: &'a Region, lens: Intrinsics, samples: usize) -> Renderer<'a> {
        // One sample is the middle; more follow the R2 sequence, which any number of points fills evenly.
        let r2 =
            |n: usize| [0.754_877_666_246_692_7, 0.569_840_290_998_053_3].map(|k: f64| (0.5 + k * n as f64).fract());
        Renderer { world, region, lens, samples: (0..samples.max(1)).map(r2).collect() }
    }

    /// RGB8, rows from the top: `3 · width · height` bytes. Computed on one thread.
    pub fn draw(&self, pose: &Pose) -> Vec<u8> {
        let mut frame = Vec::with_capacity(3 * self.lens.width * self.lens.height);
        let o = self.region.local(pose.position());
        let m = &pose.0;
        for y in 0..self.lens.height {
            for x in 0..self.lens.width {
                let mut sum = V3::default();
                for &[sx, sy] in &self.samples {
                    let a = (x as f64 + sx - self.lens.cx) / self.lens.fx;
                    let b = (y as f64 + sy - self.lens.cy) / self.lens.fy;
                    let axis = |k: usize| (m[k][0] * a + m[k][1] * b + m[k][2]) as f32;
                    sum += develop(self.radiance(o, v3(axis(0), axis(1), axis(2)).unit()));
                }
                let k = 255.0 / self.samples.len() as f32;
                frame.extend([sum.x, sum.y, sum.z].map(|v| (v * k + 0.5) as u8));
            }
        }
        frame
    }

    /// Every pose, drawn in parallel on rayon's threads; the bytes do not depend on how many there are.
    pub fn draw_all(&self, poses: &[Pose]) -> Vec<Vec<u8>> {
        poses.par_iter().map(|pose| self.draw(pose)).collect()
    }

    /// Distance in metres to what a camera ray meets, water included; infinite for the sky.
    pub fn distance(&self, pose: &Pose, pixel: [f64; 2]) -> f32 {
        let (a, b) = ((pixel[0] - self.lens.cx) / self.lens.fx, (pixel[1] - self.lens.cy) / self.lens.fy);
        let axis = |k: usize| (pose.0[k][0] * a + pose.0[k][1] * b + pose.0[k][2]) as f32;
        let (o, d) = (self.region.local(pose.position()), v3(axis(0), axis(1), axis(2)).unit());
        let water = self.water_along(o, d);
        self.region.trace(o, d, self.world.light.reach_m().min(water)).map_or(water, |hit| hit.t)
    }

    fn water_along(&self, o: V3, d: V3) -> f32 {
        let water = self.world.terrain.water;
        if d.z < -1e-6 && water > DRY && o.z > water { (water - o.z) / d.z } else { f32::INFINITY }
    }

    /// Linear light that arrives along a ray.
    fn radiance(&self, o: V3, d: V3) -> V3 {
        let World { light, sky, .. } = self.world;
        let reach = light.reach_m();
        let water = self.water_along(o, d);
        let (seen, t) = match self.region.trace(o, d, reach.min(water)) {
            Some(hit) => (self.shade(o + d * hit.t, d, &hit, true), hit.t),
            None if water < reach => (self.water(o + d * water, d), water),
            // There is no sky below the horizon: draw ground in haze.
            None if d.z < 0.0 => return sky.haze(light, d),
            None => return sky.colour(light, d),
        };
        sky.haze(light, d).mix(seen, light.clear(t))
    }

    fn shade(&self, p: V3, d: V3, hit: &Hit, shadows: bool) -> V3 {
        let light = &self.world.light;
        let n = if hit.normal.dot(d) > 0.0 { hit.normal * -1.0 } else { hit.normal };
        let (colour, glow) = match hit.surface {
            Surface::Ground { cell, upper } => (self.ground(p, cell, upper), V3::default()),
            Surface::Part(part) => self.part(p, n, &self.region.parts[part as usize]),
        };
        let mut sun = n.dot(light.sun).max(0.0);
        if sun > 0.0 && shadows && !light.foggy && self.region.blocked(p + n * 0.04, light.sun, SHADOW_M) {
            sun = 0.0;
        }
        // Sky light from above, and a little light reflected by the ground from below.
        let fill = light.ambient * (0.62 + 0.38 * n.z) + light.sun_colour * (0.05 * (1.0 - n.z) * light.sun.z);
        colour.tint(light.sun_colour * sun + fill) + glow
    }

    fn ground(&self, p: V3, cell: u32, upper: bool) -> V3 {
        let [r, g, b] = self.region.colours[cell as usize][usize::from(upper)].map(|v| f32::from(v) / 255.0);
        let mut colour = v3(r * r, g * g, b * b);
        if self.world.look.biome == Biome::City {
            colour = self.street(p, colour);
        } else if self.world.terrain.water > DRY {
            // Wet at the water's edge.
            colour = colour * (0.72 + 0.28 * smooth(0.02, 0.3, p.z - self.world.terrain.water));
        }
        colour
    }

    /// Lane marks, kerbs and pavements.
    fn street(&self, p: V3, ground: V3) -> V3 {
        let (block, street) = (BLOCK as f32 * CELL_M, STREET as f32 * CELL_M);
        let along = |metres: f32, corner: i32| (metres + (corner.rem_euclid(BLOCK)) as f32 * CELL_M) % block;
        let (x, y) = (along(p.x, self.region.corner[0]), along(p.y, self.region.corner[1]));
        let (in_x, in_y) = (x < street, y < street);
        let paint = v3(0.78, 0.74, 0.6);
        match (in_x, in_y) {
            (false, false) => ground,
            (true, true) => ground * 0.9,
            _ => {
                let (across, down) = if in_x { (x, y) } else { (y, x) };
                let edge = across.min(street - across);
                if edge < 1.15 {
                    if edge > 1.0 { ground * 1.9 } else { ground * 1.55 }
                } else if (down < street + 1.9 && down > street + 0.5 && (across * 1.25).fract() < 0.5)
                    || ((across - street * 0.5).abs() < 0.11 && (down * 0.25).fract() < 0.55)
                {
                    paint
                } else {
                    ground
                }
            }
        }
    }

    /// Colour of a part's surface, and the light it gives off.
    fn part(&self, p: V3, n: V3, part: &Part) -> (V3, V3) {
        use Material::*;
        let light = &self.world.light;
        let mut colour = self.world.palette.materials[part.material as usize] * part.tint;
        match part.material {
            LeafA | LeafB | LeafC | Rock if self.world.look.biome == Biome::Snow && n.z > 0.62 => {
                colour = colour.mix(v3(0.86, 0.91, 0.97), 0.75);
            }
            Lamp => return (colour, colour * (0.25 + 1.5 * light.lamps)),
            GlowA | GlowB => {
                // Brighter at the tip, and from inside.
                let rise = smooth(part.z0, part.z1, p.z);
                let shine = (0.1 + 0.3 * light.lamps) * (0.5 + rise) * if light.foggy { 1.2 } else { 1.0 };
                return (colour * (0.75 + 0.35 * rise), colour * (shine * 1.5));
            }
            HouseWindow => {
                let base = self.world.palette.materials[Wall as usize] * part.tint;
                let (u, v) = wall_place(p, part);
                let pane = (u.abs() - 1.3).abs() < 0.5 && (v - 1.5).abs() < 0.55;
                let door = u.abs() < 0.5 && v > -3.0 && v < 1.95;
                if n.z.abs() > 0.5 || !(pane || door) {
                    return (base, V3::default());
                }
                if door {
                    return (self.world.palette.materials[Wood as usize] * 0.7, V3::default());
                }
                return (v3(0.2, 0.23, 0.28), colour * (1.3 * light.lamps));
            }
            OfficeA | OfficeB | OfficeC if n.z.abs() < 0.5 => return self.office(p, n, part, colour),
            _ => {}
        }
        // Darker near the ground: the light of the sky comes from above.
        let foot = smooth(-0.2, 1.6, p.z - part.z0.max(part.z1 - 6.0));
        (colour * (0.78 + 0.22 * foot), V3::default())
    }

    fn office(&self, p: V3, n: V3, part: &Part, wall: V3) -> (V3, V3) {
        let light = &self.world.light;
        let u = if n.x.abs() > n.y.abs() { p.y - part.y } else { p.x - part.x } / BAY_M + 100.5;
        let v = p.z / FLOOR_M;
        let (fu, fv) = (u.fract(), v.fract());
        let ribbon = part.material == Material::OfficeA;
        let pane = fv > 0.28 && fv < 0.8 && v > 0.9 && (ribbon || (fu > 0.2 && fu < 0.8));
        if !pane {
            let ground_floor = if v < 0.9 { 0.6 } else { 1.0 };
            return (wall * ground_floor, V3::default());
        }
        // Owners' numbers depend on the region; places do not.
        let side = if n.x.abs() > n.y.abs() { 1 } else { 2 };
        let [ci, cj] = self.region.corner;
        let (bx, by) = ((part.x / CELL_M) as i32 + ci, (part.y / CELL_M) as i32 + cj);
        let house = bits(self.world.seed, bx, by, 100) as i32;
        let lot = unit(self.world.seed, u as i32 + 1000 * side, v as i32, house as u32 & 0xffff);
        let glass =
            self.world.sky.haze(light, v3(-n.x, -n.y, 0.0)).mix(light.zenith, 0.5) * 0.45 + v3(0.02, 0.03, 0.05);
        if lot > 0.52 {
            return (wall * 0.1, glass);
        }
        let colour = match house & 3 {
            0 => v3(0.35, 0.85, 1.0),
            1 => v3(1.0, 0.45, 0.75),
            _ => v3(1.0, 0.72, 0.32),
        };
        let on = light.lamps * (0.55 + 0.6 * lot);
        (wall * 0.1, glass.mix(colour * 1.15, on.min(1.0)))
    }

    fn water(&self, p: V3, d: V3) -> V3 {
        let World { light, sky, palette, terrain, seed, look, .. } = self.world;
        let depth = terrain.water - self.bed(p);
        let wobble = |salt| {
            noise(
                *seed,
                (p.x + self.region.corner[0] as f32 * CELL_M) * 0.35,
                (p.y + self.region.corner[1] as f32 * CELL_M) * 0.35,
                salt,
            ) - 0.5
        };
        if look.biome == Biome::Volcano {
            // Lava: bright where it is deep and hot, crusted in patches.
            let crust = smooth(-0.1, 0.25, wobble(110) + 0.5 * wobble(111));
            let hot = palette.water * 1.35 + v3(0.25, 0.16, 0.02) * smooth(0.2, 2.0, depth);
            return hot.mix(v3(0.2, 0.03, 0.01), crust * 0.75);
        }
        let lit = light.ambient + light.sun_colour * (0.45 * light.sun.z.max(0.2));
        let deep = palette.water.tint(lit) * 0.55;
        let shallow = palette.water.mix(palette.patch, 0.45).tint(lit) * 0.9;
        let body = deep.mix(shallow, decay(depth.max(0.0) * 0.55));
        let mirrored = v3(d.x + 0.03 * wobble(112), d.y + 0.03 * wobble(113), -d.z).unit();
        let from = p + v3(0.0, 0.0, 0.02);
        let reflected = match self.region.trace(from, mirrored, MIRROR_M) {
            Some(hit) => sky
                .haze(light, mirrored)
                .mix(self.shade(from + mirrored * hit.t, mirrored, &hit, false), light.clear(hit.t)),
            None => sky.colour(light, mirrored),
        };
        let grazing = 1.0 - d.z.abs();
        let seen = body.mix(reflected, 0.08 + 0.8 * squared(grazing, 2) * grazing);
        let foam = (1.0 - smooth(0.0, 0.22, depth)) * 0.55;
        seen.mix(lit * 0.85, if look.biome == Biome::Crystal { 0.0 } else { foam })
    }

    /// Height of the ground under the water, smoothly between the corners.
    fn bed(&self, p: V3) -> f32 {
        let row = self.region.cells[0] + 1;
        let cell = |metres: f32, side: usize| (metres / CELL_M).floor().clamp(0.0, side as f32 - 1.0);
        let (i, j) = (cell(p.x, self.region.cells[0]), cell(p.y, self.region.cells[1]));
        let (u, v) = (p.x / CELL_M - i, p.y / CELL_M - j);
        let corner = j as usize * row + i as usize;
        let h = &self.region.heights;
        let low = h[corner] + (h[corner + 1] - h[corner]) * u;
        low + (h[corner + row] + (h[corner + row + 1] - h[corner + row]) * u - low) * v
    }
}

/// Metres along the wall from its middle, and above the foot of the storey.
fn wall_place(p: V3, part: &Part) -> (f32, f32) {
    let (x, y) = (p.x - part.x, p.y - part.y);
    let v = p.z - part.z1 + 2.7;
    match part.shape {
        Shape::Block { foot, turn: [c, s], .. } => {
            let (a, b) = (x * c + y * s, y * c - x * s);
            (if a.abs() / foot[0] > b.abs() / foot[1] { b } else { a }, v)
        }
        Shape::Frustum { .. } | Shape::Ball { .. } => (x + y, v),
    }
}

/// Linear light to what a screen shows, 0..1: a filmic curve, then the gamma of screens.
fn develop(light: V3) -> V3 {
    v3(film(light.x), film(light.y), film(light.z))
}

fn film(v: f32) -> f32 {
    let x = v.max(0.0) * 0.82;
    let y = ((x * (2.51 * x + 0.03)) / (x * (2.43 * x + 0.59) + 0.14)).min(1.0);
    // The sRGB curve from two square roots, to half a step of 255.
    let (root, fourth) = (y.sqrt(), y.sqrt().sqrt());
    (0.662_002_7 * root + 0.684_122 * fourth - 0.323_583_6 * fourth.sqrt() - 0.022_541_16 * y).clamp(0.0, 1.0)
}
