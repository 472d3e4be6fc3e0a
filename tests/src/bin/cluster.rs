//! A cluster that is broken on purpose, round after round, and held to its promises: `make test-cluster`.
//!
//! `cluster node` is one node of it, with the test card for a world. `cluster` alone starts three servers of NATS, three
//! nodes that draw, two doors and the clients, and prints what it has measured.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_client::connection::Connection;
use clap::{Args, Parser, Subcommand};
use pipeline::testcard::Testcard;
use pipeline::world::World;
use serde_json::json;
use server::cluster::ClusterSettings;
use server::{Limits, Phase};
use tests::chance::Chance;
use tests::client::Client;
use tests::cluster::walk::{Addresses, Seen, expected, walks};
use tests::cluster::{Nats, Node};
use tests::message::map;
use tests::openai;
use tests::shaper::{Shape, Shaper};
use tests::small;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

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
    /// Chunks from state to state of a journal; without, there is none.
    #[arg(long)]
    journal: Option<u32>,
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
    let settings = ClusterSettings { servers: args.cluster, credentials: None, advertise: None, journal: args.journal };
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

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Fault {
    /// The server of NATS that leads the line.
    LeaderKilled,
    NodeKilled,
    NodeTerminated,
    DoorKilled,
    NodePaused,
    /// A node does not reach NATS.
    Partition,
}

const FAULTS: [Fault; 6] = [
    Fault::NodeTerminated,
    Fault::NodeKilled,
    Fault::NodePaused,
    Fault::LeaderKilled,
    Fault::DoorKilled,
    Fault::Partition,
];

/// Places of each node that draws.
const PLACES: usize = 16;

/// The node that reaches NATS through shapers.
const SHAPED: usize = 0;

/// The cluster, and what has been done to it.
struct Rig {
    program: String,
    nats: Nats,
    /// Between one node and each server of NATS.
    shapers: Vec<Shaper>,
    workers: Vec<Node>,
    doors: Vec<Node>,
}

impl Rig {
    async fn start() -> Result<Rig> {
        let program = std::env::current_exe()?.to_string_lossy().into_owned();
        let nats = Nats::start(3)?;
        let mut rig = Rig { program, nats, shapers: Vec::new(), workers: Vec::new(), doors: Vec::new() };
        for url in &rig.nats.urls {
            rig.shapers.push(Shaper::before(address(url)?, Shape::default(), Shape::default(), 1).await?);
        }
        for at in 0..3 {
            let worker = rig.worker(at)?;
            rig.workers.push(worker);
        }
        for _ in 0..2 {
            let door = rig.door()?;
            rig.doors.push(door);
        }
        rig.joined().await?;
        Ok(rig)
    }

    fn worker(&self, at: usize) -> Result<Node> {
        let shaped: Vec<String> = self.shapers.iter().map(|shaper| format!("nats://{}", shaper.address)).collect();
        let urls = if at == SHAPED { &shaped } else { &self.nats.urls };
        Node::start_at(&self.program, urls, PLACES, &["--journal", "8"])
    }

    fn door(&self) -> Result<Node> {
        Node::start(&self.program, &self.nats, 0, &["--journal", "8"])
    }

    async fn joined(&self) -> Result<()> {
        for door in &self.doors {
            door.reaches("causeway_cluster_nodes", 5.0, Duration::from_secs(30)).await?;
        }
        Ok(())
    }

    fn addresses(&self) -> Addresses {
        let urls = |nodes: &[Node]| nodes.iter().map(Node::url).collect();
        Addresses { doors: urls(&self.doors), workers: urls(&self.workers) }
    }

