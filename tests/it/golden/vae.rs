//! The video autoencoder against the reference, tensor by tensor. All shapes and counts come from the files.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use pipeline::config::VaeConfig;
use pipeline::models::vae::{DecoderState, Vae};
use pipeline::ops::pixels;
use pipeline::weights::Checkpoint;

/// Two orders of summing f32: an independent implementation from the same description was within 5e-6.
const TOLERANCE: f32 = 2e-4;
/// A value next to a whole number may be truncated either way.
const BYTES_OFF_BY_ONE: f64 = 1e-3;

/// `vae_tiny_weights.safetensors` and `vae_io.safetensors` in `dir`: condition, streaming decode, every carried frame.
pub(crate) fn check_vae(dir: &Path) {
    let weights = dir.join("vae_tiny_weights.safetensors");
    let config: VaeConfig = serde_json::from_str(&metadata(&weights)["config"]).expect("a VAE configuration");
    let vae = load(&config, &weights);
    let golden = tensors(&dir.join("vae_io.safetensors"));
    let grab = |name: &str| golden[name].squeeze(0).expect("a batch of one");

    let expected = grab("mu_normalised");
    let frames = 1 + (expected.dim(1).expect("latent frames") - 1) * vae.temporal_factor();
    let picture = grab("image").squeeze(1).and_then(|t| t.permute((1, 2, 0))).expect("one frame");
    assert_close("mu_normalised", &vae.encode(&picture, frames).expect("encodes"), &expected);

    let latents = grab("z_normalised");
    let (_, _, height, width) = latents.dims4().expect("latents");
    let mut state = DecoderState::new();
    let mut decoded = 0;
    for chunk in 0.. {
        let Some(expected) = golden.get(&format!("dec_chunk{chunk}")) else { break };
        let expected = expected.squeeze(0).expect("a batch of one");
        let mut parts: Vec<Tensor> = Vec::new();
        while parts.iter().map(|part| part.dims()[0]).sum::<usize>() < expected.dims()[1] {
            let latent = latents.narrow(1, decoded, 1).expect("a latent for every frame");
            parts.push(vae.decode(&latent, &mut state).expect("decodes"));
            decoded += 1;
        }
        let video = Tensor::cat(&parts, 0).expect("frames");
        let ours = video.clamp(-1f32, 1f32).and_then(|t| t.permute((3, 0, 1, 2))).expect("clamped");
        let clamped = expected.clamp(-1f32, 1f32).expect("clamped");
        assert_close(&format!("dec_chunk{chunk}"), &ours, &clamped);
        let bytes = pixels::to_rgb8(&video).expect("pixels");
        let expected = grab(&format!("u8_chunk{chunk}")).permute((1, 2, 3, 0)).expect("channels last");
        assert_bytes(&format!("u8_chunk{chunk}"), &bytes, &expected);

        let carried: HashMap<_, _> = state.carried().expect("tensors").into_iter().collect();
        let prefix = format!("chunk{chunk}.feat");
        let slots = golden.keys().filter_map(|name| name.strip_prefix(&prefix)?.parse::<usize>().ok());
        let mut checked = 0;
        for slot in slots {
            let ours = carried.get(&slot).unwrap_or_else(|| panic!("{prefix}{slot} carries nothing"));
            let expected = grab(&format!("{prefix}{slot}"));
            // The reference stores a zero frame where it had none.
            let missing = expected.dims()[1] - ours.dims()[1];
            let ours = ours.pad_with_zeros(1, missing, 0).expect("padded");
            assert_close(&format!("{prefix}{slot}"), &ours, &expected);
            checked += 1;
        }
        assert_eq!(checked, carried.len(), "the reference has as many slots as we carry");
    }
    assert!(decoded > 0, "there is something to decode");
    if decoded >= 3 {
        assert_eq!(state.bytes(), vae.decoder_state_bytes(height, width), "bytes are known in advance");
    }
}

