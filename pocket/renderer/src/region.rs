//! A region: the part of an endless world that a camera path can see. It is computed once, so that rays only read arrays.
//!
//! Everything is a pure function of cell numbers, so the border between two regions is invisible.

use crate::camera::Pose;
use crate::landmark::{Landmark, SPAN};
use crate::look::Biome;
use crate::part::{Part, unit_circle};
use crate::random::{Draws, bits, noise, unit};
use crate::scatter::{self, BLOCK, Builder, STREET};
use crate::terrain::CELL_M;
use crate::vector::{V3, smooth, v3};
use crate::world::World;

/// Cells along the longest side: four kilometres, some 100 MB. Longer walks are drawn in stretches.
const MAX_CELLS: i32 = 1024;

/// A landmark and where it stands, in metres of the world.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    pub landmark: Landmark,
    pub position: [f64; 3],
}

pub struct Region {
    /// Cell number of the region's corner. All coordinates below are relative to it.
    pub(crate) corner: [i32; 2],
    pub(crate) cells: [usize; 2],
    /// Heights at the `(cells + 1)²` corners, rows of constant `j`.
    pub(crate) heights: Vec<f32>,
    /// The highest point over each cell, and over all cells.
    pub(crate) tops: Vec<f32>,
    pub(crate) top: f32,
    /// Colour of a cell's two triangles, as square roots of linear light in 0..255.
    pub(crate) colours: Vec<[[u8; 3]; 2]>,
    pub(crate) parts: Vec<Part>,
    /// Parts over cell `c`: `over[first[c]..first[c + 1]]`.
    pub(crate) first: Vec<u32>,
    pub(crate) over: Vec<u32>,
    pub(crate) sights: Vec<(Sight, u32)>,
    owners: u32,
}

impl Region {
    /// The region that can be seen from any place between two corners, in metres of the world.
    pub(crate) fn new(world: &World, low: [f64; 2], high: [f64; 2]) -> Region {
        let margin = f64::from(world.light.reach_m()) + 2.0 * f64::from(CELL_M);
        let mut region = Region::empty([low[0] - margin, low[1] - margin], [high[0] + margin, high[1] + margin]);
        region.raise(world);
        region.furnish(world);
        region.index();
        region
    }

    /// The landmarks between two corners, without the rest of the world.
    pub(crate) fn landmarks(world: &World, low: [f64; 2], high: [f64; 2]) -> Vec<Sight> {
        let mut region = Region::empty(low, high);
        region.place_landmarks(world);
        region.sights.into_iter().map(|(sight, _)| sight).collect()
    }

    fn empty(low: [f64; 2], high: [f64; 2]) -> Region {
        let cell = |metres: f64| (metres / f64::from(CELL_M)).floor() as i32;
        let corner = [cell(low[0]), cell(low[1])];
        let cells = std::array::from_fn(|k| (cell(high[k]) + 1 - corner[k]).clamp(1, MAX_CELLS) as usize);
        Region {
            corner,
            cells,
            heights: Vec::new(),
            tops: Vec::new(),
            top: 0.0,
            colours: Vec::new(),
            parts: Vec::new(),
            first: Vec::new(),
            over: Vec::new(),
            sights: Vec::new(),
            owners: 0,
        }
    }

    /// Region coordinates of a place of the world.
    pub(crate) fn local(&self, position: [f64; 3]) -> V3 {
        let shift = |axis: usize| (position[axis] - f64::from(self.corner[axis]) * f64::from(CELL_M)) as f32;
        v3(shift(0), shift(1), position[2] as f32)
    }

    /// Landmarks ahead of a camera, within this distance.
    pub fn in_view(&self, pose: &Pose, metres: f64) -> impl Iterator<Item = Sight> {
        let pose = *pose;
        self.sights.iter().map(|(sight, _)| *sight).filter(move |sight| {
            let [x, _, z] = pose.camera_from_world(sight.position);
            z > 0.0 && z < metres && x.abs() < 0.7 * z
        })
    }

    /// Remove all things within `margin` metres of these places. Returns how many were removed.
    pub fn clear(&mut self, places: &[[f64; 3]], margin: f32) -> usize {
        let hit = self.obstacles(places, margin);
        self.parts.retain(|part| !hit.contains(&part.owner));
        self.sights.retain(|(_, owner)| !hit.contains(owner));
        self.index();
        hit.len()
    }

    /// Owners of the parts within `margin` metres of these places.
    pub fn obstacles(&self, places: &[[f64; 3]], margin: f32) -> Vec<u32> {
        let mut hit = Vec::new();
        for &place in places {
            let p = self.local(place);
            for part in self.around(p, margin) {
                // The walker's body has a height, so a thing just below the eye is in the way too.
                let low = v3(p.x, p.y, p.z - 1.0);
                if !hit.contains(&part.owner) && (part.holds(p, margin) || part.holds(low, margin)) {
                    hit.push(part.owner);
                }
            }
        }
        hit
    }

