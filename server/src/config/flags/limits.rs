//! The bounds an operator chooses, as flags. What each is by default stands in [`Limits`], and `--help` prints it from
//! there.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::builder::TypedValueParser;

use crate::access::policy::AccessPolicy;
use crate::config::limits::{JobLimits, Limits};
use crate::engine::offer::Offer;
use crate::fetch::rules::{AllowedHost, Rules};
use crate::guardrails::Guardrails;
use crate::realtime::session::Stay;

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Sessions that run at once; 0, with --cluster: none, clients are passed on to other nodes.
    #[arg(long, value_name = "N", default_value_t = usual().sessions as u16, value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub sessions: u16,
    /// Memory for all sessions together: 512M, 8G.
    #[arg(long, value_name = "BYTES", default_value_t = ByteSize(usual().memory_bytes), value_parser = some_bytes)]
    pub memory: ByteSize,
    /// Share of the device's time that paced sessions may need together, as measured; those that run free take what is
    /// left.
    #[arg(long, value_name = "SHARE", default_value_t = usual().load, value_parser = share)]
    pub load: f64,
    /// Sessions that may wait for a place; 0: none waits.
    #[arg(long, value_name = "N", default_value_t = usual().queue as u16, value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub queue: u16,
    /// How long one waits that hears its position, since it last said that it still waits.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(usual().queue_wait))]
    pub queue_wait: Seconds,
    /// How long one waits that knows of no queue.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(usual().busy_wait))]
    pub busy_wait: Seconds,
    /// How long a client may take to take a message before it is dropped.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(usual().write_deadline), value_parser = more_than_none)]
    pub write_deadline: Seconds,
    /// End a session that nobody steers for so long; 0: never.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(usual().stay.idle.unwrap_or_default()))]
    pub idle_timeout: Seconds,
    /// Give a session's place to one that waits once its client has paused, or neither steered nor held a key, for so
    /// long; 0: never.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(usual().stay.yield_after.unwrap_or_default()))]
    pub yield_after: Seconds,
    /// End a session after so long, whatever it does; 0: never.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(usual().stay.lifetime.unwrap_or_default()))]
    pub session_lifetime: Seconds,
    /// How long a session whose line was cut waits for its client, if that can resume it.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(usual().stay.grace))]
    pub resume_grace: Seconds,
    /// What is kept of such a session's last chunks.
    #[arg(long, value_name = "BYTES", default_value_t = ByteSize(usual().backlog_bytes as u64))]
    pub resume_bytes: ByteSize,
    /// Viewers of all sessions; 0: nobody may watch.
    #[arg(long, value_name = "N", default_value_t = usual().viewers as u32, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub viewers: u32,
    /// Viewers of one session.
    #[arg(long, value_name = "N", default_value_t = usual().viewers_per_session as u32, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub viewers_per_session: u32,
    /// Memory for what viewers are sent.
    #[arg(long, value_name = "BYTES", default_value_t = ByteSize(usual().viewer_bytes), value_parser = some_bytes)]
    pub viewer_bytes: ByteSize,
    /// How long sessions may take to finish their chunks when the server is told to stop.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(usual().drain))]
    pub drain: Seconds,
    /// Time between two pings.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(usual().ping_every), value_parser = a_second_or_more)]
    pub ping_every: Seconds,
    /// How long a client may take to give one before it is closed.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(usual().pong_within), value_parser = a_second_or_more)]
    pub pong_within: Seconds,
    /// How long a connection may take to send a request's line and headers, and may idle between two requests.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(usual().header_timeout), value_parser = more_than_none)]
    pub header_timeout: Seconds,
    /// WebSockets, with a session or without; 64 more connections may be open that are none.
    #[arg(long, value_name = "N", default_value_t = usual().connections as u32, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,
    /// Connections of any kind from one address, or from one /64 network of version 6.
    #[arg(long, value_name = "N", default_value_t = usual().connections_per_address as u32, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections_per_address: u32,
    /// The longest message a client may send.
    #[arg(long, value_name = "BYTES", default_value_t = ByteSize(usual().message_bytes as u64), value_parser = room_for_an_init)]
    pub message_bytes: ByteSize,
    /// Bytes of messages that are not handled yet, of all clients together; a quarter of them of one address.
    #[arg(long, value_name = "BYTES", default_value_t = ByteSize(usual().inbound_bytes), value_parser = some_bytes)]
    pub inbound_bytes: ByteSize,
    /// Clips and pictures asked for by HTTP that may wait for the device; 0: none waits.
    #[arg(long, value_name = "N", default_value_t = usual().jobs.queue as u16, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub job_queue: u16,
    /// As many of one account.
    #[arg(long, value_name = "N", default_value_t = usual().jobs.of_account as u16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub jobs_per_account: u16,
    /// How long a job and its file are kept after its end.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(usual().jobs.ttl), value_parser = more_than_none)]
    pub job_ttl: Seconds,
    /// Memory for the files of all jobs together.
    #[arg(long, value_name = "BYTES", default_value_t = ByteSize(usual().jobs.bytes), value_parser = some_bytes)]
    pub job_bytes: ByteSize,
    /// How long a job may work on the device.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(usual().jobs.timeout), value_parser = more_than_none)]
    pub job_timeout: Seconds,
    /// How long a client that waits for its clip or picture waits, the queue included.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(usual().jobs.sync_timeout), value_parser = more_than_none)]
    pub video_sync_timeout: Seconds,
    /// The most video frames of a clip, where the world has no bound of its own.
    #[arg(long, value_name = "N", default_value_t = usual().jobs.clip_frames as u32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub clip_frames: u32,
    /// Record every session into this folder, in a file of its own that `causeway replay` draws again.
    #[arg(long, value_name = "DIR", value_parser = clap::builder::NonEmptyStringValueParser::new().map(PathBuf::from))]
    pub record: Option<PathBuf>,
    /// The most bytes of all recordings in that folder; past it nothing more is recorded.
    #[arg(long, value_name = "BYTES", default_value_t = ByteSize(1 << 30), value_parser = some_bytes)]
    pub record_bytes: ByteSize,
    /// Record only the sessions whose clients ask for it.
    #[arg(long, requires = "record")]
    pub record_asked: bool,
    /// The most bytes of what is kept of a session so that its client can go back. Where that needs more, no client can; 0: none.
    #[arg(long, value_name = "BYTES", default_value_t = ByteSize(usual().rewind_bytes))]
    pub rewind_bytes: ByteSize,
    /// The most pixels of a frame that a client may ask for; by default, and at most, the world's own bound.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub pixels: Option<u64>,
    /// How far the noise levels of clips and pictures are shifted that say no flow_shift; by default as the world says.
    #[arg(long, value_name = "N", value_parser = shift)]
    pub flow_shift: Option<f64>,
    /// Fetch a first frame that is given as a URL if it is on this host, or HOST:PORT. Several with commas, or again.
    /// Only at public addresses.
    #[arg(long, value_name = "HOST", value_delimiter = ',', value_parser = host_on_the_internet)]
    pub fetch_allow: Vec<AllowedHost>,
}

