//! The server's metrics, and their text form for Prometheus.
//!
//! Events are counted where they happen, with atomics and no lock. Current values (sessions, connections,
//! memory) are read when the metrics are requested, so they cannot drift.
//!
//! Over 400 lines: each metric stands once in the counters and once in the text, and the two lists are read side by
//! side.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pipeline::world::DeviceMemoryUse;

use super::jobs::{JOB_STAGES, JobKind, JobOutcome};

/// The media type of the text.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All counters since the start.
#[derive(Default)]
pub(crate) struct Metrics {
    /// Sessions that began to run.
    pub(crate) sessions: Counter,
    /// Time from the init to admission.
    pub(crate) queue_wait: Histogram,
    /// Sessions that were not admitted, by obstacle.
    pub(crate) refused: Tally<&'static str>,
    /// Prompts that were blocked, by the guardrail that did.
    pub(crate) blocked: Tally<&'static str>,
    /// A chunk's time by stage.
    pub(crate) stages: Stages,
    /// From the sampling of the controls to the last byte written.
    pub(crate) chunk: Histogram,
    /// From an event to the first frame that it changed, written.
    pub(crate) action: Histogram,
    /// What went out, in the order of the formats.
    pub(crate) sent: [Sent; FORMATS.len()],
    /// Chunks that were drawn in fewer steps than most, for a person who waited.
    pub(crate) quick: Counter,
    /// Chunks that were begun again for an event that came while they were drawn.
    pub(crate) begun_again: Counter,
    /// Chunks of paced sessions that were drawn after they were due.
    pub(crate) deadline_misses: Counter,
    /// Chunks that were sent after all before them had been shown.
    pub(crate) underruns: Counter,
    /// Sessions that a client came back to.
    pub(crate) resumes: Counter,
    /// Sessions that went on at another server.
    pub(crate) moves: Counter,
    /// Sessions that came from one.
    pub(crate) arrivals: Counter,
    /// Chunks that viewers were not sent, because they had not taken those before.
    pub(crate) skipped: Counter,
    /// What was handed to the sockets of viewers.
    pub(crate) viewer_bytes: Counter,
    /// Clients that were sent away.
    pub(crate) drops: Drops,
    /// Errors that clients were told, by code.
    pub(crate) errors: Tally<&'static str>,
    /// By the reasons below.
    pub(crate) denied: Tally<&'static str>,
    /// All reasons, so that each counter exists before its first count.
    denials: &'static [&'static str],
    /// Clips and pictures asked for by HTTP.
    pub(crate) jobs: JobCounters,
    /// WebSockets that ended, by close code and reason.
    pub(crate) closes: Tally<(u16, &'static str)>,
}

const JOB_KINDS: [(JobKind, &str); 3] = [(JobKind::Video, "video"), (JobKind::Sync, "sync"), (JobKind::Image, "image")];

const JOB_OUTCOMES: [(JobOutcome, &str); 4] = [
    (JobOutcome::Completed, "completed"),
    (JobOutcome::Failed, "failed"),
    (JobOutcome::Cancelled, "cancelled"),
    (JobOutcome::Refused, "refused"),
];

/// What became of clips and pictures.
#[derive(Default)]
pub(crate) struct JobCounters {
    /// By kind, and how they ended.
    ended: [[Counter; JOB_OUTCOMES.len()]; JOB_KINDS.len()],
    /// In the order of [`JOB_STAGES`].
    pub(crate) stages: [Histogram; JOB_STAGES.len()],
    /// Clients that left before they were answered.
    pub(crate) requests_cancelled: Counter,
}

impl JobCounters {
    /// Work of this kind that ended like this.
    pub(crate) fn of(&self, kind: JobKind, outcome: JobOutcome) -> &Counter {
        let kind = JOB_KINDS.iter().position(|(known, _)| *known == kind).expect("every kind is listed");
        let outcome = JOB_OUTCOMES.iter().position(|(known, _)| *known == outcome).expect("every outcome is listed");
        &self.ended[kind][outcome]
    }
}

/// Where a chunk's time goes.
#[derive(Default)]
pub(crate) struct Stages {
    /// Sampling the controls.
    pub(crate) sample: Histogram,
    /// Encoding a new prompt.
    pub(crate) text: Histogram,
    /// Denoising.
    pub(crate) dit: Histogram,
    /// Decoding latent frames.
    pub(crate) vae: Histogram,
    /// Encoding the pictures.
    pub(crate) encode: Histogram,
    /// Handing them to the socket.
    pub(crate) write: Histogram,
    /// All of the server's own work on it between the world and the socket.
    pub(crate) serve: Histogram,
}

