//! A cluster that is broken on purpose, round after round, and held to its promises: `make test-cluster`.
//!
//! `cluster node` is one node of it, with the test card for a world. `cluster` alone starts three servers of NATS, three
//! nodes that draw, two doors and the clients, and prints what it has measured.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use pipeline::testcard::Testcard;
use pipeline::world::World;
use server::cluster::ClusterSettings;
use server::{Limits, Phase};
use tests::chance::Chance;
use tests::client::Client;
use tests::cluster::{Nats, Node};
use tests::message::Message;
use tests::small;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Faults, one after another.
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Clients that walk all the while.
    #[arg(long, default_value_t = 60)]
    clients: usize,
    /// Decides which fault comes when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Subcommand)]
enum Command {
    /// One node, until it is killed.
    Node(NodeArgs),
}

#[derive(Args)]
struct NodeArgs {
    #[arg(long, value_delimiter = ',')]
    cluster: Vec<String>,
    #[arg(long)]
    sessions: usize,
    #[arg(long, default_value_t = 64)]
    queue: usize,
    /// Milliseconds that a chunk takes.
    #[arg(long, default_value_t = 5)]
    chunk_ms: u64,
    /// Seconds.
    #[arg(long, default_value_t = 60.0)]
    queue_wait: f64,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match cli.command {
        Some(Command::Node(args)) => runtime.block_on(node(args)),
        None => runtime.block_on(rounds(&cli)),
    }
}

async fn node(args: NodeArgs) -> Result<()> {
    let log = std::env::var_os("CLUSTER_LOG").is_some();
    if log {
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
            .init();
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    server::say::say(format_args!("{}\n", listener.local_addr()?))?;
    let settings = ClusterSettings { servers: args.cluster, credentials: None, advertise: None };
    let limits = Limits {
        sessions: args.sessions,
        queue: args.queue,
        queue_wait: Duration::from_secs_f64(args.queue_wait),
        cluster: Some(settings),
        // All clients and doors of a test come from one address.
        connections_per_address: 2048,
        ..Limits::default()
    };
    let chunk = Duration::from_millis(args.chunk_ms);
    let load = move || Ok(Box::new(Testcard::new(chunk)) as Box<dyn World>);
    let (phase, said) = watch::channel(Phase::Serving);
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        terminated.recv().await;
        phase.send_replace(Phase::Draining);
        terminated.recv().await;
        phase.send_replace(Phase::Stopping);
    });
    server::serve(listener, Box::new(load), limits, said).await
}

/// What clients have seen, all together.
#[derive(Default)]
struct Seen {
    chunks: AtomicU64,
    walks: AtomicU64,
    /// Walks that a fault has ended.
    cut: AtomicU64,
    /// Nanoseconds from an init to the first chunk while nothing was wrong.
    waits: std::sync::Mutex<Vec<Duration>>,
    wrong: std::sync::Mutex<Vec<String>>,
}

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Fault {
    NatsKilled,
    NodeKilled,
    NodeTerminated,
    DoorKilled,
    NodePaused,
}

const FAULTS: [Fault; 5] =
    [Fault::NatsKilled, Fault::NodeKilled, Fault::NodeTerminated, Fault::DoorKilled, Fault::NodePaused];

/// Places of each node that draws.
const PLACES: usize = 16;

