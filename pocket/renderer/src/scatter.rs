//! Things in ordinary cells: trees, rocks, cacti, crystals, and the blocks of a city.

use crate::look::Biome;
use crate::palette::Material::{self, *};
use crate::part::{Part, Shape, unit_circle};
use crate::random::{Draws, bits, noise, unit};
use crate::terrain::CELL_M;

/// Cells along one side of a city block, the street included; and the street's own width.
pub(crate) const BLOCK: i32 = 7;
pub(crate) const STREET: i32 = 2;

/// Puts the parts of one thing together, relative to its foot.
pub(crate) struct Builder<'a> {
    pub(crate) parts: &'a mut Vec<Part>,
    pub(crate) owner: u32,
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) z: f32,
    pub(crate) tint: f32,
    /// `(cos, sin)` of the whole thing's rotation.
    pub(crate) turn: (f32, f32),
}

impl Builder<'_> {
    fn push(&mut self, shape: Shape, material: Material, sides: u8, at: [f32; 2], z: [f32; 2]) {
        let (c, s) = self.turn;
        self.parts.push(Part {
            shape,
            material,
            sides,
            tint: self.tint,
            x: self.x + at[0] * c - at[1] * s,
            y: self.y + at[0] * s + at[1] * c,
            z0: self.z + z[0],
            z1: self.z + z[1],
            owner: self.owner,
        });
    }

    pub(crate) fn frustum(&mut self, material: Material, sides: u8, at: [f32; 2], z: [f32; 2], foot: f32, top: f32) {
        self.push(Shape::Frustum { foot, top }, material, sides, at, z);
    }

    pub(crate) fn ball(&mut self, material: Material, sides: u8, at: [f32; 2], z: [f32; 2], radius: f32) {
        self.push(Shape::Ball { radius }, material, sides, at, z);
    }

    pub(crate) fn block(&mut self, material: Material, at: [f32; 2], z: [f32; 2], half: [f32; 2]) {
        self.roof(material, at, z, half, half);
    }

    pub(crate) fn roof(&mut self, material: Material, at: [f32; 2], z: [f32; 2], foot: [f32; 2], top: [f32; 2]) {
        let turn = [self.turn.0, self.turn.1];
        self.push(Shape::Block { foot, top, turn }, material, 0, at, z);
    }
}

/// The position of a cell's thing, if the cell has one, and the random numbers that decide what it is.
pub(crate) fn thing(seed: u64, biome: Biome, i: i32, j: i32) -> Option<([f64; 2], Draws)> {
    if unit(seed, i, j, 51) >= density(seed, biome, i, j) {
        return None;
    }
    let mut draws = Draws::new(bits(seed, i, j, 52), 53);
    let place = [i, j].map(|cell| (f64::from(cell) + f64::from(draws.between(0.2, 0.8))) * f64::from(CELL_M));
    Some((place, draws))
}

/// Probability that a cell has a thing, 0..1: high in groves, low in clearings.
fn density(seed: u64, biome: Biome, i: i32, j: i32) -> f32 {
    let grove = noise(seed, i as f32 / 9.0, j as f32 / 9.0, 50);
    let most = match biome {
        Biome::Meadow => 0.15,
        Biome::Snow => 0.22,
        Biome::Desert => 0.06,
        Biome::Islands => 0.2,
        Biome::City => 0.0,
        Biome::Volcano => 0.12,
        Biome::Crystal => 0.2,
        Biome::Autumn => 0.34,
    };
    most * (0.12 + 1.6 * (grove - 0.35).max(0.0) / 0.65)
}

/// Build the thing of a cell that has one. The builder's origin is the thing's foot.
pub(crate) fn grow(b: &mut Builder, biome: Biome, draws: &mut Draws) {
    let kind = draws.unit();
    let size = draws.between(0.75, 1.3);
    match biome {
        Biome::Meadow if kind < 0.62 => broadleaf(b, size, [LeafA, LeafB, LeafC][draws.below(3)]),
        Biome::Meadow if kind < 0.78 => conifer(b, size, LeafA),
        Biome::Autumn if kind < 0.74 => broadleaf(b, size, [LeafA, LeafB, LeafC][draws.below(3)]),
        Biome::Autumn if kind < 0.86 => conifer(b, size * 1.1, [LeafA, LeafB][draws.below(2)]),
        Biome::Snow if kind < 0.82 => snowy_conifer(b, size * 1.1, [LeafA, LeafB][draws.below(2)]),
        Biome::Desert if kind < 0.55 => cactus(b, size, draws),
        Biome::Islands if kind < 0.75 => palm(b, size, draws),
        Biome::Islands if kind < 0.88 => bush(b, size, [LeafB, LeafC][draws.below(2)]),
        Biome::Volcano if kind < 0.3 => spike(b, size * 0.8, GlowA, draws),
        Biome::Volcano if kind < 0.6 => spike(b, size, Stone, draws),
        Biome::Volcano if kind < 0.72 => bare_tree(b, size, draws),
        Biome::Crystal if kind < 0.45 => spike(b, size, GlowA, draws),
        Biome::Crystal if kind < 0.8 => spike(b, size, GlowB, draws),
        Biome::Crystal if kind < 0.9 => mushroom(b, size, [GlowB, LeafC][draws.below(2)]),
        Biome::Meadow if kind < 0.86 => bush(b, size, [LeafB, LeafC][draws.below(2)]),
        _ => rock(b, size, draws),
    }
}

