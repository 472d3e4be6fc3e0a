//! The observer: one call for each event of the server, and the values that outsiders may see.
//!
//! The calls for a chunk are a few atomic additions. Locks are taken only when a session begins or ends, or an error
//! is sent.
//!
//! Over 400 lines: every event of the server is one short method here, and one list of them is what a reader looks for.

pub(crate) mod costs;
pub(crate) mod jobs;
pub mod log;
pub(crate) mod metrics;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod profile;
pub(crate) mod trace;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dashmap::DashMap;
use pipeline::world::{ChunkPlan, Size, Timings};
use serde_json::{Value, json};

use self::costs::{Costs, Sums};
use self::jobs::{JOB_STAGES, JobKind, JobOutcome};
use self::metrics::Metrics;
use self::trace::{Slice, Trace, Track};

pub(crate) struct Observer {
    pub(crate) metrics: Metrics,
    pub(crate) trace: Option<Trace>,
    pub(crate) started: Instant,
    /// Since 1970.
    pub(crate) started_unix: Duration,
    /// Bytes that each open rollout was admitted with.
    rollouts: Mutex<BTreeMap<u64, u64>>,
    opening: AtomicUsize,
    running: DashMap<String, Arc<LiveSession>>,
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Observer {
    /// `denials` are the reasons that [`Observer::denied`] may be told: each is counted from zero.
    pub(crate) fn new(trace: Option<Trace>, denials: &'static [&'static str]) -> Observer {
        Observer {
            metrics: Metrics::new(denials),
            trace,
            started: Instant::now(),
            started_unix: since_1970(),
            rollouts: Mutex::default(),
            opening: AtomicUsize::new(0),
            running: DashMap::new(),
        }
    }

