//! How far a long command is: a line on a terminal that is written over, and lines that stay for everybody.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr};

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
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal {
            let _ = stderr().write_all(b"\n");
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
    fn a_bar_is_as_full_as_the_work_is_done_and_always_as_long() {
        for (done, total, full) in [(0, 4, 0), (1, 4, 7), (4, 4, 30), (9, 4, 30), (0, 0, 30)] {
            let bar = bar(done, total);
            assert_eq!(bar.chars().filter(|&char| char == '█').count(), full, "{done} of {total}");
            assert_eq!(bar.chars().count(), BAR_CHARACTERS);
        }
    }
}
