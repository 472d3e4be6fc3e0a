//! What `causeway bench` found: a table, JSON, and what became slower since an earlier one.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

/// Characters of a row's name.
const WIDE: usize = 46;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The program: version, commit, features.
    pub program: String,
    /// The processor's name.
    pub processor: String,
    /// What was measured.
    pub measured: Measured,
    /// Video frames of a chunk with a full window.
    pub frames_a_chunk: usize,
    /// Video frames that are shown in a second.
    pub frames_a_second: u32,
    /// Reading the weights, once.
    pub load_ms: f64,
    /// In the order of a session.
    pub rows: Vec<Row>,
}

/// What was measured: reports of different things cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The world's name.
    pub world: String,
    /// The fingerprint of its weights and settings.
    pub weights: String,
    /// The type it computes in.
    pub compute: String,
    /// Of the frames.
    pub size: String,
    /// Latent frames visible in all.
    pub window: usize,
    /// Threads that compute.
    pub threads: usize,
}

/// The time of one thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What it is.
    pub name: String,
    /// How often it was measured.
    pub count: usize,
    /// Half of the times are longer.
    pub median_ms: f64,
    /// One in twenty is longer.
    pub p95_ms: f64,
    /// How far the median of another such run may lie from this one: 2.7 times the distance between the quartiles, divided
    /// by the root of the count. With 1.57 medians whose ranges do not meet differ in 95 of 100 cases (McGill, Tukey, Larsen:
    /// Variations of Box Plots, 1978); more here, since some fifty rows are compared at once (1.57 · 3.3 / 1.96).
    pub noise_ms: f64,
    /// What it did in a second, where its work is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

/// What was done in a second, at the median.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Billions of it.
    pub each_second: f64,
    /// `Gop/s`: multiplications and additions; `GB/s`: bytes read and written.
    pub unit: String,
    /// Of the most that this machine did in the same run: on registers alone in this type, or copying.
    pub share: f64,
}

impl Row {
    /// Of one sample or more.
    pub fn of(name: &str, mut samples: Vec<Duration>) -> Row {
        assert!(!samples.is_empty(), "a row has a sample");
        samples.sort();
        let at = |share: f64| {
            // Between the two samples that are nearest.
            let place = share * (samples.len() - 1) as f64;
            let [low, high] = [place.floor(), place.ceil()].map(|place| 1000.0 * samples[place as usize].as_secs_f64());
            low + (high - low) * place.fract()
        };
        let noise_ms = 2.7 * (at(0.75) - at(0.25)) / (samples.len() as f64).sqrt();
        Row { name: name.to_owned(), count: samples.len(), median_ms: at(0.5), p95_ms: at(0.95), noise_ms, rate: None }
    }

    /// Whether this took longer or less than before, by more than both runs' noise.
    fn change(&self, before: &Row) -> Change {
        let (difference, noise) = (self.median_ms - before.median_ms, self.noise_ms + before.noise_ms);
        match () {
            () if difference > noise => Change::Slower,
            () if difference < -noise => Change::Faster,
            () => Change::None,
        }
    }
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It takes longer.
    Slower,
    /// It takes less.
    Faster,
    /// Within the noise of the two runs.
    None,
}

/// Two reports of the same thing.
#[derive(Debug)]
pub struct Comparison<'a> {
    before: &'a Report,
    now: &'a Report,
}

impl Report {
    /// Read what `--json` printed.
    ///
    /// # Errors
    /// If it is no such report.
    pub fn from_json(text: &str) -> anyhow::Result<Report> {
        serde_json::from_str(text).context("this is no report of `causeway bench --json`")
    }

    /// # Errors
    /// If the reports are of different worlds, sizes, windows, types or threads.
    pub fn since<'a>(&'a self, before: &'a Report) -> anyhow::Result<Comparison<'a>> {
        ensure!(
            self.measured == before.measured,
            "the earlier report is of something else: {}; this one is of {}",
            before.measured,
            self.measured
        );
        Ok(Comparison { before, now: self })
    }
}