async fn rounds(cli: &Cli) -> Result<()> {
    let program = std::env::current_exe()?.to_string_lossy().into_owned();
    let mut nats = Nats::start(3)?;
    let start = |nats: &Nats, sessions: usize| Node::start(&program, nats, sessions, &[]);
    let mut workers = (0..3).map(|_| start(&nats, PLACES)).collect::<Result<Vec<_>>>()?;
    let mut doors = (0..2).map(|_| start(&nats, 0)).collect::<Result<Vec<_>>>()?;
    doors[0].reaches("causeway_cluster_nodes", 5.0, Duration::from_secs(30)).await?;
    say(format_args!("three servers of NATS, three nodes of {PLACES} places, two doors: joined"))?;
    relay_beside_direct(&doors[0], &workers[0]).await?;

    let seen = Arc::new(Seen::default());
    let (told, addresses) = watch::channel(doors.iter().map(Node::url).collect::<Vec<_>>());
    let (calm, is_calm) = watch::channel(true);
    for at in 0..cli.clients {
        tokio::spawn(walks(at, addresses.clone(), is_calm.clone(), Arc::clone(&seen), cli.seed));
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    report(&seen, "without faults")?;
    let mut chance = Chance::new(cli.seed);
    let mut done: HashMap<Fault, usize> = HashMap::new();
    for round in 0..cli.rounds {
        let (fault, before) = (*chance.pick(&FAULTS), seen.chunks.load(Ordering::Relaxed));
        calm.send_replace(false);
        match fault {
            Fault::NatsKilled => {
                let at = chance.below(nats.servers.len());
                nats.servers[at].kill();
                tokio::time::sleep(Duration::from_secs(3)).await;
                nats.restart(at)?;
            }
            Fault::NodeKilled => {
                let at = chance.below(workers.len());
                workers[at].process.kill();
                tokio::time::sleep(Duration::from_secs(4)).await;
                workers[at] = start(&nats, PLACES)?;
            }
            Fault::NodeTerminated => {
                let at = chance.below(workers.len());
                workers[at].process.signal("TERM")?;
                tokio::time::sleep(Duration::from_secs(4)).await;
                workers[at] = start(&nats, PLACES)?;
            }
            Fault::DoorKilled => {
                let at = chance.below(doors.len());
                doors[at].process.kill();
                doors[at] = start(&nats, 0)?;
                told.send_replace(doors.iter().map(Node::url).collect());
            }
            Fault::NodePaused => {
                let at = chance.below(workers.len());
                workers[at].process.signal("STOP")?;
                tokio::time::sleep(Duration::from_secs(10)).await;
                workers[at].process.signal("CONT")?;
            }
        }
        doors[0]
            .reaches("causeway_cluster_nodes", 5.0, Duration::from_secs(30))
            .await
            .with_context(|| format!("round {round}, {fault:?}"))?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        calm.send_replace(true);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let drawn = seen.chunks.load(Ordering::Relaxed) - before;
        ensure!(drawn > 0, "round {round}, {fault:?}: nothing was drawn any more");
        *done.entry(fault).or_default() += 1;
        let memory: Vec<u64> = workers.iter().chain(&doors).map(|node| resident_kib(node.process.id())).collect();
        say(format_args!("round {round}: {fault:?}, {drawn} chunks, resident KiB {memory:?}"))?;
        let wrong = seen.wrong.lock().expect("no panic").clone();
        ensure!(wrong.is_empty(), "{wrong:?}");
    }
    let mut done: Vec<_> = done.into_iter().collect();
    done.sort();
    report(&seen, &format!("after {done:?}"))
}

fn say(line: std::fmt::Arguments<'_>) -> Result<()> {
    server::say::say(format_args!("{line}\n"))
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

fn cpu_ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    [11, 12].iter().filter_map(|&at| fields.get(at)?.parse::<u64>().ok()).sum()
}

fn report(seen: &Seen, when: &str) -> Result<()> {
    let mut waits = seen.waits.lock().expect("no panic").clone();
    waits.sort();
    let at = |share: f64| waits.get((waits.len() as f64 * share) as usize).copied().unwrap_or_default();
    let (chunks, walks, cut) = (&seen.chunks, &seen.walks, &seen.cut);
    say(format_args!(
        "{when}: {} walks, {} cut by a fault, {} chunks; init to first chunk in calm: p50 {:?}, p99 {:?}, {} of them",
        walks.load(Ordering::Relaxed),
        cut.load(Ordering::Relaxed),
        chunks.load(Ordering::Relaxed),
        at(0.5),
        at(0.99),
        waits.len()
    ))
}

/// One client: walk after walk, each of some chunks, at one door or the other.
async fn walks(
    at: usize,
    doors: watch::Receiver<Vec<String>>,
    calm: watch::Receiver<bool>,
    seen: Arc<Seen>,
    seed: u64,
) {
    let mut chance = Chance::at(seed, at as u64);
    loop {
        let door = doors.borrow()[chance.below(2)].clone();
        let was_calm = *calm.borrow();
        match walk(&door, 4 + chance.below(60) as u64, &seen).await {
            Ok(waited) => {
                seen.walks.fetch_add(1, Ordering::Relaxed);
                if was_calm && *calm.borrow() {
                    seen.waits.lock().expect("no panic").push(waited);
                }
            }
            Err(error) => {
                seen.cut.fetch_add(1, Ordering::Relaxed);
                let said = format!("{error:#}");
                // A broken promise of the wire is never a fault's consequence.
                if said.contains("chunk_index") || said.contains("schema") {
                    seen.wrong.lock().expect("no panic").push(said);
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn walk(door: &str, chunks: u64, seen: &Seen) -> Result<Duration> {
    let began = Instant::now();
    let mut client = Client::connect(door).await?;
    // The document is the same for all: read once it is enough.
    client.documented = false;
    client.send(small().paced(48).max_chunks(chunks).queued()).await?;
    let mut first = None;
    for at in 0..chunks {
        let chunk = client.chunk().await?;
        first.get_or_insert(began.elapsed());
        seen.chunks.fetch_add(1, Ordering::Relaxed);
        if chunk.stats.chunk_index != at {
            seen.wrong.lock().expect("no panic").push(format!("chunk {} in place of {at}", chunk.stats.chunk_index));
        }
    }
    match client.next().await? {
        Message::Closed(close) => ensure!(close.code == 1000, "{close:?}"),
        other => anyhow::bail!("instead of the end: {other:?}"),
    }
    first.context("no chunk")
}

/// The same sessions through a door and without one, in turns: what the door costs.
async fn relay_beside_direct(door: &Node, worker: &Node) -> Result<()> {
    let mut gaps: [Vec<Duration>; 2] = Default::default();
    let mut cpu = [0_u64; 2];
    let all = |door: &Node, worker: &Node| cpu_ticks(door.process.id()) + cpu_ticks(worker.process.id());
    for round in 0..6 {
        let side = round % 2;
        let url = if side == 0 { worker.url() } else { door.url() };
        let before = all(door, worker);
        let mut client = Client::connect(&url).await?;
        client.documented = false;
        client.send(small().size(256, 256).format("raw").max_chunks(200)).await?;
        client.chunk().await?;
        let mut last = Instant::now();
        for _ in 1..200 {
            client.chunk().await?;
            gaps[side].push(last.elapsed());
            last = Instant::now();
        }
        cpu[side] += all(door, worker) - before;
    }
    for (side, name) in ["direct", "relayed"].into_iter().enumerate() {
        gaps[side].sort();
        let at = |share: f64| gaps[side][(gaps[side].len() as f64 * share) as usize];
        say(format_args!(
            "{name}: 600 chunks of 12 raw frames of 256x256, from chunk to chunk p50 {:?}, p99 {:?}, CPU of door and node {} ms",
            at(0.5),
            at(0.99),
            cpu[side] * 10
        ))?;
    }
    Ok(())
}
