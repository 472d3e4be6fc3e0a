//! Sessions on a GPU, which is emulated: what they wait for, what memory they hold, and what a fault costs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ops::emulation::{self, Counts, counts};
use pipeline::cosmos3::Cosmos3;
use pipeline::lingbot::LingBot;
use pipeline::team::Members;
use pipeline::world::{Cancel, ChunkInput, Controls, Held, Rollout, Size, Step, WarmUp, World, WorldError};
use server::Limits;
use tests::Server;
use tests::client::Client;
use tests::cosmos3::{ModelFolder, ask, golden};
use tests::emulated::{forgetting, gpu_in_f32, gpus_in_f32, small_pocket, small_pocket_of};
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
    let world = LingBot::load(&forgetting(small_pocket(folder(), 16, 1)), &device)?;
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

/// A first chunk, then one with another prompt and a past made again: its bytes.
fn bytes_of(world: &LingBot, chunks: usize) -> Result<Vec<u8>> {
    let mut rollout = world.open(WarmUp::init(world.card()))?;
    let mut drawn = Vec::new();
    for chunk in 0..chunks {
        let held = Controls::from(Held::default().with('w'));
        let prompt = (chunk == 1).then(|| "a desert at night".to_owned());
        let controls = Some(vec![held; rollout.plan().latent_frames]);
        let input = ChunkInput { controls, prompt, recache: chunk == 1, ..ChunkInput::default() };
        rollout.generate(&input, &Cancel::default(), &mut |frames| drawn.extend(frames.rgb))?;
    }
    Ok(drawn)
}

/// In f32 two GPUs draw the bytes of one, allocate nothing in a chunk, wait where one waits, and hold what is told of each.
#[test]
fn two_gpus_draw_the_video_of_one() -> Result<()> {
    let gpus = gpus_in_f32(2);
    let dir = small_pocket_of(folder(), [32, 16], 1);
    let alone = bytes_of(&LingBot::load(&dir, &gpus[0])?, 2)?;
    let world = LingBot::load_over(&dir, &Members::gpus(gpus.clone())?)?;
    ensure!(!alone.is_empty() && bytes_of(&world, 2)? == alone, "two GPUs draw another video");
    // From here on what is asked for is looked at, and not what it comes to.
    emulation::set(c"IDLE", 1);
    let before: Vec<u64> = gpus.iter().filter_map(|gpu| gpu.held_bytes()).collect();
    let init = WarmUp::init(world.card());
    let told = world.rollout_bytes()(&init);
    let mut rollout = world.open(init)?;
    for chunk in 0..4 {
        let (before, mut first) = (now(), None);
        walk(&mut *rollout, &mut || _ = first.get_or_insert_with(now))?;
        let (first, after) = (first.context("pixels")?, now());
        // A team's devices are asked, and not waited for.
        ensure!(first.waits == before.waits, "chunk {chunk}: {} waits before pixels", first.waits - before.waits);
        ensure!(after.allocations == before.allocations, "chunk {chunk} allocates");
    }
    let held: Vec<u64> = gpus.iter().zip(before).filter_map(|(gpu, before)| Some(gpu.held_bytes()? - before)).collect();
    println!("told {told} of a session, held {held:?} between two chunks");
    ensure!(held[1] > 0 && held[1] < held[0] && held.iter().sum::<u64>() <= told, "{held:?} of {told}");
    Ok(())
}

/// What ends a chunk on one GPU ends it on all, with its error; an error of NCCL ends all that come after, too.
#[test]
fn a_fault_of_one_of_two_gpus_ends_a_session_and_one_of_their_link_all() -> Result<()> {
    let gpus = gpus_in_f32(2);
    let world = LingBot::load_over(&small_pocket_of(folder(), [32, 16], 1), &Members::gpus(gpus.clone())?)?;
    let fails = |world: &LingBot, parts: &[&str]| -> Result<()> {
        let told = match bytes_of(world, 1) {
            Ok(_) => anyhow::bail!("a fault passed unseen"),
            Err(error) => format!("{error:#}"),
        };
        ensure!(parts.iter().all(|part| told.contains(part)), "{told}");
        Ok(())
    };
    emulation::set(c"FAIL_LAUNCH", 40);
    fails(&world, &["launching ", "CUDA_ERROR_LAUNCH_FAILED"])?;
    ensure!(!bytes_of(&world, 1)?.is_empty(), "the next session is drawn");
    emulation::set(c"NCCL_FAIL", 9);
    fails(&world, &["NCCL 2.20.5", "exchanging numbers between GPUs", "start it again"])?;
    fails(&world, &["unhandled system error", "start it again"])?;
    let refused = world.open(WarmUp::init(world.card())).err();
    ensure!(matches!(refused, Some(WorldError::Failed(_))), "{refused:?}");
    Ok(())
}

/// The same code as in earnest was run before, and asked for all of it.
#[test]
fn no_piece_of_a_clip_allocates_and_one_without_memory_is_refused_before_it_is_drawn() -> Result<()> {
    let device = gpu_in_f32();
    // What is asked for is looked at, and not what it comes to.
    emulation::set(c"IDLE", 1);
    let folder = ModelFolder::of(&golden());
    let world = Cosmos3::load(&folder.open(), &device)?;
    let asked = |width| {
        let mut ask = ask("a red hill", Size { width, height: 48 }, 29, 3);
        ask.settings.num_inference_steps = Some(6);
        world.clip(ask)
    };
    let mut clip = asked(80)?;
    let before = now();
    loop {
        let step = clip.step(&Cancel::default(), &mut |_| {})?;
        let after = now();
        let grown = (after.allocations - before.allocations, after.host_allocations - before.host_allocations);
        ensure!(grown == (0, 0), "{:?}: {grown:?}", clip.progress());
        if let Step::Done(_) = step {
            break;
        }
    }
    ensure!(now().launches > before.launches, "something was asked for");
    emulation::set(c"FAIL_COUNT", 2);
    emulation::set(c"FAIL_ALLOCATION", 20);
    let refused = asked(128).err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(refused.contains("cuda:0 is out of memory"), "{refused:?}");
    Ok(())
}
