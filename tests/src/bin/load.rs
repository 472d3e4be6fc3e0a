//! Many clients at once: how many chunks they get, how evenly, how soon.
//!
//! `cargo run -p tests --bin load -- --url ws://127.0.0.1:30000/v1/realtime_video --clients 4`
//!
//! With `--paced`, a frame is on time if it is there when a player shows it: the player begins `--buffer-ms` after the first
//! frame, shows one every 1/fps, and waits for one that is late, from where its clock goes on. `--search` looks for the
//! largest number of clients of which `--share` of all frames are on time.
//!
//! With `--actions-every`, keys go down and up at random times. An action's time is from its event to the message that holds
//! the first frame that shows it, as the server's receipt names that frame.
//!
//! A gap is the time between the last bytes of two neighbouring chunks of one client: what a player must have buffered. Each
//! client checks every message as the tests do, so a load run that ends well also saw nothing wrong.

use ::tests::actions::{Fingers, Measured};
use ::tests::client::Client;
use ::tests::message::{Event, Init, Message};
use anyhow::{Context, Result, ensure};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Parser, Clone)]
#[command(about = "Load a realtime video server with N clients and say how it went")]
struct Args {
    #[arg(long, default_value = "ws://127.0.0.1:30000/v1/realtime_video")]
    url: String,
    #[arg(long, default_value_t = 1)]
    clients: usize,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// raw, jpeg or webp
    #[arg(long, default_value = "jpeg", value_parser = ["raw", "jpeg", "webp"])]
    format: String,
    /// WIDTHxHEIGHT; the world's own where absent
    #[arg(long)]
    size: Option<String>,
    /// 1 to 100
    #[arg(long)]
    quality: Option<u32>,
    /// Ask for frames at this rate and no faster
    #[arg(long)]
    paced: Option<u64>,
    /// How much a player stores before it begins, with --paced
    #[arg(long, default_value_t = 250)]
    buffer_ms: u64,
    /// Idle connections beside the clients
    #[arg(long, default_value_t = 0)]
    idle: usize,
    /// Look for the largest number of clients, up to this, that are served on time; with --paced
    #[arg(long, value_name = "MAX", requires = "paced")]
    search: Option<usize>,
    /// Percentage of all frames that must be on time for --search
    #[arg(long, default_value_t = 99.9)]
    share: f64,
    /// Keys to hold for the whole session, such as `wl`
    #[arg(long, default_value = "")]
    hold: String,
    /// Press or let go of a key, on average this often, and say how long it takes to the first frame that shows it
    #[arg(long, value_name = "MS", conflicts_with = "hold")]
    actions_every: Option<u64>,
    #[arg(long, default_value = "a quiet meadow in the morning")]
    prompt: String,
    /// The picture to begin with, for worlds that need one
    #[arg(long)]
    first_frame: Option<PathBuf>,
}

/// How it went for one client.
struct Report {
    first_frame: Duration,
    gaps: Vec<Duration>,
    chunks: u64,
    frames: usize,
    bytes: u64,
    player: Option<Player>,
    measured: Measured,
}

/// Somebody who watches a paced session: sans-IO, given when frames come.
#[derive(Debug, Clone)]
struct Player {
    frame: Duration,
    buffer: Duration,
    /// When the next frame is due; `None` before the first frame.
    due: Option<Instant>,
    late: usize,
}

impl Player {
    fn new(fps: u64, buffer: Duration) -> Player {
        Player { frame: Duration::from_secs(1) / fps.max(1) as u32, buffer, due: None, late: 0 }
    }

