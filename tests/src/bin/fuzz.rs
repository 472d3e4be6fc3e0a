//! Feeds what a client may send, and what may be in a file that says it is a recording, to what reads it; for as long as is
//! asked.
//!
//! `cargo run --release -p tests --bin fuzz -- --seconds 600`. A failure prints the seed and the input's number: with
//! `--seed` and `--from` it happens again.

use ::tests::fuzz::{Fuzz, Target, memory_of_this_process};
use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(about = "Fuzz what reads a client's messages and pictures, and recordings")]
struct Args {
    /// For each target
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The number of the first input
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// All of them, one after another, where it is absent
    #[arg(long, value_enum)]
    target: Option<Named>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Named {
    Event,
    Init,
    Resume,
    Recording,
    Picture,
    Caption,
    Form,
    Containers,
    State,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // A panic is what is looked for: it is told once, with its input.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let targets = match args.target {
        None => Target::ALL.to_vec(),
        Some(Named::Event) => vec![Target::Event],
        Some(Named::Init) => vec![Target::Init],
        Some(Named::Resume) => vec![Target::Resume],
        Some(Named::Recording) => vec![Target::Recording],
        Some(Named::Picture) => vec![Target::Picture],
        Some(Named::Caption) => vec![Target::Caption],
        Some(Named::Form) => vec![Target::Form],
        Some(Named::Containers) => vec![Target::Containers],
        Some(Named::State) => vec![Target::State],
    };
    for target in targets {
        if let Err(error) = fuzz(target, &args) {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn fuzz(target: Target, args: &Args) -> Result<()> {
    let fuzz = Fuzz::new(target)?;
    let growth = fuzz.growth()?;
    // From here on the peak is what these inputs make of it.
    std::fs::write("/proc/self/clear_refs", "5").context("forgetting the peak of memory")?;
    let before = memory_of_this_process("VmHWM")?;
    let began = Instant::now();
    let (mut number, mut taken, mut slowest) = (args.from, 0_u64, (Duration::ZERO, 0));
    while began.elapsed().as_secs_f64() < args.seconds {
        let from = Instant::now();
        taken += u64::from(fuzz.run(args.seed, number)?);
        slowest = slowest.max((from.elapsed(), number));
        number += 1;
    }
    let added = memory_of_this_process("VmHWM")?.saturating_sub(before);
    ensure!(added <= target.memory_bytes(), "{target:?}: {added} bytes at the peak beyond those before");
    println!(
        "{target:?}: {} inputs, {:.0} a second, {taken} taken; slowest {:.1?} (input {}); {} MiB at the peak; ten times as long \
         takes {growth:.1} times as long",
        number - args.from,
        (number - args.from) as f64 / began.elapsed().as_secs_f64(),
        slowest.0,
        slowest.1,
        added >> 20
    );
    Ok(())
}
