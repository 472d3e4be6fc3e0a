//! What a load run found: numbers for JSON, and a table.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::measures::{Chunk, Samples, Seen};
use super::plan::Plan;
use crate::offline::machine::Machine;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The program that measured: version, commit, features.
    pub program: String,
    /// When it began, in UTC.
    pub began: String,
    /// The machine of the clients.
    pub machine: Machine,
    /// Threads that ran there before the run, and at its end.
    pub busy_threads: [Option<f64>; 2],
    /// What was asked for.
    pub plan: Plan,
    /// In the order in which they were played.
    pub rounds: Vec<Round>,
}

/// So many clients, all at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Clients.
    pub clients: usize,
    /// Whether every client played to the end, and enough frames were on time.
    pub holds: bool,
    /// Chunks that came whole.
    pub chunks: u64,
    /// Frames in all.
    pub frames: u64,
    /// Bytes of messages and payloads.
    pub bytes: u64,
    /// From the first client's first message to the last one's end.
    pub took_ms: f64,
    /// Why clients ended before their time, and how many did.
    pub failures: BTreeMap<String, usize>,
    /// What a player with each buffer saw, ascending.
    pub deadlines: Vec<Deadline>,
    /// Actions that were sent and that no frame answered.
    pub unanswered: u64,
    /// In the order of a session; without those that nothing was measured of.
    pub measures: Vec<Measure>,
    /// The chunks of the first clients, while there is room for them in a picture.
    pub timeline: Vec<Vec<Chunk>>,
}

/// What players saw that began so long after the first frame.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Deadline {
    /// The buffer.
    pub buffer_ms: u32,
    /// Frames on time, of 100.
    pub on_time: f64,
    /// How often a player had nothing to show.
    pub underruns: u64,
    /// How long, in all.
    pub waited_ms: f64,
}

/// One kind of time: of all clients of a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Which.
    pub name: String,
    /// How often.
    pub count: usize,
    /// Half are longer.
    pub p50_ms: f64,
    /// One in twenty is longer.
    pub p95_ms: f64,
    /// One in a hundred is longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Where the first bin begins.
    pub bins_from_ms: f64,
    /// How wide each is.
    pub bin_ms: f64,
    /// How many are in each; the last holds those beyond it too.
    pub bins: Vec<u32>,
}

/// As many rows and chunks in a row as a picture shows.
const TIMELINE_CLIENTS: usize = 24;
const TIMELINE_CHUNKS: usize = 400;

/// Of a histogram.
const BINS: usize = 48;

impl Measure {
    /// `None` of no samples.
    pub fn of(name: &str, mut samples: Vec<f64>) -> Option<Measure> {
        samples.sort_by(f64::total_cmp);
        let max_ms = *samples.last()?;
        // The smallest value that this share of all values does not exceed.
        let at = |share: f64| samples[((share * samples.len() as f64).ceil() as usize).clamp(1, samples.len()) - 1];
        // The longest of a thousand would squeeze the others into one bin.
        let (from, to) = (samples[0], at(0.995).max(at(0.5) * 1.01));
        let bin_ms = ((to - from) / BINS as f64).max(1e-3);
        let mut bins = vec![0; BINS];
        for sample in &samples {
            bins[(((sample - from) / bin_ms) as usize).min(BINS - 1)] += 1;
        }
        Some(Measure {
            name: name.to_owned(),
            count: samples.len(),
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            max_ms,
            bins_from_ms: from,
            bin_ms,
            bins,
        })
    }
}

