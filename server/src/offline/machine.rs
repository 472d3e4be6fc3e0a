//! The machine that a report was made on, so that nobody compares what cannot be compared.

use std::fmt;

use serde::{Deserialize, Serialize};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// The machine, as far as the system tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name; elsewhere than on Linux its family.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory in MiB; 0 where it is not told.
    pub memory_mib: u64,
    /// The system and its version.
    pub system: String,
}

impl Machine {
    /// This one.
    pub fn this() -> Machine {
        let told = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processors = told("/proc/cpuinfo");
        let name = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let memory = told("/proc/meminfo");
        let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().split(' ').next());
        Machine {
            processor: name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() / 1024,
            system: format!("{} {}", std::env::consts::OS, told("/proc/sys/kernel/osrelease").trim()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { processor, cores, memory_mib, system } = self;
        write!(f, "{processor}, {cores} cores, {memory_mib} MiB, {system}")
    }
}

/// How many threads ran or wanted to, on average of the last minute: what a report cannot know about its neighbours
/// otherwise. `None` where the system does not say.
pub fn busy_threads() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Now, in UTC, as RFC 3339 writes it, to the second.
pub fn now() -> String {
    let mut text = String::new();
    // It formats a number into a string: nothing there can fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    let seconds = text.find('.').unwrap_or(text.len());
    text.truncate(seconds);
    text + "Z"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_and_a_time_of_day() {
        let now = now();
        assert_eq!(now.len(), "2026-11-30T08:20:00Z".len(), "{now}");
        assert!(now.starts_with("20") && now.ends_with('Z') && &now[10..11] == "T", "{now}");
        assert!(Machine::this().cores > 0);
    }
}
