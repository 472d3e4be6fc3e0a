//! Gaussian noise: a seed gives the same bytes on every machine.
//!
//! # The generator
//!
//! Philox4x32-10 (Salmon et al., SC 2011, <https://doi.org/10.1145/2063384.2063405>). It has no state: value `i` of
//! draw `n` is a function of `(seed, n, i)`.
//!
//! * Key: the seed, low 32 bits first. Counter: the block's number (`i / 4`) in words 0 and 1, the draw's number in
//!   words
//!   2 and 3, low words first. Draws are numbered from 0 for each session.
//! * A block is four words `x₀…x₃`. Each becomes `uₖ = (xₖ + ½) / 2³²`, which is never 0 and never 1.
//! * Box–Muller in f64: `r = √(−2 ln u₀)`, `z₀ = r cos 2πu₁`, `z₁ = r sin 2πu₁`; `z₂, z₃` come from `u₂, u₃`
//!   in the same way.
//! * Values `4b … 4b + 3` of the draw are `z₀…z₃` of block `b`, rounded to f32. A tensor is filled row-major.
//!
//! `ln`, `sin` and `cos` come from the `libm` crate, because those of two systems may differ in the last bit.

use std::f64::consts::TAU;
use std::vec;

use ops::{Device, Error, Result, Tensor, threads};

/// The source of a video's noise. A clone draws what the original will.
#[derive(Clone)]
pub struct Noise(Source);

#[derive(Clone)]
enum Source {
    /// Computed from a seed.
    Seeded {
        /// The key of the generator.
        seed: u64,
        /// The number of draws so far.
        draws: u64,
        device: Device,
    },
    /// Zeros, for a rehearsal.
    Silent(Device),
    /// Recorded from another implementation, so that results can be compared with its own.
    Recorded(vec::IntoIter<Tensor>),
}

impl Noise {
    /// The noise of a seed, from its first draw, onto `device`.
    pub fn seeded(seed: u64, device: &Device) -> Noise {
        Noise(Source::Seeded { seed, draws: 0, device: device.clone() })
    }

    /// Zeros as often as they are asked for: for a rehearsal, which computes nothing.
    pub(crate) fn silent(device: &Device) -> Noise {
        Noise(Source::Silent(device.clone()))
    }

    /// As [`Noise::seeded`], after so many draws.
    pub(crate) fn seeded_after(seed: u64, draws: u64, device: &Device) -> Noise {
        Noise(Source::Seeded { seed, draws, device: device.clone() })
    }

    /// The seed and the draws so far. `None`: it is recorded noise, or none.
    pub(crate) fn place(&self) -> Option<(u64, u64)> {
        match self.0 {
            Source::Seeded { seed, draws, .. } => Some((seed, draws)),
            Source::Recorded(_) | Source::Silent(_) => None,
        }
    }

    /// Noise that gives these tensors, in order.
    pub fn recorded(tensors: Vec<Tensor>) -> Noise {
        Noise(Source::Recorded(tensors.into_iter()))
    }

    /// The next draw: independent standard normals of this shape. `Err` if recorded noise is used up or has another
    /// shape.
    pub fn draw(&mut self, shape: &[usize]) -> Result<Tensor> {
        match &mut self.0 {
            Source::Seeded { seed, draws, device } => {
                let values = normals(*seed, *draws, shape.iter().product());
                *draws += 1;
                Tensor::from_vec(values, shape, device)
            }
            Source::Silent(device) => Tensor::from_vec(vec![0f32; shape.iter().product()], shape, device),
            Source::Recorded(tensors) => {
                let tensor = tensors.next().ok_or_else(|| Error::new("the recorded noise is used up"))?;
                if tensor.dims() != shape {
                    let found = tensor.dims();
                    return Err(Error::new(format_args!("the recorded noise has shape {found:?}, expected {shape:?}")));
                }
                Ok(tensor)
            }
        }
    }
}

/// The first `count` values of a draw.
fn normals(seed: u64, draw: u64, count: usize) -> Vec<f32> {
    let mut values = vec![0f32; count];
    // 4096 values: fewer take less time than starting a task.
    threads::for_each_chunk(&mut values, 4, 1024, |block, values| {
        let words = philox([low(block as u64), high(block as u64), low(draw), high(draw)], [low(seed), high(seed)]);
        let [u0, u1, u2, u3] = words.map(|word| (f64::from(word) + 0.5) / 4_294_967_296.0);
        let normals = [box_muller(u0, u1), box_muller(u2, u3)];
        for (value, normal) in values.iter_mut().zip(normals.as_flattened()) {
            *value = *normal as f32;
        }
    });
    values
}