    /// A session is opening, until the returned value is dropped.
    pub(crate) fn opening(&self) -> OpeningCount<'_> {
        self.opening.fetch_add(1, Ordering::Relaxed);
        OpeningCount(&self.opening)
    }

    /// A session was admitted after this wait.
    pub(crate) fn placed(&self, waited: Duration) {
        self.metrics.queue_wait.observe(waited);
    }

    /// A session was not admitted.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.metrics.refused.add(reason);
    }

    /// A guardrail blocked a prompt.
    pub(crate) fn blocked(&self, guardrail: &'static str) {
        self.metrics.blocked.add(guardrail);
    }

    pub(crate) fn rollout_opened(&self, seat: u64, bytes: u64) {
        self.rollouts.lock().expect("nothing panics under this lock").insert(seat, bytes);
    }

    pub(crate) fn rollout_closed(&self, seat: u64) {
        self.rollouts.lock().expect("nothing panics under this lock").remove(&seat);
    }

    /// The engine has drawn a chunk: `sampled` parts the sampling from the drawing.
    pub(crate) fn generated(&self, seat: u64, plan: &ChunkPlan, began: Instant, sampled: Instant, world: &Timings) {
        let ended = Instant::now();
        let stages = &self.metrics.stages;
        stages.sample.observe(sampled - began);
        // Zero where the prompt did not change: that is no encoding that took no time.
        if !world.text.is_zero() {
            stages.text.observe(world.text);
        }
        stages.dit.observe(world.dit);
        stages.vae.observe(world.vae);
        let Some(trace) = &self.trace else { return };
        let slice = |name, began, took| {
            trace.slice(Slice { track: Track::Engine, name, began, took, seat, chunk: plan.index });
        };
        slice("chunk", began, ended - began);
        slice("sample", began, sampled - began);
        // The world says how long, not when: one after the other, as they run. A first chunk's text was encoded when
        // its rollout was opened, and shows as what is left of the chunk's time.
        let drawing = ended - sampled;
        let dit = world.dit.min(drawing);
        let vae = world.vae.min(drawing - dit);
        let text = world.text.min(drawing - dit - vae);
        for (name, began, took) in
            [("text", sampled, text), ("dit", sampled + text, dit), ("vae", sampled + text + dit, vae)]
        {
            if !took.is_zero() {
                slice(name, began, took);
            }
        }
    }

    /// A chunk was drawn in fewer steps than most, or begun again, for a person who waited.
    pub(crate) fn hurried(&self, quick: bool, begun_again: bool) {
        self.metrics.quick.add(u64::from(quick));
        self.metrics.begun_again.add(u64::from(begun_again));
    }

    /// An error with this code was sent to a client.
    pub(crate) fn told(&self, code: &'static str) {
        self.metrics.errors.add(code);
    }

    /// Work of this kind has ended like this.
    pub(crate) fn job_ended(&self, kind: JobKind, outcome: JobOutcome) {
        self.metrics.jobs.of(kind, outcome).add(1);
    }

    /// Work was drawn, in these seconds of each stage.
    pub(crate) fn job_drawn(&self, stages: [(&'static str, f64); JOB_STAGES.len()]) {
        for ((_, seconds), histogram) in stages.into_iter().zip(&self.metrics.jobs.stages) {
            histogram.observe(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        }
    }

    /// One output of such work was drawn and encoded: from its turn on, for this long.
    pub(crate) fn output_drawn(&self, output: usize, began: Instant) {
        if let Some(trace) = &self.trace {
            trace.slice(Slice {
                track: Track::Clips,
                name: "clip",
                began,
                took: began.elapsed(),
                seat: 0,
                chunk: output,
            });
        }
    }

    /// A client left before it was answered, and its work was cancelled.
    pub(crate) fn request_cancelled(&self) {
        self.metrics.jobs.requests_cancelled.add(1);
    }

    /// A client was denied, for this reason.
    pub(crate) fn denied(&self, reason: &'static str) {
        self.metrics.denied.add(reason);
    }

    /// A connection was closed with this code and reason; `None`: the client left, or was lost.
    pub(crate) fn closed(&self, close: Option<(u16, &'static str)>) {
        self.metrics.closes.add(close.unwrap_or((1006, "client left")));
    }

    /// A client was disconnected for its behaviour.
    pub(crate) fn dropped(&self, why: Dropped) {
        let drops = &self.metrics.drops;
        let counter = match why {
            Dropped::Flood => &drops.flood,
            Dropped::Keepalive => &drops.keepalive,
            Dropped::TooBig => &drops.too_big,
            Dropped::HeaderDeadline => &drops.header_deadline,
            Dropped::WriteDeadline => &drops.write_deadline,
        };
        counter.add(1);
    }

    /// A session runs, until the returned value is dropped.
    pub(crate) fn session(self: &Arc<Self>, id: &str, seat: u64, facts: Facts) -> Listed {
        self.metrics.sessions.add(1);
        if let Some(trace) = &self.trace {
            trace.name(Track::Encode { seat }, format!("session {id}: encode"));
            trace.name(Track::Write { seat }, format!("session {id}: write"));
        }
        let session = Arc::new(LiveSession {
            observer: Arc::clone(self),
            seat,
            started: Instant::now(),
            started_unix: since_1970().as_secs(),
            shown_until: Mutex::new(None),
            away: AtomicBool::new(false),
            format: Mutex::new(facts.format),
            size: Mutex::new(facts.size),
            facts,
            chunks: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            last_chunk_ms: AtomicU64::new(0),
            kept_bytes: AtomicU64::new(0),
        });
        self.running.insert(id.to_owned(), Arc::clone(&session));
        Listed { id: id.to_owned(), session }
    }

    /// `(opening, running)`
    pub(crate) fn sessions(&self) -> (usize, usize) {
        (self.opening.load(Ordering::Relaxed), self.running.len())
    }

    pub(crate) fn rollout_bytes(&self) -> u64 {
        self.rollouts.lock().expect("nothing panics under this lock").values().sum()
    }

    /// Bytes of all backlogs.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.running.iter().map(|session| session.kept_bytes.load(Ordering::Relaxed)).sum()
    }

    /// The running sessions, oldest first.
    pub(crate) fn directory(&self) -> Vec<Value> {
        let mut sessions: Vec<_> =
            self.running.iter().map(|entry| (entry.key().clone(), Arc::clone(entry.value()))).collect();
        sessions.sort_by_key(|(_, session)| session.started);
        let rollouts = self.rollouts.lock().expect("nothing panics under this lock");
        sessions.iter().map(|(id, session)| session.line(id, rollouts.get(&session.seat).copied())).collect()
    }
}

/// A session's settings that outsiders may see.
pub(crate) struct Facts {
    /// What its first chunk is sent as, by the encoding's name on the wire.
    pub(crate) format: &'static str,
    /// Width and height of the video as it is drawn.
    pub(crate) size: Size,
    /// Video frames per second.
    pub(crate) fps: u32,
    /// Whether chunks are held back until those before them have been shown.
    pub(crate) paced: bool,
}

/// Why a client was disconnected for its behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// Too many invalid messages.
    Flood,
    /// No answer to a ping in time.
    Keepalive,
    /// A message longer than the server takes.
    TooBig,
    /// No request in time.
    HeaderDeadline,
    /// A message not received in time.
    WriteDeadline,
}

pub(crate) struct OpeningCount<'a>(&'a AtomicUsize);

