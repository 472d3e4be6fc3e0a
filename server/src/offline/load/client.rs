//! One client of a load run: it connects, sends its first message, presses keys, and reads what comes until its time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use causeway_client::Event;
use causeway_client::connection::{Connection, Received};
use tokio::time::Instant;

use super::heard::Heard;
use super::measures::{Seen, Watch};
use super::plan::{Actions, Plan, Unreported};

/// What all clients of a run share.
pub struct Shared {
    /// What was asked for.
    pub plan: Plan,
    /// What no report shows.
    pub unreported: Unreported,
    /// `plan.actions`, as it was read.
    pub actions: Actions,
    /// For the progress line.
    pub tally: Tally,
}

/// How far a round is.
#[derive(Default)]
pub struct Tally {
    /// Clients that have had a frame and still read.
    pub playing: AtomicUsize,
    /// Chunks that came whole.
    pub chunks: AtomicU64,
}

/// How long a server may take to answer a close.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// A client that leaves counts no more as playing.
struct Playing<'a>(&'a AtomicUsize);

impl Drop for Playing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Play one session: what it saw, and why it ended before its time, if it did.
pub async fn play(shared: Arc<Shared>, number: usize, clients: usize, round: Instant) -> (Seen, Option<String>) {
    let plan = &shared.plan;
    tokio::time::sleep_until(round + plan.begins(number, clients)).await;
    let own = Duration::from_millis(u64::from(plan.buffer_ms));
    let others = plan.buffers_ms().into_iter().map(|ms| Duration::from_millis(u64::from(ms)));
    let buffers: Vec<Duration> = std::iter::once(own).chain(others).collect();
    let mut watch = Watch::new(plan.fps, plan.is_paced, &buffers, round.elapsed());
    let ended = session(&shared, number, round, &mut watch).await;
    let seen = watch.ended();
    let reason = match ended {
        Err(error) => Some(format!("{error:#}")),
        Ok(()) if seen.frames == 0 => Some("no frame came".to_owned()),
        Ok(()) => None,
    };
    (seen, reason)
}

async fn session(shared: &Shared, number: usize, round: Instant, watch: &mut Watch) -> anyhow::Result<()> {
    let Shared { plan, unreported, actions, tally } = shared;
    let mut connection = Connection::connect(&plan.url).await?;
    let end = Instant::now() + Duration::from_secs(u64::from(plan.seconds));
    watch.begins(round.elapsed());
    connection.send(plan.init(number, unreported)).await?;
    let mut fingers = plan.fingers(number, actions);
    let mut actions_sent = 0;
    let mut first_frame: Option<(Instant, Playing<'_>)> = None;
    loop {
        let next_action = first_frame.as_ref().and_then(|(at, _)| Some(*at + fingers.next_at()?));
        let until = next_action.map_or(end, |at| at.min(end));
        // Looked at first: a server whose messages are always there already would let no time pass.
        let received = match Instant::now() < until {
            true => tokio::time::timeout_at(until, connection.receive()).await.ok(),
            false => None,
        };
        let Some(received) = received else {
            if until == end {
                break;
            }
            let keys = fingers.act().context("an action was due")?;
            actions_sent += 1;
            // Before it is written: a full line is part of what a player waits for.
            watch.acted(actions_sent, round.elapsed());
            connection.send(Event::hold(&keys).id(actions_sent)).await?;
            continue;
        };
        let whole = match received? {
            Received::Whole(whole) => whole,
            Received::Pong(_) => continue,
            Received::Closed(close) => bail!("closed by the server: {} {:?}", close.code, close.reason),
        };
        let heard = Heard::read(&whole.map)?;
        let bytes = whole.map.len() + whole.payload.map_or(0, |payload| payload.len());
        watch.heard(&heard, bytes, round.elapsed());
        match heard {
            Heard::Refused(words) => bail!("refused: {words}"),
            Heard::Frames(frames) if frames.is_final_frame_batch => {
                tally.chunks.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        if first_frame.is_none() && watch.has_begun() {
            tally.playing.fetch_add(1, Ordering::Relaxed);
            first_frame = Some((Instant::now(), Playing(&tally.playing)));
        }
    }
    connection.close(CLOSED_WITHIN).await?;
    Ok(())
}

/// Connections that say nothing, and answer pings until they are dropped.
///
/// # Errors
/// If one cannot be had.
pub async fn idle(url: &str, count: usize) -> anyhow::Result<tokio::task::JoinSet<()>> {
    let mut idle = tokio::task::JoinSet::new();
    for number in 0..count {
        let connection = Connection::connect(url).await.with_context(|| format!("idle connection {number}"))?;
        idle.spawn(async move {
            let mut connection = connection;
            // Whatever it hears, it stays until the run ends.
            while connection.receive().await.is_ok_and(|received| !matches!(received, Received::Closed(_))) {}
        });
    }
    Ok(idle)
}
