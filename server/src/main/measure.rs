//! The commands that measure: how fast a world is here, if a GPU computes rightly, and how a server holds under load.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use pipeline::check::Scale;
use pipeline::load::model_dir::ModelDir;
use pipeline::team::Members;
use server::config::flags::{BenchArgs, CheckArgs, LoadArgs, Source, version};
use server::offline;
use server::offline::bench;
use server::say::{note, say};
use server::whole_file::{WholeFile, check_place};
use server::{Limits, Phase};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{compute_on, device, load};

pub(super) fn bench(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    // Before anything is measured, which takes its time.
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        bench::report::Report::from_json(&text).with_context(|| path.display().to_string())
    };
    let before = args.compare.as_ref().map(read).transpose()?;
    compute_on(&args.world)?;
    let source = args.world.source();
    let members = device::for_world(&args.world, &source)?;
    let loading = Instant::now();
    let world = load(&source, &members)?;
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
    let mut report = bench::bench(world.as_ref(), &request)?;
    let first_frame = bench::grey_picture(world.card(), args.size)?;
    // The server loads it again, on the thread that owns it.
    drop(world);
    report.rows.extend(through_a_socket(source, members, first_frame, args)?);
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

/// One client of a server of this process, over loopback.
fn through_a_socket(
    source: Source,
    members: Members,
    first_frame: Option<Vec<u8>>,
    args: &BenchArgs,
) -> anyhow::Result<Vec<bench::report::Row>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting tokio")?;
    let size = args.size.map(|size| size.to_string());
    let rows = runtime.block_on(async {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.context("listening on loopback")?;
        let url = format!("ws://{}/v1/realtime_video/generate", listener.local_addr()?);
        let (stop, phase) = watch::channel(Phase::Serving);
        let mut serve = std::pin::pin!(server::serve(
            listener,
            Box::new(move || load(&source, &members)),
            Limits::default(),
            phase
        ));
        let rows = tokio::select! {
            ended = &mut serve => return ended.and_then(|()| anyhow::bail!("the server ended")),
            rows = bench::socket::through(&url, size, first_frame, args.seconds) => rows,
        };
        stop.send_replace(Phase::Stopping);
        serve.await?;
        rows
    });
    runtime.shutdown_background();
    rows
}

pub(super) fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let device = device::of(&args.device)?;
    anyhow::ensure!(device.about().is_some(), "check holds a GPU to the processor: name one with --device cuda");
    let scale = if args.small { Scale::Small } else { Scale::Real };
    let program = format!("causeway {}", version());
    // A mistyped name is told at once.
    let dir = args.model.as_ref().map(ModelDir::open).transpose()?;
    let mut tell = |line: &dyn std::fmt::Display| {
        // A reader that has gone is found at the last line.
        let _ = say(format_args!("{line}\n"));
    };
    let mut report = offline::check::Report::of(&device, scale, program, &mut tell)?;
    if let Some(dir) = &dir {
        report = report.and_model(dir, &device, &mut tell)?;
    }
    if let Some(path) = &args.report {
        let text = format!("{:#}\n", report.to_json());
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    say(format_args!("{report}\n"))?;
    Ok(if report.agrees() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
