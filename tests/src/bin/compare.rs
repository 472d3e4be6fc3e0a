//! Our side of a comparison with PyTorch: one thing at a time, so that the other side can be measured in between.
//!
//! `compare pocket THREADS TYPE` has the world that ships, `compare wide THREADS TYPE` a transformer of one block of LingBot's
//! 1.3 B shape (`small` behind it: a little one, for a test). `TYPE`: `f32`, `bf16` or `int8`. Each line on standard input
//! names what to do; the answer is the milliseconds that it took, and a number to compare results by. `tests/compare/` asks.

use std::io::{BufRead, Write, stdout};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use kvcache::{PromptKvCache, RollingKvCache, Window};
use ops::collective::Rank;
use ops::threads::among_workers;
use ops::{Compute, Device, Tensor};
use pipeline::lingbot::config::transformer::TransformerConfig;
use pipeline::lingbot::context::PassContext;
use pipeline::lingbot::dit::{ChunkConditions, Dit, TimeEmbedding};
use pipeline::lingbot::tensors;
use pipeline::load::weights::Checkpoint;
use pipeline::world::{
    Cancel, ChunkInput, Controls, Held, Init, Operation, Picture, Rollout, Size, Timings, WarmUp, World,
};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use serde_json::json;
use tests::waves::wave;

/// The server's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Chunks of a session.
const SESSION: usize = 16;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [which, threads, compute, rest @ ..] = words.as_slice() else {
        bail!("compare pocket|wide THREADS f32|bf16|int8 [small]")
    };
    pipeline::set_threads(threads.parse().context("THREADS is a number")?).map_err(anyhow::Error::msg)?;
    let compute: Compute = compute.parse().ok().with_context(|| format!("{compute:?} is not f32, bf16 or int8"))?;
    let device = Device::cpu_in(compute);
    match which.as_str() {
        "pocket" => pocket(&device),
        "wide" => wide(&device, rest.first().is_some_and(|word| word == "small")),
        other => bail!("{other:?} is neither pocket nor wide"),
    }
}

/// Answer each line.
fn answer(mut work: impl FnMut(&str) -> Result<(f64, f64)>) -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let (took_ms, sum) = work(line?.trim())?;
        writeln!(stdout(), "{took_ms:.3} {sum:.6}")?;
        stdout().flush()?;
    }
    Ok(())
}

fn milliseconds(since: Instant) -> f64 {
    1000.0 * since.elapsed().as_secs_f64()
}

fn pocket(device: &Device) -> Result<()> {
    let world = pipeline::load_world(&server::pocket::dir(), device)?;
    let init = meadow(world.as_ref())?;
    let mut walk = world.open(init.clone())?;
    // The frames of a session that has gone on for a while: its window is full.
    while walk.plan().first_latent_frame < init.window {
        draw(walk.as_mut(), &mut |_| ())?;
    }
    let mut operations = world.operations(&init)?;
    answer(|what| {
        let began = Instant::now();
        match what {
            "pass" => run(&mut operations, "a pass, window full").map(|took| (took, 0.0)),
            "decode" => run(&mut operations, "decode a latent frame").map(|took| (took, 0.0)),
            "chunk" => {
                draw(walk.as_mut(), &mut |_| ())?;
                Ok((milliseconds(began), 0.0))
            }
            // From its first message to its last frame, and the mean of all bytes that it drew.
            "session" => {
                let (mut sum, mut bytes) = (0_u64, 0);
                let mut rollout = world.open(init.clone())?;
                for _ in 0..SESSION {
                    draw(rollout.as_mut(), &mut |rgb| {
                        sum += rgb.iter().map(|&byte| u64::from(byte)).sum::<u64>();
                        bytes += rgb.len();
                    })?;
                }
                Ok((milliseconds(began), sum as f64 / bytes as f64))
            }
            other => bail!("{other:?}: pass, decode, chunk or session"),
        }
    })
}

/// A session as the other side has it: a picture that ships, one prompt, seed 7.
fn meadow(world: &dyn World) -> Result<Init> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pocket/weights/first_frames/meadow.png");
    let picture = image::open(&path).with_context(|| path.display().to_string())?.into_rgb8();
    let size = Size { width: picture.width(), height: picture.height() };
    let usual = WarmUp::init(world.card());
    let first_frame = Some(Picture { size, rgb: picture.into_raw() });
    Ok(Init { prompt: "a green meadow".to_owned(), first_frame, seed: 7, ..usual })
}

fn draw(rollout: &mut dyn Rollout, frames: &mut dyn FnMut(&[u8])) -> Result<Timings> {
    let controls = vec![Controls::from(Held::default().with('w')); rollout.plan().latent_frames];
    let input = ChunkInput { controls: Some(controls), ..ChunkInput::default() };
    Ok(rollout.generate(&input, &Cancel::default(), &mut |batch| frames(&batch.rgb))?)
}

