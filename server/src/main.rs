//! The command line: parse, load, run, exit code.

#![warn(clippy::print_stdout, clippy::print_stderr)]

#[path = "main/device.rs"]
mod device;
#[path = "main/inspect.rs"]
mod inspect;
#[path = "main/measure.rs"]
mod measure;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use pipeline::load::model_dir::ModelDir;
use pipeline::team::Members;
use pipeline::testcard::Testcard;
use pipeline::world::{Cancel, Card, World};
use server::access::key_ring::KeyRing;
use server::access::policy::Entry;
use server::access::rules::keys::new_key;
use server::access::secrets::{WithoutSecrets, hide};
use server::browser;
use server::config::environment::Environment;
use server::config::flags::{
    AccessArgs, Cli, Command, ComputeChoice, GenerateArgs, ReplayArgs, ServeArgs, Source, WorldArgs,
};
use server::engine::thread::Engine;
use server::observe::log::without_secrets;
use server::offline::generate::Report;
use server::say::{note, say};
use server::service::Service;
use server::{Limits, Phase, offline, pocket};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Gives memory back: after a thousand sessions it held 0.03 % more than after a hundred; the system's allocator held 2
/// to 5 % more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As shells tell it of a command that SIGINT ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let environment = Environment::read();
    let line = match environment.complete(std::env::args_os().collect(), &Cli::command()) {
        Ok(line) => line,
        Err(error) => {
            note(format_args!("error: {error:#}"));
            return ExitCode::FAILURE;
        }
    };
    for name in &line.unknown {
        note(format_args!("{name} is set, but no flag is named so: it changes nothing"));
    }
    let cli = match Cli::try_parse_from(&line.arguments) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            // It quotes what was typed, and that may be a key.
            let told = error.render();
            let told = if std::io::stderr().is_terminal() { told.ansi().to_string() } else { told.to_string() };
            note(hide(told.trim_end()));
            if !line.used.is_empty() {
                note(format_args!("\nSome of it was said by the environment: {}", line.used.join(", ")));
            }
            return ExitCode::from(error.exit_code() as u8);
        }
        Err(help) => help.exit(),
    };
    match run(cli, &environment) {
        Ok(code) => code,
        Err(error) => {
            note(format_args!("error: {}", hide(&format!("{error:#}"))));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli, environment: &Environment) -> anyhow::Result<ExitCode> {
    // `info` where it is not set, or set and empty.
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env().context("RUST_LOG")?;
    // Colours are for a person: in a file they are noise.
    let log = tracing_subscriber::fmt::layer()
        .with_writer(|| WithoutSecrets(std::io::stderr()))
        // It would panic where standard error cannot be written.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let log = log.with_filter(without_secrets(filter));
    let log = tracing_subscriber::registry().with(log);
    #[cfg(feature = "otlp")]
    let (log, _export) = {
        let collector = if let Command::Serve(args) = &cli.command { args.otlp_endpoint.as_ref() } else { None };
        let (spans, export) = collector.map(server::observe::otlp::spans).transpose()?.unzip();
        (log.with(spans), export)
    };
    log.init();
    match cli.command {
        Command::Serve(args) => serve(*args, Service::new(environment.notify_socket())?)?,
        Command::Key { name } => key(&name)?,
        Command::Generate(args) => return generate(*args),
        Command::Replay(args) => return replay(args),
        Command::Inspect(args) => inspect::inspect(&args)?,
        Command::Bench(args) => return measure::bench(&args),
        Command::Check(args) => return measure::check(&args),
        Command::Load(args) => return measure::put_load(*args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "causeway", &mut script);
            say(String::from_utf8(script)?)?;
        }
        Command::Man { command } => man(command.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn serve(args: ServeArgs, service: Service) -> anyhow::Result<()> {
    let source = args.world.source();
    if let Source::Directory(dir) = &source {
        // A mistyped name is told at once, and not below an address that looks as if there were a server.
        ModelDir::open(dir)?;
    }
    compute_on(&args.world)?;
    // A GPU that is not there is told at once, too.
    let members = device::for_world(&args.world, &source)?;
    let guardrails = args.guardrails.build()?;
    let limits = Limits {
        cluster: args.cluster.settings(args.limits.sessions)?,
        trace_file: args.trace_file,
        profile_dir: args.profile_dir,
        guardrails,
        moving: args.moving.nodes()?,
        ..args.limits.limits(args.access.policy(args.host)?)
    };
    // Blocking threads encode frames on the cores that the model needs: tokio's default of 512 would starve it.
    let encoders = std::thread::available_parallelism().map_or(4, |cores| cores.get().max(4));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().max_blocking_threads(encoders).build().context("starting tokio")?;
    let served = runtime.block_on(async {
        let listener = TcpListener::bind((args.host, args.port))
            .await
            .with_context(|| format!("listening on {}:{}", args.host, args.port))?;
        let address = listener.local_addr()?;
        if let Err(error) = say(format_args!("causeway: http://{address}/\n")) {
            tracing::warn!(error = format!("{error:#}"), "the address could not be told");
        }
        if args.open {
            show_in_browser(format!("http://{}/", browser::reachable(address)))?;
        }
        if matches!(limits.access.entry, Entry::Everybody) {
            tracing::warn!("--insecure: whoever can reach this address may use this server");
        }
        if let Entry::Keys(keys) = &limits.access.entry {
            tokio::spawn(read_keys_again(args.access, keys.clone())?);
        }
        let phase = until_interrupted()?;
        let told = phase.clone();
        let tell = move |engine: Engine| drop(tokio::spawn(tell_service(service, engine.card.clone(), told)));
        server::serve_telling(listener, Box::new(move || load(&source, &members)), limits, phase, tell).await
    });
    // Weights that are still being read must not keep the process.
    runtime.shutdown_background();
    served
}

/// Tell systemd when the world is loaded and warm, and when the server begins to stop.
async fn tell_service(
    service: Service,
    mut card: watch::Receiver<Option<Arc<Card>>>,
    mut phase: watch::Receiver<Phase>,
) {
    service.tell("STATUS=loading the world");
    let world = async { Some(card.wait_for(Option::is_some).await.ok()?.as_ref()?.name.clone()) };
    let stops = async { phase.wait_for(|&phase| phase >= Phase::Draining).await.is_ok() };
    tokio::pin!(stops);
    let is_stopping = tokio::select! {
        name = world => {
            if let Some(name) = name {
                service.tell(&format!("READY=1\nSTATUS=serving {name}"));
            }
            stops.await
        }
        is_stopping = &mut stops => is_stopping,
    };
    if is_stopping {
        service.tell("STOPPING=1\nSTATUS=draining");
    }
}

/// On a thread of its own: some openers end when the browser is closed.
fn show_in_browser(url: String) -> anyhow::Result<()> {
    let show = move || {
        if let Err(error) = browser::open(&url) {
            tracing::warn!(error = format!("{error:#}"), "no browser was opened: open {url} yourself");
        }
    };
    // Not joined: the server does not wait for a browser.
    std::thread::Builder::new().name("browser".into()).spawn(show).context("starting a thread for the browser")?;
    Ok(())
}

/// The first SIGINT or SIGTERM begins to drain; the second ends that.
fn until_interrupted() -> anyhow::Result<watch::Receiver<Phase>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (say, phase) = watch::channel(Phase::Serving);
    tokio::spawn(async move {
        for phase in [Phase::Draining, Phase::Stopping] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            say.send_replace(phase);
        }
        // Keep the sender: dropping it would stop the server.
        say.closed().await;
    });
    Ok(phase)
}

/// Read the key file again at SIGHUP. Without a key file the signal keeps its usual meaning, so `nohup` works.
fn read_keys_again(access: AccessArgs, good: KeyRing) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            match access.read_keys() {
                Ok(Some(keys)) => {
                    tracing::info!(keys = keys.count(), "key file read again");
                    good.replace(keys);
                }
                Ok(None) => unreachable!("it was there at the start, as an argument"),
                Err(error) => tracing::error!(error = format!("{error:#}"), "the keys stay as they were"),
            }
        }
    })
}