/// As the wire calls them, under `encoding`.
const FORMATS: [&str; 4] = ["raw", "webp", "jpeg", "h264"];

/// Output of one encoding.
#[derive(Default)]
pub(crate) struct Sent {
    /// Video frames.
    pub(crate) frames: Counter,
    /// Bytes of frames and their headers.
    pub(crate) bytes: Counter,
}

/// Clients disconnected for their behaviour.
#[derive(Default)]
pub(crate) struct Drops {
    /// Did not take a message in time.
    pub(crate) write_deadline: Counter,
    /// Sent too many invalid messages.
    pub(crate) flood: Counter,
    /// Did not answer a ping in time.
    pub(crate) keepalive: Counter,
    /// Did not send a request in time.
    pub(crate) header_deadline: Counter,
    /// Sent a message that was too long.
    pub(crate) too_big: Counter,
}

/// How it is with the cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClusterLevels {
    /// NATS takes this node's records.
    pub(crate) joined: bool,
    /// Nodes of the same world.
    pub(crate) nodes: usize,
    /// Tickets that wait, of all doors.
    pub(crate) waiting: usize,
    /// Places that this node has granted.
    pub(crate) grants: u64,
    /// Sessions that other nodes draw for clients of this one.
    pub(crate) relayed: usize,
}

