//! Autoencoders of made-up numbers: sizes, frames, carried bytes, bands, and what does not fit.

use ops::Keeping;
use safetensors::Dtype;

use super::*;
use crate::fixture::file;
use crate::load::weights::Checkpoint;
use crate::wan::tensors;

fn small(patch_size: Option<usize>, dim_mult: &[usize], temporal_downsample: &[bool]) -> VaeConfig {
    VaeConfig {
        residual: false,
        base_dim: 6,
        decoder_base_dim: Some(4),
        z_dim: 3,
        dim_mult: dim_mult.to_vec(),
        num_res_blocks: 1,
        temporal_downsample: temporal_downsample.to_vec(),
        patch_size,
        latents_mean: vec![0.5, -0.25, 0.0],
        latents_std: vec![2.0, 0.5, 1.0],
    }
}

/// Numbers without a pattern, about ±0.5.
fn noise(shape: &[usize]) -> Tensor {
    let values = (0..shape.iter().product::<usize>()).map(|i| (i * 7919 % 1009) as f32 / 1009.0 - 0.5);
    Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::cpu()).expect("as many as the shape has")
}

/// One frame of `channels`.
fn picture(channels: usize, height: usize, width: usize) -> FrameStack {
    FrameStack::from_tensor(&noise(&[channels, 1, height, width])).expect("one frame")
}

/// An autoencoder of numbers that mean nothing.
fn made_up(config: &VaeConfig) -> Vae {
    let tensors = tensors::vae(config);
    let checkpoint = Checkpoint::from_bytes(&file(&tensors, Dtype::F32)).expect("a file");
    let vae = Vae::load(config, &checkpoint.weights(&tensors, &Device::cpu()).expect("every tensor"));
    checkpoint.finish(&tensors).expect("no other tensor");
    vae.expect("an autoencoder")
}

#[test]
fn sizes_frames_and_carried_bytes_are_what_the_configuration_says() {
    // Wan 2.2's last level changes no size, so its shortcut cannot make more channels of fewer.
    for (residual, patch, dim_mult, halves_time) in [
        (false, None, &[1, 2, 4, 4][..], &[false, true, true][..]),
        (false, Some(2), &[1, 2, 4], &[true, true]),
        (false, Some(1), &[1, 2], &[false]),
        (false, Some(2), &[2, 2, 4], &[true, false]),
        (false, None, &[1], &[]),
        (true, Some(2), &[1, 2, 4, 4], &[false, true, true]),
        (true, None, &[1, 2, 2], &[true, true]),
        (true, Some(1), &[4, 1], &[false]),
        (true, None, &[1], &[]),
    ] {
        let config = VaeConfig { residual, ..small(patch, dim_mult, halves_time) };
        let vae = made_up(&config);
        let (unit, long) = (vae.spatial_factor(), vae.temporal_factor());
        let (h, w) = (2, 3);
        let latents = vae.encode(picture(3, h * unit, w * unit), 1 + 3 * long).expect("encodes");
        assert_eq!(latents.dims(), [3, 4, h, w]);
        let mut state = DecoderState::new();
        for t in 0..4 {
            let video = vae.decode(&latents.narrow(1, t, 1).expect("a frame"), &mut state).expect("decodes");
            let shape = video.shape();
            assert_eq!((shape.height, shape.width, shape.channels, shape.border), (h * unit, w * unit, 3, 0));
            assert_eq!(video.len(), if t == 0 { 1 } else { long });
            assert!(state.bytes() <= config.decoder_state_bytes(h, w, 1, Keeping::PROCESSOR));
        }
        assert_eq!(state.bytes(), config.decoder_state_bytes(h, w, 1, Keeping::PROCESSOR));
    }
}

#[test]
fn frames_taken_one_by_one_are_the_frames_taken_together() {
    for residual in [false, true] {
        one_by_one(&made_up(&VaeConfig { residual, ..small(None, &[1, 2, 2], &[true, true]) }));
    }
}

fn one_by_one(vae: &Vae) {
    let (mut together, mut apart) = (Carried::default(), Carried::default());
    for t in 0..4 {
        let values = noise(&[3, 1, 3, 5]).to_vec::<f32>().expect("f32").into_iter().map(|x| x * t as f32).collect();
        let latent = Tensor::from_vec(values, [3, 1, 3, 5], &Device::cpu()).expect("scaled");
        let latent = Bands::whole(FrameStack::from_tensor(&latent).expect("a frame"));
        let decode = |most, carried: &mut Carried| {
            let frames = vae.decoder.decode_within(most, latent.clone(), t == 0, carried).expect("frames");
            frames.join().and_then(|frames| frames.to_tensor()).expect("video")
        };
        let (a, b) = (decode(usize::MAX, &mut together), decode(0, &mut apart));
        assert_eq!(a.dims(), b.dims());
        assert_eq!(a.to_vec::<f32>().expect("f32"), b.to_vec::<f32>().expect("f32"));
    }
    assert_eq!(together.bytes(), apart.bytes());
}

