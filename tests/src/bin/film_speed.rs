//! What encoding a film costs its drawing: the same clip as an MP4 file, and with its frames thrown away, in turns.
//!
//! `cargo run --release -p tests --bin film_speed -- --chunks 100 --rounds 5 --threads 1`
//!
//! With one thread for the world, the encoder has the second core to itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use pipeline::world::{Cancel, ClipAsk, Held};
use server::Limits;
use server::engine::thread::Engine;
use server::guardrails::Guardrails;
use server::media::quantiser;
use server::openai::drawing::{Encoding, draw};
use tests::pocket_walk;

#[derive(Parser)]
#[command(about = "Measure what encoding a film costs its drawing")]
struct Args {
    /// Chunks of the clip
    #[arg(long, default_value_t = 100)]
    chunks: usize,
    /// Clips of each kind
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Threads that compute
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    pipeline::set_threads(args.threads).context("setting the number of threads")?;
    let load = Box::new(|| Ok(pipeline::load_world(&server::pocket::dir(), &pipeline::Device::cpu())?));
    let (server, mut engine) = tests::Server::with_engine(load, Limits::default())?;
    engine.card.wait_for(Option::is_some).await?;
    // The first clip warms the caches, and counts for neither.
    encoded(&engine, args.chunks).await?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..args.rounds {
        // In turns, so that a machine that gets slower does so for both.
        let (film, encode) = encoded(&engine, args.chunks).await?;
        let frames = thrown_away(&engine, args.chunks).await?;
        println!("round {round}: {frames:.2?} without encoding, {film:.2?} with it, {encode:.2?} of them encoding");
        with.push(film);
        without.push(frames);
    }
    let (with, without) = (median(&mut with), median(&mut without));
    println!("medians: {without:.2?} and {with:.2?}: {:.3}", with.as_secs_f64() / without.as_secs_f64());
    drop(engine);
    server.stop()
}

/// A walk straight ahead.
fn ask(engine: &Engine, chunks: usize) -> Result<ClipAsk> {
    let card = engine.card.borrow().clone().context("the world is loaded")?;
    pocket_walk::ask(&card, chunks, |_| Held::default().with('w'))
}

/// Time from the clip's turn to the last byte of its film, and what of it was encoding.
async fn encoded(engine: &Engine, chunks: usize) -> Result<(Duration, Duration)> {
    let ticket = engine.ask_clip(ask(engine, chunks)?).map_err(|refused| anyhow::anyhow!("{refused}"))?;
    let quality = quantiser::default_quality(ticket.size());
    let encoding = Encoding::Mp4 { fps: 16.0, quantiser: quantiser::of_quality(quality) };
    let drawn = draw(ticket, encoding, Guardrails::default(), Cancel::default(), |_, _| ()).await?;
    Ok((drawn.took, drawn.stages.encode))
}

/// Time from the clip's turn to its last frame.
async fn thrown_away(engine: &Engine, chunks: usize) -> Result<Duration> {
    let ticket = engine.ask_clip(ask(engine, chunks)?).map_err(|refused| anyhow::anyhow!("{refused}"))?;
    let mut clip = ticket.begin(Cancel::default()).await?;
    let began = Instant::now();
    while clip.next().await?.is_some() {}
    Ok(began.elapsed())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
