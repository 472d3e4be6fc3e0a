//! Many clients at once: how many chunks they get, how evenly, how soon.
//!
//! `cargo run -p tests --bin load -- --url ws://127.0.0.1:30000/v1/realtime_video --clients 4`
//!
//! A gap is the time between the last bytes of two neighbouring chunks of one client: what a player must have buffered. Each
//! client checks every message as the tests do, so a load run that ends well also saw nothing wrong.

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
    /// Keys to hold for the whole session, such as `wl`
    #[arg(long, default_value = "")]
    hold: String,
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

    let clients: Vec<_> =
        (0..args.clients).map(|seed| tokio::spawn(run(args.clone(), init.clone().seed(seed as u64)))).collect();
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
    tell(&args, &reports);
    ensure!(failed == 0, "{failed} of {} clients failed", args.clients);
    Ok(())
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
    if let Some(picture) = picture {
        init = init.first_frame(picture);
    }
    init
}

async fn run(args: Args, init: Init) -> Result<Report> {
    let mut client = Client::connect(&args.url).await?;
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(args.seconds);
    client.send(init).await?;
    if !args.hold.is_empty() {
        client.send(Event::hold(&args.hold).id(1)).await?;
    }
    let mut report = Report { first_frame: Duration::ZERO, gaps: Vec::new(), chunks: 0, frames: 0, bytes: 0 };
    let mut last_chunk = None;
    while Instant::now() < end {
        match client.next().await? {
            Message::Batch(batch) => {
                if report.frames == 0 {
                    report.first_frame = started.elapsed();
                }
                report.frames += batch.header.num_frames;
                if batch.header.is_final_frame_batch {
                    let now = Instant::now();
                    report.gaps.extend(last_chunk.replace(now).map(|last| now - last));
                }
            }
            Message::Stats(stats) => {
                report.chunks += 1;
                report.bytes += stats.ws_payload_bytes;
            }
            Message::Error(error) => anyhow::bail!("{error}"),
            Message::Closed(close) => anyhow::bail!("closed: {} {}", close.code, close.reason),
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
    for (what, sorted) in [("first frame", firsts), ("chunk gap", gaps)] {
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
