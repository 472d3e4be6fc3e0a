//! The inside of a convolution: one row of output pixels, sixteen or more output channels, some of the taps.
//!
//! No `im2col`. Neighbouring output pixels read inputs that are a fixed number of floats apart, so a tile of pixels is
//! a tile of a matrix product whose left side is read in place, one broadcast a pixel; only the weights are packed.

use super::simd::Isa;

/// Output channels of one panel of packed weights.
pub(crate) const PANEL: usize = 16;

/// Pixels of one tile where only one panel is taken: inputs that are laid out by tiles are read from one end to the other.
pub(crate) const TILE: usize = 6;

/// One row's share of a convolution.
pub(crate) struct Row<'a> {
    /// For every tap, the input of the row's first output pixel and all that follows it.
    pub taps: &'a [&'a [f32]],
    /// Input channels.
    pub channels: usize,
    /// Floats from one output pixel's input to the next one's.
    pub step: usize,
    /// Floats from one input channel to the next.
    pub channel_step: usize,
    /// Packed weights from the first tap on: `panels` runs, `panel_len` apart, of `(tap, input channel, PANEL)`.
    pub weights: &'a [f32],
    pub panels: usize,
    pub panel_len: usize,
    /// Outputs of the last panel that are wanted. The sums of its others may be anything.
    pub lanes: usize,
    /// Add to the sums instead of starting at zero.
    pub accumulate: bool,
}

/// Outputs that are wanted of the last of the first `panels` panels, where there are `outputs` in all.
pub(crate) fn lanes_of_last(outputs: usize, panels: usize) -> usize {
    (outputs - (panels - 1) * PANEL).min(PANEL)
}

/// Panels that one call can take: more let a broadcast input serve more channels, and registers bound them.
pub(crate) fn panels_max(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 => 4,
        Isa::Avx2 | Isa::Plain => 1,
    }
}

/// Sums of whole panels become outputs; of the last panel only those that there are.
pub(crate) fn copy_panels(out: &mut [f32], sums: &[f32]) {
    let (whole, rest) = out.as_chunks_mut::<PANEL>();
    let (sums, sums_of_rest) = sums.split_at(whole.len() * PANEL);
    // A length known when compiled: a call to copy 64 bytes takes longer than the copy.
    for (out, sums) in whole.iter_mut().zip(sums.as_chunks::<PANEL>().0) {
        *out = *sums;
    }
    rest.copy_from_slice(&sums_of_rest[..rest.len()]);
}