fn box_muller(u: f64, turn: f64) -> [f64; 2] {
    let radius = libm::sqrt(-2.0 * libm::log(u));
    let (sin, cos) = libm::sincos(TAU * turn);
    [radius * cos, radius * sin]
}

/// One block of Philox4x32-10.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let even = u64::from(counter[0]) * 0xD251_1F53;
        let odd = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [high(odd) ^ counter[1] ^ key[0], low(odd), high(even) ^ counter[3] ^ key[1], low(even)];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

fn low(x: u64) -> u32 {
    x as u32
}

fn high(x: u64) -> u32 {
    (x >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From "kat_vectors" in the authors' Random123 library: philox4x32, 10 rounds.
    #[test]
    fn philox_gives_the_known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    /// Expected bits come from an implementation in another language, written from the text at the head of this file.
    #[test]
    fn the_first_values_of_a_seed_are_these_bits() -> Result<()> {
        let bits =
            |tensor: Tensor| Result::Ok(tensor.to_vec::<f32>()?.into_iter().map(f32::to_bits).collect::<Vec<_>>());
        let mut noise = Noise::seeded(42, &Device::cpu());
        assert_eq!(
            bits(noise.draw(&[6])?)?,
            [0xbf78_5e5c, 0x3e46_ace8, 0xbf9e_28d2, 0x3ff6_433b, 0xbd95_e030, 0x3e0e_7a0f]
        );
        assert_eq!(bits(noise.draw(&[4])?)?, [0x4008_2c17, 0x400a_53f3, 0xbed1_08e0, 0xbfd4_72ca]);
        assert_eq!(bits(Noise::seeded(u64::MAX, &Device::cpu()).draw(&[2])?)?, [0x3f8c_9ec9, 0x3f21_de8f]);
        Ok(())
    }

    #[test]
    fn a_longer_draw_begins_with_the_shorter_one() {
        let long = normals(7, 3, 10_001);
        for count in [0, 1, 3, 4, 5, 1000, 4099] {
            assert_eq!(normals(7, 3, count), long[..count]);
        }
    }

    #[test]
    fn values_are_standard_normal_and_independent() {
        let n = 1 << 20;
        let draws = [normals(1, 0, n), normals(1, 1, n), normals(2, 0, n)];
        let mean = |f: &dyn Fn(usize) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
        // Standard errors are 1/√n ≈ 0.001 for means and products, √2 and √96 of that for squares and fourth powers:
        // five of them are allowed.
        let close = |name: &str, found: f64, expected: f64, deviation: f64| {
            let allowed = 5.0 * deviation / (n as f64).sqrt();
            assert!((found - expected).abs() < allowed, "{name}: {found}, expected {expected} ± {allowed}");
        };
        for draw in &draws {
            let at = |i: usize| f64::from(draw[i % n]);
            close("mean", mean(&at), 0.0, 1.0);
            close("variance", mean(&|i| at(i).powi(2)), 1.0, 2f64.sqrt());
            close("fourth moment", mean(&|i| at(i).powi(4)), 3.0, 96f64.sqrt());
            for lag in [1, 2, 3, 4, 64] {
                close("neighbours", mean(&|i| at(i) * at(i + lag)), 0.0, 1.0);
            }
        }
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            close("two draws", mean(&|i| f64::from(draws[a][i]) * f64::from(draws[b][i])), 0.0, 1.0);
        }
    }

    #[test]
    fn a_recording_is_handed_out_in_order_and_checked() -> Result<()> {
        let tensor = |value: f32| Tensor::full(value, [2, 3], &Device::cpu());
        let mut noise = Noise::recorded(vec![tensor(1.0)?, tensor(2.0)?, tensor(3.0)?]);
        assert_eq!(noise.draw(&[2, 3])?.to_vec::<f32>()?[0], 1.0);
        assert_eq!(noise.draw(&[2, 3])?.to_vec::<f32>()?[0], 2.0);
        let error = noise.draw(&[3, 2]).expect_err("another shape").to_string();
        assert!(error.contains("[2, 3]") && error.contains("[3, 2]"), "{error}");
        assert!(noise.draw(&[2, 3]).expect_err("the end").to_string().contains("used up"));
        Ok(())
    }
}
