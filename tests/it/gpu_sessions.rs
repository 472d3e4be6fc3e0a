//! Sessions on a GPU, which is emulated: what they wait for, what memory they hold, and what a fault costs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ops::emulation::{self, Counts, counts};
use pipeline::lingbot::LingBot;
use pipeline::world::{Cancel, ChunkInput, Controls, Held, Rollout, WarmUp, World};
use server::Limits;
use tests::Server;
use tests::client::Client;
use tests::emulated::{gpu_in_f32, small_pocket};
use tests::message::Init;
use tests::raw::Raw;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn now() -> Counts {
    counts().expect("the emulated driver counts")
}

/// Draw the next chunk with a key held; `look` is called as each latent frame's pixels come.
fn walk(rollout: &mut dyn Rollout, look: &mut dyn FnMut()) -> Result<usize> {
    let held = Controls::from(Held::default().with('w'));
    let input = ChunkInput { controls: Some(vec![held; rollout.plan().latent_frames]), ..ChunkInput::default() };
    let mut bytes = 0;
    rollout.generate(&input, &Cancel::default(), &mut |frames| {
        bytes += frames.rgb.len();
        look();
    })?;
    Ok(bytes)
}

/// The host asks for a whole chunk and waits for pixels alone; the next latent frame is asked for before they are. A session's chunks
/// allocate nothing, the first one neither: they were rehearsed when it was opened.
#[test]
fn a_chunk_is_waited_for_where_its_pixels_come_and_allocates_nothing() -> Result<()> {
    let device = gpu_in_f32();
    let world = LingBot::load(&small_pocket(folder(), 16, 1), &device)?;
    let launches = now().launches;
    let mut rollout = world.open(WarmUp::init(world.card()))?;
    let opening = now();
    // A second one, while the first is alive: it has memory of its own, and shares what a chunk works with.
    let _other = world.open(WarmUp::init(world.card()))?;
    let second = now().allocations - opening.allocations;
    println!("{} launches to open a session, {second} allocations to open another", opening.launches - launches);
    let mut allocated = Vec::new();
    for chunk in 0..6 {
        let before = now();
        let mut seen = Vec::new();
        walk(&mut *rollout, &mut || seen.push(now()))?;
        let after = now();
        allocated.push((after.allocations - before.allocations, after.host_allocations - before.host_allocations));
        let [first, second] = seen[..] else { anyhow::bail!("{} latent frames", seen.len()) };
        ensure!(first.waits - before.waits == 1, "chunk {chunk}: {} waits before pixels", first.waits - before.waits);
        ensure!(after.waits - before.waits <= 2, "chunk {chunk}: {} waits", after.waits - before.waits);
        // All was asked for before the first pixels were waited for, and is computed while they are copied and encoded.
        ensure!(first.launches > before.launches && second.launches == first.launches, "chunk {chunk}");
    }
    println!("allocations of each chunk, on the device and of pinned memory: {allocated:?}");
    ensure!(allocated == [(0, 0); 6], "{allocated:?}");
    Ok(())
}

/// `operations` holds what a session holds in the middle of a chunk: a full window, a chunk's condition, a decoder's past.
#[test]
fn a_session_holds_what_is_told_before_it_is_opened() -> Result<()> {
    let device = gpu_in_f32();
    let world = LingBot::load(&small_pocket(folder(), 16, 1), &device)?;
    let held = || device.held_bytes().expect("a GPU");
    let (before, init) = (held(), WarmUp::init(world.card()));
    let told = world.rollout_bytes()(&init);
    let operations = world.operations(&init)?;
    let found = held() - before;
    println!("told {told}, held {found}");
    ensure!(found.abs_diff(told) * 50 <= told, "{told} bytes were told, {found} are held");
    let memory = device.memory_use().context("a GPU")??;
    ensure!(memory.weights == before && memory.sessions == found, "{memory:?}");
    ensure!(memory.used - memory.spare == now().bytes - memory.spare && memory.used == now().bytes, "{memory:?}");
    ensure!(memory.used - memory.spare == memory.weights + memory.sessions, "{memory:?}");
    drop(operations);
    ensure!(held() == before, "nothing is left behind");
    Ok(())
}

/// An emulated GPU takes seconds for a chunk, and so do loading and warming up, which come before the first.
const PATIENCE: Duration = Duration::from_secs(120);

async fn session(server: &Server) -> Result<Client> {
    let mut client = server.session(Init::new("a meadow").size(16, 16)).await?;
    client.patience = PATIENCE;
    Ok(client)
}

/// A session in its steady state: its memory is there, so no fault of memory can be its own.
async fn walking(server: &Server) -> Result<Client> {
    let mut client = session(server).await?;
    drawn(&mut client, 4).await?;
    Ok(client)
}

async fn drawn(client: &mut Client, chunks: usize) -> Result<()> {
    for _ in 0..chunks {
        client.chunk().await?;
    }
    Ok(())
}

/// Memory that runs out and a launch that fails end one session with a sentence, and not the server. `/metrics` tells where memory
/// is and what the device's time goes to.
#[tokio::test]
async fn a_fault_of_the_device_ends_one_session_and_not_the_server() -> Result<()> {
    let (device, dir) = (gpu_in_f32(), small_pocket(folder(), 16, 1));
    let load = move || -> Result<Box<dyn World>> { Ok(Box::new(LingBot::load(&dir, &device)?)) };
    let server = Server::start(Box::new(load), Limits::default())?;
    let mut first = walking(&server).await?;

    emulation::set(c"FAIL_COUNT", 2);
    emulation::set(c"FAIL_ALLOCATION", 3);
    let told = session(&server).await?.error().await?.to_string();
    ensure!(told.contains("cuda:0 is out of memory") && told.contains("are free"), "{told}");
    drawn(&mut first, 2).await?;

    let (_, page) = Raw::get(server.address, "/metrics").await?;
    let value = |series: &str| -> Result<f64> {
        let line = page.lines().find_map(|line| line.strip_prefix(series)).with_context(|| series.to_owned())?;
        Ok(line.trim().parse()?)
    };
    let kind = |kind: &str| value(&format!("causeway_device_memory_bytes{{kind=\"{kind}\"}}"));
    ensure!(kind("weights")? > 1e6 && kind("sessions")? > 1e5 && kind("spare")? > 0.0, "{page}");
    ensure!(value("causeway_device_memory_total_bytes")? == (8u64 << 30) as f64, "{page}");
    for stage in ["text", "dit", "vae"] {
        ensure!(value(&format!("causeway_chunk_stage_seconds_sum{{stage=\"{stage}\"}}"))? > 0.0, "{stage}: {page}");
    }

    emulation::set(c"FAIL_LAUNCH", 5);
    let told = first.error().await?.to_string();
    ensure!(told.contains("launching ") && told.contains("CUDA_ERROR_LAUNCH_FAILED"), "{told}");
    walking(&server).await?;
    Ok(())
}
