//! From an action to the first frame that it changes, on the test card over loopback.
//!
//! `cargo run --release -p tests --bin action_to_frame -- --actions 100`
//!
//! P is the time between two chunks and g the time to draw one. A free session's next chunk begins half of P after an action
//! on average, and its first frame comes g later; so e = mean − (P/2 + g) is what the server and the socket add. The chunks
//! here have one latent frame, so that their first frame comes when all of the chunk is drawn. A free session beside others
//! has a P that is longer than its g. In a paced session an action begins a chunk, and the mean is less.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use tests::actions::{Session, measure};

#[derive(Parser)]
#[command(about = "Measure the time from an action to the first frame that it changes")]
struct Args {
    /// Actions in each row of the table
    #[arg(long, default_value_t = 100)]
    actions: usize,
    /// What decides when they come
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.actions > 1, "--actions: more than one");
    println!("load {}", std::fs::read_to_string("/proc/loadavg")?.trim());
    println!("| session | P | g | P/2 + g | mean | e | receipt |");
    println!("|---|---|---|---|---|---|---|");
    let ms = Duration::from_millis;
    let free = [(40, 0), (120, 0), (50, 1), (50, 3)].map(|(draw, others)| Session::free(ms(draw), others));
    let paced = [(32, 40), (16, 40), (16, 120), (8, 120)].map(|(fps, draw)| Session::paced(fps, ms(draw)));
    for session in free.into_iter().chain(paced) {
        let row = measure(&session, args.actions, args.seed).await?;
        println!(
            "| {session} | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms | {:+.1} ms | {:.2} ms |",
            row.period_ms,
            row.drawing_ms,
            row.period_ms / 2.0 + row.drawing_ms,
            row.to_frame_ms,
            row.added_ms(),
            row.received_ms
        );
    }
    println!("load {}", std::fs::read_to_string("/proc/loadavg")?.trim());
    Ok(())
}
