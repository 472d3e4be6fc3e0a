//! A world through the socket: what one client on this machine sees, from its first message to the end of each chunk.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::Instant;

use super::report::Row;
use crate::offline::load::client::{Shared, Tally, play};
use crate::offline::load::plan::{Actions, Plan, Unreported};

/// Sessions one after the other: each gives one first frame.
const SESSIONS: usize = 3;

/// The largest worlds are read from a slow disk in this time.
const LOADED_WITHIN: Duration = Duration::from_secs(1800);

/// Sessions of JPEG as fast as they are read, for so long in all, after one that is not counted. `first_frame`: a file, for
/// worlds that need one.
///
/// # Errors
/// If a session ends before its time.
pub async fn through(
    url: &str,
    size: Option<String>,
    first_frame: Option<Vec<u8>>,
    seconds: u32,
) -> anyhow::Result<Vec<Row>> {
    let began = Instant::now();
    let (mut first_frames, mut intervals, mut is_loaded) = (Vec::new(), Vec::new(), false);
    while first_frames.len() < SESSIONS {
        let plan = Plan {
            url: url.to_owned(),
            clients: 1,
            ramp: None,
            idle: 0,
            seconds: seconds.div_ceil(SESSIONS as u32).max(1),
            spread_ms: 0,
            format: "jpeg".to_owned(),
            size: size.clone(),
            quality: None,
            fps: 16,
            is_paced: false,
            buffer_ms: 0,
            share: 0.0,
            actions: "none".to_owned(),
            actions_ms: 1000,
            prompt: "a green meadow under a blue sky".to_owned(),
            seed: 1,
            note: None,
        };
        let unreported = Unreported { api_key: None, first_frame: first_frame.clone() };
        let shared = Shared { plan, unreported, actions: Actions::None, tally: Tally::default() };
        let (seen, failure) = play(Arc::new(shared), 0, 1, Instant::now()).await;
        if !is_loaded {
            // Those that end before the world is loaded have no frame.
            is_loaded = seen.frames > 0;
            ensure!(is_loaded || began.elapsed() < LOADED_WITHIN, "no frame: {}", failure.unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        ensure!(failure.is_none() && seen.frames > 0, "a session through the socket: {}", failure.unwrap_or_default());
        first_frames.extend(seen.samples.first_frame);
        intervals.extend(seen.samples.interval);
    }
    let row = |name: &str, samples: Vec<f64>| {
        let times: Vec<Duration> = samples.into_iter().map(|ms| Duration::from_secs_f64(ms / 1000.0)).collect();
        (!times.is_empty())
            .then(|| Row::of(name, times))
            .with_context(|| format!("{name}: --seconds is too short for one"))
    };
    Ok(vec![row("first frame, through a socket", first_frames)?, row("chunk, through a socket", intervals)?])
}