fn conifer(b: &mut Builder, k: f32, leaf: Material) {
    b.frustum(Trunk, 5, [0.0, 0.0], [-0.6, 1.6 * k], 0.22 * k, 0.18 * k);
    b.frustum(leaf, 7, [0.0, 0.0], [1.1 * k, 3.9 * k], 1.55 * k, 0.5 * k);
    b.frustum(leaf, 7, [0.0, 0.0], [3.1 * k, 6.4 * k], 1.15 * k, 0.0);
}

fn snowy_conifer(b: &mut Builder, k: f32, leaf: Material) {
    b.frustum(Trunk, 5, [0.0, 0.0], [-0.6, 1.3 * k], 0.24 * k, 0.2 * k);
    b.frustum(leaf, 7, [0.0, 0.0], [0.9 * k, 3.7 * k], 1.5 * k, 0.55 * k);
    b.frustum(leaf, 7, [0.0, 0.0], [2.9 * k, 5.2 * k], 1.1 * k, 0.42 * k);
    b.frustum(White, 7, [0.0, 0.0], [5.0 * k, 6.7 * k], 0.62 * k, 0.0);
}

fn broadleaf(b: &mut Builder, k: f32, leaf: Material) {
    b.frustum(Trunk, 5, [0.0, 0.0], [-0.6, 2.6 * k], 0.3 * k, 0.2 * k);
    b.ball(leaf, 6, [0.0, 0.0], [1.7 * k, 5.2 * k], 1.75 * k);
    b.ball(leaf, 5, [0.7 * k, 0.35 * k], [3.3 * k, 5.9 * k], 1.2 * k);
}

fn bush(b: &mut Builder, k: f32, leaf: Material) {
    b.ball(leaf, 5, [0.0, 0.0], [-0.5, 1.3 * k], 1.1 * k);
}

fn palm(b: &mut Builder, k: f32, draws: &mut Draws) {
    let lean = draws.between(0.05, 0.3);
    // Two pieces of trunk bend it.
    b.frustum(Trunk, 5, [0.0, 0.0], [-0.6, 2.8 * k], 0.24 * k, 0.18 * k);
    b.frustum(Trunk, 5, [lean, 0.0], [2.6 * k, 5.4 * k], 0.18 * k, 0.15 * k);
    for leaf in 0..5 {
        let (c, s) = unit_circle(leaf as f32 / 5.0 + lean);
        let material = if leaf % 2 == 0 { LeafA } else { LeafB };
        b.ball(material, 5, [lean + c * 1.1 * k, s * 1.1 * k], [4.95 * k, 5.6 * k], 1.05 * k);
    }
}

fn cactus(b: &mut Builder, k: f32, draws: &mut Draws) {
    let tall = draws.between(2.4, 4.2) * k;
    let leaf = [LeafA, LeafB][draws.below(2)];
    b.frustum(leaf, 8, [0.0, 0.0], [-0.5, tall], 0.42 * k, 0.36 * k);
    b.ball(leaf, 5, [0.0, 0.0], [tall - 0.4 * k, tall + 0.35 * k], 0.37 * k);
    if draws.chance(0.7) {
        for (side, from) in [(1.0, 0.35), (-1.0, 0.5)] {
            b.block(leaf, [side * 0.65 * k, 0.0], [tall * from, tall * from + 0.42 * k], [0.5 * k, 0.2 * k]);
            b.frustum(leaf, 8, [side * 1.0 * k, 0.0], [tall * from, tall * (from + 0.35)], 0.26 * k, 0.2 * k);
        }
    }
}

fn rock(b: &mut Builder, k: f32, draws: &mut Draws) {
    let flat = draws.between(0.5, 1.1);
    b.ball(Rock, 4, [0.0, 0.0], [-0.9 * k * flat, 1.0 * k * flat], 1.15 * k);
    if draws.chance(0.5) {
        b.ball(Rock, 4, [1.1 * k, 0.4 * k], [-0.5 * k, 0.5 * k], 0.65 * k);
    }
}