impl Comparison<'_> {
    /// Each row that is in both, and what became of it.
    pub fn changes(&self) -> impl Iterator<Item = (&Row, &Row, Change)> {
        self.now.rows.iter().filter_map(|now| {
            let before = self.before.rows.iter().find(|before| before.name == now.name)?;
            Some((before, now, now.change(before)))
        })
    }

    /// Something takes longer than before.
    pub fn is_slower(&self) -> bool {
        self.changes().any(|(.., change)| change == Change::Slower)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Measured { world, weights, compute, size, window, threads } = self;
        write!(f, "{world} (weights {weights}) at {size}, window {window}, in {compute}, {threads} threads")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}\n", self.measured, self.processor, self.program)?;
        let heads = ["times", "median", "p95", "noise"];
        let [times, median, p95, noise] = heads;
        writeln!(f, "{:WIDE$} {times:>6} {median:>12} {p95:>12} {noise:>12} {:>15} {:>9}", "", "", "of peak")?;
        for Row { name, count, median_ms, p95_ms, noise_ms, rate } in &self.rows {
            write!(f, "{name:WIDE$} {count:6} {median_ms:9.3} ms {p95_ms:9.3} ms {noise_ms:9.3} ms")?;
            match rate {
                Some(Rate { each_second, unit, share }) => {
                    writeln!(f, " {each_second:9.2} {unit:5} {:7.1} %", 100.0 * share)?
                }
                None => writeln!(f)?,
            }
        }
        writeln!(f, "\nloaded once in {:.0} ms", self.load_ms)?;
        if let Some(chunk) = self.rows.iter().find(|row| row.name.starts_with("chunk")) {
            let rate = 1000.0 * self.frames_a_chunk as f64 / chunk.median_ms.max(f64::MIN_POSITIVE);
            writeln!(f, "{rate:.1} frames a second drawn; {} are shown", self.frames_a_second)?;
        }
        Ok(())
    }
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:WIDE$} {:>12} {:>12} {:>8}", "", "before", "now", "")?;
        for (before, now, change) in self.changes() {
            let share = 100.0 * (now.median_ms / before.median_ms.max(f64::MIN_POSITIVE) - 1.0);
            let word = match change {
                Change::Slower => "slower",
                Change::Faster => "faster",
                Change::None => "as before, within the noise",
            };
            let (was, is) = (before.median_ms, now.median_ms);
            writeln!(f, "{:WIDE$} {was:9.3} ms {is:9.3} ms {share:+7.1} %  {word}", now.name)?;
        }
        if self.before.processor != self.now.processor {
            writeln!(f, "the processors differ: {} before, {} now", self.before.processor, self.now.processor)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(times: &[u64]) -> Vec<Duration> {
        times.iter().map(|&ms| Duration::from_millis(ms)).collect()
    }

    fn report(rows: Vec<Row>) -> Report {
        let measured = Measured {
            world: "pocket".into(),
            weights: "abc".into(),
            compute: "f32".into(),
            size: "160x96".into(),
            window: 18,
            threads: 2,
        };
        Report {
            program: "causeway".into(),
            processor: "any".into(),
            measured,
            frames_a_chunk: 12,
            frames_a_second: 16,
            load_ms: 1.0,
            rows,
        }
    }

    #[test]
    fn a_row_is_the_median_the_slowest_twentieth_and_the_noise() {
        let row = Row::of("x", ms(&[5, 1, 3, 2, 4]));
        assert_eq!((row.count, row.median_ms, row.p95_ms), (5, 3.0, 4.8));
        assert!((row.noise_ms - 2.7 * 2.0 / 5f64.sqrt()).abs() < 1e-9, "{row:?}");
        let one = Row::of("x", ms(&[7]));
        assert_eq!((one.median_ms, one.p95_ms, one.noise_ms), (7.0, 7.0, 0.0));
    }

    #[test]
    fn slower_is_what_lies_outside_of_the_noise_of_both_runs() {
        let check = |before: &[u64], now: &[u64], expected: Change| {
            assert_eq!(Row::of("x", ms(now)).change(&Row::of("x", ms(before))), expected, "{before:?} {now:?}");
        };
        check(&[10, 10, 10, 10], &[12, 12, 12, 12], Change::Slower);
        check(&[12, 12, 12, 12], &[10, 10, 10, 10], Change::Faster);
        check(&[10, 10, 10, 10], &[10, 10, 10, 10], Change::None);
        check(&[8, 10, 12, 14], &[9, 11, 13, 15], Change::None);
    }

    #[test]
    fn a_report_is_read_again_and_compared_only_with_one_of_the_same() {
        let before = report(vec![Row::of("chunk", ms(&[10, 10, 10])), Row::of("gone", ms(&[1]))]);
        let json = serde_json::to_string(&before).expect("a report");
        assert_eq!(Report::from_json(&json).expect("a report"), before);
        assert!(Report::from_json("{}").is_err());
        let now = report(vec![Row::of("chunk", ms(&[12, 12, 12])), Row::of("new", ms(&[1]))]);
        let comparison = now.since(&before).expect("of the same");
        assert!(comparison.is_slower());
        let told = comparison.to_string();
        assert!(told.contains("+20.0 %  slower") && !told.contains("gone") && !told.contains("new"), "{told}");
        assert!(!before.since(&now).expect("of the same").is_slower());
        let mut other = now.clone();
        other.measured.size = "320x192".into();
        let refused = other.since(&before).expect_err("another size").to_string();
        assert!(refused.contains("160x96") && refused.contains("320x192"), "{refused}");
    }
}