    fn around(&self, p: V3, margin: f32) -> impl Iterator<Item = &Part> {
        let cell = |metres: f32, side: usize| ((metres / CELL_M).floor().max(0.0) as usize).min(side - 1);
        let [nx, ny] = self.cells;
        let (i0, i1) = (cell(p.x - margin, nx), cell(p.x + margin, nx));
        let (j0, j1) = (cell(p.y - margin, ny), cell(p.y + margin, ny));
        (j0..=j1).flat_map(move |j| (i0..=i1).map(move |i| j * nx + i)).flat_map(move |c| {
            self.over[self.first[c] as usize..self.first[c + 1] as usize].iter().map(|&part| &self.parts[part as usize])
        })
    }

    fn raise(&mut self, world: &World) {
        let [nx, ny] = self.cells;
        let [ci, cj] = self.corner;
        self.heights.reserve_exact((nx + 1) * (ny + 1));
        for j in 0..=ny as i32 {
            self.heights.extend((0..=nx as i32).map(|i| world.terrain.corner(ci + i, cj + j)));
        }
        self.colours.reserve_exact(nx * ny);
        for j in 0..ny {
            for i in 0..nx {
                let h = |a: usize, b: usize| self.heights[(j + b) * (nx + 1) + i + a];
                let (low, high) = (h(0, 0), h(1, 1));
                let place = [ci + i as i32, cj + j as i32];
                let lower = ground_colour(world, place, 0, [low, h(1, 0), high]);
                let upper = ground_colour(world, place, 1, [low, high, h(0, 1)]);
                self.colours.push([lower, upper]);
            }
        }
    }

    fn place_landmarks(&mut self, world: &World) -> Vec<(f32, f32, f32)> {
        let [nx, ny] = self.cells.map(|n| n as i32);
        let [ci, cj] = self.corner;
        let squares = |from: i32, cells: i32| from.div_euclid(SPAN)..=(from + cells).div_euclid(SPAN);
        let mut clearings = Vec::new();
        for sj in squares(cj, ny) {
            clearings.extend(squares(ci, nx).filter_map(|si| self.place_landmark(world, si, sj)));
        }
        clearings
    }

    fn furnish(&mut self, world: &World) {
        let [nx, ny] = self.cells.map(|n| n as i32);
        let [ci, cj] = self.corner;
        let clearings = self.place_landmarks(world);
        for j in cj..cj + ny {
            for i in ci..ci + nx {
                if world.look.biome == Biome::City {
                    if i.rem_euclid(BLOCK) == STREET && j.rem_euclid(BLOCK) == STREET {
                        self.place_block(world, i, j, &clearings);
                    }
                } else {
                    self.place_thing(world, i, j, &clearings);
                }
            }
        }
    }

    fn place_landmark(&mut self, world: &World, si: i32, sj: i32) -> Option<(f32, f32, f32)> {
        let mut draws = Draws::new(bits(world.seed, si, sj, 60), 61);
        if !draws.chance(0.85) {
            return None;
        }
        let landmark = Landmark::of(world.look.biome, &mut draws);
        let city = world.look.biome == Biome::City;
        for _ in 0..8 {
            let mut i = si * SPAN + 4 + draws.below(SPAN as usize - 8) as i32;
            let mut j = sj * SPAN + 4 + draws.below(SPAN as usize - 8) as i32;
            if city {
                // The middle of a block.
                i = i.div_euclid(BLOCK) * BLOCK + STREET + (BLOCK - STREET) / 2;
                j = j.div_euclid(BLOCK) * BLOCK + STREET + (BLOCK - STREET) / 2;
            }
            let (x, y) = ((f64::from(i) + 0.5) * f64::from(CELL_M), (f64::from(j) + 0.5) * f64::from(CELL_M));
            let ground = world.terrain.ground(x, y) as f32;
            let lowest = world.terrain.water + if landmark.wades() { -1.5 } else { 0.8 };
            if ground < lowest || world.terrain.step(i, j) > 2.2 {
                continue;
            }
            let p = self.local([x, y, f64::from(ground)]);
            let z = ground.max(world.terrain.water - 0.5);
            let turn = if city { (1.0, 0.0) } else { unit_circle(draws.unit()) };
            let owner = self.owners;
            self.owners += 1;
            let mut builder = Builder { parts: &mut self.parts, owner, x: p.x, y: p.y, z: z - 0.2, tint: 1.0, turn };
            landmark.build(&mut builder, &mut draws);
            self.sights.push((Sight { landmark, position: [x, y, f64::from(z)] }, owner));
            return Some((p.x, p.y, landmark.clearing()));
        }
        None
    }

    fn place_block(&mut self, world: &World, i: i32, j: i32, clearings: &[(f32, f32, f32)]) {
        let p = self.local([f64::from(i) * f64::from(CELL_M), f64::from(j) * f64::from(CELL_M), 0.0]);
        let side = (BLOCK - STREET) as f32 * CELL_M;
        if clearings.iter().any(|&(x, y, _)| x > p.x && x < p.x + side && y > p.y && y < p.y + side) {
            return;
        }
        let mut owners = self.owners;
        let first = owners;
        let mut builder =
            Builder { parts: &mut self.parts, owner: 0, x: p.x, y: p.y, z: 0.0, tint: 1.0, turn: (1.0, 0.0) };
        scatter::city_block(&mut builder, world.seed, i, j, &mut |lot| {
            owners = owners.max(first + lot + 1);
            first + lot
        });
        self.owners = owners;
    }