fn run(operations: &mut [Operation<'_>], name: &str) -> Result<f64> {
    let operation = operations.iter_mut().find(|operation| operation.name() == name);
    let operation = operation.with_context(|| format!("the world has no operation {name:?}"))?;
    let began = Instant::now();
    operation.run(1)?;
    Ok(milliseconds(began))
}

/// One block of a transformer between its first and its last layer, over a full window.
struct Wide {
    dit: Dit,
    history: RollingKvCache,
    prompt: PromptKvCache,
    time: TimeEmbedding,
    latents: Tensor,
    rays: Tensor,
    fixed: Tensor,
    first_latent_frame: usize,
}

/// Latent frames of a chunk and of the window, rows of text.
const CHUNK: usize = 3;
const WINDOW: usize = 18;
const TEXT: usize = 512;

impl Wide {
    /// 1536 wide, 12 heads, at 480×832: the published 1.3 B shape, whose 30 blocks are alike.
    fn new(device: &Device, is_small: bool) -> Result<Wide> {
        let (heads, dim, ffn, height, width) = if is_small { (2, 12, 40, 4, 6) } else { (12, 128, 8960, 60, 104) };
        let config: TransformerConfig = serde_json::from_value(json!({
            "num_attention_heads": heads, "attention_head_dim": dim, "ffn_dim": ffn, "num_layers": 1, "text_dim": 4096,
            "freq_dim": 256, "in_channels": 36, "out_channels": 16, "eps": 1e-6, "sink_size": 3,
            "sliding_window_num_frames": WINDOW, "num_frames_per_block": CHUNK
        }))?;
        let list = tensors::transformer(&config);
        let bytes: Vec<Vec<u8>> = list.iter().map(|(name, shape)| weight(name, shape)).collect();
        let views = list.iter().zip(&bytes).map(|((name, shape), bytes)| {
            (name.to_owned(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("as many as the shape has"))
        });
        let checkpoint = Checkpoint::from_bytes(&serialize(views, None)?)?;
        let dit = Dit::load(&config, &checkpoint.weights(&list, device)?)?;
        let made = |name: &str, shape: [usize; 4]| {
            Tensor::from_vec(wave(name, shape.iter().product(), 1.0), shape, device).map_err(anyhow::Error::msg)
        };
        let context =
            Tensor::from_vec(wave("text", TEXT * 4096, 1.0), [TEXT, 4096], device).map_err(anyhow::Error::msg)?;
        let window = Window::new(WINDOW, 3, CHUNK)?;
        let mut wide = Wide {
            history: RollingKvCache::new(window, config.remembers(height / 2 * (width / 2), device)),
            prompt: dit.read_prompt(&context).map_err(anyhow::Error::msg)?,
            time: dit.time_embedding(500.0).map_err(anyhow::Error::msg)?,
            latents: made("latents", [16, CHUNK, height, width])?,
            rays: made("rays", [384, CHUNK, height, width])?,
            fixed: made("fixed", [20, CHUNK, height, width])?,
            first_latent_frame: 0,
            dit,
        };
        while wide.first_latent_frame < WINDOW {
            wide.pass(|dit, latents, time, context| dit.remember(latents, time, context))?;
            wide.history.commit();
            wide.first_latent_frame += CHUNK;
        }
        Ok(wide)
    }

    /// One pass over the chunk, and how long it took without what is computed once a chunk.
    fn pass<T: Send>(
        &mut self,
        work: impl FnOnce(&Dit, &Tensor, &TimeEmbedding, &mut PassContext<'_>) -> ops::Result<T> + Send,
    ) -> Result<(f64, T)> {
        let Wide { dit, history, prompt, time, latents, rays, fixed, first_latent_frame } = self;
        let timed = among_workers(|| -> ops::Result<(f64, T)> {
            let conditions =
                ChunkConditions { first_latent_frame: *first_latent_frame, fixed, camera: Some(rays), recent: None };
            let condition = dit.condition(conditions, &Rank::alone())?;
            let mut context = PassContext { rank: &Rank::alone(), condition: &condition, prompt, history };
            let began = Instant::now();
            let result = work(dit, latents, time, &mut context)?;
            Ok((milliseconds(began), result))
        });
        timed.map_err(anyhow::Error::msg)
    }
}

fn wide(device: &Device, is_small: bool) -> Result<()> {
    let mut wide = Wide::new(device, is_small)?;
    answer(|what| match what {
        "block" => {
            let (took, flow) = wide.pass(|dit, latents, time, context| dit.predict_flow(latents, time, context))?;
            let values = flow.to_f64().map_err(anyhow::Error::msg)?;
            Ok((took, values.iter().enumerate().map(|(i, value)| value * ((i % 7) as f64 - 3.0)).sum()))
        }
        other => bail!("{other:?}: block"),
    })
}

/// Norms are one, biases and modulations zero or small, and matrices waves of a size that keeps what flows through them near
/// one.
fn weight(name: &str, shape: &[usize]) -> Vec<u8> {
    let count: usize = shape.iter().product();
    let values = match shape {
        _ if name.contains("norm") && name.ends_with(".weight") => vec![1.0; count],
        [_] => vec![0.0; count],
        [_, rest @ ..] => wave(name, count, 1.0 / (rest.iter().product::<usize>() as f64).sqrt()),
        [] => unreachable!("{name} is no single number"),
    };
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}