impl Round {
    /// Of what its clients saw, each with the reason if it ended before its time.
    pub fn of(plan: &Plan, clients: Vec<(Seen, Option<String>)>, took_ms: f64) -> Round {
        let buffers = plan.buffers_ms();
        let mut round = Round {
            clients: clients.len(),
            holds: false,
            chunks: 0,
            frames: 0,
            bytes: 0,
            took_ms,
            failures: BTreeMap::new(),
            deadlines: Vec::new(),
            unanswered: 0,
            measures: Vec::new(),
            timeline: Vec::new(),
        };
        let (mut samples, mut late) = (Samples::default(), vec![(0, 0.0); buffers.len()]);
        for (mut seen, failure) in clients {
            round.chunks += seen.chunks.len() as u64;
            round.frames += seen.frames;
            round.bytes += seen.bytes;
            round.unanswered += seen.unanswered;
            if let Some(reason) = failure {
                *round.failures.entry(reason).or_default() += 1;
            }
            // The first player has the plan's own buffer, for the chunks that are late.
            for ((underruns, waited), player) in late.iter_mut().zip(&seen.players[1..]) {
                *underruns += player.underruns;
                *waited += 1000.0 * player.waited.as_secs_f64();
            }
            samples.append(seen.samples);
            if round.timeline.len() < TIMELINE_CLIENTS {
                seen.chunks.truncate(TIMELINE_CHUNKS);
                round.timeline.push(seen.chunks);
            }
        }
        let deadline = |(buffer_ms, (underruns, waited_ms))| Deadline {
            buffer_ms,
            on_time: 100.0 * (1.0 - underruns as f64 / round.frames.max(1) as f64),
            underruns,
            waited_ms,
        };
        round.deadlines = buffers.into_iter().zip(late).map(deadline).collect();
        let Samples { first_frame, interval, jitter, latency, delivery, action } = samples;
        let measures = [
            ("first frame", first_frame),
            ("chunk interval", interval),
            ("chunk jitter", jitter),
            ("chunk latency", latency),
            ("chunk delivery", delivery),
            ("action to frame", action),
        ];
        round.measures = measures.into_iter().filter_map(|(name, samples)| Measure::of(name, samples)).collect();
        round.holds = round.holds_at(plan.buffer_ms, plan.share);
        round
    }

    /// Whether every client played to the end and so many of 100 frames were on time.
    pub fn holds_at(&self, buffer_ms: u32, share: f64) -> bool {
        let deadline = self.deadlines.iter().find(|deadline| deadline.buffer_ms == buffer_ms);
        self.failures.is_empty() && self.frames > 0 && deadline.is_some_and(|deadline| deadline.on_time >= share)
    }

    /// By its name.
    pub fn measure(&self, name: &str) -> Option<&Measure> {
        self.measures.iter().find(|measure| measure.name == name)
    }
}

impl Report {
    /// The most clients of a round that held with this buffer; 0 if none did.
    pub fn held_at(&self, buffer_ms: u32) -> usize {
        let holding = self.rounds.iter().filter(|round| round.holds_at(buffer_ms, self.plan.share));
        holding.map(|round| round.clients).max().unwrap_or_default()
    }

    /// The round to look at: the largest that held; the smallest where none did.
    pub fn knee(&self) -> Option<&Round> {
        let holding = self.rounds.iter().filter(|round| round.holds).max_by_key(|round| round.clients);
        holding.or_else(|| self.rounds.iter().min_by_key(|round| round.clients))
    }

