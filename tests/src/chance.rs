//! Reproducible chance: numbers that look random and are a function of a seed.

/// SplitMix64: one addition and two multiplications a number, and every seed is a good one.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// The generator for one position of a long stream, independent of what was drawn before.
    pub fn at(seed: u64, place: u64) -> Chance {
        Chance(Chance(seed ^ place.wrapping_mul(0xd1b5_4a32_d192_ed03)).next())
    }

    #[expect(clippy::should_implement_trait, reason = "it never ends: there is no `None` to return")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Less than `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        // The high bits of a product: no division, and for the ends used here no bias worth the name.
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// True once in `times` calls, on average.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_another_gives_others() {
        let numbers = |seed| {
            let mut chance = Chance::new(seed);
            (0..100).map(|_| chance.next()).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
        assert_ne!(Chance::at(1, 0).next(), Chance::at(1, 1).next());
    }

    #[test]
    fn below_reaches_every_number_and_no_other() {
        let mut chance = Chance::new(7);
        let mut seen = [0; 5];
        (0..1000).for_each(|_| seen[chance.below(5)] += 1);
        assert!(seen.iter().all(|&times| times > 100), "{seen:?}");
    }
}
