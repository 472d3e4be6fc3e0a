//! Videos that a team of ranks draws, beside the same ones drawn by one rank.

use ops::{Compute, Keeping};

use super::*;
use crate::lingbot::footprint::{Footprint, OnRanks, RolloutShape};

/// Six tokens a latent frame, 18 a chunk: four ranks have 5, 5, 4 and 4 of them.
pub(super) const UNEVEN: Size = Size { width: 48, height: 32 };

pub(super) fn uneven(ranks: usize) -> LingBot {
    world_over_ranks(uneven_recipe(), ranks)
}

fn uneven_recipe() -> Value {
    json!({"size": [UNEVEN.width, UNEVEN.height], "window": 7, "sink": 1})
}

pub(super) fn begin(world: &LingBot) -> LingBotRollout {
    open(world, Init { size: UNEVEN, ..init(world, Some(2)) })
}

/// A first chunk of another length, a window that rolls, two new prompts, a past made again, and a way back: all bytes.
fn walk(world: &LingBot) -> Vec<u8> {
    let mut rollout = begin(world);
    let (mut drawn, mut state) = (Vec::new(), None);
    for chunk in 0..5 {
        if chunk == 3 {
            state = Some(rollout.save().expect("a state"));
        }
        let prompt = [(2, "a red tower"), (3, "a city at night")].into_iter().find(|(at, _)| *at == chunk);
        let prompt = prompt.map(|(_, text)| text.to_owned());
        let input = ChunkInput { prompt, recache: chunk == 3, ..steered(&rollout.plan()) };
        rollout.generate(&input, &Cancel::default(), &mut |frames| drawn.extend(frames.rgb)).expect("a chunk");
    }
    rollout.restore(&state.expect("of chunk 3")).expect("back");
    let input = steered(&rollout.plan());
    rollout.generate(&input, &Cancel::default(), &mut |frames| drawn.extend(frames.rgb)).expect("a chunk");
    drawn
}

#[test]
fn a_team_draws_the_bytes_of_one_rank() {
    let alone = walk(&uneven(1));
    for ranks in [2, 4] {
        assert!(walk(&uneven(ranks)) == alone, "{ranks} ranks draw other bytes");
    }
}

#[test]
fn in_bf16_a_team_draws_the_bytes_of_one_rank_and_the_window_takes_what_was_said() {
    let device = Device::cpu_in(Compute::Bf16);
    let in_bf16 = |ranks| world_on(&device, uneven_recipe(), ranks);
    let alone = in_bf16(1);
    let drawn = walk(&alone);
    assert!(walk(&in_bf16(2)) == drawn, "2 ranks draw other bytes");
    assert!(walk(&uneven(1)) != drawn, "that would be f32");
    let mut rollout = begin(&alone);
    let input = steered(&rollout.plan());
    rollout.chunk_latents(&input, &Cancel::default()).expect("a chunk");
    let shape = RolloutShape { size: UNEVEN, ..RolloutShape::of(&alone.nets.config.recipe) };
    let said = |keeping| Footprint::of(&alone.nets.config, &shape, keeping).self_attention;
    let held = rollout.now.histories[0].bytes();
    assert_eq!(held, said(device.keeping()));
    // Seven frames of six keys are 42, and 22 more make them a multiple of 32.
    assert_eq!(held * 2 * 42, said(Keeping::PROCESSOR) * 64);
}

#[test]
fn each_rank_remembers_its_heads_of_all_tokens_bit_for_bit_and_holds_what_was_said() {
    let after_four_chunks = |world: &LingBot| {
        let mut rollout = begin(world);
        for _ in 0..4 {
            let input = steered(&rollout.plan());
            rollout.chunk_latents(&input, &Cancel::default()).expect("a chunk");
        }
        rollout.now.histories
    };
    let alone = after_four_chunks(&uneven(1)).remove(0);
    for ranks in [2, 4] {
        let world = uneven(ranks);
        let config = &world.nets.config;
        let shape = RolloutShape { size: UNEVEN, ..RolloutShape::of(&config.recipe) };
        let said = OnRanks::of(config, &shape, Keeping::PROCESSOR, ranks);
        let histories = after_four_chunks(&world);
        assert_eq!(histories.len(), ranks);
        for (rank, history) in histories.iter().enumerate() {
            assert_eq!(history.window(), alone.window());
            assert_eq!(history.bytes(), said.self_attention);
            for layer in 0..config.transformer.num_layers {
                let held = |cache: &RollingKvCache| cache.held(layer).blocks().expect("numbers");
                let (whole, own) = (held(&alone), held(history));
                let pairs = whole.0.iter().zip(&own.0).chain(whole.1.iter().zip(&own.1));
                for (whole, own) in pairs {
                    let width = whole.dims()[1] / ranks;
                    let heads = whole.narrow(1, rank * width, width).expect("these heads");
                    assert_eq!(numbers(own), numbers(&heads), "rank {rank} of {ranks}, layer {layer}");
                }
            }
        }
    }
}

/// Between two passes one thread goes on alone, so a rank cannot wait for one that was cancelled.
#[test]
fn a_chunk_of_a_team_that_is_cancelled_at_any_time_ends_and_the_next_video_is_drawn() {
    let world = uneven(2);
    let first = |cancel: &Cancel| {
        let mut rollout = begin(&world);
        let input = steered(&rollout.plan());
        rollout.chunk_latents(&input, cancel).map(|(latent, _)| numbers(&latent))
    };
    let whole = first(&Cancel::default()).expect("a chunk");
    let mut ended = 0;
    for delay in 0..20_u32 {
        let cancel = Cancel::default();
        let drawn = std::thread::scope(|scope| {
            scope.spawn(|| {
                // Work, so that the moment moves through the chunk.
                (0..delay * 20_000).for_each(|i| _ = std::hint::black_box(i));
                cancel.cancel();
            });
            first(&cancel)
        });
        match drawn {
            Ok(latent) => assert_eq!(latent, whole),
            Err(WorldError::Cancelled) => ended += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(ended > 0, "some chunk was cancelled");
    assert_eq!(first(&Cancel::default()).expect("a chunk"), whole);
}

#[test]
fn ranks_that_cannot_share_heads_or_tokens_are_refused_by_name() {
    let refused = shipped_over_ranks(3).err().expect("4 heads").to_string();
    assert!(refused.contains("3 ranks cannot share 4 heads") && refused.contains("1, 2 or 4 ranks"), "{refused}");
    let small = world_over_ranks(json!({"size": [16, 32]}), 4);
    let refused =
        small.open(Init { size: Size { width: 16, height: 32 }, ..init(&small, None) }).err().expect("2 tokens");
    assert!(refused.to_string().contains("4 ranks cannot share the 2 tokens"), "{refused}");
}
