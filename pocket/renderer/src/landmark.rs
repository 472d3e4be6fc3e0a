//! Landmarks: one large thing every hundred metres or so, so that places differ and a prompt has a noun.

use crate::look::Biome;
use crate::palette::Material::*;
use crate::part::unit_circle;
use crate::random::Draws;
use crate::scatter::Builder;

/// Side of the square of cells that holds at most one landmark.
pub(crate) const SPAN: i32 = 22;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Landmark {
    Windmill,
    Cottage,
    StandingStones,
    Cabin,
    Watchtower,
    Arch,
    Pyramid,
    Columns,
    Lighthouse,
    StiltHut,
    RadioTower,
    Monument,
    Gate,
    Pillars,
    GiantCrystal,
    FloatingOrb,
    Torii,
    Pagoda,
}

impl Landmark {
    pub(crate) fn of(biome: Biome, draws: &mut Draws) -> Landmark {
        use Landmark::*;
        let kinds: &[Landmark] = match biome {
            Biome::Meadow => &[Windmill, Cottage, StandingStones, Windmill],
            Biome::Snow => &[Cabin, Watchtower, Cabin, Arch],
            Biome::Desert => &[Pyramid, Columns, Arch],
            Biome::Islands => &[Lighthouse, StiltHut, Arch],
            Biome::City => &[RadioTower, Monument],
            Biome::Volcano => &[Gate, Pillars, Watchtower],
            Biome::Crystal => &[GiantCrystal, FloatingOrb, Gate],
            Biome::Autumn => &[Torii, Pagoda, Cottage],
        };
        kinds[draws.below(kinds.len())]
    }

    /// Whether it stands by the water's edge rather than on dry land only.
    pub(crate) fn wades(self) -> bool {
        matches!(self, Landmark::StiltHut | Landmark::Arch)
    }

    /// Radius in metres that has to be free of other things.
    pub(crate) fn clearing(self) -> f32 {
        match self {
            Landmark::Pyramid => 15.0,
            Landmark::StandingStones | Landmark::Columns | Landmark::Arch => 9.0,
            Landmark::GiantCrystal | Landmark::RadioTower | Landmark::Monument => 8.0,
            _ => 6.5,
        }
    }

