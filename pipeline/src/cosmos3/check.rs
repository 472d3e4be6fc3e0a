//! Layers of a checkpoint that draw, on a GPU against the processor: its own weights, made inputs.

use std::time::Duration;

use ops::check::made;
use ops::collective::Rank;
use ops::{Device, Tensor};

use super::config::ModelConfig;
use super::generation::{NAMES, draw};
use super::layer::Layer;
use super::mrope::{Grid, Mrope};
use super::{open_transformer, tensors};
use crate::check::{Part, compare};
use crate::load::error::LoadError;
use crate::load::model_dir::ModelDir;
use crate::load::weights::Weights;
use crate::world::FRAMES_PER_LATENT;

/// Tokens of the prompt, as many as a long one has.
const TEXT: usize = 512;

/// Numbers of the transformer in `dir`.
pub(crate) fn parameters(dir: &ModelDir) -> Result<u64, LoadError> {
    Ok(open_transformer(dir)?.tensors().map(|(_, entry)| entry.elements()).sum())
}

/// The first, the middle and the last layer that draws.
pub(crate) fn layers(dir: &ModelDir, device: &Device, tell: &mut dyn FnMut(&Part)) -> Result<Vec<Part>, LoadError> {
    let config = ModelConfig::read(dir)?;
    let list = tensors::transformer(&config.transformer);
    let checkpoint = open_transformer(dir)?;
    compare(("layer", config.transformer.layers), device, tell, |device, layer| {
        run(&config, &checkpoint.weights(&list, device)?, layer)
    })
}

/// The layer over two latent frames of 8×8 tokens behind a prompt; what it gives, and the device's time for it.
fn run(config: &ModelConfig, weights: &Weights, layer: usize) -> Result<(Tensor, Duration), LoadError> {
    let (device, transformer) = (weights.device(), &config.transformer);
    let weights = Layer::load(transformer, &weights.at("layers").at(layer), &NAMES)?;
    let grid = Grid { frames: 2, height: 16, width: 16, fps: Some(24.0), temporal_factor: FRAMES_PER_LATENT };
    let mrope = Mrope::new(transformer);
    let rotary = mrope.rotary(&mrope.video(TEXT, &grid), device)?;
    let h = made(&[grid.tokens(), transformer.hidden_size], 1, device)?;
    let text = |seed| made(&[TEXT, transformer.key_width()], seed, device);
    let (keys, values) = (text(2)?, text(3)?);
    let began = device.moment()?;
    let result = draw(&weights, &h, [&keys, &values], &rotary, &Rank::alone())?;
    Ok((result, began.until(&device.moment()?)?))
}
