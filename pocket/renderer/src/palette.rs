//! The colours of a look: materials and light.
//!
//! Colours are written as they appear on a screen and kept linear. They were tuned by looking at the contact sheet;
//! the horizon's colour matters most, because fog fades everything into it.

use crate::look::{Biome, Look, Time, Weather};
use crate::vector::{V3, decay, rgb, v3};

/// What a part of an object is made of. Biomes share names and differ in colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Material {
    LeafA,
    LeafB,
    LeafC,
    Trunk,
    Rock,
    Stone,
    Wall,
    Roof,
    Wood,
    Red,
    White,
    Dark,
    Lamp,
    GlowA,
    GlowB,
    HouseWindow,
    OfficeA,
    OfficeB,
    OfficeC,
}

pub(crate) const MATERIALS: usize = Material::OfficeC as usize + 1;

pub(crate) struct Palette {
    pub(crate) materials: [V3; MATERIALS],
    /// Two alternating ground colours and the one of steep slopes.
    pub(crate) ground: [V3; 3],
    /// A second kind of ground: trails, beaches, ash, snow fields.
    pub(crate) patch: V3,
    pub(crate) water: V3,
}

impl Palette {
    pub(crate) fn of(biome: Biome) -> Palette {
        // Ground low, high, steep, patch; water; leaves three times; trunk; rock.
        let own: [u32; 10] = match biome {
            Biome::Meadow => {
                [0x6fae3c, 0x8cc64e, 0x8a7a5a, 0xc9b27a, 0x3d86b5, 0x3f8a38, 0x62a83f, 0x8fbf45, 0x6b4a2e, 0x8d8d88]
            }
            Biome::Snow => {
                [0xe4edf6, 0xf8fbff, 0x77879a, 0xcfdff0, 0x7fb6d6, 0x2b5a4a, 0x3b7262, 0xdfeaf2, 0x4d3a2c, 0x7c8794]
            }
            Biome::Desert => {
                [0xdda65c, 0xecc07c, 0xb9623a, 0xe9cf9a, 0x3d9fb5, 0x4f8540, 0x659a4a, 0x8a9a4a, 0x8a5a34, 0xa8583a]
            }
            Biome::Islands => {
                [0x62b54c, 0x7fc856, 0x9a8a6a, 0xefdfa4, 0x1fa5c4, 0x2f9a48, 0x55b84f, 0x8fce4a, 0x9a7548, 0x9a948a]
            }
            Biome::City => {
                [0x4c505a, 0x555963, 0x454954, 0x4f8a48, 0x30507a, 0x4c8a48, 0x66a050, 0x86b050, 0x4e4238, 0x7a7c80]
            }
            Biome::Volcano => {
                [0x3b3232, 0x4b403d, 0x2b2526, 0x5c4c44, 0xff5a14, 0x4c3a34, 0x5a4238, 0x3a302e, 0x2c2424, 0x4a4040]
            }
            Biome::Crystal => {
                [0x54418c, 0x7350a8, 0x3a2b62, 0x8a5cc0, 0x3a30a8, 0x2fd8cf, 0xe254d2, 0x7a7cff, 0x5a3a8a, 0x4a3a72]
            }
            Biome::Autumn => {
                [0xa39440, 0xbfa24a, 0x8a6a45, 0xc98a3c, 0x4a86a5, 0xd65c1e, 0xe8a428, 0xb83222, 0x5b3a24, 0x857a6c]
            }
        };
        let c = own.map(rgb);
        let (wall, roof, stone, wood) = match biome {
            Biome::Snow => (0x8a6242, 0x6a4a3a, 0x8492a2, 0x6b482f),
            Biome::Desert => (0xe0b478, 0xa4572f, 0xd8a868, 0x8a5f3a),
            Biome::Islands => (0xf2ead8, 0xd8683c, 0xa89f90, 0x9a7040),
            Biome::City => (0x9a9690, 0x60646c, 0xb2aea6, 0x6e5640),
            Biome::Volcano => (0x544844, 0x3a3232, 0x322c30, 0x4a3428),
            Biome::Crystal => (0x6a5aa8, 0x4a3a90, 0x39305e, 0x5a3f8a),
            Biome::Autumn => (0xe6d6b8, 0x4a4f58, 0x8c8478, 0x7a4a2c),
            Biome::Meadow => (0xeee2cc, 0xb2513a, 0xa29c90, 0x7a5636),
        };
        let (glow_a, glow_b) = match biome {
            Biome::Volcano => (0xff6a1c, 0xffa030),
            _ => (0x35ead8, 0xf05ae0),
        };
        let mut materials = [V3::default(); MATERIALS];
        let mut set = |material: Material, colour| materials[material as usize] = colour;
        set(Material::LeafA, c[5]);
        set(Material::LeafB, c[6]);
        set(Material::LeafC, c[7]);
        set(Material::Trunk, c[8]);
        set(Material::Rock, c[9]);
        set(Material::Stone, rgb(stone));
        set(Material::Wall, rgb(wall));
        set(Material::Roof, rgb(roof));
        set(Material::Wood, rgb(wood));
        set(Material::Red, rgb(0xc8382c));
        set(Material::White, rgb(0xf2f0ea));
        set(Material::Dark, rgb(0x2c2c34));
        set(Material::Lamp, rgb(0xffdf90));
        set(Material::GlowA, rgb(glow_a));
        set(Material::GlowB, rgb(glow_b));
        set(Material::HouseWindow, rgb(0xffc860));
        set(Material::OfficeA, rgb(0x66788f));
        set(Material::OfficeB, rgb(0xa8887a));
        set(Material::OfficeC, rgb(0x8c8f98));
        Palette { materials, ground: [c[0], c[1], c[2]], patch: c[3], water: c[4] }
    }
}

