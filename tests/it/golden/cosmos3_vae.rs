//! Wan 2.2's residual autoencoder and the picture that a video starts from, against diffusers and Pillow. Cases and
//! sizes come from the files.

use ops::{FrameStack, Tensor, channels, pixels};
use pipeline::first_frame;
use pipeline::wan::vae::config::VaeConfig;
use pipeline::wan::vae::{DecoderState, Vae};
use pipeline::world::{Picture, Size};

use super::{Golden, assert_close, clamped, load_vae};

/// Two orders of summing f32; diffusers and a second implementation were within 2e-6.
const TOLERANCE: f64 = 1e-4;

#[test]
fn a_whole_video_is_encoded_as_by_the_reference() {
    check_encoding(&ops::Device::cpu());
}

pub(super) fn check_encoding(device: &ops::Device) {
    for_each_video(device, |vae, config, case, golden| {
        let pixels = golden.get(&format!("{case}.pixels"));
        let latents = vae.encode_video(&FrameStack::from_tensor(&pixels).expect("frames")).expect("encodes");
        // The file holds the posterior's means as they are, before they are standardised.
        let means = channels::restore(&latents, &config.latents_mean, &config.latents_std).expect("as many channels");
        let name = format!("{case}.mu");
        assert_close(&name, &means, &golden.get(&name), TOLERANCE);
    });
}

/// A video in one piece, against the file.
pub(super) fn check_decoding(device: &ops::Device) {
    for_each_video(device, |vae, config, case, golden| {
        let latents = golden.get(&format!("{case}.z"));
        let latents = channels::standardise(&latents, &config.latents_mean, &config.latents_std).expect("channels");
        let name = format!("{case}.decoded");
        assert_close(&name, &clamped(&decode(vae, &latents, 1)), &clamped(&golden.get(&name)), TOLERANCE);
    });
}

#[test]
fn latents_are_decoded_frame_by_frame_as_by_the_reference_in_one_to_four_bands() {
    for_each_video(&ops::Device::cpu(), |vae, config, case, golden| {
        let latents = golden.get(&format!("{case}.z"));
        let latents = channels::standardise(&latents, &config.latents_mean, &config.latents_std).expect("channels");
        let name = format!("{case}.decoded");
        let expected = golden.get(&name);
        let whole = decode(vae, &latents, 1);
        assert_close(&name, &clamped(&whole), &clamped(&expected), TOLERANCE);
        for bands in 2..=4 {
            let banded = decode(vae, &latents, bands);
            assert!(
                banded.to_vec::<f32>().expect("f32") == whole.to_vec::<f32>().expect("f32"),
                "{name}: {bands} bands draw another picture than one"
            );
        }
    });
}

#[test]
fn bytes_of_decoded_frames_are_those_of_the_reference_truncated() {
    for_each_video(&ops::Device::cpu(), |vae, config, case, golden| {
        let latents = golden.get(&format!("{case}.z"));
        let latents = channels::standardise(&latents, &config.latents_mean, &config.latents_std).expect("channels");
        let name = format!("{case}.decoded");
        let bytes =
            |tensor: &Tensor| pixels::to_rgb8(&FrameStack::from_tensor(tensor).expect("frames")).expect("pixels");
        // Values are truncated, so a hair's difference can move a byte by one.
        let (found, expected) = (bytes(&decode(vae, &latents, 1)), bytes(&golden.get(&name)));
        assert_eq!(found.len(), expected.len());
        let off = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert!(
            found.iter().zip(&expected).all(|(a, b)| a.abs_diff(*b) <= 1),
            "{name}: a byte is off by more than one"
        );
        assert!(off * 100 <= found.len(), "{name}: {off} of {} bytes differ", found.len());
    });
}

#[test]
fn a_picture_to_start_from_covers_the_video_as_pillow_scales_and_crops_it() {
    super::for_each_folder("cosmos3", |dir| {
        let path = dir.join("image.safetensors");
        if !path.is_file() {
            return;
        }
        let golden = Golden::open(&path);
        let picture = |name: &str| {
            let (height, width, _) = golden[name].dims3().expect("(height, width, 3)");
            Picture { size: Size { width: width as u32, height: height as u32 }, rgb: golden.bytes(name) }
        };
        let cases: Vec<_> = golden.tensors.keys().filter_map(|name| name.strip_suffix(".in")).collect();
        assert!(!cases.is_empty());
        for case in cases {
            let expected = picture(&format!("{case}.out"));
            let found = first_frame::cover(picture(&format!("{case}.in")), expected.size);
            assert_eq!((found.size, found.rgb.len()), (expected.size, expected.rgb.len()), "{case}");
            let off = found.rgb.iter().zip(&expected.rgb).filter(|(a, b)| a != b).count();
            println!("{case:<48} {off} of {} bytes differ", expected.rgb.len());
            // To the byte, as with the bicubic filter: the arithmetic is Pillow's.
            assert_eq!(off, 0, "{case}");
        }
    });
}

/// Run `check` on every case of every recording of the autoencoder.
fn for_each_video(device: &ops::Device, check: impl Fn(&Vae, &VaeConfig, &str, &Golden)) {
    super::for_each_folder("cosmos3", |dir| {
        let dir = dir.join("vae");
        if !dir.is_dir() {
            return;
        }
        let config = std::fs::read(dir.join("config.json")).expect("a configuration");
        let config: VaeConfig = serde_json::from_slice(&config).expect("a VAE configuration");
        let vae = load_vae(&config, &dir.join("diffusion_pytorch_model.safetensors"), device);
        let golden = Golden::open(&dir.join("fixtures.safetensors")).on(device);
        let cases: Vec<_> = golden.tensors.keys().filter_map(|name| name.strip_suffix(".pixels")).collect();
        assert!(!cases.is_empty(), "there is something to encode");
        for case in cases {
            check(&vae, &config, case, &golden);
        }
    });
}

/// `(3, T, H, W)`: the latent frames of a stream one by one.
fn decode(vae: &Vae, latents: &Tensor, bands: usize) -> Tensor {
    let mut state = DecoderState::in_bands(bands);
    let frames = (0..latents.dims()[1]).map(|t| {
        let latent = latents.narrow(1, t, 1).expect("a latent frame");
        vae.decode(&latent, &mut state).and_then(|video| video.to_tensor()).expect("decodes")
    });
    Tensor::cat(&frames.collect::<Vec<_>>(), 1).expect("frames of one size")
}
