//! The inside of a product whose weights are narrower than f32, written once for every unit of a processor.
//!
//! A unit multiplies a *group* of neighbouring inputs at once: two numbers of bf16, four of int8. The left side is laid out by
//! tiles of rows as 32-bit *words*. What a word holds is the unit's own choice.

use crate::cpu::panels::{PANEL, TILE};

/// Groups of a pass of four panels: their weights are 32 KiB, which a first-level cache of a processor with such units holds.
#[cfg(target_arch = "x86_64")]
pub(super) const DEPTH_OF_FOUR: usize = 128;

/// How a unit multiplies. Its plain twin implements the same trait, so both run through the same packing and tiling.
pub(super) trait Unit {
    /// A weight in memory.
    type Weight: Copy + Send + Sync;
    /// A sum in memory.
    type Total: Copy + Default + Send;
    /// Inputs of a group.
    const GROUP: usize;
    /// Words of a row's group.
    const WORDS: usize;
    /// Panels of one tile: as many as the registers hold.
    const PANELS: usize;
    /// Rows of one tile.
    const TILE: usize = TILE;
    /// Groups that are multiplied together; what the last ones lack is zero.
    const TOGETHER: usize = 1;
    /// Groups that one pass takes: a panel's weights for them are 16 KiB, half of a first-level cache.
    const DEPTH: usize = 256;
    /// Are words kept row by row, and not tile by tile? Then a row is laid out as it comes. Only where a tile takes several panels:
    /// for each it reads rows that lie apart.
    const BY_ROWS: bool = false;

    /// One row's words, `WORDS` for each group: inputs past the last of `x` count as zero. → what the row's sums are to be
    /// multiplied by.
    fn words(x: &[f32], words: &mut [u32]) -> f32;

    /// Rows that are words already, if they are what [`Unit::words`] makes of them. Only by rows.
    fn as_words(_x: &[f32]) -> Option<&[u32]> {
        None
    }

    /// Where a tile holds a word of a row, of as many words as a pass takes.
    fn place(word: usize, row: usize, _words: usize) -> usize {
        word * Self::TILE + row
    }

    /// All tiles of a pass, compiled for this unit.
    ///
    /// # Safety
    /// The processor has the unit, and the bounds are those asserted by [`Pass::run`].
    unsafe fn run<const PANELS: usize>(pass: &Pass<Self>, totals: &mut [Self::Total])
    where
        Self: Sized;
}

/// A unit that broadcasts words to the lanes of vector registers.
pub(super) trait Lanes: Unit {
    /// `PANEL` sums in registers.
    type Sum: Copy;

    /// Nothing summed yet.
    ///
    /// # Safety
    /// The processor has the unit. The same is so for all functions below.
    unsafe fn zero() -> Self::Sum;

    /// # Safety
    /// `totals` points to `PANEL` of them.
    unsafe fn load(totals: *const Self::Total) -> Self::Sum;

    /// # Safety
    /// As `load`.
    unsafe fn store(sum: Self::Sum, totals: *mut Self::Total);

    /// Adds one group's products. `words`: `(WORDS, ROWS)`, or by rows `WORDS` of each, `row_words` from row to row; `weights`:
    /// `(PANEL, GROUP)`, the next panel's `panel_len` further on.
    ///
    /// # Safety
    /// All of these can be read.
    unsafe fn step<const ROWS: usize, const PANELS: usize>(
        sums: &mut [[Self::Sum; PANELS]; ROWS],
        words: *const u32,
        row_words: usize,
        weights: *const Self::Weight,
        panel_len: usize,
    );
}

/// Some groups of all tiles, and of one to four panels.
pub(super) struct Pass<'a, U: Unit> {
    /// Tile by tile, each as [`Unit::place`] says; by rows, from the first group on.
    pub words: &'a [u32],
    /// By rows: words from row to row.
    pub row_words: usize,
    /// From the first group on: panels `panel_len` apart, each `(group, PANEL, GROUP)`.
    pub weights: &'a [U::Weight],
    pub panel_len: usize,
    pub panels: usize,
    pub groups: usize,
    pub tiles: usize,
    /// Totals from row to row.
    pub totals_step: usize,
    /// Add to the totals instead of starting at zero.
    pub accumulate: bool,
}

