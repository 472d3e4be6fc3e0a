//! Thousands of sessions and hundreds of faults against one server: it ends as it began, and nobody else noticed.
//!
//! The server runs in a process of its own, so that its memory is its own. It is this program again, under `serve`, with a
//! write deadline short enough to be waited for; for the shutdowns under load it is `causeway` itself, and a SIGTERM.

use ::tests::Server;
use ::tests::client::Client;
use ::tests::fault::{Fault, Ground, SEATS};
use ::tests::fuzz::memory_of;
use ::tests::message::{Init, Message};
use ::tests::small;
use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use pipeline::testcard::Testcard;
use pipeline::world::World;
use server::Limits;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// As `causeway` has it: what is measured here is what it holds.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Sessions and faults by the thousand: memory, seats and the rate of whoever else is there")]
struct Args {
    #[command(subcommand)]
    role: Option<Role>,
    /// Run a hundredth of it, without the checks that depend on this machine's speed
    #[arg(long)]
    quick: bool,
    /// Only one part
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Short sessions with the test card
    #[arg(long, default_value_t = 10_000)]
    sessions: u64,
    /// Short sessions with the small model
    #[arg(long, default_value_t = 1_000)]
    pocket_sessions: u64,
    /// Cycles of each fault
    #[arg(long, default_value_t = 100)]
    cycles: u64,
    /// Only this one of the faults
    #[arg(long)]
    fault: Option<Fault>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    Sessions,
    Pocket,
    Faults,
    Shutdowns,
}

