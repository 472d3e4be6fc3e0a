//! The time of a denoising step of a mid-size Cosmos3 transformer with random weights, for a comparison with PyTorch.
//!
//! Reads lines: each is answered with the milliseconds that one prediction took, so that whoever asks can time
//! something else in between. `tests/denoise_step.py` does. The same numbers fill the weights there and here; so the
//! time is followed by a sum of the flow, to compare, and by a hash of its bits.

use std::io::{BufRead, Write, stdout};
use std::time::Instant;

use anyhow::{Context, Result};
use ops::threads::among_workers;
use ops::{Device, Tensor};
use pipeline::cosmos3::config::transformer::TransformerConfig;
use pipeline::cosmos3::mrope::Grid;
use pipeline::cosmos3::tensors;
use pipeline::cosmos3::transformer::Transformer;
use pipeline::load::weights::Checkpoint;
use pipeline::world::{Cancel, Spans};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use serde_json::json;
use tests::waves::wave;

/// The server's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 4 latent frames of 30×52: 1560 tokens.
const GRID: Grid = Grid { frames: 4, height: 30, width: 52, fps: Some(24.0), temporal_factor: 4 };
const PROMPT_TOKENS: u32 = 128;
const CHANNELS: usize = 48;

fn main() -> Result<()> {
    let threads = std::env::args().nth(1).context("say how many threads: denoise_step THREADS [small]")?;
    pipeline::set_threads(threads.parse().context("a number of threads")?).map_err(anyhow::Error::msg)?;
    let is_small = std::env::args().nth(2).is_some_and(|word| word == "small");
    let transformer = transformer(is_small)?;
    let tokens: Vec<u32> = (0..PROMPT_TOKENS).collect();
    let cancel = Cancel::default();
    let branch = among_workers(|| transformer.read(&tokens, &GRID, &cancel))?;
    let shape = [CHANNELS, GRID.frames, GRID.height, GRID.width];
    let latent = wave("latent", shape.iter().product(), 1.0);
    let latent = Tensor::from_vec(latent, shape, &Device::cpu()).map_err(anyhow::Error::msg)?;
    for line in std::io::stdin().lock().lines() {
        line?;
        let began = Instant::now();
        let flow = among_workers(|| {
            let time = transformer.generation().time_embedding(500.0)?;
            transformer.predict_flow(&latent, 0, &time, &branch, &cancel, &Spans::default())
        })?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        let values = flow.to_f64().map_err(anyhow::Error::msg)?;
        let sum: f64 = values.iter().enumerate().map(|(i, value)| value * ((i % 7) as f64 - 3.0)).sum();
        let hash = values.iter().fold(0u64, |hash, value| hash.wrapping_mul(31).wrapping_add(value.to_bits()));
        writeln!(stdout(), "{took:.3} {sum:.6} {hash:016x}")?;
        stdout().flush()?;
    }
    Ok(())
}

/// 8 layers of width 1024, with the heads of Nano's proportions; small: 2 of width 64, for a test.
fn transformer(is_small: bool) -> Result<Transformer> {
    let (width, layers, inner) = if is_small { (64, 2, 96) } else { (1024, 8, 3072) };
    let config: TransformerConfig = serde_json::from_value(json!({
        "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 128,
        "intermediate_size": inner, "vocab_size": 256, "latent_channel": CHANNELS
    }))?;
    let list = tensors::transformer(&config);
    let bytes: Vec<Vec<u8>> = list.iter().map(|(name, shape)| weight(name, shape)).collect();
    let views = list.iter().zip(&bytes).map(|((name, shape), bytes)| {
        (name.to_owned(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("as many as the shape has"))
    });
    let checkpoint = Checkpoint::from_bytes(&serialize(views, None)?)?;
    Ok(Transformer::load(&config, &checkpoint.weights(&list, &Device::cpu())?)?)
}

/// Norms are one, biases zero, and matrices waves of a size that keeps what flows through them near one.
fn weight(name: &str, shape: &[usize]) -> Vec<u8> {
    let count = shape.iter().product();
    let values = match shape {
        [_, inputs] => wave(name, count, 1.0 / (*inputs as f64).sqrt()),
        _ if name.ends_with(".bias") => vec![0.0; count],
        _ => vec![1.0; count],
    };
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}