    async fn befall(&mut self, fault: Fault, told: &watch::Sender<Addresses>, chance: &mut Chance) -> Result<()> {
        match fault {
            Fault::LeaderKilled => {
                let at = self.nats.leader().await?;
                self.nats.servers[at].kill();
                sleep(Duration::from_secs(5)).await;
                self.nats.restart(at)?;
            }
            Fault::NodeKilled => {
                let at = chance.below(self.workers.len());
                self.workers[at].process.kill();
                self.workers[at] = self.worker(at)?;
                told.send_replace(self.addresses());
            }
            Fault::NodeTerminated => {
                let at = chance.below(self.workers.len());
                let new = self.worker(at)?;
                let leaves = std::mem::replace(&mut self.workers[at], new);
                told.send_replace(self.addresses());
                leaves.process.signal("TERM")?;
                sleep(Duration::from_secs(4)).await;
            }
            Fault::DoorKilled => {
                let at = chance.below(self.doors.len());
                self.doors[at].process.kill();
                self.doors[at] = self.door()?;
                told.send_replace(self.addresses());
            }
            Fault::NodePaused => {
                let at = chance.below(self.workers.len());
                self.workers[at].process.signal("STOP")?;
                sleep(Duration::from_secs(10)).await;
                self.workers[at].process.signal("CONT")?;
            }
            Fault::Partition => {
                let addresses: Vec<_> = self.shapers.iter().map(|shaper| shaper.address).collect();
                // Nobody listens there any more, and what was connected is cut.
                self.shapers.clear();
                sleep(Duration::from_secs(6)).await;
                for (at, url) in addresses.into_iter().zip(&self.nats.urls) {
                    let (up, down) = (Shape::default(), Shape::default());
                    self.shapers.push(Shaper::at(at, address(url)?, up, down, 1).await?);
                }
            }
        }
        Ok(())
    }

    fn resident_kib(&self) -> Vec<(u32, u64)> {
        let nodes = self.workers.iter().chain(&self.doors).map(|node| &node.process);
        nodes.map(|process| (process.id(), process.resident_kib())).collect()
    }
}

fn address(url: &str) -> Result<SocketAddr> {
    url.trim_start_matches("nats://").parse().with_context(|| url.to_owned())
}

async fn rounds(cli: &Cli) -> Result<()> {
    let mut rig = Rig::start().await?;
    say(format_args!("three servers of NATS, three nodes of {PLACES} places, two doors: joined"))?;
    grants(&rig.doors[0]).await?;
    relay_beside_direct(&rig.doors[0], &rig.workers[1]).await?;

    let (seen, frames) = (Arc::new(Seen::default()), Arc::new(expected(&rig.workers[0].url()).await?));
    let (told, to) = watch::channel(rig.addresses());
    for at in 0..cli.clients {
        tokio::spawn(walks(at, to.clone(), (Arc::clone(&seen), Arc::clone(&frames)), cli.seed));
    }
    sleep(Duration::from_secs(10)).await;
    let inversions = seen.inversions();
    report(&seen, "without faults")?;
    ensure!(inversions <= 8, "a client was passed {inversions} times");
    let mut chance = Chance::new(cli.seed);
    let mut costs: BTreeMap<Fault, Vec<(Duration, u64)>> = BTreeMap::new();
    let mut early: Vec<(u32, u64)> = Vec::new();
    for round in 0..cli.rounds {
        // Each of them once, before chance chooses.
        let fault = FAULTS.get(round).copied().unwrap_or_else(|| *chance.pick(&FAULTS));
        let (before, lost) = (seen.chunks.load(Ordering::Relaxed), seen.lost.load(Ordering::Relaxed));
        seen.take_gap();
        rig.befall(fault, &told, &mut chance).await.with_context(|| format!("round {round}, {fault:?}"))?;
        rig.joined().await.with_context(|| format!("round {round}, {fault:?}"))?;
        sleep(Duration::from_secs(5)).await;
        let drawn = seen.chunks.load(Ordering::Relaxed) - before;
        ensure!(drawn > 0, "round {round}, {fault:?}: nothing was drawn any more");
        let lost = seen.lost.load(Ordering::Relaxed) - lost;
        let gap = seen.take_gap();
        costs.entry(fault).or_default().push((gap, lost));
        let memory = rig.resident_kib();
        say(format_args!(
            "round {round}: {fault:?}, {drawn} chunks, longest wait for one {gap:.2?}, {lost} walks lost, resident KiB {:?}",
            memory.iter().map(|(_, kib)| kib).collect::<Vec<_>>()
        ))?;
        if lost > 0 {
            say(format_args!("lost: {:?}", seen.reasons.lock().expect("no panic")))?;
        }
        let wrong = seen.wrong.lock().expect("no panic").clone();
        ensure!(wrong.is_empty(), "{wrong:?}");
        ensure!(seen.twice.load(Ordering::Relaxed) == 0, "an old epoch has sent a chunk");
        ensure!(lost == 0, "walks were lost");
        if round == 9 {
            early = memory;
        }
    }
    for (fault, costs) in costs {
        let longest = costs.iter().map(|(gap, _)| *gap).max().unwrap_or_default();
        say(format_args!("{fault:?}: {} times, longest wait for a chunk {longest:.2?}", costs.len()))?;
    }
    for (id, kib) in rig.resident_kib() {
        if let Some((_, then)) = early.iter().find(|(then, _)| *then == id) {
            say(format_args!("process {id}: {kib} KiB, after the tenth round {then} KiB"))?;
            ensure!(kib * 100 <= then * 105 + (2 << 10) * 100, "its memory grows");
        }
    }
    report(&seen, "at the end")
}