    /// Every client of every round played to the end. A ramp goes on until one does not.
    pub fn is_whole(&self) -> bool {
        self.plan.ramp.is_some() || self.rounds.iter().all(|round| round.failures.is_empty())
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = (self.took_ms / 1000.0).max(f64::MIN_POSITIVE);
        let rate = |count: u64| count as f64 / seconds;
        writeln!(f, "clients {}: {} chunks, {} frames in {seconds:.1} s", self.clients, self.chunks, self.frames)?;
        writeln!(f, "{:.1} frames/s and {:.2} MB/s in all\n", rate(self.frames), rate(self.bytes) / 1e6)?;
        writeln!(f, "{:16} {:>7} {:>12} {:>12} {:>12} {:>12}", "", "count", "p50", "p95", "p99", "worst")?;
        for Measure { name, count, p50_ms, p95_ms, p99_ms, max_ms, .. } in &self.measures {
            writeln!(f, "{name:16} {count:7} {p50_ms:9.1} ms {p95_ms:9.1} ms {p99_ms:9.1} ms {max_ms:9.1} ms")?;
        }
        writeln!(f, "\n{:16} {:>12} {:>10} {:>12}", "in hand", "on time", "underruns", "waited")?;
        for Deadline { buffer_ms, on_time, underruns, waited_ms } in &self.deadlines {
            writeln!(f, "{buffer_ms:13} ms {on_time:10.3} % {underruns:10} {waited_ms:9.0} ms")?;
        }
        if self.unanswered > 0 {
            writeln!(f, "\nactions that no frame answered: {}", self.unanswered)?;
        }
        for (reason, count) in &self.failures {
            writeln!(f, "\nclients that ended early: {count} of {}: {reason}", self.clients)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { program, began, machine, busy_threads, plan, rounds } = self;
        let [before, after] = busy_threads.map(|threads| threads.map_or("?".to_owned(), |threads| threads.to_string()));
        writeln!(f, "{program}, {began}\n{machine}, busy threads {before} before and {after} after\n{plan}\n")?;
        if plan.ramp.is_some() {
            writeln!(f, "{:>8} {:>12} {:>14}   holds", "clients", "on time", "action p95")?;
            for round in rounds {
                let on_time = round.deadlines.iter().find(|deadline| deadline.buffer_ms == plan.buffer_ms);
                let on_time = on_time.map_or(0.0, |deadline| deadline.on_time);
                let action = round.measure("action to frame").map_or("-".to_owned(), |m| format!("{:.1} ms", m.p95_ms));
                let holds = if round.holds { "yes" } else { "no" };
                writeln!(f, "{:8} {on_time:10.3} % {action:>14}   {holds}", round.clients)?;
            }
            let held = self.held_at(plan.buffer_ms);
            writeln!(
                f,
                "\nclients that hold: {held}, with {} % of their frames within {} ms of when they are due\n",
                plan.share, plan.buffer_ms
            )?;
        }
        self.knee().map_or(Ok(()), |round| write!(f, "{round}"))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pace = if self.is_paced { "paced" } else { "free" };
        write!(f, "{} for {} s, {}, {pace}, {} frames a second", self.url, self.seconds, self.format, self.fps)?;
        let size = self.size.iter().map(|size| format!("size {size}"));
        let quality = self.quality.iter().map(|quality| format!("quality {quality}"));
        let idle = (self.idle > 0).then(|| format!("{} idle connections", self.idle));
        let rest = [
            format!("actions {} every {} ms", self.actions, self.actions_ms),
            format!("seed {}", self.seed),
            format!("prompt {:?}", self.prompt),
        ];
        let note = self.note.clone();
        size.chain(quality).chain(idle).chain(rest).chain(note).try_for_each(|word| write!(f, ", {word}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_smallest_value_that_enough_do_not_exceed() {
        let hundred = Measure::of("x", (1..=100).rev().map(f64::from).collect()).expect("samples");
        assert_eq!((hundred.count, hundred.p50_ms, hundred.p95_ms, hundred.p99_ms), (100, 50.0, 95.0, 99.0));
        assert_eq!(hundred.max_ms, 100.0);
        assert_eq!(hundred.bins.iter().sum::<u32>(), 100);
        assert_eq!(Measure::of("x", vec![]), None);
        let one = Measure::of("x", vec![7.0]).expect("a sample");
        assert_eq!((one.p50_ms, one.p99_ms, one.bins[0]), (7.0, 7.0, 1));
    }

    #[test]
    fn one_that_is_far_away_does_not_squeeze_the_others_into_one_bin() {
        let mut samples: Vec<f64> = (0..1000).map(|number| 100.0 + f64::from(number % 48)).collect();
        samples.push(60_000.0);
        let measure = Measure::of("x", samples).expect("samples");
        assert!(measure.bins.iter().filter(|&&count| count > 0).count() > 40, "{measure:?}");
        assert_eq!(measure.bins.iter().sum::<u32>(), 1001);
    }
}