/// Print the key and its line for the key file to standard output, for scripts. The explanation goes to standard error.
fn key(name: &str) -> anyhow::Result<()> {
    let (key, line) = new_key(name)?;
    note(format_args!("The key of {name}; it is stored nowhere and cannot be shown again:"));
    say(format_args!("{key}\n"))?;
    note("The line for the file that `causeway serve --keys FILE` reads:");
    say(format_args!("{line}\n"))
}

fn generate(args: GenerateArgs) -> anyhow::Result<ExitCode> {
    // Before the weights are read, which takes minutes where they are large.
    offline::film::check(&args.out, args.existing())?;
    compute_on(&args.world)?;
    let source = args.world.source();
    let members = device::for_world(&args.world, &source)?;
    let request = args.request()?;
    if let Err(blocked) = request.guardrails.check(request.prompts.iter().map(|switch| switch.text.as_str())) {
        anyhow::bail!("a prompt is blocked by the guardrail {}: nothing is drawn", blocked.guardrail);
    }
    let world = load(&source, &members)?;
    cancelled_by_signals(request.cancel.clone())?;
    let report = offline::generate::generate(world.as_ref(), &request)?;
    say(format_args!("{}{}\n", report.summary(), request.out.display()))?;
    Ok(ended(&report))
}

fn replay(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    compute_on(&args.world)?;
    let source = args.world.source();
    let members = device::for_world(&args.world, &source)?;
    let as_recorded = args.world.device.compute == ComputeChoice::Auto;
    let request = args.request();
    let recording = request.read()?;
    let members = match recording.compute() {
        Some(compute) if as_recorded => members.computing_in(compute),
        _ => members,
    };
    let world = load(&source, &members)?;
    cancelled_by_signals(request.cancel.clone())?;
    let (report, told) = offline::replay::replay(world.as_ref(), recording, &request)?;
    say(format_args!("{told}\n"))?;
    Ok(ended(&report))
}