    pub(crate) fn build(self, b: &mut Builder, draws: &mut Draws) {
        let o = [0.0, 0.0];
        match self {
            Landmark::Windmill => {
                b.frustum(Wall, 8, o, [-2.0, 9.5], 2.9, 1.9);
                b.frustum(Roof, 8, o, [9.5, 12.2], 2.3, 0.0);
                b.block(Wood, [2.5, 0.0], [8.3, 8.9], [0.6, 0.2]);
                let hub = 8.6;
                b.block(White, [3.2, 0.0], [hub - 5.6, hub + 5.6], [0.08, 0.5]);
                b.block(White, [3.2, 0.0], [hub - 0.5, hub + 0.5], [0.08, 5.6]);
                b.block(Wood, [2.8, 0.0], [-1.0, 2.2], [0.15, 0.6]);
            }
            Landmark::Cottage => {
                b.block(HouseWindow, o, [-2.0, 3.2], [4.0, 2.9]);
                b.roof(Roof, o, [3.2, 6.2], [4.5, 3.5], [4.5, 0.0]);
                b.block(Stone, [2.2, 1.0], [3.5, 7.2], [0.45, 0.45]);
            }
            Landmark::Cabin => {
                b.block(HouseWindow, o, [-2.0, 2.9], [3.8, 3.0]);
                b.roof(White, o, [2.9, 6.6], [4.6, 3.9], [4.6, 0.0]);
                b.block(Stone, [-2.2, 1.2], [3.5, 7.4], [0.5, 0.5]);
            }
            Landmark::StandingStones => {
                for stone in 0..7 {
                    let (c, s) = unit_circle(stone as f32 / 7.0);
                    let tall = draws.between(3.2, 4.6);
                    b.roof(Stone, [c * 6.5, s * 6.5], [-2.0, tall], [0.85, 0.6], [0.65, 0.45]);
                }
                b.block(Stone, [5.0, 4.2], [3.9, 4.8], [2.6, 0.7]);
            }
            Landmark::Watchtower => {
                b.frustum(Stone, 8, o, [-3.0, 11.0], 3.0, 2.4);
                b.frustum(Stone, 8, o, [11.0, 12.6], 3.1, 3.1);
                b.frustum(HouseWindow, 8, o, [12.6, 14.4], 2.2, 2.2);
                b.frustum(Roof, 8, o, [14.4, 18.0], 3.2, 0.0);
            }
            Landmark::Arch => {
                for stone in 0..9 {
                    let (c, s) = unit_circle(stone as f32 / 16.0);
                    let (x, z, r) = (c * 6.5, s * 8.0, draws.between(1.7, 2.2));
                    b.ball(Rock, 4, [x, 0.0], [z - r, z + r], r);
                }
                b.frustum(Rock, 6, [6.5, 0.0], [-5.0, 1.5], 2.8, 1.8);
                b.frustum(Rock, 6, [-6.5, 0.0], [-5.0, 1.5], 2.8, 1.8);
            }
            Landmark::Pyramid => {
                b.roof(Stone, o, [-3.0, 15.5], [14.0, 14.0], [0.0, 0.0]);
                b.block(Dark, [12.0, 0.0], [-1.0, 2.6], [1.2, 1.0]);
                b.roof(Lamp, o, [14.2, 15.8], [1.1, 1.1], [0.0, 0.0]);
            }
            Landmark::Columns => {
                for column in 0..6 {
                    let at = [(column % 3) as f32 * 4.0 - 4.0, (column / 3) as f32 * 6.0 - 3.0];
                    let tall = if column < 4 { 6.5 } else { draws.between(2.0, 5.0) };
                    b.frustum(Stone, 8, at, [-2.0, tall], 0.75, 0.62);
                    b.block(Stone, at, [tall, tall + 0.5], [0.95, 0.95]);
                }
                b.block(Stone, [0.0, -3.0], [7.0, 8.1], [5.2, 0.9]);
            }
            Landmark::Lighthouse => {
                for band in 0..4 {
                    let (lo, hi) = (band as f32 * 3.4, band as f32 * 3.4 + 3.4);
                    let material = if band % 2 == 0 { White } else { Red };
                    b.frustum(
                        material,
                        0,
                        o,
                        [if band == 0 { -3.0 } else { lo }, hi],
                        2.6 - 0.3 * band as f32,
                        2.3 - 0.3 * band as f32,
                    );
                }
                b.frustum(Lamp, 8, o, [13.6, 15.6], 1.05, 1.05);
                b.frustum(Dark, 8, o, [13.4, 13.7], 2.0, 2.0);
                b.frustum(Red, 8, o, [15.6, 17.4], 1.5, 0.0);
            }
            Landmark::StiltHut => {
                for post in 0..4 {
                    b.frustum(
                        Wood,
                        5,
                        [(post & 1) as f32 * 4.4 - 2.2, (post >> 1) as f32 * 4.4 - 2.2],
                        [-6.0, 3.0],
                        0.22,
                        0.22,
                    );
                }
                b.block(Wood, o, [2.6, 2.9], [3.3, 3.3]);
                b.block(HouseWindow, o, [2.9, 5.2], [2.4, 2.4]);
                b.roof(Trunk, o, [5.2, 8.2], [3.5, 3.5], [0.2, 0.2]);
            }
            Landmark::RadioTower => {
                b.roof(Red, o, [-1.0, 22.0], [3.6, 3.6], [1.5, 1.5]);
                b.block(White, o, [7.0, 9.0], [3.1, 3.1]);
                b.frustum(Dark, 8, o, [22.0, 24.5], 3.4, 4.0);
                b.frustum(Lamp, 8, o, [24.5, 25.6], 3.6, 3.6);
                b.frustum(Red, 6, o, [25.6, 44.0], 0.9, 0.1);
            }
            Landmark::Monument => {
                b.block(Stone, [-4.2, 0.0], [-1.0, 9.0], [1.6, 2.2]);
                b.block(Stone, [4.2, 0.0], [-1.0, 9.0], [1.6, 2.2]);
                b.block(Stone, o, [9.0, 13.0], [6.2, 2.6]);
                b.block(Wall, o, [13.0, 14.0], [6.6, 3.0]);
            }
            Landmark::Gate => {
                for side in [-1.0, 1.0] {
                    b.roof(Stone, [side * 4.2, 0.0], [-3.0, 10.5], [1.5, 1.3], [1.0, 0.9]);
                    b.roof(GlowA, [side * 4.2, 0.0], [10.5, 12.8], [0.9, 0.8], [0.0, 0.0]);
                }
                b.block(Stone, o, [7.6, 9.2], [4.6, 0.8]);
            }
            Landmark::Pillars => {
                for pillar in 0..7 {
                    let (c, s) = unit_circle(pillar as f32 / 6.0);
                    let (at, tall) =
                        if pillar == 6 { (o, 14.0) } else { ([c * 2.9, s * 2.9], draws.between(4.0, 12.0)) };
                    b.frustum(Stone, 6, at, [-3.0, tall], 1.75, 1.55);
                }
            }
            Landmark::GiantCrystal => {
                let (one, two) = if draws.chance(0.5) { (GlowA, GlowB) } else { (GlowB, GlowA) };
                b.frustum(one, 6, o, [-2.0, 12.0], 1.9, 3.0);
                b.frustum(one, 6, o, [12.0, 19.0], 3.0, 0.0);
                for shard in 0..5 {
                    let (c, s) = unit_circle(shard as f32 / 5.0 + 0.07);
                    let material = if shard % 2 == 0 { two } else { one };
                    b.frustum(material, 5, [c * 4.2, s * 4.2], [-1.5, draws.between(3.5, 8.5)], 1.4, 0.0);
                }
            }
            Landmark::FloatingOrb => {
                b.frustum(Stone, 6, o, [-2.0, 2.2], 4.0, 2.4);
                b.ball(GlowB, 6, o, [7.0, 13.0], 3.0);
                for stone in 0..6 {
                    let (c, s) = unit_circle(stone as f32 / 6.0);
                    let z = 10.0 + 1.6 * c;
                    b.ball(Stone, 4, [c * 5.4, s * 5.4], [z - 0.7, z + 0.7], 0.8);
                }
            }
            Landmark::Torii => {
                for side in [-1.0, 1.0] {
                    b.frustum(Red, 0, [0.0, side * 3.4], [-3.0, 8.2], 0.5, 0.42);
                }
                b.block(Red, o, [6.2, 6.9], [0.35, 4.4]);
                b.roof(Dark, o, [8.2, 9.1], [0.6, 4.9], [0.75, 5.6]);
            }
            Landmark::Pagoda => {
                for floor in 0..4 {
                    let (z, k) = (floor as f32 * 3.8, 1.0 - 0.17 * floor as f32);
                    b.block(HouseWindow, o, [if floor == 0 { -2.0 } else { z }, z + 2.6], [3.2 * k, 3.2 * k]);
                    b.roof(Roof, o, [z + 2.4, z + 4.0], [5.0 * k, 5.0 * k], [2.2 * k, 2.2 * k]);
                }
                b.frustum(Red, 5, o, [15.2, 19.5], 0.3, 0.05);
            }
        }
    }
}
