//! Chunks of a team beside those of one rank, for a model whose twelve heads two, three and four ranks can share.

use kvcache::{KvShape, Window};
use ops::Device;
use safetensors::Dtype;

use super::super::config::transformer::TransformerConfig;
use super::super::{divided, tensors};
use super::*;
use crate::fixture;
use crate::load::weights::Checkpoint;
use crate::team::Members;

/// 15 tokens a latent frame, 45 a chunk: 23 and 22; 15 each; 12, 11, 11 and 11.
const SIDES: [usize; 2] = [6, 10];
const CHUNK: usize = 3;

fn denoiser(members: &Members) -> Denoiser {
    let config: TransformerConfig = serde_json::from_value(serde_json::json!({
        "num_attention_heads": 12, "attention_head_dim": 6, "ffn_dim": 40, "num_layers": 2, "text_dim": 24, "freq_dim": 16,
        "in_channels": 36, "out_channels": 16, "eps": 1e-6, "sink_size": 2, "sliding_window_num_frames": 8,
        "num_frames_per_block": CHUNK
    }))
    .expect("a configuration");
    let list = tensors::transformer(&config);
    let checkpoint = Checkpoint::from_bytes(&fixture::file(&list, Dtype::F32)).expect("a checkpoint");
    let on = |device: &Device| {
        Dit::load(&config, &checkpoint.weights(&list, device).expect("every tensor")).expect("weights")
    };
    let dits = members.devices().iter().map(on).collect();
    let levels = [(1000.0, 1.0), (500.0, 0.5)].map(|(t, sigma)| Level { t, sigma }).to_vec();
    let team = members.team(&divided(&config)).expect("a team");
    Denoiser::of(dits, team, Sampler::Renoise, &Schedule { levels }).expect("time embeddings")
}

/// So many chunks with a camera, from the third on under another prompt; then frames are evicted, too.
fn chunks(members: &Members, count: usize) -> Vec<f32> {
    let (denoiser, device) = (denoiser(members), members.first());
    let [height, width] = SIDES;
    let mut given = Noise::seeded(3, device);
    let mut draw = |shape: &[usize]| given.draw(shape).expect("numbers");
    let prompts: Vec<_> = (0..2).map(|_| denoiser.read_prompt(&draw(&[20, 24])).expect("a prompt")).collect();
    let history = || {
        let heads = 12 / denoiser.team().ranks();
        let shape = KvShape { layers: 2, tokens: height * width / 4, heads, packed: false };
        RollingKvCache::new(Window::new(8, 2, CHUNK).expect("possible"), shape)
    };
    let mut histories: Vec<_> = (0..denoiser.team().ranks()).map(|_| history()).collect();
    let (mut noise, mut all) = (Noise::seeded(7, device), Vec::new());
    for chunk in 0..count {
        let (fixed, rays) = (draw(&[20, CHUNK, height, width]), draw(&[384, CHUNK, height, width]));
        let conditions = denoiser.conditions(ChunkConditions {
            first_latent_frame: histories[0].window().current().start,
            fixed: &fixed,
            camera: Some(&rays),
            recent: None,
        });
        let mut context = TeamContext {
            conditions: &conditions.expect("conditions"),
            prompts: &prompts[chunk / 2],
            histories: &mut histories,
        };
        let latent = denoiser
            .sample(([16, CHUNK, height, width], None), &mut noise, &mut context, &Cancel::default())
            .expect("a chunk");
        all.extend(latent.to_vec::<f32>().expect("f32"));
    }
    all
}

#[test]
fn two_three_and_four_ranks_draw_the_bits_of_one() {
    let on_threads = |ranks| chunks(&Members::of(&Device::cpu(), ranks), 4);
    let alone = on_threads(1);
    assert!(alone.iter().all(|number| number.is_finite()));
    assert!(alone.iter().any(|number| *number != alone[0]));
    for ranks in [2, 3, 4] {
        assert_eq!(on_threads(ranks), alone, "{ranks} ranks");
    }
}

#[test]
fn two_three_and_four_gpus_draw_the_bits_of_one() {
    let gpus = fixture::gpus(4);
    let over = |count: usize| chunks(&Members::gpus(gpus[..count].to_vec()).expect("some"), 3);
    let alone = over(1);
    assert!(alone.iter().all(|number| number.is_finite()));
    for count in [2, 3, 4] {
        assert_eq!(over(count), alone, "{count} GPUs");
    }
}
