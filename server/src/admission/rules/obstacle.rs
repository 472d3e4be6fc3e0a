//! Why a session is not admitted, now or ever: numbers, a code for programs, a sentence for people.

use std::fmt;

/// The reason why a session is not admitted now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Obstacle {
    /// As many sessions run as may.
    Sessions {
        /// How many that is.
        max: usize,
    },
    /// Its rollout does not fit into what memory is left.
    Memory {
        /// What it would hold.
        bytes: u64,
        /// What is left.
        free: u64,
        /// What all rollouts may hold together.
        budget: u64,
    },
    /// Paced sessions would need more of the device's time than they may.
    Time {
        /// The share that it would need.
        needed: f64,
        /// The share that those that run need.
        taken: f64,
        /// The share that all may need together.
        allowed: f64,
    },
    /// A session ahead was passed as often as allowed.
    Order,
    /// A clip, behind another that is drawn or came before.
    Clip,
    /// The world is still loading.
    Loading,
}

impl Obstacle {
    /// The code, for programs.
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

/// Why a session does not even wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Refused {
    /// It would not fit even if it ran alone.
    TooLarge {
        /// What it would hold.
        bytes: u64,
        /// What all rollouts may hold together.
        budget: u64,
    },
    /// The queue is full.
    QueueFull {
        /// How many wait.
        waiting: usize,
        /// What keeps it from a place without a wait.
        obstacle: Obstacle,
    },
    /// As many clips wait as may.
    ClipsFull {
        /// How many wait.
        waiting: usize,
    },
}

impl Refused {
    /// The code, for programs.
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
