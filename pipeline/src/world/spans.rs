//! Where the time of one clip goes, span by span: recorded by the world, if its client asked for a profile.
//!
//! A recorder belongs to one clip. Several clips may be recorded at the same time, and nothing of them mixes.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Spans of one clip at most: a hundred steps of a hundred layers in both branches, thirty times over. Further ones are
/// not kept.
const SPANS_MAX: usize = 1 << 20;

/// Takes the spans of one clip. The default takes none, and costs nothing.
#[derive(Clone, Default)]
pub struct Spans(Option<Arc<Mutex<Recorded>>>);

#[derive(Default)]
struct Recorded {
    spans: Vec<Span>,
    step: Option<usize>,
}

/// A piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What was done: `dit_forward`, `layer3`.
    pub name: String,
    /// The step that it is a part of, or that it is. `None`: before, after or between steps.
    pub step: Option<usize>,
    /// Is this the step itself?
    pub is_step: bool,
    /// Is it work beside the device's, which overlaps it?
    pub is_beside: bool,
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
}

/// What a span is to the steps of its clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Part,
    Step,
    Beside,
}

/// A span that ends when this is dropped.
#[must_use]
pub struct OpenSpan<'a> {
    spans: &'a Spans,
    name: String,
    kind: Kind,
    began: Option<Instant>,
}

impl Spans {
    /// A recorder that takes spans.
    pub fn recording() -> Spans {
        Spans(Some(Arc::default()))
    }

    /// Are spans taken?
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A span that begins now. Its name is only made if spans are taken.
    pub fn begin(&self, name: impl FnOnce() -> String) -> OpenSpan<'_> {
        self.open(name, Kind::Part)
    }

    /// As [`Spans::begin`], for work that goes on while the device works: it is no part of a step.
    pub fn begin_beside(&self, name: impl FnOnce() -> String) -> OpenSpan<'_> {
        self.open(name, Kind::Beside)
    }

    /// Step `index` of the clip, which begins now: a denoising step, or a chunk. Spans until its end are parts of it.
    pub fn begin_step(&self, index: usize) -> OpenSpan<'_> {
        if let Some(recorded) = &self.0 {
            recorded.lock().expect("nothing panics under this lock").step = Some(index);
        }
        self.open(|| format!("ProfilerStep#{index}"), Kind::Step)
    }

    /// A span that is over.
    pub fn add(&self, name: impl Into<String>, began: Instant, took: Duration) {
        self.push(name.into(), Kind::Part, began, took);
    }

    /// All spans so far, by their beginning. The recorder is empty afterwards.
    pub fn take(&self) -> Vec<Span> {
        let Some(recorded) = &self.0 else { return Vec::new() };
        let mut spans = std::mem::take(&mut recorded.lock().expect("nothing panics under this lock").spans);
        // Of two that begin together the longer one is around the other.
        spans.sort_by_key(|span| (span.began, std::cmp::Reverse(span.took)));
        spans
    }

    fn open(&self, name: impl FnOnce() -> String, kind: Kind) -> OpenSpan<'_> {
        let name = if self.is_on() { name() } else { String::new() };
        OpenSpan { spans: self, name, kind, began: self.is_on().then(Instant::now) }
    }

    fn push(&self, name: String, kind: Kind, began: Instant, took: Duration) {
        let Some(recorded) = &self.0 else { return };
        let mut recorded = recorded.lock().expect("nothing panics under this lock");
        let (is_step, is_beside) = (kind == Kind::Step, kind == Kind::Beside);
        let step = recorded.step.filter(|_| !is_beside);
        if recorded.spans.len() < SPANS_MAX {
            recorded.spans.push(Span { name, step, is_step, is_beside, began, took });
        }
        if is_step {
            recorded.step = None;
        }
    }
}

impl Drop for OpenSpan<'_> {
    fn drop(&mut self) {
        if let Some(began) = self.began {
            self.spans.push(std::mem::take(&mut self.name), self.kind, began, began.elapsed());
        }
    }
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Spans(on)" } else { "Spans(off)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_know_the_step_that_they_are_in() {
        let spans = Spans::recording();
        drop(spans.begin(|| "und".into()));
        for step in 0..2 {
            let _step = spans.begin_step(step);
            drop(spans.begin(|| "dit_forward".into()));
            drop(spans.begin_beside(|| "encode_mp4".into()));
        }
        let began = Instant::now();
        spans.add("vae_frame0", began, Duration::from_millis(3));
        let found: Vec<_> = spans.take().into_iter().map(|span| (span.name, span.step, span.is_step)).collect();
        let expected = [
            ("und", None, false),
            ("ProfilerStep#0", Some(0), true),
            ("dit_forward", Some(0), false),
            ("encode_mp4", None, false),
            ("ProfilerStep#1", Some(1), true),
            ("dit_forward", Some(1), false),
            ("encode_mp4", None, false),
            ("vae_frame0", None, false),
        ];
        assert_eq!(found, expected.map(|(name, step, is_step)| (name.to_owned(), step, is_step)));
        assert!(spans.take().is_empty());
    }

    #[test]
    fn a_recorder_that_is_off_makes_no_names_and_takes_nothing() {
        let spans = Spans::default();
        drop(spans.begin(|| unreachable!("nobody reads it")));
        drop(spans.begin_step(0));
        spans.add("vae_frame0", Instant::now(), Duration::ZERO);
        assert!(!spans.is_on() && spans.take().is_empty());
    }
}
