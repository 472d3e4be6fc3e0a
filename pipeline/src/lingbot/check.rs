//! Blocks of a checkpoint on a GPU, against the same blocks on the processor: its own weights, made inputs.

use std::time::Duration;

use kvcache::{PromptKvCache, RollingKvCache, Window};
use ops::check::made;
use ops::collective::Rank;
use ops::rope::{Grid, Rotary};
use ops::{Device, Error, Tensor};

use super::block::Block;
use super::config::ModelConfig;
use super::context::{CameraModulation, Condition, PassContext};
use super::tensors;
use crate::check::{Part, compare};
use crate::load::error::LoadError;
use crate::load::model_dir::{Component, ModelDir};
use crate::load::weights::{Checkpoint, Weights};

/// Numbers of the transformer in `dir`.
pub(crate) fn parameters(dir: &ModelDir) -> Result<u64, LoadError> {
    Ok(Checkpoint::open(dir, Component::Transformer)?.tensors().map(|(_, entry)| entry.elements()).sum())
}

/// The first, the middle and the last block of the transformer in `dir`.
pub(crate) fn blocks(dir: &ModelDir, device: &Device, tell: &mut dyn FnMut(&Part)) -> Result<Vec<Part>, LoadError> {
    let config = ModelConfig::read(dir)?;
    let list = tensors::transformer(&config.transformer);
    let checkpoint = Checkpoint::open(dir, Component::Transformer)?;
    compare(("block", config.transformer.num_layers), device, tell, |device, layer| {
        run(&config, &checkpoint.weights(&list, device)?, layer)
    })
}

/// The block with a camera, a prompt, and a history of one frame, over a quarter of a latent frame; what it gives, and the
/// device's time for it.
fn run(config: &ModelConfig, weights: &Weights, layer: usize) -> Result<(Tensor, Duration), LoadError> {
    let (device, transformer) = (weights.device(), &config.transformer);
    let block = Block::load(transformer, &weights.at("blocks").at(layer), layer)?;
    let width = transformer.width();
    // Of latent pixels 2×2 are a token, and of tokens a quarter is taken.
    let size = config.recipe.default_size();
    let side = |pixels: u32| (pixels as usize / config.vae.spatial_factor() / 4).max(1);
    let (rows, columns) = (side(size.height), side(size.width));
    let tokens = rows * columns;
    let keys_values = block.prompt_keys_values(&made(&[config.recipe.text_len, width], 1, device)?)?;
    let prompt = PromptKvCache::new(vec![keys_values; layer + 1]);
    let window = Window::new(2, 0, 1).map_err(Error::new)?;
    let mut history = RollingKvCache::new(window, transformer.remembers(tokens, device));
    let time = made(&[6, width], 2, device)?;
    let mut last = None;
    for frame in 0..2 {
        let seed = 10 * (frame as u32 + 1);
        let camera = block.camera_modulation(&made(&[tokens, width], seed, device)?)?;
        let camera = || CameraModulation { gain: camera.gain.clone(), shift: camera.shift.clone() };
        let grid = Grid { first_latent_frame: frame, frames: 1, rows, columns };
        let condition = Condition {
            tokens: 0..tokens,
            rotary: Rotary::new(grid, transformer.attention_head_dim, device)?,
            // Only the tokens before the first block are made with it.
            fixed_tokens: Tensor::zeros([1, 1], device)?,
            camera: Some((0..=layer).map(|_| camera()).collect()),
            recent: None,
        };
        let mut context =
            PassContext { rank: &Rank::alone(), condition: &condition, prompt: &prompt, history: &mut history };
        let h = made(&[tokens, width], seed + 1, device)?;
        let began = device.moment()?;
        let result = block.forward(&h, &time, &mut context)?;
        last = Some((result, began.until(&device.moment()?)?));
        history.commit();
    }
    Ok(last.expect("two frames were computed"))
}
