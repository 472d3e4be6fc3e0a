//! The inside of a convolution in bf16: as [`Row`](crate::cpu::panels::Row), with pairs of input channels as 32-bit words. Only
//! for units that multiply bf16 themselves: where numbers are widened, f32 is as fast.

use super::amx;
use super::bf16::{self, PAIR};
use super::choice::Bf16Unit;
use crate::cpu::panels::PANEL;

/// One row's share of a convolution.
pub(crate) struct PairRow<'a> {
    /// For every tap, the words of the row's first output pixel and all that follow them.
    pub taps: &'a [&'a [u32]],
    /// Words of one pixel, those that fill it up included.
    pub words: usize,
    /// Words from one output pixel's input to the next one's.
    pub step: usize,
    /// Packed weights from the first tap on: `panels` runs, `panel_len` apart, of `(tap, word, PANEL, PAIR)`.
    pub weights: &'a [u16],
    pub panels: usize,
    pub panel_len: usize,
    /// Add to the sums instead of starting at zero.
    pub accumulate: bool,
}

impl Bf16Unit {
    /// The unit that convolutions in bf16 are worth computing on, if this processor has one.
    pub(crate) fn for_convolutions() -> Option<Bf16Unit> {
        Some(Bf16Unit::best()).filter(|unit| !unit.widens())
    }

    /// All units of this processor that multiply bf16 themselves, those too that are slower than widening.
    #[cfg(test)]
    pub(crate) fn multiplying() -> impl Iterator<Item = Bf16Unit> {
        Bf16Unit::available().into_iter().filter(|unit| !unit.widens())
    }

    /// Words of a pixel of so many channels.
    pub(crate) fn words_of(self, channels: usize) -> usize {
        channels.div_ceil(PAIR).next_multiple_of(if self.is_tiles() { amx::SIDE } else { 1 })
    }

    /// Words behind the last pixel of a frame that a row may read, and whose sums nobody wants.
    pub(crate) fn words_behind(self, step: usize) -> usize {
        if self.is_tiles() { 2 * amx::SIDE * step } else { 0 }
    }

    /// Panels that one call takes at most.
    pub(crate) fn panels_max(self) -> usize {
        if self.is_tiles() { 2 } else { 4 }
    }
}

/// Pixels of `channels` numbers as `words` words each; what is missing is zero.
pub(crate) fn pixels_as_words(pixels: &[f32], channels: usize, words: usize, into: &mut Vec<u32>) {
    into.clear();
    into.resize(pixels.len() / channels * words, 0);
    for (pixel, words) in pixels.chunks_exact(channels).zip(into.chunks_exact_mut(words)) {
        bf16::pairs(pixel, words);
    }
}

/// Weights as `(tap, input, PANEL)` in f32 become `(tap, word, PANEL, PAIR)`. `None` if one is too large for bf16.
pub(crate) fn weights_as_pairs(weights: &[f32], inputs: usize, words: usize) -> Option<Vec<u16>> {
    let mut pairs = vec![0; weights.len() / inputs * words * PAIR];
    let taps = weights.chunks_exact(inputs * PANEL).zip(pairs.chunks_exact_mut(words * PANEL * PAIR));
    for (weights, pairs) in taps {
        for (input, lanes) in weights.chunks_exact(PANEL).enumerate() {
            for (lane, weight) in lanes.iter().enumerate() {
                let rounded = bf16::rounded(*weight);
                if rounded & 0x7f80 == 0x7f80 {
                    return None;
                }
                pairs[(input / PAIR * PANEL + lane) * PAIR + input % PAIR] = rounded;
            }
        }
    }
    Some(pairs)
}