impl Drop for OpeningCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A running session, as seen from outside. Plain data: no rollout lives here.
pub(crate) struct LiveSession {
    observer: Arc<Observer>,
    seat: u64,
    facts: Facts,
    /// Of the video that it draws now.
    size: Mutex<Size>,
    started: Instant,
    started_unix: u64,
    /// When a player at the session's rate will have shown all frames sent. Locked by this session's task alone, so
    /// never waited for.
    shown_until: Mutex<Option<Instant>>,
    /// Its client was lost, and may come back.
    away: AtomicBool,
    /// What the last chunk was sent as, by the encoding's name on the wire.
    format: Mutex<&'static str>,
    chunks: AtomicU64,
    frames: AtomicU64,
    sent_bytes: AtomicU64,
    last_chunk_ms: AtomicU64,
    /// Bytes of the backlog.
    kept_bytes: AtomicU64,
}

/// Takes a session off the list when it ends, however it ends.
pub(crate) struct Listed {
    id: String,
    pub(crate) session: Arc<LiveSession>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.session.observer.running.remove(&self.id);
    }
}

impl LiveSession {
    /// Its next video has frames of this size.
    pub(crate) fn resized(&self, size: Size) {
        *self.size.lock().expect("nothing panics under this lock") = size;
    }

    /// A chunk is sent now, after it was held back for this time.
    pub(crate) fn sending(&self, frames: usize, pace_wait: Duration, now: Instant) {
        let shown_for = Duration::from_secs_f64(frames as f64 / f64::from(self.facts.fps));
        let mut shown_until = self.shown_until.lock().expect("nothing panics under this lock");
        // A chunk that was held back is in time: the pace sends it exactly when the one before has been shown.
        let ran_dry = pace_wait.is_zero() && shown_until.is_some_and(|end| end < now);
        // A paced session restarts its clock with every chunk; a free one runs ahead.
        let begins = if self.facts.paced { now } else { shown_until.map_or(now, |end| end.max(now)) };
        *shown_until = Some(begins + shown_for);
        if ran_dry {
            self.observer.metrics.underruns.add(1);
            self.observer.metrics.deadline_misses.add(u64::from(self.facts.paced));
        }
    }

    pub(crate) fn away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    pub(crate) fn encoded(&self, chunk: usize, began: Instant) {
        let took = began.elapsed();
        self.observer.metrics.stages.encode.observe(took);
        self.slice(Track::Encode { seat: self.seat }, "encode", chunk, began, took);
    }

    pub(crate) fn written(&self, chunk: usize, began: Instant) {
        let took = began.elapsed();
        self.observer.metrics.stages.write.observe(took);
        self.slice(Track::Write { seat: self.seat }, "write", chunk, began, took);
    }

    /// The first frame that an event changed is written, this long after the event came.
    pub(crate) fn showed(&self, took: Duration) {
        self.observer.metrics.action.observe(took);
    }

    fn slice(&self, track: Track, name: &'static str, chunk: usize, began: Instant, took: Duration) {
        if let Some(trace) = &self.observer.trace {
            trace.slice(Slice { track, name, began, took, seat: self.seat, chunk });
        }
    }

    /// A chunk was handed to the socket completely, in this format.
    pub(crate) fn sent(&self, format: &'static str, (costs, sums): (&Costs, &Sums), kept_bytes: usize) {
        *self.format.lock().expect("nothing panics under this lock") = format;
        self.kept_bytes.store(kept_bytes as u64, Ordering::Relaxed);
        self.observer.metrics.chunk.observe(costs.total);
        self.observer.metrics.stages.serve.observe(costs.serve);
        let sent = self.observer.metrics.sent(format);
        sent.frames.add(sums.frames as u64);
        sent.bytes.add(sums.socket_bytes);
        self.chunks.fetch_add(1, Ordering::Relaxed);
        self.frames.fetch_add(sums.frames as u64, Ordering::Relaxed);
        self.sent_bytes.fetch_add(sums.socket_bytes, Ordering::Relaxed);
        self.last_chunk_ms.store(costs.total.as_millis() as u64, Ordering::Relaxed);
        let span = tracing::Span::current();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        span.record("sample_ms", ms(costs.prepare));
        span.record("text_ms", ms(costs.world.text));
        span.record("dit_ms", ms(costs.world.dit));
        span.record("vae_ms", ms(costs.world.vae));
        span.record("encode_ms", ms(costs.encode));
        span.record("write_ms", ms(costs.header_write + costs.payload_write));
        span.record("total_ms", ms(costs.total));
    }

