//! How alike two texts are, as Python's `difflib.SequenceMatcher` counts it.
//!
//! The measure is Ratcliff and Obershelp's: the longest common block, then the same to its left and to its right. The
//! ratio is twice the characters in these blocks, divided by the characters of both texts. Which block is found first
//! changes the result, so ties go to the earliest, first in `a` and then in `b`. The library's rule for frequent
//! characters begins at 200 characters; entries of a blocklist are shorter.

/// The ratio of two texts, given as their characters: 1 if they are equal, 0 if they share no character.
pub fn ratio(a: &[char], b: &[char]) -> f64 {
    if a.is_empty() && b.is_empty() {
        return 1.0;
    }
    2.0 * matching(a, b) as f64 / (a.len() + b.len()) as f64
}

/// The most that [`ratio`] can be for texts of these lengths.
pub fn ratio_at_most(a: usize, b: usize) -> f64 {
    if a + b == 0 { 1.0 } else { 2.0 * a.min(b) as f64 / (a + b) as f64 }
}

/// Characters in matching blocks.
fn matching(a: &[char], b: &[char]) -> usize {
    let mut sum = 0;
    // A list of what is left, because a text of many separate matches would recurse deeply.
    let mut left = vec![(a, b)];
    while let Some((a, b)) = left.pop() {
        let Block { in_a, in_b, length } = longest_block(a, b);
        if length > 0 {
            sum += length;
            left.push((&a[..in_a], &b[..in_b]));
            left.push((&a[in_a + length..], &b[in_b + length..]));
        }
    }
    sum
}

struct Block {
    in_a: usize,
    in_b: usize,
    length: usize,
}

/// The longest common block: of several, the one that begins earliest in `a`, then in `b`.
fn longest_block(a: &[char], b: &[char]) -> Block {
    let mut best = Block { in_a: 0, in_b: 0, length: 0 };
    // For each end in `b`, the length of the block that ends there and at the character of `a` before this one.
    let mut lengths = vec![0; b.len() + 1];
    for (i, from_a) in a.iter().enumerate() {
        // From the back, so that the entry before is still that of the last character of `a`.
        for (j, from_b) in b.iter().enumerate().rev() {
            lengths[j + 1] = if from_a == from_b { lengths[j] + 1 } else { 0 };
        }
        for (end, &length) in lengths.iter().enumerate() {
            if length > best.length {
                best = Block { in_a: i + 1 - length, in_b: end - length, length };
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_difflib() {
        // Computed with Python 3's difflib.SequenceMatcher(None, a, b).ratio().
        let check = |a: &str, b: &str, expected: f64| {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            assert!((ratio(&a, &b) - expected).abs() < 1e-12, "{a:?} {b:?}: {}", ratio(&a, &b));
            assert!(ratio(&a, &b) <= ratio_at_most(a.len(), b.len()));
        };
        check("", "", 1.0);
        check("a", "", 0.0);
        check("bomb", "bomb", 1.0);
        check("bombs", "bomb", 8.0 / 9.0);
        check("posion", "poison", 5.0 / 6.0);
        check("abcd", "bcde", 0.75);
        check("pöison", "poison", 5.0 / 6.0);
        // The measure is not symmetric: ties are decided in the first text.
        check("tide", "diet", 0.25);
        check("diet", "tide", 0.5);
        check("private", "previte", 5.0 / 7.0);
        check("qabxcd", "abycdf", 2.0 / 3.0);
    }
}