/// Bit for bit, at heights that bands share unevenly, and with frames that are taken together and one by one.
#[test]
fn frames_and_state_decoded_in_bands_are_those_decoded_in_one() {
    for (residual, h) in [(false, 3), (true, 3), (true, 5), (true, 1)] {
        let config = VaeConfig { residual, ..small(Some(2), &[1, 2, 2], &[false, true]) };
        let vae = made_up(&config);
        let latents = noise(&[3, 4, h, 4]);
        let decode = |bands: usize, team: &Team| {
            let mut state = DecoderState::in_bands(bands);
            let frames = (0..4).flat_map(|t| {
                let latent = latents.narrow(1, t, 1).expect("a frame");
                let video = vae.decode_over(team, &latent, &mut state).expect("decodes");
                video.to_tensor().and_then(|video| video.to_vec::<f32>()).expect("f32")
            });
            (frames.collect::<Vec<_>>(), state)
        };
        let alone = Team::alone();
        let (whole, state) = decode(1, &alone);
        assert_eq!(state.bytes(), config.decoder_state_bytes(h, 4, 1, Keeping::PROCESSOR));
        let teams = [2, 3, 4].map(|ranks| Team::of_threads(ranks).expect("threads"));
        let bands = [2, 3, 4].map(|bands| (bands, bands, &alone));
        for (bands, cut, team) in bands.into_iter().chain(teams.iter().map(|team| (team.ranks(), 1, team))) {
            let (found, in_bands) = decode(cut, team);
            assert!(found == whole, "{bands} bands of {h} rows draw another picture");
            // Where there are fewer rows than ranks, one rank decodes alone.
            let held = if cut == 1 && bands > h { 1 } else { bands };
            assert_eq!(in_bands.bytes(), config.decoder_state_bytes(h, 4, held, Keeping::PROCESSOR));
            let (a, b) = (in_bands.carried().expect("tensors"), state.carried().expect("tensors"));
            assert_eq!(a.len(), b.len());
            for ((a_slot, a), (b_slot, b)) in a.into_iter().zip(b) {
                assert_eq!((a_slot, a.to_vec::<f32>().expect("f32")), (b_slot, b.to_vec::<f32>().expect("f32")));
            }
        }
    }
}

#[test]
fn a_video_s_first_latent_is_that_of_its_first_frame_bit_for_bit() {
    for residual in [false, true] {
        let vae = made_up(&VaeConfig { residual, ..small(Some(2), &[2, 2], &[true]) });
        let (height, width) = (2 * vae.spatial_factor(), vae.spatial_factor());
        let video = FrameStack::from_tensor(&noise(&[3, 5, height, width])).expect("frames");
        let latents = vae.encode_video(&video).expect("encodes");
        assert_eq!(latents.dims()[1], 3);
        let alone = vae.encode_video(&video.slice(0..1)).expect("encodes").to_vec::<f32>().expect("f32");
        assert_eq!(latents.narrow(1, 0, 1).and_then(|first| first.to_vec::<f32>()).expect("f32"), alone);
        assert_eq!(vae.encode(video.slice(0..1), 1).and_then(|latent| latent.to_vec::<f32>()).expect("f32"), alone);
        assert!(vae.encode_video(&video.slice(0..2)).is_err(), "two frames are no whole latent frames");
        assert!(vae.encode_video(&video.slice(0..0)).is_err(), "no frame");
    }
}

#[test]
fn what_does_not_fit_is_an_error_and_not_a_panic() {
    let vae = made_up(&small(Some(2), &[1, 2], &[true]));
    let unit = vae.spatial_factor();
    assert!(vae.encode(picture(3, unit, unit), 4).is_err(), "not one more than a multiple of 2");
    assert!(vae.encode(picture(3, unit, unit), 0).is_err());
    assert!(vae.encode(picture(3, unit + 1, unit), 1).is_err());
    assert!(vae.encode(picture(4, unit, unit), 1).is_err());
    let mut state = DecoderState::new();
    assert!(vae.decode(&noise(&[4, 2, 2]), &mut state).is_err(), "four channels");
    assert!(vae.decode(&noise(&[3, 2, 2, 2]), &mut state).is_err(), "two frames");
    vae.decode(&noise(&[3, 2, 2]), &mut state).expect("fits");
    assert!(vae.decode(&noise(&[3, 2, 3]), &mut state).is_err(), "another size");
    vae.decode(&noise(&[3, 1, 2, 2]), &mut state).expect("the stream goes on");
}