fn usual() -> Limits {
    Limits::default()
}

impl LimitArgs {
    /// The limits that these flags set, for a server with this access policy.
    pub fn limits(&self, access: AccessPolicy) -> Limits {
        Limits {
            trace_file: None,
            record: self.record.clone().map(|folder| (folder, self.record_bytes.0)),
            record_asked: self.record_asked,
            rewind_bytes: self.rewind_bytes.0,
            profile_dir: None,
            moving: None,
            guardrails: Guardrails::default(),
            cluster: None,
            sessions: usize::from(self.sessions),
            memory_bytes: self.memory.0,
            load: self.load,
            queue: usize::from(self.queue),
            jobs: JobLimits {
                queue: usize::from(self.job_queue),
                of_account: usize::from(self.jobs_per_account),
                ttl: self.job_ttl.0,
                bytes: self.job_bytes.0,
                timeout: self.job_timeout.0,
                sync_timeout: self.video_sync_timeout.0,
                clip_frames: self.clip_frames as usize,
            },
            offer: Offer { pixels: self.pixels, flow_shift: self.flow_shift },
            queue_wait: self.queue_wait.0,
            busy_wait: self.busy_wait.0,
            write_deadline: self.write_deadline.0,
            stay: Stay {
                idle: self.idle_timeout.unless_zero(),
                lifetime: self.session_lifetime.unless_zero(),
                grace: self.resume_grace.0,
                yield_after: self.yield_after.unless_zero(),
            },
            backlog_bytes: usize::try_from(self.resume_bytes.0).unwrap_or(usize::MAX),
            viewers: self.viewers as usize,
            viewers_per_session: self.viewers_per_session as usize,
            viewer_bytes: self.viewer_bytes.0,
            drain: self.drain.0,
            ping_every: self.ping_every.0,
            pong_within: self.pong_within.0,
            header_timeout: self.header_timeout.0,
            connections: self.connections as usize,
            connections_per_address: self.connections_per_address as usize,
            message_bytes: usize::try_from(self.message_bytes.0).unwrap_or(usize::MAX),
            inbound_bytes: self.inbound_bytes.0,
            access,
            fetch: Rules { hosts: self.fetch_allow.clone(), ..Rules::default() },
        }
    }
}

