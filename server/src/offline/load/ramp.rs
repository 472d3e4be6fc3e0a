//! How many clients the next round has, to find the most that hold.

/// Doubled until a round does not hold; then halved between the largest that held and the smallest that did not.
#[derive(Debug)]
pub struct Ramp {
    held: usize,
    failed: usize,
    next: usize,
    most: usize,
}

impl Ramp {
    /// From `first` clients on, `most` in the largest round. Both are at least 1.
    pub fn new(first: usize, most: usize) -> Ramp {
        Ramp { held: 0, failed: most + 1, next: first.min(most), most }
    }

    /// The clients of the next round; `None` once it is known how many hold.
    pub fn next(&self) -> Option<usize> {
        (self.held + 1 < self.failed).then_some(self.next)
    }

    /// How the round went that [`Ramp::next`] asked for.
    pub fn went(&mut self, holds: bool) {
        if holds {
            self.held = self.next;
        } else {
            self.failed = self.next;
        }
        let is_unbounded = self.failed > self.most;
        self.next = if is_unbounded { (2 * self.next).min(self.most) } else { (self.held + self.failed) / 2 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(first: usize, most: usize, hold: usize) -> (Vec<usize>, usize) {
        let (mut ramp, mut rounds) = (Ramp::new(first, most), Vec::new());
        while let Some(clients) = ramp.next() {
            rounds.push(clients);
            ramp.went(clients <= hold);
        }
        (rounds, ramp.held)
    }

    #[test]
    fn the_most_that_hold_are_found_for_every_start_and_every_end() {
        for most in 1..20 {
            for first in 1..25 {
                for hold in 0..25 {
                    let (rounds, held) = rounds(first, most, hold);
                    assert_eq!(held, hold.min(most), "from {first} to {most}, {hold} hold: {rounds:?}");
                    assert!(rounds.len() <= 10, "{rounds:?}");
                }
            }
        }
        assert_eq!(rounds(4, 64, 11), (vec![4, 8, 16, 12, 10, 11], 11));
    }
}
