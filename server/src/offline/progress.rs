//! How far a long command is: a line on a terminal that is written over, and lines that stay for everybody.

use std::fmt::{self, Display};
use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use crate::say;

const BAR_CHARACTERS: usize = 30;

/// The progress of `total` equal parts, told on standard error.
pub struct Progress {
    total: usize,
    /// Whether somebody looks at a line that is written over.
    is_terminal: bool,
}

impl Progress {
    /// Nothing is told yet.
    pub fn new(total: usize) -> Progress {
        Progress { total, is_terminal: stderr().is_terminal() }
    }

    /// A line that stays, then the bar: `done` parts, and `aside` behind them.
    pub fn tell(&self, line: impl Display, done: usize, aside: impl Display) {
        if !self.is_terminal {
            return say::note(line);
        }
        let bar = bar(done, self.total);
        // Erased to the line's end, since a bar was there; without a new line behind it.
        let text = format!("\r{line}\x1b[K\n{bar} {done}/{} chunks  {aside}\x1b[K", self.total);
        // Progress that cannot be shown is no reason to stop.
        let _ = stderr().write_all(text.as_bytes());
    }

    /// The bar alone, for somebody who looks at a terminal: `done` parts, and `aside` behind them.
    pub fn show(&self, done: usize, aside: impl Display) {
        if self.is_terminal {
            let text = format!("\r{} {done}/{}{aside}\x1b[K", bar(done, self.total), self.total);
            let _ = stderr().write_all(text.as_bytes());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal {
            let _ = stderr().write_all(b"\n");
        }
    }
}

/// How long the rest of some work takes, if it goes on as before: `, about 2 min left`. Empty where nothing can be said.
pub struct Estimate(Option<Duration>);

impl Estimate {
    /// `share` of the work, 0 to 1, took so long.
    pub fn of(share: f64, took: Duration) -> Estimate {
        let is_under_way = 0.0 < share && share < 1.0;
        let left = took.as_secs_f64() * (1.0 - share) / share;
        Estimate(is_under_way.then(|| Duration::try_from_secs_f64(left).ok()).flatten())
    }
}

impl Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(left) = self.0 else { return Ok(()) };
        // Two digits are as much as an estimate is worth.
        match left.as_secs_f64().ceil() as u64 {
            seconds @ ..100 => write!(f, ", about {seconds} s left"),
            seconds @ ..6000 => write!(f, ", about {} min left", seconds.div_ceil(60)),
            seconds => write!(f, ", about {} h left", seconds.div_ceil(3600)),
        }
    }
}

fn bar(done: usize, total: usize) -> String {
    let full = (BAR_CHARACTERS * done).checked_div(total).unwrap_or(BAR_CHARACTERS).min(BAR_CHARACTERS);
    format!("{}{}", "█".repeat(full), "░".repeat(BAR_CHARACTERS - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_what_is_done() {
        let check = |share: f64, seconds: u64, expected: &str| {
            assert_eq!(Estimate::of(share, Duration::from_secs(seconds)).to_string(), expected);
        };
        check(0.25, 10, ", about 30 s left");
        check(0.5, 100, ", about 2 min left");
        check(0.1, 1000, ", about 3 h left");
        check(0.0, 10, "");
        check(1.0, 10, "");
        check(f64::MIN_POSITIVE, 10, "");
    }

    #[test]
    fn a_bar_is_as_full_as_the_work_is_done_and_always_as_long() {
        for (done, total, full) in [(0, 4, 0), (1, 4, 7), (4, 4, 30), (9, 4, 30), (0, 0, 30)] {
            let bar = bar(done, total);
            assert_eq!(bar.chars().filter(|&char| char == '█').count(), full, "{done} of {total}");
            assert_eq!(bar.chars().count(), BAR_CHARACTERS);
        }
    }
}
