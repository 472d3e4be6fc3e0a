//! Chunks of a team beside those of one rank, for a model whose twelve heads two, three and four ranks can share.

use kvcache::{KvShape, Window};
use ops::Device;
use safetensors::Dtype;

use super::super::config::transformer::TransformerConfig;
use super::super::tensors;
use super::*;
use crate::fixture;
use crate::load::weights::Checkpoint;

/// 15 tokens a latent frame, 45 a chunk: 23 and 22; 15 each; 12, 11, 11 and 11.
const SIDES: [usize; 2] = [6, 10];
const CHUNK: usize = 3;

fn denoiser(ranks: usize) -> Denoiser {
    let config: TransformerConfig = serde_json::from_value(serde_json::json!({
        "num_attention_heads": 12, "attention_head_dim": 6, "ffn_dim": 40, "num_layers": 2, "text_dim": 24, "freq_dim": 16,
        "in_channels": 36, "out_channels": 16, "eps": 1e-6, "sink_size": 2, "sliding_window_num_frames": 8,
        "num_frames_per_block": CHUNK
    }))
    .expect("a configuration");
    let list = tensors::transformer(&config);
    let checkpoint = Checkpoint::from_bytes(&fixture::file(&list, Dtype::F32)).expect("a checkpoint");
    let weights = checkpoint.weights(&list, &Device::cpu()).expect("every tensor");
    let dit = Dit::load(&config, &weights).expect("weights");
    let levels = [(1000.0, 1.0), (500.0, 0.5)].map(|(t, sigma)| Level { t, sigma }).to_vec();
    let team = Team::of_threads(ranks).expect("threads");
    Denoiser::new(dit, team, Sampler::Renoise, &Schedule { levels }).expect("time embeddings")
}

/// Four chunks with a camera, the last two under another prompt; frames are evicted from the third chunk on.
fn chunks(denoiser: &Denoiser) -> Vec<f32> {
    let [height, width] = SIDES;
    let device = Device::cpu();
    let mut given = Noise::seeded(3, &device);
    let mut draw = |shape: &[usize]| given.draw(shape).expect("numbers");
    let prompts: Vec<_> = (0..2).map(|_| denoiser.dit().read_prompt(&draw(&[20, 24])).expect("a prompt")).collect();
    let history = || {
        let heads = 12 / denoiser.team().ranks();
        let shape = KvShape { layers: 2, tokens: height * width / 4, heads, packed: false };
        RollingKvCache::new(Window::new(8, 2, CHUNK).expect("possible"), shape)
    };
    let mut histories: Vec<_> = (0..denoiser.team().ranks()).map(|_| history()).collect();
    let (mut noise, mut all) = (Noise::seeded(7, &device), Vec::new());
    for chunk in 0..4 {
        let (fixed, rays) = (draw(&[20, CHUNK, height, width]), draw(&[384, CHUNK, height, width]));
        let conditions = denoiser.conditions(ChunkConditions {
            first_latent_frame: histories[0].window().current().start,
            fixed: &fixed,
            camera: Some(&rays),
            recent: None,
        });
        let mut context = TeamContext {
            conditions: &conditions.expect("conditions"),
            prompt: &prompts[chunk / 2],
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
    let alone = chunks(&denoiser(1));
    assert!(alone.iter().all(|number| number.is_finite()));
    assert!(alone.iter().any(|number| *number != alone[0]));
    for ranks in [2, 3, 4] {
        assert_eq!(chunks(&denoiser(ranks)), alone, "{ranks} ranks");
    }
}
