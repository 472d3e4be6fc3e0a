//! What an operator bounds, and what each bound is by default.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::access::policy::AccessPolicy;
use crate::admission::rules::Bounds;
use crate::cluster::ClusterSettings;
use crate::engine::offer::Offer;
use crate::fetch::rules::Rules;
use crate::guardrails::Guardrails;
use crate::moving::Nodes;
use crate::openai::request::{jobs, resolve};
use crate::openai::state::OpenAiBounds;
use crate::realtime::link::bounds::{AudienceBounds, LinkBounds};
use crate::realtime::session::Stay;
use crate::recordings::{Recordings, RecordingsWriter};

/// Bytes of a request beside its picture: prompts, a script, the form around them.
const FORM_BYTES: u64 = 1 << 20;

/// What an operator bounds. What need not be chosen is a constant beside its reason.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Sessions that run at once.
    pub sessions: usize,
    /// For all rollouts together.
    pub memory_bytes: u64,
    /// Share of the device's time that paced sessions may need together.
    pub load: f64,
    /// Sessions that wait for a place.
    pub queue: usize,
    /// Clips and pictures that are asked for by HTTP.
    pub jobs: JobLimits,
    /// What the operator changes of the world.
    pub offer: Offer,
    /// How long one of them waits before it is told that there is none: a client that hears of its position, and one
    /// that does not know that there is a queue.
    pub queue_wait: Duration,
    /// Longest wait for admission, for clients that know of no queue.
    pub busy_wait: Duration,
    /// A client that has not taken a message after this long is dropped.
    pub write_deadline: Duration,
    /// How often a client is asked for a sign of life, and how long it may take to give one.
    pub ping_every: Duration,
    /// How long a client may take to give a sign of life.
    pub pong_within: Duration,
    /// How long a connection may take to send a request's line and headers, and may idle between two requests.
    pub header_timeout: Duration,
    /// WebSockets, running or not; a few more connections may be open that are none.
    pub connections: usize,
    /// Connections of any kind from one address.
    pub connections_per_address: usize,
    /// The longest message a client may send: a large photograph and a prompt.
    pub message_bytes: usize,
    /// Bytes of messages that are not handled yet, of all clients together; a quarter of them of one address.
    pub inbound_bytes: u64,
    /// How long a session may last, and wait for a client that was lost.
    pub stay: Stay,
    /// What is kept of a session's last chunks for a client that comes back.
    pub backlog_bytes: usize,
    /// Viewers of all sessions.
    pub viewers: usize,
    /// Viewers of one session.
    pub viewers_per_session: usize,
    /// What is held for viewers: chunks that they are sent, and those that wait to be encoded for them.
    pub viewer_bytes: u64,
    /// How long sessions may take to finish what they began when the server is to stop.
    pub drain: Duration,
    /// Where to write what every stage did when; it has a bound of its own.
    pub trace_file: Option<PathBuf>,
    /// Where every session is recorded, and the most bytes of all recordings there.
    pub record: Option<(PathBuf, u64)>,
    /// Only sessions whose client asks for it are recorded.
    pub record_asked: bool,
    /// The most bytes of a session's states to go back to, in `memory_bytes`: where they need more, none are kept.
    pub rewind_bytes: u64,
    /// Where profiles go that clients of clips and pictures ask for. `None`: nobody may ask for one.
    pub profile_dir: Option<PathBuf>,
    /// Who may enter.
    pub access: AccessPolicy,
    /// Where first frames may be fetched from.
    pub fetch: Rules,
    /// What prompts must pass.
    pub guardrails: Guardrails,
    /// Where sessions go on that leave, and whose this server takes. `None`: none moves.
    pub moving: Option<Arc<dyn Nodes>>,
    /// The other servers. `None`: this one is alone.
    pub cluster: Option<ClusterSettings>,
}