/// The light of a time and a weather: sun or moon, the sky's two colours, and what the air does.
#[derive(Clone, Debug)]
pub(crate) struct Light {
    /// Towards the sun, or the moon at night.
    pub(crate) sun: V3,
    pub(crate) sun_colour: V3,
    pub(crate) zenith: V3,
    pub(crate) horizon: V3,
    /// Light that a surface receives from the whole sky.
    pub(crate) ambient: V3,
    /// Distance at which the air hides 63 %, in metres.
    pub(crate) haze_m: f32,
    /// How strongly lamps and windows shine.
    pub(crate) lamps: f32,
    pub(crate) foggy: bool,
    pub(crate) night: bool,
}

impl Light {
    /// `turn` rotates the sun's azimuth: each world has its own.
    pub(crate) fn of(look: Look, turn: f32) -> Light {
        // Elevation; sun colour and strength; zenith; horizon; ambient colour and strength; lamps.
        let (elevation, sun, power, zenith, horizon, ambient, fill, lamps) = match look.time {
            Time::Dawn => (0.24, 0xffcfa6, 2.0, 0x6a9ad0, 0xfbd3c0, 0x9fa6d0, 0.95, 0.45),
            Time::Noon => (0.92, 0xfff3da, 2.5, 0x2a70cf, 0xb9daf2, 0x9cbce0, 0.85, 0.0),
            Time::Sunset => (0.17, 0xff8a3c, 2.5, 0x47408c, 0xff9d58, 0x9a7aa6, 0.9, 0.7),
            Time::Night => (0.66, 0x9db8ff, 0.62, 0x0a1236, 0x26366e, 0x5464a4, 0.8, 1.0),
        };
        let (sin, cos) = (libm::sinf(elevation), libm::cosf(elevation));
        let azimuth = turn * std::f32::consts::TAU;
        let mut light = Light {
            sun: v3(libm::cosf(azimuth) * cos, libm::sinf(azimuth) * cos, sin),
            sun_colour: rgb(sun) * power,
            zenith: rgb(zenith),
            horizon: rgb(horizon),
            ambient: rgb(ambient) * fill,
            haze_m: 165.0,
            lamps,
            foggy: look.weather == Weather::Fog,
            night: look.time == Time::Night,
        };
        let dim = if light.night { 0.3 } else { 1.0 };
        match look.biome {
            Biome::Volcano => {
                light.horizon = light.horizon * 0.45 + rgb(0xb03a1c) * (0.45 * dim);
                light.zenith = light.zenith * 0.35 + rgb(0x3a2028) * (0.5 * dim);
                light.ambient = light.ambient.mix(rgb(0xa06050) * dim, 0.4);
                light.haze_m = 140.0;
            }
            Biome::Crystal => {
                light.horizon = light.horizon * 0.55 + rgb(0xb070e0) * (0.45 * dim);
                light.zenith = light.zenith * 0.6 + rgb(0x4a1a98) * (0.4 * dim);
                light.ambient = light.ambient.mix(rgb(0x9a80e0) * dim, 0.35);
            }
            Biome::Desert => {
                light.horizon = light.horizon.mix(rgb(0xf2d0a0) * dim, 0.4);
                light.haze_m = 190.0;
            }
            Biome::Snow => light.horizon = light.horizon.mix(rgb(0xdbe8f4) * (0.9 * dim), 0.3),
            Biome::Autumn => light.horizon = light.horizon.mix(rgb(0xf0d9b0) * dim, 0.3),
            Biome::City => light.haze_m = 150.0,
            Biome::Meadow | Biome::Islands => {}
        }
        if light.foggy {
            let grey = (light.horizon + light.zenith) * 0.5;
            let level = grey.dot(v3(0.33, 0.34, 0.33));
            light.horizon = light.horizon.mix(v3(level, level, level), 0.35);
            light.zenith = light.zenith.mix(light.horizon, 0.72);
            light.ambient = light.ambient.mix(light.horizon, 0.3) * 1.15;
            light.sun_colour = light.sun_colour * 0.4;
            light.haze_m = 58.0;
        }
        light
    }

    /// How much of a surface this far away the air leaves visible. Thin up close and then quickly thick, so that the
    /// foreground keeps its colours and the end of the world is never seen.
    pub(crate) fn clear(&self, metres: f32) -> f32 {
        let x = metres / self.haze_m;
        decay(if self.foggy { x } else { x * x * (0.6 + 0.4 * x) })
    }

    /// Distance beyond which everything is hidden, in metres.
    pub(crate) fn reach_m(&self) -> f32 {
        self.haze_m * if self.foggy { 4.6 } else { 1.85 }
    }
}