fn say(line: std::fmt::Arguments<'_>) -> Result<()> {
    server::say::say(format_args!("{line}\n"))
}

fn share(sorted: &[Duration], share: f64) -> Duration {
    sorted.get((sorted.len() as f64 * share) as usize).copied().unwrap_or_default()
}

fn report(seen: &Seen, when: &str) -> Result<()> {
    let mut moves = seen.moves.lock().expect("no panic").clone();
    moves.sort();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    say(format_args!(
        "{when}: {} walks, {} resumes, {} lost, {} cut before their second chunk, {} chunks, {} twice; passed at most {} times; \
         {} moves, from chunk to chunk p50 {:.0?}, p99 {:.0?}",
        count(&seen.walks),
        count(&seen.resumes),
        count(&seen.lost),
        count(&seen.unbegun),
        count(&seen.chunks),
        count(&seen.twice),
        seen.inversions(),
        moves.len(),
        share(&moves, 0.5),
        share(&moves, 0.99),
    ))
}

/// From a request at a door to its grant by a node, in a cluster at rest.
async fn grants(door: &Node) -> Result<()> {
    let mut took = Vec::new();
    for _ in 0..100 {
        let began = Instant::now();
        let told = openai::post(door.address, "/v1/sessions", json!({ "size": "16x16" })).await?.expect(200)?;
        took.push(began.elapsed());
        // Its place is free again once the token was used.
        let url = told["url"].as_str().context("url")?;
        let mut client = Connection::connect(url).await?;
        client
            .send(map([("type", "hello".into()), ("token", told["token"].as_str().context("token")?.into())]))
            .await?;
        client.receive().await?;
    }
    took.sort();
    say(format_args!("request → grant, 100 of them: p50 {:.1?}, p99 {:.1?}", share(&took, 0.5), share(&took, 0.99)))
}

/// The same sessions through a door and without one, in turns: what the door costs.
async fn relay_beside_direct(door: &Node, worker: &Node) -> Result<()> {
    let mut gaps: [Vec<Duration>; 2] = Default::default();
    let mut cpu = [0_u64; 2];
    let all = |door: &Node, worker: &Node| door.process.cpu_ticks() + worker.process.cpu_ticks();
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
        say(format_args!(
            "{name}: 600 chunks of 12 raw frames of 256x256, from chunk to chunk p50 {:.2?}, p99 {:.2?}, CPU of door and node {} ms",
            share(&gaps[side], 0.5),
            share(&gaps[side], 0.99),
            cpu[side] * 10
        ))?;
    }
    Ok(())
}