/// The first SIGINT or SIGTERM ends the drawing after what is drawn; the second ends the process.
fn cancelled_by_signals(cancel: Cancel) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("starting tokio")?;
    // From here on a signal does not end the process by itself.
    let mut phase = runtime.block_on(async { until_interrupted() })?;
    let obey = move || {
        runtime.block_on(async {
            let _ = phase.wait_for(|&phase| phase >= Phase::Draining).await;
            cancel.cancel();
            let _ = phase.wait_for(|&phase| phase >= Phase::Stopping).await;
        });
        std::process::exit(i32::from(INTERRUPTED));
    };
    // Not joined: it waits for signals until the process ends.
    std::thread::Builder::new().name("signals".into()).spawn(obey).context("starting a thread for signals")?;
    Ok(())
}

/// The exit status of a drawing, which says if it was interrupted.
fn ended(report: &Report) -> ExitCode {
    if !report.is_interrupted() {
        return ExitCode::SUCCESS;
    }
    note(format_args!("interrupted after {} of {} chunks: the video ends there", report.chunks, report.asked));
    ExitCode::from(INTERRUPTED)
}

/// Print a manual page.
fn man(command: Option<&str>) -> anyhow::Result<()> {
    let mut program = Cli::command();
    // Gives the commands their full names, and the pages their references to each other.
    program.build();
    let page = match command {
        None => &program,
        Some(name) => program
            .get_subcommands()
            .find(|command| command.get_name() == name)
            .with_context(|| format!("{name:?} is no command: `causeway --help` lists them"))?,
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page.clone()).render(&mut text)?;
    say(String::from_utf8(text)?)
}

fn compute_on(args: &WorldArgs) -> anyhow::Result<()> {
    if let Some(threads) = args.threads {
        pipeline::set_threads(usize::from(threads)).context("setting the number of threads")?;
    }
    Ok(())
}

/// Loads the world on the thread that will own it.
fn load(source: &Source, members: &Members) -> anyhow::Result<Box<dyn World>> {
    let world = match source {
        Source::Testcard { chunk_time } => return Ok(Box::new(Testcard::new(*chunk_time))),
        Source::Directory(dir) => pipeline::load_world_over(&ModelDir::open(dir)?, members)?,
        Source::Embedded => pipeline::load_world_over(&pocket::dir(), members)?,
    };
    members.devices().iter().for_each(device::tell_products);
    Ok(world)
}
