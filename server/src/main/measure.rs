//! The commands that measure: how fast a world is here, and how a server holds under load.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use server::config::flags::{BenchArgs, LoadArgs, version};
use server::offline;
use server::offline::bench;
use server::say::{note, say};
use server::whole_file::{WholeFile, check_place};

use super::{compute_on, load};

pub(super) fn bench(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    // Before anything is measured, which takes its time.
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        bench::report::Report::from_json(&text).with_context(|| path.display().to_string())
    };
    let before = args.compare.as_ref().map(read).transpose()?;
    compute_on(&args.world)?;
    let (source, loading) = (args.world.source(), Instant::now());
    let world = load(&source)?;
    let request = bench::Request {
        size: args.size,
        time: Duration::from_secs(u64::from(args.seconds)),
        threads: match args.world.threads {
            Some(threads) => usize::from(threads),
            None => std::thread::available_parallelism()?.get(),
        },
        program: format!("causeway {}", version()),
        loaded: loading.elapsed(),
    };
    let report = bench::bench(world.as_ref(), &request)?;
    if args.json {
        say(format_args!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        say(&report)?;
    }
    let Some(before) = before else { return Ok(ExitCode::SUCCESS) };
    let comparison = report.since(&before)?;
    if args.json {
        note(&comparison);
    } else {
        say(format_args!("\n{comparison}"))?;
    }
    Ok(if comparison.is_slower() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(super) fn put_load(args: LoadArgs) -> anyhow::Result<ExitCode> {
    let (is_json, html, existing) = (args.json, args.html.clone(), args.existing());
    if let Some(path) = &html {
        // Before anything is measured, which takes its time.
        check_place(path, existing)?;
    }
    let report = offline::load::run(args.request(format!("causeway {}", version()))?)?;
    if let Some(path) = &html {
        let mut file = WholeFile::create(path, existing)?;
        file.write_all(offline::load::html::page(&report).as_bytes())?;
        file.finish()?;
    }
    if is_json {
        say(format_args!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        say(&report)?;
    }
    Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