/// What bounds clips and pictures that are asked for by HTTP.
#[derive(Debug, Clone)]
pub struct JobLimits {
    /// Work that waits for the device, of all clients.
    pub queue: usize,
    /// Work that waits for the device, of one account.
    pub of_account: usize,
    /// How long a job is kept after its end.
    pub ttl: Duration,
    /// Bytes of results, and of pictures that are kept for a remix.
    pub bytes: u64,
    /// A job's own time on the device.
    pub timeout: Duration,
    /// From the arrival of a request whose client waits to its answer.
    pub sync_timeout: Duration,
    /// The most video frames of a clip, where the world has no bound of its own.
    pub clip_frames: usize,
}

impl Default for JobLimits {
    fn default() -> JobLimits {
        JobLimits {
            queue: 16,
            of_account: 4,
            ttl: Duration::from_secs(3600),
            bytes: 256 << 20,
            timeout: Duration::from_secs(3600),
            sync_timeout: Duration::from_secs(600),
            // 30 seconds at 16 frames a second, and the first one.
            clip_frames: 481,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            sessions: 4,
            memory_bytes: 8 << 30,
            load: 0.9,
            queue: 16,
            jobs: JobLimits::default(),
            offer: Offer::default(),
            queue_wait: Duration::from_secs(60),
            busy_wait: Duration::from_secs(1),
            write_deadline: Duration::from_secs(10),
            // As the reference has them.
            ping_every: Duration::from_secs(20),
            pong_within: Duration::from_secs(20),
            header_timeout: Duration::from_secs(10),
            connections: 2048,
            connections_per_address: 256,
            message_bytes: 32 << 20,
            // As many messages of that length as wait in the queue, and four of one address.
            inbound_bytes: 512 << 20,
            stay: Stay {
                idle: Some(Duration::from_secs(15 * 60)),
                lifetime: Some(Duration::from_secs(24 * 3600)),
                grace: Duration::from_secs(30),
                // Long enough to look at a picture, short enough for whoever waits: `queue_wait` is as long.
                yield_after: Some(Duration::from_secs(60)),
            },
            backlog_bytes: 64 << 20,
            viewers: 1024,
            viewers_per_session: 256,
            viewer_bytes: 1 << 30,
            drain: Duration::from_secs(20),
            trace_file: None,
            record: None,
            record_asked: false,
            rewind_bytes: 64 << 20,
            profile_dir: None,
            access: AccessPolicy::default(),
            fetch: Rules::default(),
            guardrails: Guardrails::default(),
            moving: None,
            cluster: None,
        }
    }
}

impl Limits {
    pub(crate) fn recordings(&self) -> anyhow::Result<Option<(Arc<Recordings>, RecordingsWriter)>> {
        let open = |(folder, bytes_max): &(PathBuf, u64)| Recordings::open(folder, *bytes_max, self.record_asked);
        self.record.as_ref().map(open).transpose()
    }

    pub(crate) fn link_bounds(&self) -> LinkBounds {
        LinkBounds {
            rewind_bytes: self.rewind_bytes,
            queue_wait: self.queue_wait,
            busy_wait: self.busy_wait,
            write_deadline: self.write_deadline,
            ping_every: self.ping_every,
            pong_within: self.pong_within,
            stay: self.stay,
            backlog_bytes: self.backlog_bytes,
        }
    }

    pub(crate) fn audience_bounds(&self) -> AudienceBounds {
        let Limits { viewers, viewers_per_session, viewer_bytes, .. } = *self;
        AudienceBounds { viewers, viewers_of_session: viewers_per_session, bytes: viewer_bytes }
    }

    pub(crate) fn openai_bounds(&self) -> OpenAiBounds {
        let JobLimits { queue, of_account, ttl, bytes, timeout, sync_timeout, clip_frames } = self.jobs;
        OpenAiBounds {
            jobs: jobs::Bounds { waiting: queue, of_account, bytes, ttl },
            rules: resolve::Rules { clip_frames },
            job_timeout: timeout,
            sync_timeout,
            body_bytes: self.message_bytes as u64 + FORM_BYTES,
            picture_bytes: self.message_bytes,
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            sessions: self.sessions,
            memory_bytes: self.memory_bytes,
            load: self.load,
            queue: self.queue,
            // One at a time comes from HTTP, which has an order of its own.
            clips: self.jobs.queue.max(1),
        }
    }
}