/// Current gauge values.
pub(crate) struct Levels {
    /// The version that runs.
    pub(crate) version: &'static str,
    /// `None` while it loads.
    pub(crate) world: Option<String>,
    /// When the server started, since 1970.
    pub(crate) started_unix: Duration,
    /// Whether new sessions are taken.
    pub(crate) accepting: bool,
    /// WebSockets that are open.
    pub(crate) connections: usize,
    /// WebSockets that may be open.
    pub(crate) connections_max: usize,
    /// In the queue.
    pub(crate) waiting: usize,
    /// Sessions that may wait.
    pub(crate) queue_max: usize,
    /// Those who watch sessions, and what is held for them.
    pub(crate) viewers: (usize, u64),
    /// Viewers that there may be.
    pub(crate) viewers_max: usize,
    /// For a place or not.
    pub(crate) opening: usize,
    /// Sessions that run.
    pub(crate) running: usize,
    /// Sessions that may run.
    pub(crate) sessions_max: usize,
    /// Shares of the device's time.
    pub(crate) load: f64,
    /// The share that paced sessions may need.
    pub(crate) load_max: f64,
    /// Memory that open rollouts were admitted with.
    pub(crate) rollout_bytes: u64,
    /// Bytes that are kept for clients that resume.
    pub(crate) kept_bytes: u64,
    /// Of messages that have come, whole or in part, and are not handled.
    pub(crate) inbound_bytes: u64,
    /// Memory that all rollouts may hold.
    pub(crate) memory_bytes: u64,
    /// `None` where the system does not say.
    pub(crate) resident_bytes: Option<u64>,
    /// `None` where no GPU draws.
    pub(crate) device_memory: Option<DeviceMemoryUse>,
    /// Jobs by state: waiting, drawn, completed, failed.
    pub(crate) jobs: [(&'static str, usize); 4],
    /// Bytes of results.
    pub(crate) job_bytes: u64,
    /// `None` for a server that is in no cluster.
    pub(crate) cluster: Option<ClusterLevels>,
    /// Slices dropped by the trace; `None`: no trace is written.
    pub(crate) trace_lost: Option<u64>,
}

/// A number that only grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// So many more.
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// What it has come to.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts by label. Labels are constants of the program, so their number is bounded. For rare events: it takes a lock.
#[derive(Default)]
pub(crate) struct Tally<K>(Mutex<BTreeMap<K, u64>>);

impl<K: Ord + Copy> Tally<K> {
    /// One more of this.
    pub(crate) fn add(&self, key: K) {
        *self.0.lock().expect("nothing panics under this lock").entry(key).or_default() += 1;
    }

    fn of(&self, key: K) -> u64 {
        self.0.lock().expect("nothing panics under this lock").get(&key).copied().unwrap_or_default()
    }

    fn all(&self) -> Vec<(K, u64)> {
        self.0.lock().expect("nothing panics under this lock").iter().map(|(&key, &count)| (key, count)).collect()
    }
}

/// Upper bounds of the buckets in seconds: from a test card's chunk to one of a 14B model on a slow device, and a wait
/// in the queue.
const BOUNDS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Durations, sorted into buckets.
#[derive(Default)]
pub(crate) struct Histogram {
    /// Counts of each bucket, not cumulative. The last one is above every bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// One more duration.
    pub(crate) fn observe(&self, took: Duration) {
        let bucket = BOUNDS.partition_point(|&bound| bound < took.as_secs_f64());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Metrics {
    /// All zero. `denials` are the reasons for which clients may be denied.
    pub(crate) fn new(denials: &'static [&'static str]) -> Metrics {
        Metrics { denials, ..Metrics::default() }
    }

    /// What went out in this format of the wire.
    pub(crate) fn sent(&self, format: &str) -> &Sent {
        let place = FORMATS.iter().position(|&name| name == format).expect("a format of the wire");
        &self.sent[place]
    }

    /// The text that Prometheus scrapes.
    pub(crate) fn page(&self, levels: &Levels) -> String {
        let mut page = Page::default();
        page.gauge("causeway_build_info", "The version that runs; always 1.");
        page.sample(&[("version", levels.version)], 1);
        if let Some(world) = &levels.world {
            page.gauge("causeway_world_info", "The world that is loaded; always 1.");
            page.sample(&[("world", world)], 1);
        }
        page.gauge("process_start_time_seconds", "When the server started, in seconds since 1970.");
        page.sample(&[], levels.started_unix.as_secs_f64());
        page.gauge("causeway_ready", "1 while new sessions are taken, 0 while the world loads or the server stops.");
        page.sample(&[], u8::from(levels.accepting));

        page.gauge("causeway_connections", "WebSockets that are open.");
        page.sample(&[], levels.connections);
        page.gauge("causeway_connections_max", "WebSockets that may be open.");
        page.sample(&[], levels.connections_max);
        page.counter("causeway_connections_closed_total", "WebSockets that ended, by close code and reason.");
        for ((code, reason), count) in self.closes.all() {
            page.sample(&[("code", &code.to_string()), ("reason", reason)], count);
        }
        page.counter("causeway_drops_total", "Clients that were sent away, by what they did.");
        for (reason, count) in [
            ("write_deadline", &self.drops.write_deadline),
            ("flood", &self.drops.flood),
            ("keepalive", &self.drops.keepalive),
            ("too_big", &self.drops.too_big),
            ("header_deadline", &self.drops.header_deadline),
        ] {
            page.sample(&[("reason", reason)], count.get());
        }
        page.counter("causeway_errors_total", "Errors that clients were told, by code.");
        for (code, count) in self.errors.all() {
            page.sample(&[("code", code)], count);
        }

        page.counter(
            "causeway_denied_total",
            "Those who were not let in, by reason; wrong_too_often is throttled guessing.",
        );
        for &reason in self.denials {
            page.sample(&[("reason", reason)], self.denied.of(reason));
        }

        page.gauge("causeway_sessions", "Sessions by state: waiting for a place, opening, running.");
        page.sample(&[("state", "waiting")], levels.waiting);
        page.sample(&[("state", "opening")], levels.opening.saturating_sub(levels.waiting));
        page.sample(&[("state", "running")], levels.running);
        page.gauge("causeway_sessions_max", "Sessions that may run at once.");
        page.sample(&[], levels.sessions_max);
        page.gauge("causeway_queue_max", "Sessions that may wait for a place.");
        page.sample(&[], levels.queue_max);
        page.histogram("causeway_queue_wait_seconds", "Time from the init of a session to its place.");
        page.buckets(&[], &self.queue_wait);
        page.counter("causeway_sessions_refused_total", "Sessions that got no place, by what kept them from it.");
        for (reason, count) in self.refused.all() {
            page.sample(&[("reason", reason)], count);
        }
        page.counter(
            "causeway_guardrail_blocked_total",
            "Prompts that were not drawn, by the guardrail that blocked them.",
        );
        for (guardrail, count) in self.blocked.all() {
            page.sample(&[("guardrail", guardrail)], count);
        }
        page.gauge("causeway_load", "Share of the device's time that paced sessions need, as measured.");
        page.sample(&[], levels.load);
        page.gauge("causeway_load_max", "Share of the device's time that paced sessions may need.");
        page.sample(&[], levels.load_max);
        page.counter("causeway_sessions_started_total", "Sessions that began to run.");
        page.sample(&[], self.sessions.get());

        page.histogram("causeway_chunk_stage_seconds", "Time of a chunk in each stage.");
        let stages = &self.stages;
        for (stage, histogram) in [
            ("sample", &stages.sample),
            ("text", &stages.text),
            ("dit", &stages.dit),
            ("vae", &stages.vae),
            ("encode", &stages.encode),
            ("write", &stages.write),
            ("serve", &stages.serve),
        ] {
            page.buckets(&[("stage", stage)], histogram);
        }
        page.histogram("causeway_chunk_seconds", "Time of a chunk from sampled controls to its last byte written.");
        page.buckets(&[], &self.chunk);
        page.histogram(
            "causeway_action_to_frame_seconds",
            "Time from an event to the first frame that it changes, written.",
        );
        page.buckets(&[], &self.action);
        page.counter("causeway_quick_chunks_total", "Chunks that were drawn in fewer steps for a person who waited.");
        page.sample(&[], self.quick.get());
        page.counter(
            "causeway_chunks_begun_again_total",
            "Chunks that were begun again for an event that came meanwhile.",
        );
        page.sample(&[], self.begun_again.get());
        page.counter("causeway_deadline_misses_total", "Chunks of paced sessions that were drawn after they were due.");
        page.sample(&[], self.deadline_misses.get());
        page.counter("causeway_underruns_total", "Chunks sent after all frames before them were shown at their rate.");
        page.sample(&[], self.underruns.get());
        page.counter("causeway_resumes_total", "Sessions that a client took up again on a new connection.");
        page.sample(&[], self.resumes.get());
        page.counter("causeway_moves_total", "Sessions that went on at another server, and that came from one.");
        page.sample(&[("way", "out")], self.moves.get());
        page.sample(&[("way", "in")], self.arrivals.get());
        page.gauge("causeway_viewers", "Viewers of sessions.");
        page.sample(&[], levels.viewers.0);
        page.gauge("causeway_viewers_max", "Viewers that there may be.");
        page.sample(&[], levels.viewers_max);
        page.counter(
            "causeway_viewer_skipped_chunks_total",
            "Chunks that viewers missed, because they had not read those before.",
        );
        page.sample(&[], self.skipped.get());
        page.counter("causeway_viewer_sent_bytes_total", "Bytes handed to the sockets of viewers.");
        page.sample(&[], self.viewer_bytes.get());
        page.counter("causeway_frames_total", "Frames sent, by format.");
        for (format, sent) in FORMATS.iter().zip(&self.sent) {
            page.sample(&[("format", format)], sent.frames.get());
        }
        page.counter("causeway_sent_bytes_total", "Bytes of frames and their headers handed to sockets, by format.");
        for (format, sent) in FORMATS.iter().zip(&self.sent) {
            page.sample(&[("format", format)], sent.bytes.get());
        }

        page.gauge(
            "causeway_memory_bytes",
            "Memory by kind: what rollouts were admitted with, what is kept for clients that resume, what clients have sent that \
             is not handled, and what is counted for viewers.",
        );
        page.sample(&[("kind", "rollouts")], levels.rollout_bytes);
        page.sample(&[("kind", "replay")], levels.kept_bytes);
        page.sample(&[("kind", "inbound")], levels.inbound_bytes);
        page.sample(&[("kind", "viewers")], levels.viewers.1);
        page.gauge("causeway_memory_budget_bytes", "Memory for all rollouts together.");
        page.sample(&[], levels.memory_bytes);
        if let Some(resident) = levels.resident_bytes {
            page.gauge("process_resident_memory_bytes", "Memory of the process that is in RAM.");
            page.sample(&[], resident);
        }
        page.gauge(
            "causeway_device_memory_bytes",
            "Memory of the GPU that draws, by what holds it; nothing without one.",
        );
        for (kind, bytes) in levels.device_memory.iter().flat_map(|memory| memory.used) {
            page.sample(&[("kind", kind)], bytes);
        }
        page.gauge("causeway_device_memory_total_bytes", "All memory of the GPU that draws.");
        if let Some(memory) = levels.device_memory {
            page.sample(&[], memory.total);
        }
        page.gauge(
            "causeway_jobs",
            "Clips and pictures asked for by HTTP, by state; those that ended are kept for a while.",
        );
        for (state, count) in levels.jobs {
            page.sample(&[("state", state)], count);
        }
        page.gauge("causeway_job_queue_depth", "Clips and pictures that wait for the device.");
        page.sample(&[], levels.jobs[0].1);
        page.gauge("causeway_job_bytes", "Memory of results, and of pictures kept for a remix.");
        page.sample(&[], levels.job_bytes);
        page.counter(
            "causeway_jobs_total",
            "Clips and pictures that ended, by what asked for them and how they ended.",
        );
        for (kind, kind_name) in JOB_KINDS {
            for (outcome, outcome_name) in JOB_OUTCOMES {
                let count = self.jobs.of(kind, outcome).get();
                page.sample(&[("kind", kind_name), ("outcome", outcome_name)], count);
            }
        }
        page.histogram("causeway_job_seconds", "Time of a clip or picture in each stage.");
        for (stage, histogram) in JOB_STAGES.iter().zip(&self.jobs.stages) {
            page.buckets(&[("stage", stage)], histogram);
        }
        page.counter("causeway_requests_cancelled_total", "Clients that left before their clip or picture was drawn.");
        page.sample(&[], self.jobs.requests_cancelled.get());
        if let Some(cluster) = levels.cluster {
            page.gauge("causeway_cluster_joined", "Whether NATS answers this node: 1 or 0.");
            page.sample(&[], u8::from(cluster.joined));
            page.gauge("causeway_cluster_nodes", "Nodes of the same world that this node sees, itself among them.");
            page.sample(&[], cluster.nodes);
            page.gauge("causeway_cluster_tickets_waiting", "Sessions that wait for a place in the whole cluster.");
            page.sample(&[], cluster.waiting);
            page.counter("causeway_cluster_grants_total", "Places that this node has granted.");
            page.sample(&[], cluster.grants);
            page.gauge("causeway_cluster_relayed_sessions", "Sessions that other nodes draw for clients of this one.");
            page.sample(&[], cluster.relayed);
        }
        if let Some(lost) = levels.trace_lost {
            page.counter("causeway_trace_lost_total", "Slices that the trace file had no room for.");
            page.sample(&[], lost);
        }
        page.text
    }
}

/// The text format, line by line: <https://prometheus.io/docs/instrumenting/exposition_formats/>
#[derive(Default)]
struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    fn gauge(&mut self, name: &'static str, help: &str) {
        self.family(name, "gauge", help);
    }

    fn counter(&mut self, name: &'static str, help: &str) {
        self.family(name, "counter", help);
    }

    fn histogram(&mut self, name: &'static str, help: &str) {
        self.family(name, "histogram", help);
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.series("", labels, value);
    }

    fn buckets(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        // Sum one reading of the buckets, so that the last bucket and the count agree while others count.
        let mut count = 0;
        for (bucket, within) in histogram.buckets.iter().enumerate() {
            count += within.load(Ordering::Relaxed);
            let bound = BOUNDS.get(bucket).map_or("+Inf".to_owned(), f64::to_string);
            self.series("_bucket", &[labels, &[("le", &bound)]].concat(), count);
        }
        self.series("_sum", labels, histogram.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9);
        self.series("_count", labels, count);
    }

    fn series(&mut self, ending: &str, labels: &[(&str, &str)], value: impl Display) {
        let escaped = |text: &str| text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let name = self.name;
        self.line(format_args!("{name}{ending}{labels} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a string takes all that is written to it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(histogram: &Histogram) -> Vec<String> {
        let mut page = Page { name: "t", ..Page::default() };
        page.buckets(&[], histogram);
        page.text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_buckets_add_up() {
        let histogram = Histogram::default();
        for ms in [1, 2, 60_000, 60_001] {
            histogram.observe(Duration::from_millis(ms));
        }
        let lines = lines(&histogram);
        for line in ["t_bucket{le=\"0.001\"} 1", "t_bucket{le=\"0.0025\"} 2", "t_bucket{le=\"5\"} 2"] {
            assert!(lines.iter().any(|l| l == line), "{line} is not in {lines:?}");
        }
        let end = ["t_bucket{le=\"60\"} 3", "t_bucket{le=\"+Inf\"} 4", "t_sum 120.004", "t_count 4"];
        assert_eq!(lines[lines.len() - 4..], end);
    }

    #[test]
    fn a_label_may_hold_anything() {
        let mut page = Page { name: "t", ..Page::default() };
        page.sample(&[("world", "a \"b\"\\\nc")], 1);
        assert_eq!(page.text, "t{world=\"a \\\"b\\\"\\\\\\nc\"} 1\n");
    }
}