impl Row<'_> {
    /// `sums`: `(pixel, panels·PANEL)`.
    pub(crate) fn run(&self, isa: Isa, sums: &mut [f32]) {
        let pixels = sums.len() / (self.panels * PANEL);
        assert_eq!(sums.len(), pixels * self.panels * PANEL, "sums are whole pixels");
        assert!(pixels > 0 && self.channels > 0 && self.panels > 0 && self.panels <= panels_max(isa));
        let reach = (pixels - 1) * self.step + (self.channels - 1) * self.channel_step + 1;
        assert!(self.taps.iter().all(|tap| tap.len() >= reach), "every tap reaches the last pixel's input");
        let depth = self.taps.len() * self.channels * PANEL;
        assert!(self.weights.len() >= (self.panels - 1) * self.panel_len + depth, "weights for every tap");
        match (isa, self.panels) {
            // SAFETY: the processor has the instruction set: an `Isa` is only named after that check; the bounds that
            // the kernel relies on are asserted above.
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, 1) => unsafe { avx512::row::<12, 1>(self, sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, 2) => unsafe { avx512::row::<12, 2>(self, sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, 3) => unsafe { avx512::row::<8, 3>(self, sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, _) => unsafe { avx512::row::<6, 4>(self, sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, _) if self.lanes <= PANEL / 2 => unsafe { avx2::half_row(self, sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, _) => unsafe { avx2::row(self, sums) },
            _ => self.plain(sums),
        }
    }

    /// One panel, one pixel at a time.
    fn plain(&self, sums: &mut [f32]) {
        for (pixel, sums) in sums.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
            let mut total = if self.accumulate { *sums } else { [0.0; PANEL] };
            let (weights, _) = self.weights.as_chunks::<PANEL>();
            for (tap, weights) in self.taps.iter().zip(weights.chunks_exact(self.channels)) {
                for (x, weights) in tap[pixel * self.step..].iter().step_by(self.channel_step).zip(weights) {
                    for (total, weight) in total.iter_mut().zip(weights) {
                        *total += x * weight;
                    }
                }
            }
            *sums = total;
        }
    }
}

/// Tiles of `PIXELS × PANELS` accumulators: 24 of the 32 registers, so that the multiply-adds never wait for each
/// other.
#[cfg(target_arch = "x86_64")]
#[expect(clippy::needless_range_loop, reason = "indices of a tile read best as indices")]
mod avx512 {
    use super::{PANEL, Row};
    use std::arch::x86_64::*;

    /// # Safety
    /// The bounds asserted by [`Row::run`].
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn row<const PIXELS: usize, const PANELS: usize>(row: &Row, sums: &mut [f32]) {
        let pixels = sums.len() / (PANELS * PANEL);
        let mut done = 0;
        // SAFETY: each tile starts at a pixel that leaves it room before `pixels`.
        unsafe {
            while done + PIXELS <= pixels {
                tile::<PIXELS, PANELS>(row, done, sums);
                done += PIXELS;
            }
            while done + 4 <= pixels {
                tile::<4, PANELS>(row, done, sums);
                done += 4;
            }
            // One tile for all that is left: its sums are independent, so several cost little more than one.
            match pixels - done {
                0 => {}
                1 => tile::<1, PANELS>(row, done, sums),
                2 => tile::<2, PANELS>(row, done, sums),
                _ => tile::<3, PANELS>(row, done, sums),
            }
        }
    }

    /// # Safety
    /// As `row`, and pixels `first .. first + PIXELS` are in the row.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn tile<const PIXELS: usize, const PANELS: usize>(row: &Row, first: usize, sums: &mut [f32]) {
        // SAFETY: every pointer below stays in the slice it came from by the bounds asserted in `Row::run`.
        unsafe {
            let sums = sums.as_mut_ptr().add(first * PANELS * PANEL);
            let mut acc = [[_mm512_setzero_ps(); PANELS]; PIXELS];
            if row.accumulate {
                for m in 0..PIXELS {
                    for n in 0..PANELS {
                        acc[m][n] = _mm512_loadu_ps(sums.add((m * PANELS + n) * PANEL));
                    }
                }
            }
            let mut weights = row.weights.as_ptr();
            for tap in row.taps {
                let mut x = tap.as_ptr().add(first * row.step);
                for _ in 0..row.channels {
                    let mut w = [_mm512_setzero_ps(); PANELS];
                    for n in 0..PANELS {
                        w[n] = _mm512_loadu_ps(weights.add(n * row.panel_len));
                    }
                    for m in 0..PIXELS {
                        let x = _mm512_set1_ps(*x.add(m * row.step));
                        for n in 0..PANELS {
                            acc[m][n] = _mm512_fmadd_ps(x, w[n], acc[m][n]);
                        }
                    }
                    x = x.add(row.channel_step);
                    weights = weights.add(PANEL);
                }
            }
            for m in 0..PIXELS {
                for n in 0..PANELS {
                    _mm512_storeu_ps(sums.add((m * PANELS + n) * PANEL), acc[m][n]);
                }
            }
        }
    }
}

/// Tiles of 6 pixels × one panel: 12 of the 16 registers.
#[cfg(target_arch = "x86_64")]
#[expect(clippy::needless_range_loop, reason = "indices of a tile read best as indices")]
mod avx2 {
    use super::{PANEL, Row, TILE};
    use std::arch::x86_64::*;

    /// # Safety
    /// The bounds asserted by [`Row::run`].
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn row(row: &Row, sums: &mut [f32]) {
        let pixels = sums.len() / PANEL;
        let mut done = 0;
        // SAFETY: each tile starts at a pixel that leaves it room before `pixels`.
        unsafe {
            while done + TILE <= pixels {
                tile::<TILE>(row, done, sums);
                done += TILE;
            }
            // One tile for all that is left: its sums are independent, so several cost little more than one.
            match pixels - done {
                0 => {}
                1 => tile::<1>(row, done, sums),
                2 => tile::<2>(row, done, sums),
                3 => tile::<3>(row, done, sums),
                4 => tile::<4>(row, done, sums),
                _ => tile::<5>(row, done, sums),
            }
        }
    }

    /// As `row`, of the first half of the panel: half the work. Twice as many pixels a tile keep the multiply-adds busy.
    ///
    /// # Safety
    /// The bounds asserted by [`Row::run`].
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn half_row(row: &Row, sums: &mut [f32]) {
        let pixels = sums.len() / PANEL;
        let mut done = 0;
        // SAFETY: each tile starts at a pixel that leaves it room before `pixels`.
        unsafe {
            while done + 2 * TILE <= pixels {
                half_tile::<{ 2 * TILE }>(row, done, sums);
                done += 2 * TILE;
            }
            if done + TILE <= pixels {
                half_tile::<TILE>(row, done, sums);
                done += TILE;
            }
            match pixels - done {
                0 => {}
                1 => half_tile::<1>(row, done, sums),
                2 => half_tile::<2>(row, done, sums),
                3 => half_tile::<3>(row, done, sums),
                4 => half_tile::<4>(row, done, sums),
                _ => half_tile::<5>(row, done, sums),
            }
        }
    }

    /// # Safety
    /// As `row`, and pixels `first .. first + PIXELS` are in the row.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn half_tile<const PIXELS: usize>(row: &Row, first: usize, sums: &mut [f32]) {
        // SAFETY: every pointer below stays in the slice it came from by the bounds asserted in `Row::run`.
        unsafe {
            let sums = sums.as_mut_ptr().add(first * PANEL);
            let mut acc = [_mm256_setzero_ps(); PIXELS];
            if row.accumulate {
                for m in 0..PIXELS {
                    acc[m] = _mm256_loadu_ps(sums.add(m * PANEL));
                }
            }
            let mut weights = row.weights.as_ptr();
            for tap in row.taps {
                let mut x = tap.as_ptr().add(first * row.step);
                for _ in 0..row.channels {
                    let w = _mm256_loadu_ps(weights);
                    for m in 0..PIXELS {
                        acc[m] = _mm256_fmadd_ps(_mm256_set1_ps(*x.add(m * row.step)), w, acc[m]);
                    }
                    x = x.add(row.channel_step);
                    weights = weights.add(PANEL);
                }
            }
            for m in 0..PIXELS {
                _mm256_storeu_ps(sums.add(m * PANEL), acc[m]);
            }
        }
    }

    /// # Safety
    /// As `row`, and pixels `first .. first + PIXELS` are in the row.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile<const PIXELS: usize>(row: &Row, first: usize, sums: &mut [f32]) {
        // SAFETY: every pointer below stays in the slice it came from by the bounds asserted in `Row::run`.
        unsafe {
            let sums = sums.as_mut_ptr().add(first * PANEL);
            let mut acc = [[_mm256_setzero_ps(); 2]; PIXELS];
            if row.accumulate {
                for m in 0..PIXELS {
                    for n in 0..2 {
                        acc[m][n] = _mm256_loadu_ps(sums.add(m * PANEL + n * 8));
                    }
                }
            }
            let mut weights = row.weights.as_ptr();
            for tap in row.taps {
                let mut x = tap.as_ptr().add(first * row.step);
                for _ in 0..row.channels {
                    let w = [_mm256_loadu_ps(weights), _mm256_loadu_ps(weights.add(8))];
                    for m in 0..PIXELS {
                        let x = _mm256_set1_ps(*x.add(m * row.step));
                        for n in 0..2 {
                            acc[m][n] = _mm256_fmadd_ps(x, w[n], acc[m][n]);
                        }
                    }
                    x = x.add(row.channel_step);
                    weights = weights.add(PANEL);
                }
            }
            for m in 0..PIXELS {
                for n in 0..2 {
                    _mm256_storeu_ps(sums.add(m * PANEL + n * 8), acc[m][n]);
                }
            }
        }
    }
}