fn spike(b: &mut Builder, k: f32, material: Material, draws: &mut Draws) {
    let tall = draws.between(3.0, 6.5) * k;
    b.frustum(material, 6, [0.0, 0.0], [-0.8, tall * 0.72], 0.45 * k, 0.7 * k);
    b.frustum(material, 6, [0.0, 0.0], [tall * 0.72, tall], 0.7 * k, 0.0);
    b.frustum(material, 5, [0.95 * k, 0.3 * k], [-0.6, tall * 0.45], 0.42 * k, 0.0);
    b.frustum(material, 5, [-0.6 * k, 0.75 * k], [-0.6, tall * 0.33], 0.4 * k, 0.0);
}

fn bare_tree(b: &mut Builder, k: f32, draws: &mut Draws) {
    let bend = draws.between(-0.3, 0.3);
    b.frustum(Trunk, 5, [0.0, 0.0], [-0.6, 2.6 * k], 0.32 * k, 0.17 * k);
    b.frustum(Trunk, 5, [bend, 0.15], [2.2 * k, 4.4 * k], 0.15 * k, 0.03);
    b.block(Trunk, [0.6 * k, 0.0], [2.3 * k, 2.5 * k], [0.7 * k, 0.08]);
    b.frustum(Trunk, 5, [1.2 * k, 0.0], [2.3 * k, 3.6 * k], 0.12 * k, 0.02);
}

fn mushroom(b: &mut Builder, k: f32, cap: Material) {
    b.frustum(White, 6, [0.0, 0.0], [-0.5, 2.3 * k], 0.34 * k, 0.24 * k);
    b.frustum(cap, 8, [0.0, 0.0], [2.0 * k, 3.1 * k], 1.35 * k, 0.35 * k);
}

/// Everything in one city block; the builder stands at its corner beyond the streets, unturned.
pub(crate) fn city_block(b: &mut Builder, seed: u64, i: i32, j: i32, owner_of_lot: &mut dyn FnMut(u32) -> u32) {
    let mut draws = Draws::new(bits(seed, i, j, 70), 71);
    let side = (BLOCK - STREET) as f32 * CELL_M;
    let middle = side / 2.0;
    let downtown = noise(seed, i as f32 / 30.0, j as f32 / 30.0, 72);
    let lot_kind = draws.unit();
    if lot_kind < 0.16 {
        for tree in 0..7 {
            b.owner = owner_of_lot(tree);
            b.tint = draws.between(0.85, 1.15);
            let (x, y) = (b.x, b.y);
            b.x += draws.between(2.0, side - 2.0);
            b.y += draws.between(2.0, side - 2.0);
            let leaf = [LeafA, LeafB, LeafC][draws.below(3)];
            broadleaf(b, draws.between(0.7, 1.1), leaf);
            (b.x, b.y) = (x, y);
        }
    } else if lot_kind < 0.5 {
        b.owner = owner_of_lot(0);
        tower(b, middle, 18.0 + 46.0 * downtown * draws.between(0.5, 1.2), &mut draws);
    } else {
        for lot in 0..4 {
            b.owner = owner_of_lot(lot);
            b.tint = draws.between(0.85, 1.15);
            let at = [middle * (0.5 + (lot & 1) as f32), middle * (0.5 + (lot >> 1) as f32)];
            let wall = [OfficeA, OfficeB, OfficeC][draws.below(3)];
            let tall = 1.7 * (draws.between(3.0, 5.5) + 9.0 * downtown * draws.unit()).round();
            let half = middle * 0.5 - draws.between(0.15, 0.7);
            b.block(wall, at, [-1.0, tall], [half, half]);
            b.block(Dark, at, [tall, tall + 0.35], [half * 0.94, half * 0.94]);
            if draws.chance(0.4) {
                b.block(Stone, [at[0] + 1.0, at[1]], [tall, tall + 1.4], [1.1, 0.9]);
            }
        }
    }
}

fn tower(b: &mut Builder, middle: f32, tall: f32, draws: &mut Draws) {
    let wall = [OfficeA, OfficeB, OfficeC][draws.below(3)];
    let at = [middle, middle];
    b.tint = draws.between(0.85, 1.15);
    let podium = 1.7 * draws.between(3.0, 6.0).round();
    let (wide, narrow) = (middle - 0.3, middle * draws.between(0.55, 0.75));
    b.block(wall, at, [-1.0, podium], [wide, wide]);
    b.block(wall, at, [podium, tall], [narrow, narrow]);
    match draws.below(3) {
        0 => {
            b.roof(Dark, at, [tall, tall + 5.0], [narrow, narrow], [0.6, 0.6]);
            b.frustum(Dark, 5, at, [tall + 5.0, tall + 11.0], 0.25, 0.05);
        }
        1 => b.block(wall, at, [tall, tall * 1.22], [narrow * 0.6, narrow * 0.6]),
        _ => {
            b.block(Dark, at, [tall, tall + 0.8], [narrow, narrow]);
            b.frustum(Red, 5, at, [tall, tall + 8.0], 0.3, 0.05);
        }
    }
}
