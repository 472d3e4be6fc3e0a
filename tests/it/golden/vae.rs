//! The video autoencoder against the reference, tensor by tensor. All shapes and counts come from the files.

use std::collections::HashMap;
use std::path::Path;

use ops::{Device, FrameStack, pixels};
use pipeline::wan::vae::DecoderState;
use pipeline::wan::vae::config::VaeConfig;

use super::{Golden, assert_close, assert_frames_close, clamped, load_vae};

/// Two orders of summing f32: an independent implementation from the same description was within 5e-6.
const TOLERANCE: f64 = 2e-4;

#[test]
fn the_autoencoder_encodes_and_decodes_as_the_reference() {
    super::for_each_folder("lingbot", |dir| check_vae(dir, &Device::cpu(), usize::MAX));
}

#[test]
fn the_pocket_world_s_autoencoder_sees_and_draws_as_recorded() {
    super::for_each_folder("pocket", |dir| check_vae_stream(dir, &super::pocket_weights()));
}

/// `vae_tiny_weights.safetensors` and `vae_io.safetensors` in `dir`: condition, streaming decode of at most so many chunks, every
/// carried frame.
pub(super) fn check_vae(dir: &Path, device: &Device, chunks: usize) {
    let weights = dir.join("vae_tiny_weights.safetensors");
    let config: VaeConfig = Golden::open(&weights).json("config");
    let vae = load_vae(&config, &weights, device);
    let golden = Golden::open(&dir.join("vae_io.safetensors")).on(device);

    let expected = golden.get("mu_normalised");
    let frames = 1 + (expected.dim(1).expect("latent frames") - 1) * vae.temporal_factor();
    let picture = FrameStack::from_tensor(&golden.get("image")).expect("one frame");
    assert_close("mu_normalised", &vae.encode(picture, frames).expect("encodes"), &expected, TOLERANCE);

    let latents = golden.get("z_normalised");
    let (_, _, height, width) = latents.dims4().expect("latents");
    let mut state = DecoderState::new();
    let mut decoded = 0;
    for chunk in 0..chunks {
        let name = format!("dec_chunk{chunk}");
        if !golden.has(&name) {
            break;
        }
        let expected = golden.get(&name);
        let mut video: Option<FrameStack> = None;
        while video.as_ref().map_or(0, FrameStack::len) < expected.dims()[1] {
            let latent = latents.narrow(1, decoded, 1).expect("a latent for every frame");
            let part = vae.decode(&latent, &mut state).expect("decodes");
            match &mut video {
                Some(video) => video.append(part),
                None => video = Some(part),
            }
            decoded += 1;
        }
        let video = video.expect("a chunk has frames");
        let ours = video.to_tensor().expect("a tensor");
        assert_close(&format!("dec_chunk{chunk}"), &clamped(&ours), &clamped(&expected), TOLERANCE);
        let bytes = pixels::to_rgb8(&video).expect("pixels");
        let name = format!("u8_chunk{chunk}");
        let expected = golden[&name].squeeze(0).and_then(|t| t.permute(&[1, 2, 3, 0]));
        assert_frames_close(&name, &bytes, &expected.and_then(|t| t.to_vec()).expect("channels last"));

        let carried: HashMap<_, _> = state.carried().expect("tensors").into_iter().collect();
        let prefix = format!("chunk{chunk}.feat");
        let slots = golden.tensors.keys().filter_map(|name| name.strip_prefix(&prefix)?.parse::<usize>().ok());
        for slot in slots {
            let ours = carried.get(&slot).unwrap_or_else(|| panic!("{prefix}{slot} carries nothing"));
            let expected = golden.get(&format!("{prefix}{slot}"));
            // The reference stores a zero frame where it had none.
            let missing = expected.dims()[1] - ours.dims()[1];
            let ours = ours.pad_with_zeros(1, missing, 0).expect("padded");
            assert_close(&format!("{prefix}{slot}"), &ours, &expected, TOLERANCE);
        }
    }
    assert!(decoded > 0, "there is something to decode");
    if decoded >= 3 {
        let bytes = config.decoder_state_bytes(height, width, 1, device.keeping());
        assert_eq!(state.bytes(), bytes, "bytes are known in advance");
    }
}

/// `stream.safetensors` in `dir`, made with the autoencoder in the folder `vae` of `model`.
fn check_vae_stream(dir: &Path, model: &Path) {
    let config = std::fs::read(model.join("vae/config.json")).expect("a configuration");
    let config: VaeConfig = serde_json::from_slice(&config).expect("a VAE configuration");
    let vae = load_vae(&config, &model.join("vae/diffusion_pytorch_model.safetensors"), &Device::cpu());
    let golden = Golden::open(&dir.join("stream.safetensors"));

    let image = &golden["image"];
    let (height, width, _) = image.dims3().expect("a picture");
    let picture = pixels::from_rgb8(&golden.bytes("image"), height, width, &Device::cpu()).expect("a picture");
    // Four planes of mask stand before the latents.
    let condition = golden.get("condition").narrow(0, 4, config.z_dim).expect("a condition");
    let frames = 1 + (condition.dims()[1] - 1) * vae.temporal_factor();
    assert_close("condition", &vae.encode(picture, frames).expect("encodes"), &condition, TOLERANCE);

    let mut state = DecoderState::new();
    let mut chunks = 0;
    while golden.has(&format!("{chunks:02}.x0")) {
        let latents = golden.get(&format!("{chunks:02}.x0"));
        let mut bytes = Vec::new();
        for frame in 0..latents.dims()[1] {
            let latent = latents.narrow(1, frame, 1).expect("a frame");
            let video = vae.decode(&latent, &mut state).expect("decodes");
            bytes.extend(pixels::to_rgb8(&video).expect("pixels"));
        }
        let name = format!("{chunks:02}.frames");
        assert_frames_close(&name, &bytes, &golden.bytes(&name));
        chunks += 1;
    }
    assert!(chunks > 0, "there is something to decode");
}
