//! `causeway load`: many clients at once against a server of this wire, and how it went: how soon, how evenly, how many.
//!
//! It uses nothing that only this server has. An action is answered by the first frames whose header says that they show it,
//! never by the next frames that come.

pub mod client;
pub mod heard;
pub mod html;
pub mod measures;
pub mod plan;
mod plot;
pub mod ramp;
pub mod report;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::client::{Shared, Tally};
use self::plan::{Actions, Plan, Unreported};
use self::ramp::Ramp;
use self::report::{Report, Round};
use super::machine::{Machine, busy_threads, now};
use super::progress::Progress;

/// What to do, and as whom.
pub struct Request {
    /// What was asked for.
    pub plan: Plan,
    /// What no report shows.
    pub unreported: Unreported,
    /// `plan.actions`, as it was read.
    pub actions: Actions,
    /// The program: version, commit, features.
    pub program: String,
}

/// Between two rounds: a server needs a moment to close the sessions of the last.
const REST: Duration = Duration::from_secs(2);

/// How often the progress line is written.
const TICK: Duration = Duration::from_millis(250);

/// Play all rounds, with progress on standard error.
///
/// # Errors
/// If an idle connection cannot be had, or no client of the first round gets a frame.
pub async fn load(request: Request) -> anyhow::Result<Report> {
    let Request { plan, unreported, actions, program } = request;
    let (began, before) = (now(), busy_threads());
    let _idle = client::idle(&plan.url, plan.idle).await?;
    let shared = Arc::new(Shared { plan, unreported, actions, tally: Tally::default() });
    let plan = &shared.plan;
    let progress = Progress::new(100);
    let mut rounds: Vec<Round> = Vec::new();
    let mut ramp = Ramp::new(plan.clients, plan.ramp.unwrap_or(plan.clients));
    while let Some(clients) = ramp.next() {
        if !rounds.is_empty() {
            tokio::time::sleep(REST).await;
        }
        let round = play(&shared, clients, &progress).await;
        if rounds.is_empty() && round.frames == 0 {
            let reasons: Vec<_> = round.failures.into_keys().collect();
            anyhow::bail!("no client got a frame: {}", reasons.join("; "));
        }
        ramp.went(round.holds);
        rounds.push(round);
        if plan.ramp.is_none() {
            break;
        }
    }
    drop(progress);
    let plan = plan.clone();
    let busy_threads = [before, busy_threads()];
    Ok(Report { program, began, machine: Machine::this(), busy_threads, plan, rounds })
}

/// So many clients, all at once.
async fn play(shared: &Arc<Shared>, clients: usize, progress: &Progress) -> Round {
    let began = Instant::now();
    let chunks_before = shared.tally.chunks.load(Ordering::Relaxed);
    let mut playing = JoinSet::new();
    for number in 0..clients {
        let client = client::play(Arc::clone(shared), number, clients, began);
        playing.spawn(async move { (number, client.await) });
    }
    let lasts = Duration::from_secs(u64::from(shared.plan.seconds)) + shared.plan.begins(clients, clients);
    let mut seen = Vec::new();
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            ended = playing.join_next() => match ended {
                // A client that panics is a flaw of this program, and told as one.
                Some(client) => seen.push(client.expect("a client does not panic")),
                None => break,
            },
            _ = tick.tick() => {
                let share = (began.elapsed().as_secs_f64() / lasts.as_secs_f64().max(f64::MIN_POSITIVE)).min(1.0);
                let playing = shared.tally.playing.load(Ordering::Relaxed);
                let chunks = shared.tally.chunks.load(Ordering::Relaxed) - chunks_before;
                let aside = format!(" of a round: {clients} clients, {playing} with frames, {chunks} chunks");
                progress.show((100.0 * share) as usize, aside);
            }
        }
    }
    seen.sort_by_key(|(number, _)| *number);
    let seen = seen.into_iter().map(|(_, client)| client).collect();
    Round::of(&shared.plan, seen, 1000.0 * began.elapsed().as_secs_f64())
}

/// Run it on a runtime of its own.
///
/// # Errors
/// As [`load`].
pub fn run(request: Request) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting tokio")?;
    runtime.block_on(load(request))
}