    fn place_thing(&mut self, world: &World, i: i32, j: i32, clearings: &[(f32, f32, f32)]) {
        let Some(([x, y], mut draws)) = scatter::thing(world.seed, world.look.biome, i, j) else { return };
        let ground = world.terrain.ground(x, y) as f32;
        let p = self.local([x, y, f64::from(ground)]);
        let near = |&(a, b, r): &(f32, f32, f32)| (p.x - a).abs() < r && (p.y - b).abs() < r;
        if ground < world.terrain.water + 0.5 || world.terrain.step(i, j) > 5.0 || clearings.iter().any(near) {
            return;
        }
        let (tint, turn) = (draws.between(0.86, 1.14), unit_circle(draws.unit()));
        let owner = self.owners;
        self.owners += 1;
        let mut builder = Builder { parts: &mut self.parts, owner, x: p.x, y: p.y, z: ground, tint, turn };
        scatter::grow(&mut builder, world.look.biome, &mut draws);
    }

    /// Which parts stand over which cell, and how high each cell reaches.
    fn index(&mut self) {
        let [nx, ny] = self.cells;
        let span = |part: &Part| {
            let r = part.reach();
            let cell = |metres: f32, side: usize| ((metres / CELL_M).floor().max(0.0) as usize).min(side - 1);
            (cell(part.x - r, nx)..=cell(part.x + r, nx), cell(part.y - r, ny)..=cell(part.y + r, ny))
        };
        self.tops = (0..nx * ny)
            .map(|c| {
                let corner = (c / nx) * (nx + 1) + c % nx;
                let h = &self.heights;
                h[corner].max(h[corner + 1]).max(h[corner + nx + 1]).max(h[corner + nx + 2])
            })
            .collect();
        let mut count = vec![0u32; nx * ny + 1];
        for part in &self.parts {
            let (is, js) = span(part);
            for c in js.flat_map(|j| is.clone().map(move |i| j * nx + i)) {
                count[c + 1] += 1;
                self.tops[c] = self.tops[c].max(part.z1);
            }
        }
        for c in 0..nx * ny {
            count[c + 1] += count[c];
        }
        self.over = vec![0; count[nx * ny] as usize];
        let mut next = count.clone();
        for (index, part) in self.parts.iter().enumerate() {
            let (is, js) = span(part);
            for c in js.flat_map(|j| is.clone().map(move |i| j * nx + i)) {
                self.over[next[c] as usize] = index as u32;
                next[c] += 1;
            }
        }
        self.first = count;
        self.top = self.tops.iter().fold(f32::MIN, |a, &b| a.max(b));
    }
}

/// The colour of a triangle with these corner heights.
fn ground_colour(world: &World, [i, j]: [i32; 2], triangle: u32, z: [f32; 3]) -> [u8; 3] {
    let ground = &world.palette.ground;
    let middle = (z[0] + z[1] + z[2]) / 3.0;
    let slope = ((z[0] - z[1]).abs()).max((z[1] - z[2]).abs()) / CELL_M;
    let (x, y) = (i as f32, j as f32);
    let mut colour = ground[0].mix(ground[1], noise(world.seed, x / 7.0, y / 7.0, 40));
    let patch = match world.look.biome {
        // Beaches follow the water, trails a contour of a slow noise.
        Biome::Islands => 1.0 - smooth(0.7, 1.9, middle),
        Biome::Meadow | Biome::Autumn => {
            let trail = (noise(world.seed, x / 24.0, y / 24.0, 41) - 0.5).abs();
            let shore = 1.0 - smooth(0.3, 1.0, middle - world.terrain.water);
            (1.0 - smooth(0.012, 0.035, trail)).max(shore)
        }
        Biome::City => f32::from(u8::from(world.is_park(i, j))),
        _ => 0.8 * smooth(0.55, 0.72, noise(world.seed, x / 12.0, y / 12.0, 42)),
    };
    colour = colour.mix(world.palette.patch, patch);
    let steep = match world.look.biome {
        Biome::Desert => smooth(0.35, 0.7, slope),
        Biome::Snow => smooth(0.5, 0.95, slope),
        _ => smooth(0.55, 1.0, slope),
    };
    colour = colour.mix(ground[2], steep);
    let grain = if world.look.biome == Biome::City { 0.04 } else { 0.13 };
    colour = colour * (1.0 + grain * (2.0 * unit(world.seed, i, j, 43 + triangle) - 1.0));
    [colour.x, colour.y, colour.z].map(|v| (v.clamp(0.0, 1.0).sqrt() * 255.0 + 0.5) as u8)
}
