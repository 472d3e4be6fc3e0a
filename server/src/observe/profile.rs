//! The profile of one request, as a file for Perfetto: what each step and its parts took.
//!
//! A recorder belongs to a request. It is no switch of the process, so several requests are profiled at once and do not
//! mix. The first step, which warms caches up, is not in a profile of steps; the reference leaves it out, too.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use flate2::Compression;
use flate2::write::GzEncoder;
use pipeline::world::{Span, Spans};
use serde_json::{Value, json};

use crate::whole_file::{Existing, WholeFile};

/// Which part of a request is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profiled {
    /// So many steps from step 1 on, with their parts. If the request has no more, also what comes after its last step.
    Steps(usize),
    /// Every step but the first, and what comes after the last one.
    AllSteps,
    /// Everything from the queue to the file, without the steps as such.
    AllStages,
}

/// What a client asks for that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("num_profiled_timesteps is {0}; it must be 1 or more, or -1 for all")]
pub struct WrongCount(pub i64);

/// Steps, where a client says no number.
pub const STEPS: i64 = 5;

impl Profiled {
    /// By a request's two fields.
    pub fn new(steps: i64, all_stages: bool) -> Result<Profiled, WrongCount> {
        match steps {
            -1 | 1.. if all_stages => Ok(Profiled::AllStages),
            -1 => Ok(Profiled::AllSteps),
            1.. => Ok(Profiled::Steps(steps as usize)),
            _ => Err(WrongCount(steps)),
        }
    }

    /// The name of the file, for a request that had `steps` steps.
    fn file_name(self, id: &str, steps: usize) -> String {
        match self {
            Profiled::Steps(count) => format!("{id}-{count}_steps-global-rank0.trace.json.gz"),
            Profiled::AllSteps => format!("{id}-{steps}_steps-global-rank0.trace.json.gz"),
            Profiled::AllStages => format!("{id}-full_stages-global-rank0.trace.json.gz"),
        }
    }

    /// The spans that are kept, of all that were taken.
    fn choose(self, spans: Vec<Span>) -> Vec<Span> {
        let steps = spans.iter().filter(|span| span.is_step);
        let over = steps.clone().map(|span| span.began + span.took).max();
        let count = steps.count();
        let keep = |span: &Span| {
            let last = match self {
                Profiled::AllStages => return !span.is_step,
                Profiled::Steps(last) => last,
                Profiled::AllSteps => usize::MAX,
            };
            match span.step {
                Some(step) => (1..=last).contains(&step),
                None => last >= count && over.is_some_and(|over| span.began >= over),
            }
        };
        spans.into_iter().filter(keep).collect()
    }
}

/// Takes what one request's parts took.
pub struct Recorder {
    profiled: Profiled,
    /// For the world, and for the stages around it.
    spans: Spans,
    began: Instant,
}

impl Recorder {
    /// A request that begins now.
    pub fn new(profiled: Profiled) -> Recorder {
        Recorder { profiled, spans: Spans::recording(), began: Instant::now() }
    }

    /// Where the world and the stages around it put their spans.
    pub fn spans(&self) -> &Spans {
        &self.spans
    }

    /// The request is over: write its file into `folder`, which is made if it is not there. → the file's name.
    pub fn finish(self, folder: &Path, id: &str) -> anyhow::Result<String> {
        let Recorder { profiled, spans, began } = self;
        if profiled == Profiled::AllStages {
            spans.add("request", began, began.elapsed());
        }
        let spans = spans.take();
        let steps = spans.iter().filter(|span| span.is_step).count();
        let name = profiled.file_name(id, steps);
        let trace = trace(&name, &profiled.choose(spans), began);
        let path = folder.join(&name);
        write(&path, &trace).with_context(|| format!("the profile {}", path.display()))?;
        Ok(name)
    }
}

fn write(path: &Path, trace: &Value) -> anyhow::Result<()> {
    std::fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    serde_json::to_writer(&mut gzip, trace)?;
    let bytes = gzip.finish()?;
    let mut file = WholeFile::create(path, Existing::Replace)?;
    file.write_all(&bytes)?;
    file.finish()
}