    fn came(&mut self, frames: usize, now: Instant) {
        let mut due = self.due.unwrap_or(now + self.buffer);
        for _ in 0..frames {
            if now > due {
                self.late += 1;
                due = now;
            }
            due += self.frame;
        }
        self.due = Some(due);
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match load(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn load(args: Args) -> Result<()> {
    ensure!(args.clients > 0, "--clients: at least one");
    ensure!(args.seconds > 0.0 && args.seconds.is_finite(), "--seconds: more than none");
    let picture = args.first_frame.as_ref().map(|path| std::fs::read(path).with_context(|| path.display().to_string()));
    let picture = picture.transpose()?;
    let init = init(&args, picture.as_deref());
    let _idle = idle(&args.url, args.idle).await?;
    let Some(most) = args.search else {
        let reports = together(&args, &init, args.clients).await?;
        tell(&args, &reports);
        return Ok(());
    };
    // Doubled until it fails, then halved between: `good` held, `bad` did not.
    let (mut good, mut bad) = (0, most + 1);
    let mut clients = args.clients.min(most);
    while good + 1 < bad {
        let share = together(&args, &init, clients).await.map(|reports| on_time(&reports));
        let holds = share.as_ref().is_ok_and(|&share| share >= args.share);
        println!(
            "{clients} clients: {}",
            share.map_or_else(|error| format!("{error:#}"), |share| format!("{share:.3} %"))
        );
        if holds {
            good = clients
        } else {
            bad = clients
        }
        clients = if bad > most { (2 * clients).min(most) } else { (good + bad) / 2 };
        // The server needs a moment to close the sessions of the last round.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    println!("{good} clients get {} % of their frames on time, with {} idle connections", args.share, args.idle);
    Ok(())
}

/// Connections that say nothing, and answer pings until they are dropped.
async fn idle(url: &str, count: usize) -> Result<tokio::task::JoinSet<()>> {
    let mut idle = tokio::task::JoinSet::new();
    for number in 0..count {
        let mut client = Client::connect(url).await.with_context(|| format!("idle connection {number}"))?;
        client.patience = Duration::from_secs(24 * 3600);
        idle.spawn(async move {
            let said = client.next().await;
            eprintln!("idle connection {number} was not left alone: {said:?}");
        });
    }
    Ok(idle)
}

/// So many clients, all at once.
async fn together(args: &Args, init: &Init, count: usize) -> Result<Vec<Report>> {
    // Spread over a chunk of twelve frames: real clients do not all come in one instant.
    let spread = Duration::from_secs(12).checked_div(args.paced.unwrap_or(0) as u32).unwrap_or_default();
    let begins = |number: usize| spread * number as u32 / count as u32;
    let clients: Vec<_> = (0..count)
        .map(|number| tokio::spawn(run(args.clone(), init.clone().seed(number as u64), begins(number), number as u64)))
        .collect();
    let (mut reports, mut failed) = (Vec::new(), 0);
    for (number, client) in clients.into_iter().enumerate() {
        match client.await? {
            Ok(report) => reports.push(report),
            Err(error) => {
                eprintln!("client {number}: {error:#}");
                failed += 1;
            }
        }
    }
    ensure!(failed == 0, "{failed} of {count} clients failed");
    Ok(reports)
}

/// Percent of all frames.
fn on_time(reports: &[Report]) -> f64 {
    let frames: usize = reports.iter().map(|report| report.frames).sum();
    let late: usize = reports.iter().filter_map(|report| report.player.as_ref()).map(|player| player.late).sum();
    100.0 * (1.0 - late as f64 / frames.max(1) as f64)
}

fn init(args: &Args, picture: Option<&[u8]>) -> Init {
    let mut init = Init::new(&args.prompt).format(&args.format);
    if let Some(size) = &args.size {
        init = init.set("size", size.as_str());
    }
    if let Some(quality) = args.quality {
        init = init.set("output_compression", quality);
    }
    if let Some(fps) = args.paced {
        init = init.paced(fps);
    }
    if args.actions_every.is_some() {
        init = init.features(["receipts"]);
    }
    if let Some(picture) = picture {
        init = init.first_frame(picture);
    }
    init
}

async fn run(args: Args, init: Init, begins: Duration, seed: u64) -> Result<Report> {
    tokio::time::sleep(begins).await;
    let mut client = Client::connect(&args.url).await?;
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(args.seconds);
    client.send(init).await?;
    if !args.hold.is_empty() {
        client.send(Event::hold(&args.hold).id(1)).await?;
    }
    let player = args.paced.map(|fps| Player::new(fps, Duration::from_millis(args.buffer_ms)));
    let measured = Measured::default();
    let mut report =
        Report { first_frame: Duration::ZERO, gaps: Vec::new(), chunks: 0, frames: 0, bytes: 0, player, measured };
    let mut last_chunk = None;
    let every = Duration::from_millis(args.actions_every.unwrap_or_default());
    let mut fingers = (every > Duration::ZERO).then(|| Fingers::new([every / 2, every * 3 / 2], seed, started));
    while Instant::now() < end {
        let message = match &mut fingers {
            Some(fingers) => report.measured.step(&mut client, fingers).await?,
            None => Some(client.next().await?),
        };
        match message {
            None | Some(Message::Received(_) | Message::Applied(_)) => {}
            Some(Message::Batch(batch)) => {
                if report.frames == 0 {
                    report.first_frame = started.elapsed();
                }
                report.frames += batch.header.num_frames;
                if let Some(player) = &mut report.player {
                    player.came(batch.header.num_frames, Instant::now());
                }
                if batch.header.is_final_frame_batch {
                    let now = Instant::now();
                    report.gaps.extend(last_chunk.replace(now).map(|last| now - last));
                }
            }
            Some(Message::Stats(stats)) => {
                report.chunks += 1;
                report.bytes += stats.ws_payload_bytes;
            }
            Some(other) => anyhow::bail!("instead of a chunk: {other:?}"),
        }
    }
    client.close().await?;
    Ok(report)
}

fn tell(args: &Args, reports: &[Report]) {
    let sum = |of: fn(&Report) -> f64| reports.iter().map(of).sum::<f64>();
    let mut gaps: Vec<Duration> = reports.iter().flat_map(|report| report.gaps.iter().copied()).collect();
    let mut firsts: Vec<Duration> = reports.iter().map(|report| report.first_frame).collect();
    gaps.sort();
    firsts.sort();
    println!("clients      {} for {} s, {}", reports.len(), args.seconds, args.format);
    println!("chunks       {}", sum(|report| report.chunks as f64));
    println!("frames/s     {:.1} in all", sum(|report| report.frames as f64) / args.seconds);
    println!("MB/s         {:.2} in all", sum(|report| report.bytes as f64) / args.seconds / 1e6);
    if args.paced.is_some() {
        println!("on time      {:.3} % of frames, with {} ms in hand", on_time(reports), args.buffer_ms);
    }
    let mut rows = vec![("first frame", firsts), ("chunk gap", gaps)];
    if args.actions_every.is_some() {
        let all = |of: fn(&Measured) -> &Vec<Duration>| {
            let mut all: Vec<_> = reports.iter().flat_map(|report| of(&report.measured)).copied().collect();
            all.sort();
            all
        };
        rows.push(("receipt", all(|measured| &measured.received)));
        rows.push(("action", all(|measured| &measured.to_frame)));
    }
    for (what, sorted) in rows {
        let at =
            |share| percentile(&sorted, share).map_or("-".to_owned(), |gap| format!("{:.1}", gap.as_secs_f64() * 1e3));
        println!("{what:<12} p50 {} ms, p90 {} ms, p99 {} ms, worst {} ms", at(0.5), at(0.9), at(0.99), at(1.0));
    }
}

/// The smallest value that this share of all values does not exceed.
fn percentile(sorted: &[Duration], share: f64) -> Option<Duration> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_is_late_moves_the_clock_of_who_waits_for_it() {
        let ms = Duration::from_millis;
        let start = Instant::now();
        let mut player = Player::new(10, ms(50));
        let mut check = |at_ms: u64, frames: usize, late: usize| {
            player.came(frames, start + ms(at_ms));
            assert_eq!(player.late, late, "{frames} frames at {at_ms} ms");
        };
        // Shown at 50 and 150; the third is due at 250.
        check(0, 2, 0);
        check(250, 1, 0);
        // Due at 350: shown at 400, and the one with it at 500, not late any more.
        check(400, 2, 1);
        check(600, 1, 1);
        check(701, 1, 2);
    }

    #[test]
    fn a_percentile_is_the_smallest_value_that_enough_do_not_exceed() {
        let hundred: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        let check = |share, ms| assert_eq!(percentile(&hundred, share), Some(Duration::from_millis(ms)));
        check(0.5, 50);
        check(0.99, 99);
        check(1.0, 100);
        check(0.0, 1);
        assert_eq!(percentile(&[], 0.5), None);
    }
}