impl<U: Unit> Pass<'_, U> {
    /// `totals`: `(tile, TILE, panel, PANEL)`, rows `totals_step` apart.
    pub(super) fn run(&self, totals: &mut [U::Total]) {
        assert!((1..=U::PANELS).contains(&self.panels), "as many panels as the unit takes");
        let rows = self.tiles * U::TILE;
        assert!(rows > 0 && self.row_words >= self.groups * U::WORDS, "words of a row");
        let words = if U::BY_ROWS { (rows - 1) * self.row_words } else { (rows - 1) * self.groups * U::WORDS };
        assert!(self.words.len() >= words + self.groups * U::WORDS, "words for every group");
        assert!(self.groups.is_multiple_of(U::TOGETHER), "groups that are multiplied together");
        let last = (self.panels - 1) * self.panel_len + self.groups * PANEL * U::GROUP;
        assert!(self.weights.len() >= last, "weights for every group");
        assert!(self.totals_step >= self.panels * PANEL, "totals of a row");
        assert!(totals.len() >= (rows - 1) * self.totals_step + self.panels * PANEL, "totals for every row");
        // SAFETY: a unit is only named after a check that the processor has it; the bounds are asserted above.
        unsafe {
            match self.panels {
                1 => U::run::<1>(self, totals),
                2 => U::run::<2>(self, totals),
                3 => U::run::<3>(self, totals),
                _ => U::run::<4>(self, totals),
            }
        }
    }
}

impl<U: Lanes> Pass<'_, U> {
    /// All tiles.
    ///
    /// # Safety
    /// The bounds asserted by [`Pass::run`]; `panels` is `PANELS`, and the unit's tile `ROWS`.
    #[inline(always)]
    pub(super) unsafe fn all<const ROWS: usize, const PANELS: usize>(&self, totals: &mut [U::Total]) {
        let (row_words, next) =
            if U::BY_ROWS { (self.row_words, U::WORDS) } else { (self.groups * U::WORDS, U::WORDS * ROWS) };
        for tile in 0..self.tiles {
            // SAFETY: every pointer stays in the slice it came from by the bounds asserted in `run`.
            unsafe {
                let mut words = self.words.as_ptr().add(tile * ROWS * row_words);
                let mut weights = self.weights.as_ptr();
                let totals = totals.as_mut_ptr().add(tile * ROWS * self.totals_step);
                let mut sums = [[U::zero(); PANELS]; ROWS];
                if self.accumulate {
                    for (row, sums) in sums.iter_mut().enumerate() {
                        for (panel, sum) in sums.iter_mut().enumerate() {
                            *sum = U::load(totals.add(row * self.totals_step + panel * PANEL));
                        }
                    }
                }
                for _ in 0..self.groups {
                    U::step(&mut sums, words, row_words, weights, self.panel_len);
                    words = words.add(next);
                    weights = weights.add(PANEL * U::GROUP);
                }
                for (row, sums) in sums.iter().enumerate() {
                    for (panel, sum) in sums.iter().enumerate() {
                        U::store(*sum, totals.add(row * self.totals_step + panel * PANEL));
                    }
                }
            }
        }
    }
}

/// `fn run` of a unit, compiled with the features that it needs.
macro_rules! compiled_for {
    ($features:literal, $rows:expr) => {
        unsafe fn run<const PANELS: usize>(pass: &Pass<Self>, totals: &mut [Self::Total]) {
            #[target_feature(enable = $features)]
            unsafe fn compiled<U: Lanes, const PANELS: usize>(pass: &Pass<U>, totals: &mut [U::Total]) {
                // SAFETY: the caller's promise.
                unsafe { pass.all::<{ $rows }, PANELS>(totals) }
            }
            // SAFETY: the caller's promise.
            unsafe { compiled::<Self, PANELS>(pass, totals) }
        }
    };
    () => {
        unsafe fn run<const PANELS: usize>(pass: &Pass<Self>, totals: &mut [Self::Total]) {
            // SAFETY: the caller's promise.
            unsafe { pass.all::<TILE, PANELS>(totals) }
        }
    };
}
pub(super) use compiled_for;

/// The same pointer, which the compiler cannot know to be the same: what is behind it is loaded again, and no register has to keep it.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn anew<T>(pointer: *const T) -> *const T {
    let again: *const T;
    // SAFETY: there is no instruction, but a comment.
    unsafe {
        std::arch::asm!("/* {0} */", inout(reg) pointer => again, options(pure, readonly, nostack, preserves_flags));
    }
    again
}