/// `stream.safetensors` in `dir`, made with the autoencoder in the folder `vae` of `model`.
pub(crate) fn check_vae_stream(dir: &Path, model: &Path) {
    let config = std::fs::read(model.join("vae/config.json")).expect("a configuration");
    let config: VaeConfig = serde_json::from_slice(&config).expect("a VAE configuration");
    let vae = load(&config, &model.join("vae/diffusion_pytorch_model.safetensors"));
    let golden = tensors(&dir.join("stream.safetensors"));

    let image = &golden["image"];
    let (height, width, _) = image.dims3().expect("a picture");
    let bytes = image.flatten_all().and_then(|t| t.to_vec1::<u8>()).expect("bytes");
    let picture = pixels::from_rgb8(&bytes, height, width).expect("a picture");
    // Four planes of mask stand before the latents.
    let condition = golden["condition"].squeeze(0).and_then(|t| t.narrow(0, 4, config.z_dim)).expect("a condition");
    let frames = 1 + (condition.dims()[1] - 1) * vae.temporal_factor();
    assert_close("condition", &vae.encode(&picture, frames).expect("encodes"), &condition);

    let mut state = DecoderState::new();
    let mut chunks = 0;
    while let Some(latents) = golden.get(&format!("{chunks:02}.x0")) {
        let latents = latents.squeeze(0).expect("a batch of one");
        let mut bytes = Vec::new();
        for frame in 0..latents.dims()[1] {
            let latent = latents.narrow(1, frame, 1).expect("a frame");
            let video = vae.decode(&latent, &mut state).expect("decodes");
            bytes.extend(pixels::to_rgb8(&video).expect("pixels"));
        }
        let name = format!("{chunks:02}.frames");
        assert_bytes(&name, &bytes, &golden[&name]);
        chunks += 1;
    }
    assert!(chunks > 0, "there is something to decode");
}

fn load(config: &VaeConfig, path: &Path) -> Vae {
    let bytes = std::fs::read(path).expect("weights");
    let checkpoint = Checkpoint::from_bytes(&bytes).expect("safetensors");
    let vae = Vae::load(config, &checkpoint.root()).expect("a VAE");
    checkpoint.finish().expect("every tensor was asked for");
    vae
}

fn tensors(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).expect("golden tensors")
}

fn metadata(path: &Path) -> HashMap<String, String> {
    let bytes = std::fs::read(path).expect("a file");
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("safetensors");
    header.metadata().clone().unwrap_or_default()
}

/// Prints the largest difference and where it is.
fn assert_close(name: &str, ours: &Tensor, expected: &Tensor) {
    assert_eq!(ours.dims(), expected.dims(), "{name}");
    let difference = || -> Result<(f32, usize)> {
        let off = (ours - expected.to_dtype(DType::F32)?)?.abs()?.flatten_all()?;
        let at = off.argmax(0)?.to_scalar::<u32>()? as usize;
        Ok((off.get(at)?.to_scalar()?, at))
    };
    let (largest, at) = difference().expect("same shape");
    let mut place = Vec::new();
    ours.dims().iter().rev().fold(at, |rest, size| {
        place.insert(0, rest % size);
        rest / size
    });
    println!("{name} {:?}: largest difference {largest:.1e} at {place:?}", ours.dims());
    // Written so that a NaN fails.
    assert!(largest <= TOLERANCE, "{name}: off by {largest:e} at {place:?}");
}

fn assert_bytes(name: &str, ours: &[u8], expected: &Tensor) {
    let expected = expected.flatten_all().and_then(|t| t.to_vec1::<u8>()).expect("bytes");
    assert_eq!(ours.len(), expected.len(), "{name}");
    let largest = ours.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().expect("pixels");
    let off = ours.iter().zip(&expected).filter(|(a, b)| a != b).count();
    println!("{name}: {off} of {} bytes differ, by {largest} at most", ours.len());
    assert!(largest <= 1 && off as f64 <= BYTES_OFF_BY_ONE * ours.len() as f64, "{name}");
}
