//! Random numbers as a function of a place: the same place always gives the same number, in any order of calls.
//!
//! There is no state to share or to advance, so cells, clips and threads can be computed in any order.

/// Well-mixed bits of a seed and a place. `salt` separates different uses at one place.
pub(crate) fn bits(seed: u64, i: i32, j: i32, salt: u32) -> u64 {
    let place = ((i as u32 as u64) << 32) | j as u32 as u64;
    let mut x = seed.wrapping_add(u64::from(salt).wrapping_mul(0x9e37_79b9_7f4a_7c15))
        ^ place.wrapping_mul(0xd6e8_feb8_6659_fd93);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// 0 and more, below 1.
pub(crate) fn unit(seed: u64, i: i32, j: i32, salt: u32) -> f32 {
    (bits(seed, i, j, salt) >> 40) as f32 * (1.0 / (1u64 << 24) as f32)
}

/// Value noise in 0..1 at a place measured in lattice steps.
pub(crate) fn noise(seed: u64, x: f32, y: f32, salt: u32) -> f32 {
    let (fi, fj) = (x.floor(), y.floor());
    let (i, j) = (fi as i32, fj as i32);
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (u, v) = (ease(x - fi), ease(y - fj));
    let at = |a, b| unit(seed, i.wrapping_add(a), j.wrapping_add(b), salt);
    let (a, b, c, d) = (at(0, 0), at(1, 0), at(0, 1), at(1, 1));
    let low = a + (b - a) * u;
    low + (c + (d - c) * u - low) * v
}

/// A sum of noises, each twice as fine and half as strong; 0..1, mostly near the middle.
pub(crate) fn fractal(seed: u64, x: f32, y: f32, octaves: u32, salt: u32) -> f32 {
    let (mut sum, mut weight, mut total, mut scale) = (0.0, 1.0, 0.0, 1.0);
    for octave in 0..octaves {
        // A third of a step between octaves, or their lattices would share corners at the origin.
        let shift = octave as f32 * 0.37;
        sum += weight * noise(seed, x * scale + shift, y * scale - shift, salt + octave);
        total += weight;
        weight *= 0.5;
        scale *= 2.0;
    }
    sum / total
}

/// A sequence of numbers for choices made one after another: the same function, with a count for the place.
#[derive(Clone, Debug)]
pub struct Draws {
    seed: u64,
    stream: u32,
    count: i32,
}

impl Draws {
    /// Sequences of one seed with different `stream`s have nothing in common.
    pub fn new(seed: u64, stream: u32) -> Draws {
        Draws { seed, stream, count: 0 }
    }

    /// 0 and more, below 1.
    pub fn unit(&mut self) -> f32 {
        self.count += 1;
        unit(self.seed, self.count, 0, self.stream)
    }

    pub fn between(&mut self, lo: f32, hi: f32) -> f32 {
        lo + (hi - lo) * self.unit()
    }

    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// 0 and more, below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f32) as usize).min(n - 1)
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// Near 0 with a spread of about 1, never beyond 2.5.
    pub fn bell(&mut self) -> f32 {
        (self.unit() + self.unit() + self.unit() - 1.5) * 1.66
    }
}