    fn line(&self, id: &str, memory_bytes: Option<u64>) -> Value {
        let chunks = self.chunks.load(Ordering::Relaxed);
        json!({
            "session_id": id,
            "seat": self.seat,
            "started_unix": self.started_unix,
            "age_s": self.started.elapsed().as_secs_f64(),
            "size": self.size.lock().expect("nothing panics under this lock").to_string(),
            "format": *self.format.lock().expect("nothing panics under this lock"),
            "fps": self.facts.fps,
            "paced": self.facts.paced,
            "away": self.away.load(Ordering::Relaxed),
            "chunks": chunks,
            "last_chunk_ms": (chunks > 0).then(|| self.last_chunk_ms.load(Ordering::Relaxed)),
            "frames": self.frames.load(Ordering::Relaxed),
            "sent_bytes": self.sent_bytes.load(Ordering::Relaxed),
            "memory_bytes": memory_bytes,
        })
    }
}

/// Around the delivery of a chunk, inside its session's span. The times are filled in when it has been sent.
pub(crate) fn chunk_span(index: usize) -> tracing::Span {
    use tracing::field::Empty;
    tracing::debug_span!(
        "chunk",
        index,
        sample_ms = Empty,
        text_ms = Empty,
        dit_ms = Empty,
        vae_ms = Empty,
        encode_ms = Empty,
        write_ms = Empty,
        total_ms = Empty,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observer() -> Arc<Observer> {
        Arc::new(Observer::new(None, &[]))
    }

    fn facts(width: u32, height: u32, paced: bool) -> Facts {
        Facts { format: "raw", size: Size { width, height }, fps: 10, paced }
    }

    /// Chunks of a second, each sent at a time in milliseconds after it was held back: `(misses, underruns)`.
    fn late(paced: bool, chunks: &[(u64, u64)]) -> (u64, u64) {
        let observer = observer();
        let listed = observer.session("s", 0, facts(1, 1, paced));
        let start = Instant::now();
        for &(at, held) in chunks {
            listed.session.sending(10, Duration::from_millis(held), start + Duration::from_millis(at));
        }
        (observer.metrics.deadline_misses.get(), observer.metrics.underruns.get())
    }

    #[test]
    fn a_paced_chunk_that_was_held_back_is_in_time_and_one_drawn_too_late_is_not() {
        assert_eq!(late(true, &[(500, 0), (1501, 300), (2502, 10)]), (0, 0));
        assert_eq!(late(true, &[(0, 0), (1200, 0), (2201, 100), (3300, 0)]), (2, 2));
        // For a new event, before it was due.
        assert_eq!(late(true, &[(0, 0), (400, 0), (1401, 500)]), (0, 0));
    }

    #[test]
    fn a_free_session_runs_dry_when_it_has_used_up_its_lead() {
        assert_eq!(late(false, &[(0, 0), (100, 0), (200, 0), (2900, 0)]), (0, 0));
        assert_eq!(late(false, &[(0, 0), (100, 0), (2100, 0), (3200, 0)]), (0, 2));
    }

    #[test]
    fn a_session_is_listed_while_it_runs() {
        let observer = observer();
        let listed = observer.session("s", 3, facts(16, 9, false));
        observer.rollout_opened(3, 1000);
        let line = observer.directory().remove(0);
        assert_eq!((&line["session_id"], &line["size"]), (&json!("s"), &json!("16x9")));
        assert_eq!((&line["memory_bytes"], &line["last_chunk_ms"]), (&json!(1000), &Value::Null));
        drop(listed);
        observer.rollout_closed(3);
        assert_eq!((observer.directory().len(), observer.rollout_bytes()), (0, 0));
    }
}