/// Above 1, more sessions are admitted than the device can serve in time: frames come late instead of sessions waiting.
fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok();
    share.filter(|share| (0.01..=100.0).contains(share)).ok_or_else(|| "0.01 to 100".into())
}

/// As in a request.
fn shift(text: &str) -> Result<f64, String> {
    let shift: Option<f64> = text.parse().ok();
    shift.filter(|shift| (0.1..=100.0).contains(shift)).ok_or_else(|| "0.1 to 100".into())
}

/// Of a host at another address nothing would ever be fetched.
fn host_on_the_internet(text: &str) -> Result<AllowedHost, String> {
    let host: AllowedHost = text.parse()?;
    match host.can_be_public() {
        true => Ok(host),
        false => Err("this host has no public address, and pictures are fetched from no other".into()),
    }
}

/// Without memory no session could begin.
fn some_bytes(text: &str) -> Result<ByteSize, String> {
    let bytes: ByteSize = text.parse()?;
    if bytes.0 > 0 { Ok(bytes) } else { Err("at least 1 byte".into()) }
}

/// The longest prompt and what else stands in an init, without a picture.
const INIT_BYTES: u64 = 16 << 10;

fn room_for_an_init(text: &str) -> Result<ByteSize, String> {
    let bytes: ByteSize = text.parse()?;
    if bytes.0 >= INIT_BYTES { Ok(bytes) } else { Err(format!("at least {}: no init would fit", ByteSize(INIT_BYTES))) }
}

/// Written as a number and a unit: 512M, 8G.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |&&(_, shift): &&(char, u32)| self.0 > 0 && self.0.is_multiple_of(1 << shift);
        match UNITS.iter().find(whole) {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<ByteSize, String> {
        let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = text[number.len()..].to_ascii_uppercase();
        let named = |letter: char| [format!("{letter}"), format!("{letter}B"), format!("{letter}IB")].contains(&unit);
        let shift = match UNITS.iter().find(|(letter, _)| named(*letter)) {
            Some(&(_, shift)) => shift,
            None if unit.is_empty() || unit == "B" => 0,
            None => return Err("a number and one of K, M, G, T".into()),
        };
        let number: u64 = number.parse().map_err(|_| "a whole number and one of K, M, G, T".to_owned())?;
        number.checked_mul(1 << shift).map(ByteSize).ok_or_else(|| "more bytes than can be counted".into())
    }
}

/// At most a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Seconds {
    fn unless_zero(self) -> Option<Duration> {
        Some(self.0).filter(|duration| !duration.is_zero())
    }
}