impl PairRow<'_> {
    /// `sums`: `(pixel, panels·PANEL)`.
    pub(crate) fn run(&self, unit: Bf16Unit, sums: &mut [f32]) {
        let pixels = sums.len() / (self.panels * PANEL);
        assert_eq!(sums.len(), pixels * self.panels * PANEL, "sums are whole pixels");
        assert!(pixels > 0 && self.words > 0 && (1..=unit.panels_max()).contains(&self.panels));
        let read = if unit.is_tiles() { pixels.next_multiple_of(2 * amx::SIDE) } else { pixels };
        let reach = (read - 1) * self.step + self.words;
        assert!(self.taps.iter().all(|tap| tap.len() >= reach), "every tap reaches the last pixel's input");
        let depth = self.taps.len() * self.words * PANEL * PAIR;
        assert!(self.weights.len() >= (self.panels - 1) * self.panel_len + depth, "weights for every tap");
        if !self.accumulate {
            sums.fill(0.0);
        }
        match unit {
            // SAFETY: a unit is only named after a check that the processor has it; the bounds are asserted above.
            #[cfg(target_arch = "x86_64")]
            Bf16Unit::Pairs512 => unsafe {
                match self.panels {
                    1 => wide::row::<12, 1>(self, sums),
                    2 => wide::row::<12, 2>(self, sums),
                    3 => wide::row::<8, 3>(self, sums),
                    _ => wide::row::<6, 4>(self, sums),
                }
            },
            // SAFETY: as above.
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Bf16Unit::Tiles => unsafe { self.by_tiles::<amx::instructions::Instructions>(sums) },
            // SAFETY: as above; a plain function needs no unit.
            #[cfg(test)]
            Bf16Unit::PlainTiles => unsafe { self.by_tiles::<amx::Plain>(sums) },
            #[cfg(test)]
            Bf16Unit::PlainPairs => self.plain(sums),
            _ => unreachable!("a unit that widens computes convolutions in f32"),
        }
    }

    /// 32 pixels at a time, tap by tap.
    ///
    /// # Safety
    /// The processor has the unit, and the bounds are those asserted by [`PairRow::run`].
    unsafe fn by_tiles<T: amx::Tiles>(&self, sums: &mut [f32]) {
        const ROWS: usize = 2 * amx::SIDE;
        let width = self.panels * PANEL;
        // The last pixels fill no tile: their sums are made here and copied.
        let mut last = [0.0; ROWS * 2 * PANEL];
        // SAFETY: every pointer stays in the slice it came from by the bounds asserted in `run`.
        unsafe { T::begin() };
        for (tile, sums) in sums.chunks_mut(ROWS * width).enumerate() {
            let is_whole = sums.len() == ROWS * width;
            let place = if is_whole {
                sums.as_mut_ptr()
            } else {
                last[..sums.len()].copy_from_slice(sums);
                last.as_mut_ptr()
            };
            for (number, tap) in self.taps.iter().enumerate() {
                let weights = self.weights[number * self.words * PANEL * PAIR..].as_ptr();
                let second =
                    if self.panels == 2 { weights.wrapping_add(self.panel_len).cast() } else { std::ptr::null() };
                // SAFETY: as above.
                unsafe {
                    T::pairs(amx::Block {
                        left: tap.as_ptr().add(tile * ROWS * self.step).cast(),
                        left_step: self.step * size_of::<u32>(),
                        weights: [weights.cast(), second],
                        times: self.words / amx::SIDE,
                        sums: place.cast(),
                        sums_step: width * size_of::<f32>(),
                    });
                }
            }
            if !is_whole {
                sums.copy_from_slice(&last[..sums.len()]);
            }
        }
        // SAFETY: after `begin`.
        unsafe { T::end() };
    }

    /// The twin of `wide`: one pixel and one lane at a time, the upper halves first, as `vdpbf16ps` adds them.
    #[cfg(test)]
    fn plain(&self, sums: &mut [f32]) {
        let number = |bits: u32| f32::from_bits(bits << 16);
        for (pixel, sums) in sums.chunks_exact_mut(self.panels * PANEL).enumerate() {
            for (column, sum) in sums.iter_mut().enumerate() {
                let weights = &self.weights[column / PANEL * self.panel_len + column % PANEL * PAIR..];
                for (tap, words) in self.taps.iter().enumerate() {
                    for word in 0..self.words {
                        let x = words[pixel * self.step + word];
                        let at = (tap * self.words + word) * PANEL * PAIR;
                        *sum += number(u32::from(weights[at + 1])) * number(x >> 16);
                        *sum += number(u32::from(weights[at])) * number(x & 0xffff);
                    }
                }
            }
        }
    }
}

/// Tiles of `PIXELS × PANELS` accumulators: 24 of the 32 registers.
#[cfg(target_arch = "x86_64")]
#[expect(clippy::needless_range_loop, reason = "indices of a tile read best as indices")]
mod wide {
    use std::arch::x86_64::*;

    use super::{PAIR, PANEL, PairRow};

    /// # Safety
    /// The processor has the unit, and the bounds are those asserted by [`PairRow::run`].
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn row<const PIXELS: usize, const PANELS: usize>(row: &PairRow, sums: &mut [f32]) {
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
            while done < pixels {
                tile::<1, PANELS>(row, done, sums);
                done += 1;
            }
        }
    }

    /// # Safety
    /// As `row`, and pixels `first .. first + PIXELS` are in the row.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn tile<const PIXELS: usize, const PANELS: usize>(row: &PairRow, first: usize, sums: &mut [f32]) {
        // SAFETY: every pointer below stays in the slice it came from by the bounds asserted in `PairRow::run`; 512 bits are 32
        // numbers of bf16.
        unsafe {
            let sums = sums.as_mut_ptr().add(first * PANELS * PANEL);
            let mut acc = [[_mm512_setzero_ps(); PANELS]; PIXELS];
            for m in 0..PIXELS {
                for n in 0..PANELS {
                    acc[m][n] = _mm512_loadu_ps(sums.add((m * PANELS + n) * PANEL));
                }
            }
            let mut weights = row.weights.as_ptr();
            for tap in row.taps {
                let mut x = tap.as_ptr().add(first * row.step);
                for _ in 0..row.words {
                    let mut w = [_mm512_setzero_si512(); PANELS];
                    for n in 0..PANELS {
                        w[n] = _mm512_loadu_si512(weights.add(n * row.panel_len).cast());
                    }
                    for m in 0..PIXELS {
                        let pair = _mm512_set1_epi32(*x.add(m * row.step) as i32);
                        let pair = std::mem::transmute::<__m512i, __m512bh>(pair);
                        for n in 0..PANELS {
                            let w = std::mem::transmute::<__m512i, __m512bh>(w[n]);
                            acc[m][n] = _mm512_dpbf16_ps(acc[m][n], w, pair);
                        }
                    }
                    x = x.add(1);
                    weights = weights.add(PANEL * PAIR);
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
