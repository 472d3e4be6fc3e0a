//! How far a clip is in time: pieces of work count by how long such pieces took last.
//!
//! Reading a prompt takes milliseconds where a denoising step takes seconds, so a count of pieces would say nothing.

use std::time::Duration;

/// A piece of a clip's work, and how large it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Piece {
    kind: Kind,
    /// The time that a piece takes grows about with this, among pieces of one kind.
    size: f64,
}

/// What takes about the same time for each unit of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Size: tokens of both prompts.
    Read,
    /// Size: pixels.
    Encode,
    /// Size: tokens of the video, once for each prompt that is looked at.
    Denoise,
    /// The first latent frame, which is one frame of the video. Size: pixels.
    DecodeFirst,
    /// Any other, which is four. Size: pixels.
    Decode,
}

const KINDS: usize = 5;

impl Piece {
    /// Reading prompts of so many tokens together.
    pub fn read(tokens: usize) -> Piece {
        Piece { kind: Kind::Read, size: tokens as f64 }
    }

    /// Encoding the picture to start from.
    pub fn encode(pixels: u64) -> Piece {
        Piece { kind: Kind::Encode, size: pixels as f64 }
    }

    /// A step over a video of so many tokens, with guidance or without.
    pub fn denoise(tokens: usize, is_guided: bool) -> Piece {
        Piece { kind: Kind::Denoise, size: tokens as f64 * if is_guided { 2.0 } else { 1.0 } }
    }

    /// Decoding a latent frame.
    pub fn decode(latent_frame: usize, pixels: u64) -> Piece {
        let kind = if latent_frame == 0 { Kind::DecodeFirst } else { Kind::Decode };
        Piece { kind, size: pixels as f64 }
    }
}

/// What pieces took last: seconds for each unit of size, of those kinds that were seen.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Times([Option<f64>; KINDS]);

impl Times {
    /// A piece has taken this long.
    pub fn took(&mut self, piece: Piece, time: Duration) {
        self.0[piece.kind as usize] = Some(time.as_secs_f64() / piece.size.max(1.0));
    }

    /// The share of a clip's time that is over after each of its pieces: as many values, ascending to 1.
    pub fn shares(&self, pieces: &[Piece]) -> Vec<f64> {
        let known: Vec<_> = pieces.iter().map(|piece| Some(self.0[piece.kind as usize]? * piece.size)).collect();
        let count = known.iter().flatten().count();
        // A kind that was never seen counts as the others do on average; on a new server every piece counts the same.
        let mean = if count > 0 { known.iter().flatten().sum::<f64>() / count as f64 } else { 1.0 };
        let expected: Vec<f64> = known.into_iter().map(|seconds| seconds.unwrap_or(mean)).collect();
        let all: f64 = expected.iter().sum();
        let mut over = 0.0;
        let mut shares: Vec<f64> = expected
            .iter()
            .map(|seconds| {
                over += seconds;
                // Times may be too short for the clock.
                if all > 0.0 { (over / all).min(1.0) } else { 0.0 }
            })
            .collect();
        // Whatever sums of fractions come to.
        if let Some(last) = shares.last_mut() {
            *last = 1.0;
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two prompts, two guided steps and one without, two latent frames.
    fn clip(tokens: usize, pixels: u64) -> Vec<Piece> {
        let steps = [true, true, false].map(|is_guided| Piece::denoise(tokens, is_guided));
        let frames = [0, 1].map(|latent_frame| Piece::decode(latent_frame, pixels));
        [&[Piece::read(10)][..], &steps, &frames].concat()
    }

    fn check(times: &Times, pieces: &[Piece], expected: &[f64]) {
        let shares = times.shares(pieces);
        assert_eq!(shares.len(), expected.len());
        for (share, expected) in shares.iter().zip(expected) {
            assert!((share - expected).abs() < 1e-9, "{shares:?} is not {expected:?}");
        }
    }

    #[test]
    fn on_a_new_server_every_piece_counts_the_same() {
        check(&Times::default(), &clip(100, 64), &[1.0 / 6.0, 2.0 / 6.0, 0.5, 4.0 / 6.0, 5.0 / 6.0, 1.0]);
    }

    #[test]
    fn a_piece_counts_by_the_time_that_one_like_it_took_and_by_its_size() {
        let mut times = Times::default();
        for (piece, seconds) in [
            (Piece::read(20), 2.0),
            (Piece::denoise(50, true), 9.0),
            (Piece::denoise(50, true), 10.0),
            (Piece::decode(0, 64), 1.0),
            (Piece::decode(1, 64), 4.0),
        ] {
            times.took(piece, Duration::from_secs_f64(seconds));
        }
        // Half as many tokens read; twice as many drawn; twice the pixels: 1 + 20 + 20 + 10 + 2 + 8 seconds.
        check(&times, &clip(100, 128), &[1.0, 21.0, 41.0, 51.0, 53.0, 61.0].map(|seconds| seconds / 61.0));
    }

    #[test]
    fn a_kind_that_was_never_seen_counts_as_the_others_on_average() {
        let mut times = Times::default();
        times.took(Piece::denoise(100, false), Duration::from_secs(3));
        // Steps of 6, 6 and 3 seconds: 5 on average.
        check(&times, &clip(100, 64), &[5.0, 11.0, 17.0, 20.0, 25.0, 30.0].map(|seconds| seconds / 30.0));
    }

    #[test]
    fn times_under_the_clock_s_grain_are_no_division_by_zero() {
        let mut times = Times::default();
        clip(100, 64).iter().for_each(|&piece| times.took(piece, Duration::ZERO));
        check(&times, &clip(100, 64), &[0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    }
}