const SECONDS_MAX: f64 = 86_400.0;

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_secs_f64())
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seconds, String> {
        let seconds: Option<f64> = text.parse().ok();
        let seconds = seconds.filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds));
        seconds.map(|seconds| Seconds(Duration::from_secs_f64(seconds))).ok_or_else(|| "0 to 86400 seconds".into())
    }
}

/// A shorter interval would flood clients with pings, and close those on slow lines.
fn a_second_or_more(text: &str) -> Result<Seconds, String> {
    let seconds: Option<Seconds> = text.parse().ok();
    seconds.filter(|seconds| seconds.0 >= Duration::from_secs(1)).ok_or_else(|| "1 to 86400 seconds".into())
}

/// A deadline of zero could not be met.
fn more_than_none(text: &str) -> Result<Seconds, String> {
    text.parse().and_then(|seconds: Seconds| {
        if seconds.0.is_zero() { Err("more than 0, at most 86400 seconds".into()) } else { Ok(seconds) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_positive_number() {
        assert_eq!((share("0.9"), share("1"), share("2.5")), (Ok(0.9), Ok(1.0), Ok(2.5)));
        for bad in ["", "0", "-1", "NaN", "inf", "101", "90%"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_shift_is_what_a_request_may_ask_for() {
        assert_eq!((shift("0.1"), shift("7.5"), shift("100")), (Ok(0.1), Ok(7.5), Ok(100.0)));
        for bad in ["", "0", "-3", "NaN", "inf", "100.1"] {
            assert!(shift(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bound_that_lets_nobody_in_is_no_bound() {
        assert!(some_bytes("0").is_err() && some_bytes("0K").is_err() && some_bytes("1").is_ok());
        assert!(room_for_an_init("16K").is_ok());
        assert!(room_for_an_init("0").is_err_and(|reason| reason.contains("16K")));
    }

    #[test]
    fn a_host_that_can_have_no_public_address_is_not_taken() {
        for host in ["pictures.example", "pictures.example:8443", "1.1.1.1", "[2606:4700::1111]:443"] {
            assert!(host_on_the_internet(host).is_ok(), "{host}");
        }
        let mistakes =
            ["", " ", "localhost", "a.localhost:8080", "localhost.", "127.0.0.1", "10.0.0.7:80", "[::1]", "a:0"];
        for host in mistakes {
            let refused = host_on_the_internet(host).expect_err(host);
            assert!(!refused.is_empty(), "{host}");
        }
    }

    #[test]
    fn memory_is_a_number_with_a_unit() {
        let bytes = |text: &str| text.parse::<ByteSize>().map(|size| size.0);
        assert_eq!(bytes("8G"), Ok(8 << 30));
        assert_eq!(bytes("512MiB"), Ok(512 << 20));
        assert_eq!(bytes("3kb"), Ok(3 << 10));
        assert_eq!(bytes("7b"), Ok(7));
        assert_eq!(bytes("1000"), Ok(1000));
        for bad in ["", "G", "1.5G", "-1G", "8X", "8GG", "8I", "8iB", "99999999999T"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_printed_as_a_default_is_read_as_the_same() {
        for bytes in [0, 1, 1000, 1024, 1025, 32 << 20, 8 << 30, 3 << 40, u64::MAX] {
            let text = ByteSize(bytes).to_string();
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        assert_eq!(ByteSize(8 << 30).to_string(), "8G");
        for millis in [0, 50, 1000, 10_000, 1500] {
            let text = Seconds(Duration::from_millis(millis)).to_string();
            assert_eq!(text.parse(), Ok(Seconds(Duration::from_millis(millis))), "{text}");
        }
        assert_eq!(Seconds(Duration::from_secs(10)).to_string(), "10");
        assert!(more_than_none("0").is_err() && more_than_none("0.5").is_ok());
        for bad in ["", "-1", "inf", "NaN", "86401", "1s"] {
            assert!(bad.parse::<Seconds>().is_err(), "{bad}");
        }
        assert!(a_second_or_more("1").is_ok() && a_second_or_more("86400").is_ok());
        assert!(a_second_or_more("0.9").is_err() && a_second_or_more("86401").is_err());
    }
}
