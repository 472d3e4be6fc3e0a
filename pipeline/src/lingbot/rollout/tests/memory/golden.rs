//! The walk that PyTorch recorded, step by step.

use safetensors::SafeTensors;

use super::*;

/// f32 sums in another order.
const TOLERANCE: f32 = 1e-4;

struct Golden {
    file: Vec<u8>,
    meta: Value,
}

impl Golden {
    fn open(path: &Path) -> Golden {
        let file = std::fs::read(path).expect("a golden file");
        let (_, header) = SafeTensors::read_metadata(&file).expect("a header");
        let about = header.metadata().as_ref().expect("what it is");
        let meta = serde_json::from_str(&about["meta"]).expect("JSON");
        Golden { file, meta }
    }

    fn get(&self, name: &str) -> Option<Vec<u8>> {
        let tensors = SafeTensors::deserialize(&self.file).expect("tensors");
        Some(tensors.tensor(name).ok()?.data().to_vec())
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        self.get(name).expect(name)
    }

    fn numbers(&self, name: &str) -> Vec<f32> {
        self.bytes(name).as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect()
    }
}

fn close(what: &str, found: &[f32], expected: &[f32], within: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{what}: off by {off:e}");
    assert!(off <= within, "{what}: off by {off:e}");
}

#[test]
fn a_walk_that_comes_back_is_drawn_as_pytorch_draws_it() {
    let golden = Golden::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/pocket/memory.safetensors"));
    let world = remembering(&golden.meta["policy"], 1);
    let (card, device) = (world.card(), &world.nets.device);
    let actions = golden.meta["actions"].as_array().expect("actions");
    let noise = (0..actions.len()).map(|frame| {
        let values = golden.numbers(&format!("{frame:02}.noise"));
        Tensor::from_vec(values, [16, 1, 8, 12], device).expect("noise")
    });
    let opening = Init {
        prompt: golden.meta["prompt"].as_str().expect("a prompt").to_owned(),
        first_frame: Some(Picture { size: card.default_size, rgb: golden.bytes("image") }),
        size: card.default_size,
        seed: 0,
        sink: card.sink,
        window: card.window,
        first_chunk: None,
        condition_frames: None,
    };
    let mut video = world.open_with_noise(opening, Noise::recorded(noise.collect())).expect("a video");
    let mut remembered = 0;
    for (frame, keys) in actions.iter().enumerate() {
        let at = |what: &str| format!("{frame:02}.{what}");
        let keys = keys.as_array().expect("keys").iter().filter_map(|key| key.as_str());
        let input = ChunkInput { controls: Some(vec![Held::from_tokens(keys).into()]), ..ChunkInput::default() };

        // What it sees, asked for beside it: the rollout sees the same.
        let plan = video.plan();
        let views = video.now.camera.views(input.controls.as_deref().expect("keys"));
        let seen = memory(&video).look(&plan.latent_range(), &views, card.window);
        assert_eq!(seen.is_some(), golden.get(&at("remembered")).is_some(), "{frame}");
        if let Some(seen) = seen {
            remembered += 1;
            let (picture, known) = seen[0].as_ref().expect("of one frame").picture_and_known();
            close(&at("remembered"), picture, &golden.numbers(&at("remembered")), 1e-3);
            let expected: Vec<bool> = golden.bytes(&at("known")).iter().map(|&known| known != 0).collect();
            assert!(known == expected, "{}", at("known"));
        }
        let (latent, _) = video.chunk_latents(&input, &Cancel::default()).expect("a chunk");
        close(&at("x0"), &numbers(&latent), &golden.numbers(&at("x0")), TOLERANCE);
        // A value between two bytes may become the other one: their picture is what is remembered from here on.
        let theirs = golden.bytes(&at("frames"));
        video.now.memory.as_mut().expect("it remembers").keep(&theirs);
        let ours = video.decode(&latent).expect("frames").rgb;
        let last = &ours[ours.len() - theirs.len()..];
        let off = last.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(off <= Some(1), "{}: off by {off:?}", at("frames"));
    }
    assert!(remembered > actions.len() / 3, "{remembered} of {} frames remember", actions.len());
}
