//! Does a crowd of viewers disturb the player? One paced player, alone and watched by turns, in one run.
//!
//! ```sh
//! causeway serve --port 30555
//! cargo run --release -p tests --bin viewers -- --url ws://127.0.0.1:30555/v1/realtime_video
//! ```
//!
//! A round is a time alone and a time watched, of `--seconds` each. A gap is the time between the last bytes of two
//! neighbouring chunks of the player. Some viewers never read: the server drops them at its write deadline, and they come
//! again in the next round. The player has a thread and a runtime of its own, so that viewers which share its machine take the
//! processor's time from it, but do not stand before it in a queue of this program.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_client::connection::{Connection, Received};
use clap::Parser;
use tests::client::Client;
use tests::message::{Event, Init, Message, Watch};
use tests::raw::Raw;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

#[derive(Parser, Clone)]
#[command(about = "One paced player of a realtime video server, alone and watched by turns")]
struct Args {
    #[arg(long, default_value = "ws://127.0.0.1:30000/v1/realtime_video")]
    url: String,
    /// Viewers, with those that never read
    #[arg(long, default_value_t = 200)]
    viewers: usize,
    /// Viewers that never read
    #[arg(long, default_value_t = 10)]
    stalled: usize,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Of each half of a round
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    #[arg(long, default_value_t = 16)]
    fps: u64,
    /// Of the player's JPEG, and of the viewers'
    #[arg(long, default_value_t = 92)]
    quality: u64,
}

/// When the player's chunks were whole.
type Chunks = Arc<Mutex<Vec<Instant>>>;

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.stalled <= args.viewers && args.rounds > 0, "more viewers than stalled ones, and a round");
    let chunks = Chunks::default();
    let (token, told) = oneshot::channel();
    let (player_args, player_chunks) = (args.clone(), Arc::clone(&chunks));
    let player = std::thread::Builder::new().name("player".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(play(&player_args, &player_chunks, token))
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let measured = runtime.block_on(async {
        let Ok(token) = told.await else { return Ok(()) };
        rounds(&args, &chunks, &token).await
    });
    runtime.shutdown_background();
    match player.is_finished() {
        true => player.join().map_err(|_| anyhow::anyhow!("the player panicked"))?,
        false => measured,
    }
}

async fn play(args: &Args, chunks: &Chunks, token: oneshot::Sender<String>) -> Result<()> {
    let mut client = Client::connect(&args.url).await?;
    // Every check but the one against the document, which costs as much as all others.
    client.documented = false;
    let init = Init::new("a quiet meadow in the morning").format("jpeg").set("output_compression", args.quality);
    client.send(init.paced(args.fps).features(["spectators"])).await?;
    client.send(Event::share("view")).await?;
    let mut token = Some(token);
    loop {
        match client.next().await? {
            Message::Stats(_) => chunks.lock().expect("nothing panics under this lock").push(Instant::now()),
            Message::Shared(shared) => {
                if let Some(token) = token.take() {
                    let _ = token.send(shared.token);
                }
            }
            Message::Closed(close) => anyhow::bail!("closed: {} {}", close.code, close.reason),
            Message::Error(error) => anyhow::bail!("{error}"),
            _ => {}
        }
    }
}

/// What viewers saw.
#[derive(Default)]
struct Seen {
    chunks: AtomicU64,
    skipped: AtomicU64,
    bytes: AtomicU64,
}

async fn rounds(args: &Args, chunks: &Chunks, token: &str) -> Result<()> {
    let half = Duration::from_secs_f64(args.seconds);
    let (mut alone, mut watched) = (Vec::new(), Vec::new());
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!("  s   half     gaps   p50 ms   p99 ms   max ms   resident MB   viewers");
    let say = async |name: &str, gaps: &[Duration], viewers: &str| -> Result<()> {
        let ms = |share| percentile(gaps, share).as_secs_f64() * 1e3;
        let resident = metric(&args.url, "process_resident_memory_bytes").await? / 1e6;
        let (at, count) = (began.elapsed().as_secs(), gaps.len());
        let (p50, p99, most) = (ms(50.0), ms(99.0), ms(100.0));
        println!("{at:>3}   {name:<7} {count:>5} {p50:>8.1} {p99:>8.1} {most:>8.1} {resident:>13.1}   {viewers}");
        Ok(())
    };
    for _ in 0..args.rounds {
        let gaps = gaps_of(chunks, half).await;
        say("alone", &gaps, "").await?;
        alone.extend(gaps);
        let seen = Arc::new(Seen::default());
        let mut viewers = JoinSet::new();
        for number in 0..args.viewers {
            let mut connection = Connection::connect(&args.url).await?;
            let watch = Watch::new(token).format("jpeg").set("output_compression", args.quality);
            connection.send(watch).await?;
            let (seen, reads) = (Arc::clone(&seen), number >= args.stalled);
            viewers.spawn(async move {
                if !reads {
                    std::future::pending::<()>().await;
                }
                watch_on(connection, &seen).await
            });
        }
        // Attaching is no part of it.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = seen.chunks.load(Ordering::Relaxed);
        let gaps = gaps_of(chunks, half).await;
        let each = (seen.chunks.load(Ordering::Relaxed) - before) as f64 / (args.viewers - args.stalled).max(1) as f64;
        let skipped = seen.skipped.load(Ordering::Relaxed);
        let there = metric(&args.url, "causeway_viewers").await?;
        let viewers_saw = format!("{there} at the end; {each:.1} chunks each, {skipped} skipped");
        say("watched", &gaps, &viewers_saw).await?;
        watched.extend(gaps);
        viewers.shutdown().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    say("alone", &alone, "all rounds").await?;
    say("watched", &watched, "all rounds").await?;
    let ratio = percentile(&watched, 99.0).as_secs_f64() / percentile(&alone, 99.0).as_secs_f64();
    println!("p99 gap watched / alone: {ratio:.3}");
    let dropped = metric(&args.url, "causeway_drops_total{reason=\"write_deadline\"}").await?;
    println!("viewers dropped at the write deadline: {dropped}");
    Ok(())
}

async fn watch_on(mut connection: Connection, seen: &Seen) -> Result<()> {
    loop {
        match connection.receive().await? {
            Received::Whole(whole) => {
                seen.bytes.fetch_add(whole.map.len() as u64, Ordering::Relaxed);
                match Message::kind_of(&whole.map)? {
                    "chunk_stats" => drop(seen.chunks.fetch_add(1, Ordering::Relaxed)),
                    "skipped" => drop(seen.skipped.fetch_add(1, Ordering::Relaxed)),
                    _ => {}
                }
            }
            Received::Closed(_) => return Ok(()),
            Received::Pong(_) => {}
        }
    }
}

/// The gaps between chunks that come from now on, for so long.
async fn gaps_of(chunks: &Chunks, time: Duration) -> Vec<Duration> {
    let lock = || chunks.lock().expect("nothing panics under this lock");
    lock().clear();
    tokio::time::sleep(time).await;
    let came = std::mem::take(&mut *lock());
    came.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn percentile(gaps: &[Duration], share: f64) -> Duration {
    let mut sorted = gaps.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() as f64 * share / 100.0).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

/// A value of `/metrics`.
async fn metric(url: &str, name: &str) -> Result<f64> {
    let host = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).context("a URL with a host")?;
    let address: SocketAddr = host.parse().context("--url: an address and a port, as in ws://127.0.0.1:30000/…")?;
    let (_, page) = Raw::get(address, "/metrics").await?;
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.with_context(|| format!("no metric {name}"))?.parse().context("a number")
}
