//! Why a session gets no place, now or ever: in numbers, in a word for programs, in a sentence for people.

use std::fmt;

/// What keeps a session from getting a place now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Obstacle {
    Sessions {
        max: usize,
    },
    Memory {
        bytes: u64,
        free: u64,
        budget: u64,
    },
    Time {
        needed: f64,
        taken: f64,
        allowed: f64,
    },
    /// Somebody ahead has been passed often enough.
    Order,
    /// A clip, behind another that is drawn or came before.
    Clip,
    /// There is no world yet.
    Loading,
}

impl Obstacle {
    /// A word for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Obstacle::Sessions { .. } => "sessions",
            Obstacle::Memory { .. } => "memory",
            Obstacle::Time { .. } => "time",
            Obstacle::Order => "order",
            Obstacle::Clip => "clip",
            Obstacle::Loading => "loading",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| (100.0 * share).round();
        match *self {
            Obstacle::Sessions { max } => write!(f, "all of {max} places are taken"),
            Obstacle::Memory { bytes, free, budget } => {
                write!(f, "a session like this takes {bytes} bytes, and {free} of {budget} are free")
            }
            Obstacle::Time { needed, taken, allowed } => write!(
                f,
                "a session like this needs {} % of the device's time, and {} of {} % are taken",
                percent(needed),
                percent(taken),
                percent(allowed)
            ),
            Obstacle::Order => f.write_str("others wait that came before"),
            Obstacle::Clip => f.write_str("one clip is drawn at a time"),
            Obstacle::Loading => f.write_str("the world is still being loaded"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Refused {
    /// It would not fit if it were alone.
    TooLarge { bytes: u64, budget: u64 },
    /// As many wait as may.
    QueueFull { waiting: usize, obstacle: Obstacle },
    /// As many clips wait as may.
    ClipsFull { waiting: usize },
}

impl Refused {
    /// A word for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Refused::TooLarge { .. } => "too_large",
            Refused::QueueFull { .. } | Refused::ClipsFull { .. } => "queue_full",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::TooLarge { bytes, budget } => {
                write!(f, "a session like this takes {bytes} bytes, and {budget} are there for all")
            }
            Refused::ClipsFull { waiting } => write!(f, "{waiting} clips wait already"),
            Refused::QueueFull { waiting, obstacle } => write!(f, "{obstacle}, and {waiting} sessions wait already"),
        }
    }
}