#[derive(Subcommand)]
enum Role {
    /// What the soak starts: a server until its standard input ends
    #[command(hide = true)]
    Serve {
        #[arg(value_enum)]
        world: Named,
        seats: usize,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Named {
    Testcard,
    Pocket,
}

const SEATS_OF_SESSIONS: usize = 4;
const WRITE_DEADLINE: Duration = Duration::from_millis(400);

/// Twelve frames at this rate: a chunk every 200 ms, so that a fifth of it is more than this machine's own disquiet.
const QUIET_FPS: u64 = 60;

/// What the other session may be slower by, and memory be more by.
const GAP_GROWTH: f64 = 1.2;
const MEMORY_GROWTH: f64 = 1.02;
/// With a hundredth of the sessions an allocator's own habits weigh more.
const QUICK_MEMORY_GROWTH: f64 = 1.15;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.role {
        Some(Role::Serve { world, seats }) => serve(world, seats),
        None => soak(args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(world: Named, seats: usize) -> Result<()> {
    let load: server::LoadWorld = Box::new(move || match world {
        Named::Testcard => Ok(Box::new(Testcard::new(Duration::from_millis(2))) as Box<dyn World>),
        Named::Pocket => Ok(pipeline::load_world(&server::pocket::dir(), &pipeline::Device::cpu())?),
    });
    let limits = Limits { sessions: seats, write_deadline: WRITE_DEADLINE, ..Limits::default() };
    let server = Server::start(load, limits)?;
    println!("soak: http://{}/", server.address);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    server.stop()
}

/// A server in a process of its own.
struct Outside {
    child: Child,
    address: SocketAddr,
}

impl Outside {
    fn start(command: &mut Command) -> Result<Outside> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let said = child.stdout.take().context("a child's output")?;
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        let (_, place) = line.split_once("http://").with_context(|| format!("no address in {line:?}"))?;
        Ok(Outside { child, address: place.trim().trim_end_matches('/').parse()? })
    }

    fn of(world: &str, seats: usize) -> Result<Outside> {
        Outside::start(Command::new(std::env::current_exe()?).args(["serve", world, &seats.to_string()]))
    }

    fn url(&self) -> String {
        format!("ws://{}/v1/realtime_video", self.address)
    }

    fn resident(&self) -> Result<u64> {
        memory_of(&self.child.id().to_string(), "VmRSS")
    }

    /// Without standard input it stops, and says how it went.
    fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

async fn soak(args: Args) -> Result<()> {
    let share = if args.quick { 100 } else { 1 };
    let growth = if args.quick { QUICK_MEMORY_GROWTH } else { MEMORY_GROWTH };
    let wanted = |part| args.only.is_none_or(|only| only == part);
    if wanted(Part::Sessions) {
        // A fiftieth and no less, or there would be nothing to compare.
        let server = Outside::of("testcard", SEATS_OF_SESSIONS)?;
        let init = small().size(64, 48).format("jpeg").max_chunks(2);
        sessions(server, "test card", init, args.sessions / share.min(50), growth).await?;
    }
    if wanted(Part::Pocket) && !args.quick {
        let server = Outside::of("pocket", SEATS_OF_SESSIONS)?;
        let init = Init::new("a meadow").first_frame(&picture()?).format("jpeg").max_chunks(1);
        sessions(server, "pocket", init, args.pocket_sessions, growth).await?;
    }
    if wanted(Part::Faults) {
        let wanted = args.fault.map_or(Fault::ALL.to_vec(), |one| vec![one]);
        faults(&wanted, (args.cycles / share).max(2), !args.quick).await?;
    }
    if wanted(Part::Shutdowns) && !args.quick {
        shutdowns(args.cycles).await?;
    }
    Ok(())
}

/// So many sessions, a few at a time: memory after nine tenths of them is what it was after one.
async fn sessions(server: Outside, name: &str, init: Init, count: u64, growth: f64) -> Result<()> {
    let began = Instant::now();
    let mut resident = [0, 0];
    for (at, (from, to)) in [(0, count / 10), (count / 10, count * 9 / 10)].into_iter().enumerate() {
        many(&server, &init, from, to).await?;
        resident[at] = server.resident()?;
    }
    many(&server, &init, count * 9 / 10, count).await?;
    let [early, late] = resident;
    println!(
        "{name}: {count} sessions in {:.1?}; resident {:.1} MiB after a tenth, {:.1} MiB after nine: {:+.2} %",
        began.elapsed(),
        mib(early),
        mib(late),
        100.0 * (late as f64 / early as f64 - 1.0)
    );
    ensure!(late as f64 <= growth * early as f64, "{name}: memory grew from {early} to {late} bytes");
    server.stop()
}

async fn many(server: &Outside, init: &Init, from: u64, to: u64) -> Result<()> {
    let next = Arc::new(AtomicU64::new(from));
    let workers = (0..SEATS_OF_SESSIONS).map(|_| {
        let (next, init, url) = (next.clone(), init.clone(), server.url());
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= to {
                    return anyhow::Ok(());
                }
                one(&url, init.clone().seed(number)).await.with_context(|| format!("session {number}"))?;
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await??;
    }
    Ok(())
}

async fn one(url: &str, init: Init) -> Result<()> {
    let mut client = Client::connect(url).await?;
    client.send(init).await?;
    client.chunk().await?;
    let close = client.closed().await?;
    ensure!(close.code == 1000, "{close:?}");
    Ok(())
}

/// Each fault so many times, with somebody else there who would notice.
async fn faults(wanted: &[Fault], cycles: u64, timed: bool) -> Result<()> {
    let server = Outside::of("testcard", SEATS)?;
    let mut ground = Ground::on(server.address, small().paced(QUIET_FPS)).await?;
    if timed {
        // Everything some times: what is allocated at first is not a leak, and a flood takes twenty to have all its buffers.
        for &fault in wanted {
            for seed in 1000..1024 {
                cycle(&mut ground, fault, seed).await?;
            }
        }
        ground.bystander.gaps();
    }
    let mut quiet = Vec::new();
    for &fault in wanted {
        // Quiet is measured beside every fault: a machine that others use is not quiet for long.
        if timed {
            tokio::time::sleep(Duration::from_secs(8)).await;
            quiet.extend(ground.bystander.gaps());
        }
        let began = Instant::now();
        // An allocator keeps what it may need again, now more and now less: what a leak takes is missing from the least as well.
        let mut least = [u64::MAX; 2];
        for (at, seeds) in [0..cycles / 2, cycles / 2..cycles].into_iter().enumerate() {
            for seed in seeds {
                cycle(&mut ground, fault, seed).await?;
                least[at] = least[at].min(server.resident()?);
            }
        }
        let (gaps, [early, late]) = (ground.bystander.gaps(), least);
        let line = format!(
            "{fault:?}: {cycles} cycles in {:.1?}; resident at least {:.1} MiB in the first half of them, {:.1} MiB in the second",
            began.elapsed(),
            mib(early),
            mib(late)
        );
        if !timed {
            println!("{line}");
            continue;
        }
        let (normal, disturbed) = (p99(quiet.clone()), p99(gaps.clone()));
        let ratio = disturbed.as_secs_f64() / normal.as_secs_f64();
        println!(
            "{line}; gaps of the other session, p99: {normal:.1?} quiet ({}), {disturbed:.1?} now ({}): {ratio:.3}",
            quiet.len(),
            gaps.len()
        );
        ensure!(ratio <= GAP_GROWTH, "{fault:?}: the other session was disturbed");
        // One chunk under way, more or less, is what the figure is uncertain by.
        let allowed = MEMORY_GROWTH * early as f64 + 1e6;
        ensure!(late as f64 <= allowed, "{fault:?}: memory grew from {early} to {late} bytes");
    }
    drop(ground);
    server.stop()
}

async fn cycle(ground: &mut Ground, fault: Fault, seed: u64) -> Result<()> {
    ground.strike(fault, seed).await.with_context(|| format!("{fault:?} {seed}"))?;
    ground.recovers().await.with_context(|| format!("after {fault:?} {seed}"))
}

/// `causeway` with three sessions that read and one that does not, and a SIGTERM.
async fn shutdowns(cycles: u64) -> Result<()> {
    let causeway = std::env::current_exe()?.with_file_name("causeway");
    let mut slowest = Duration::ZERO;
    for number in 0..cycles {
        let args = ["serve", "--port", "0", "--world", "testcard", "--chunk-ms", "5", "--drain", "1"];
        let mut server = Outside::start(Command::new(&causeway).args(args).stderr(Stdio::null()))?;
        let mut readers = Vec::new();
        for _ in 0..3 {
            let mut reader = Client::connect(&server.url()).await?;
            reader.send(small()).await?;
            reader.chunk().await?;
            readers.push(tokio::spawn(async move {
                loop {
                    if let Message::Closed(close) = reader.next().await? {
                        return anyhow::Ok(close);
                    }
                }
            }));
        }
        let mut stalled = Client::connect(&server.url()).await?;
        stalled.send(small().size(400, 400)).await?;
        let began = Instant::now();
        ensure!(Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status()?.success(), "kill");
        for reader in readers {
            let close = reader.await?.with_context(|| format!("shutdown {number}"))?;
            ensure!(close.code == 1012, "shutdown {number}: {close:?}");
        }
        let status = server.child.wait()?;
        ensure!(status.success(), "shutdown {number}: {status}");
        slowest = slowest.max(began.elapsed());
        drop(stalled);
    }
    println!("SIGTERM under load: {cycles} times, all readers told, exit code 0, at most {slowest:.1?}");
    Ok(())
}

/// Any picture: a gradient.
fn picture() -> Result<Vec<u8>> {
    let picture = image::RgbImage::from_fn(160, 96, |x, y| image::Rgb([x as u8, 2 * y as u8, 120]));
    let mut file = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut file, image::ImageFormat::Png)?;
    Ok(file.into_inner())
}

fn p99(mut gaps: Vec<Duration>) -> Duration {
    gaps.sort();
    let rank = (0.99 * gaps.len() as f64).ceil() as usize;
    gaps.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