/// Chrome's trace format: <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>.
fn trace(name: &str, spans: &[Span], zero: Instant) -> Value {
    let pid = std::process::id();
    let events = spans.iter().map(|span| {
        json!({
            "ph": "X",
            "cat": if span.is_step { "step" } else { "part" },
            "name": span.name,
            "pid": pid,
            // Spans of one line are nested: what overlaps has a line of its own.
            "tid": u8::from(span.is_beside),
            "ts": microseconds(span.began.saturating_duration_since(zero)),
            "dur": microseconds(span.took),
            "args": span.step.map_or_else(|| json!({}), |step| json!({ "step": step })),
        })
    });
    json!({
        "schemaVersion": 1,
        "displayTimeUnit": "ms",
        "traceName": name,
        "traceEvents": events.collect::<Vec<_>>(),
    })
}

fn microseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::scratch::Scratch;

    /// A request of four steps: before them `encode`, in each `dit_forward`, after them `vae_frame0`.
    fn profile(profiled: Profiled) -> (String, Vec<String>) {
        let recorder = Recorder::new(profiled);
        let spans = recorder.spans().clone();
        drop(spans.begin(|| "encode".into()));
        for step in 0..4 {
            let _step = spans.begin_step(step);
            drop(spans.begin(|| "dit_forward".into()));
        }
        drop(spans.begin(|| "vae_frame0".into()));
        let scratch = Scratch::new();
        let name = recorder.finish(&scratch.path("profiles"), "video_7").expect("written");
        let file = std::fs::File::open(scratch.path("profiles").join(&name)).expect("there");
        let mut text = String::new();
        GzDecoder::new(file).read_to_string(&mut text).expect("one member of gzip");
        let trace: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&trace["traceName"], &trace["displayTimeUnit"]), (&json!(name), &json!("ms")));
        let events = trace["traceEvents"].as_array().expect("a list");
        assert!(events.iter().all(|event| event["ph"] == "X" && event["ts"].is_f64() && event["dur"].is_f64()));
        (name, events.iter().map(|event| event["name"].as_str().expect("text").to_owned()).collect())
    }

    #[test]
    fn a_profile_of_some_steps_has_exactly_those_and_not_the_first() {
        let (name, spans) = profile(Profiled::Steps(2));
        assert_eq!(name, "video_7-2_steps-global-rank0.trace.json.gz");
        assert_eq!(spans, ["ProfilerStep#1", "dit_forward", "ProfilerStep#2", "dit_forward"]);
    }

    #[test]
    fn a_profile_of_more_steps_than_there_are_ends_with_what_follows_them() {
        let rest = ["ProfilerStep#1", "dit_forward", "ProfilerStep#2", "dit_forward", "ProfilerStep#3", "dit_forward"];
        let rest = [&rest[..], &["vae_frame0"]].concat();
        assert_eq!(profile(Profiled::Steps(4)).1, rest);
        assert_eq!(profile(Profiled::Steps(3)).1, rest[..6], "three of four");
        let (name, spans) = profile(Profiled::AllSteps);
        assert_eq!(
            (name.as_str(), spans),
            ("video_7-4_steps-global-rank0.trace.json.gz", rest.iter().map(|name| name.to_string()).collect())
        );
    }

    #[test]
    fn a_profile_of_all_stages_has_everything_but_the_steps_as_such() {
        let (name, spans) = profile(Profiled::AllStages);
        assert_eq!(name, "video_7-full_stages-global-rank0.trace.json.gz");
        let forward = ["dit_forward"; 4];
        assert_eq!(spans, [&["request", "encode"][..], &forward, &["vae_frame0"]].concat());
    }

    #[test]
    fn a_count_of_steps_is_positive_or_minus_one() {
        assert_eq!(Profiled::new(STEPS, false), Ok(Profiled::Steps(5)));
        assert_eq!(Profiled::new(-1, false), Ok(Profiled::AllSteps));
        assert_eq!(Profiled::new(5, true), Ok(Profiled::AllStages));
        for wrong in [0, -2, i64::MIN] {
            assert_eq!(Profiled::new(wrong, false), Err(WrongCount(wrong)));
            assert_eq!(Profiled::new(wrong, true), Err(WrongCount(wrong)));
        }
    }
}
