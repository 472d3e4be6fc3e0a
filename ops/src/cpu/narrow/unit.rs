//! The inside of a product whose weights are narrower than f32, written once for every unit of a processor.
//!
//! A unit multiplies a *group* of neighbouring inputs at once: two numbers of bf16, four of int8. The left side is laid out by
//! tiles of rows as 32-bit *words*. What a word holds is the unit's own choice.

use crate::cpu::panels::{PANEL, TILE};

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

    /// One row's words, `WORDS` for each group: inputs past the last of `x` count as zero. → what the row's sums are to be
    /// multiplied by.
    fn words(x: &[f32], words: &mut [u32]) -> f32;

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

    /// Adds one group's products. `words`: `(WORDS, TILE)`; `weights`: `(PANEL, GROUP)`, the next panel's `panel_len` further
    /// on.
    ///
    /// # Safety
    /// All of these can be read.
    unsafe fn step<const PANELS: usize>(
        sums: &mut [[Self::Sum; PANELS]; TILE],
        words: *const u32,
        weights: *const Self::Weight,
        panel_len: usize,
    );
}

/// Some groups of all tiles, and of one to four panels.
pub(super) struct Pass<'a, U: Unit> {
    /// Tile by tile, each as [`Unit::place`] says.
    pub words: &'a [u32],
    /// From the first group on: panels `panel_len` apart, each `(group, PANEL, GROUP)`.
    pub weights: &'a [U::Weight],
    pub panel_len: usize,
    pub panels: usize,
    pub groups: usize,
    pub tiles: usize,
    /// Add to the totals instead of starting at zero.
    pub accumulate: bool,
}

impl<U: Unit> Pass<'_, U> {
    /// `totals`: `(tile, TILE, panel, PANEL)`.
    pub(super) fn run(&self, totals: &mut [U::Total]) {
        assert!((1..=U::PANELS).contains(&self.panels), "as many panels as the unit takes");
        assert!(self.words.len() >= self.tiles * self.groups * U::WORDS * U::TILE, "words for every group");
        assert!(self.groups.is_multiple_of(U::TOGETHER), "groups that are multiplied together");
        let last = (self.panels - 1) * self.panel_len + self.groups * PANEL * U::GROUP;
        assert!(self.weights.len() >= last, "weights for every group");
        assert_eq!(totals.len(), self.tiles * U::TILE * self.panels * PANEL, "totals for every row");
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
    /// The bounds asserted by [`Pass::run`], and `panels` is `PANELS`.
    #[inline(always)]
    pub(super) unsafe fn all<const PANELS: usize>(&self, totals: &mut [U::Total]) {
        for tile in 0..self.tiles {
            // SAFETY: every pointer stays in the slice it came from by the bounds asserted in `run`.
            unsafe {
                let mut words = self.words.as_ptr().add(tile * self.groups * U::WORDS * TILE);
                let mut weights = self.weights.as_ptr();
                let totals = totals.as_mut_ptr().add(tile * TILE * PANELS * PANEL);
                let mut sums = [[U::zero(); PANELS]; TILE];
                if self.accumulate {
                    for (row, sums) in sums.iter_mut().enumerate() {
                        for (panel, sum) in sums.iter_mut().enumerate() {
                            *sum = U::load(totals.add((row * PANELS + panel) * PANEL));
                        }
                    }
                }
                for _ in 0..self.groups {
                    U::step(&mut sums, words, weights, self.panel_len);
                    words = words.add(U::WORDS * TILE);
                    weights = weights.add(PANEL * U::GROUP);
                }
                for (row, sums) in sums.iter().enumerate() {
                    for (panel, sum) in sums.iter().enumerate() {
                        U::store(*sum, totals.add((row * PANELS + panel) * PANEL));
                    }
                }
            }
        }
    }
}

/// `fn run` of a unit, compiled with the features that it needs.
macro_rules! compiled_for {
    ($features:literal) => {
        unsafe fn run<const PANELS: usize>(pass: &Pass<Self>, totals: &mut [Self::Total]) {
            #[target_feature(enable = $features)]
            unsafe fn compiled<U: Lanes, const PANELS: usize>(pass: &Pass<U>, totals: &mut [U::Total]) {
                // SAFETY: the caller's promise.
                unsafe { pass.all::<PANELS>(totals) }
            }
            // SAFETY: the caller's promise.
            unsafe { compiled::<Self, PANELS>(pass, totals) }
        }
    };
    () => {
        unsafe fn run<const PANELS: usize>(pass: &Pass<Self>, totals: &mut [Self::Total]) {
            // SAFETY: the caller's promise.
            unsafe { pass.all::<PANELS>(totals) }
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
