//! What one rollout holds, in bytes, told from configuration, size and window: for admission and for people.
//!
//! What a layer gives is kept as the device keeps numbers; latents and positions are f32. Only the values that a rollout keeps are counted; the temporaries of a pass belong to the thread
//! that computes, and there is one of it.

use std::fmt;

use ops::collective::share;
use ops::{Keeping, KeyValues};

use super::config::ModelConfig;
use super::memory::Memory;
use super::past::Past;
use super::recipe::Recipe;
use crate::wan::vae::ranks_that_decode;
use crate::world::{Chunking, Size};

const F32: u64 = 4;

/// The choices of a client that cost memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RolloutShape {
    /// Of the video.
    pub size: Size,
    /// Latent frames pinned.
    pub sink: usize,
    /// Latent frames visible in all.
    pub window: usize,
    /// Latent frames of the first chunk.
    pub first_chunk: usize,
    /// Video frames encoded for the image condition.
    pub condition_frames: usize,
}

impl RolloutShape {
    /// Where nothing is asked for.
    pub fn of(recipe: &Recipe) -> RolloutShape {
        RolloutShape {
            size: recipe.default_size(),
            sink: recipe.sink,
            window: recipe.window,
            first_chunk: recipe.first_chunk,
            condition_frames: recipe.condition_frames,
        }
    }
}

/// Where a rollout's bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Keys and values of the window, all blocks, once the window is full.
    pub self_attention: u64,
    /// Keys and values of one prompt, all blocks.
    pub cross_attention: u64,
    /// The frames every convolution of the decoder carries.
    pub decoder: u64,
    /// The encoded first frame, mask included.
    pub condition: u64,
    /// Clean latents of the window, from which keys and values can be made again.
    pub latents: u64,
    /// Clean latents of one chunk, the longest: kept of each chunk that a client may go back over.
    pub chunk_latents: u64,
    /// Pictures that are kept by their place, as many as there may be.
    pub memory: u64,
    /// What a state to go back to holds of them: a list. The pictures are shared.
    pub memory_list: u64,
    /// Pictures that one chunk, the longest, adds: a chunk that a client may go back over keeps those that have made room since.
    pub chunk_pictures: u64,
    /// Lives while a chunk is drawn: camera scale and shift of every block, its rotary table, the constant part of its
    /// patch embedding.
    pub chunk: u64,
}

/// How a rollout's bytes are divided among ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnRanks {
    /// How many there are.
    pub ranks: usize,
    /// Keys and values of each rank's heads, for all tokens of the window.
    pub self_attention: u64,
    /// Of the tokens of one rank, while a chunk is drawn: the most that a rank has.
    pub chunk: u64,
    /// All that is held once, in memory that the ranks share, and what the decoder carries for the bands of all.
    pub once: u64,
}

impl OnRanks {
    /// Of a rollout of this shape on a processor that keeps numbers so.
    pub fn of(config: &ModelConfig, shape: &RolloutShape, keeping: Keeping, ranks: usize) -> OnRanks {
        let all = Footprint::over(config, shape, keeping, ranks);
        let tokens = chunk_tokens(config, shape);
        let largest = share(tokens as usize, 0, ranks).len() as u64;
        OnRanks {
            ranks,
            self_attention: all.self_attention / ranks as u64,
            chunk: all.chunk / tokens.max(1) * largest,
            once: all.cross_attention + all.decoder + all.condition + all.latents + all.memory,
        }
    }
}

impl fmt::Display for OnRanks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OnRanks { ranks, self_attention, chunk, once } = *self;
        write!(
            f,
            "each of {ranks} ranks holds {} of self-attention keys and values, and at most {} of a chunk while it is drawn; \
             {} are held once, {} in all",
            Human(self_attention),
            Human(chunk),
            Human(once),
            Human(ranks as u64 * (self_attention + chunk) + once)
        )
    }
}

/// Numbers of a plane of a latent frame.
fn latent_pixels(config: &ModelConfig, size: Size) -> u64 {
    let side = config.vae.spatial_factor() as u64;
    u64::from(size.height) / side * (u64::from(size.width) / side)
}

/// Tokens of the longest chunk.
fn chunk_tokens(config: &ModelConfig, shape: &RolloutShape) -> u64 {
    let chunking = Chunking { first: shape.first_chunk, later: config.recipe.chunk };
    latent_pixels(config, shape.size) / 4 * chunking.longest() as u64
}

impl Footprint {
    /// The most bytes that a rollout of this shape holds.
    pub fn of(config: &ModelConfig, shape: &RolloutShape, keeping: Keeping) -> Footprint {
        Footprint::over(config, shape, keeping, 1)
    }

    /// As [`Footprint::of`], on all ranks of a team together: the bands that they decode have borders of their own.
    pub fn over(config: &ModelConfig, shape: &RolloutShape, keeping: Keeping, ranks: usize) -> Footprint {
        let size = shape.size;
        let (transformer, recipe) = (&config.transformer, &config.recipe);
        let side = config.vae.spatial_factor() as u64;
        let (rows, columns) = (u64::from(size.height) / side, u64::from(size.width) / side);
        let latent_pixels = latent_pixels(config, size);
        let tokens_a_frame = latent_pixels / 4;
        let chunking = Chunking { first: shape.first_chunk, later: recipe.chunk };
        let chunk_tokens = chunk_tokens(config, shape);
        let (width, layers) = (transformer.width() as u64, transformer.num_layers as u64);
        let condition_frames =
            (shape.condition_frames as u64).saturating_sub(1) / config.vae.temporal_factor() as u64 + 1;
        // Keys and values, or scale and shift: two rows of the model's width in every block.
        let two_rows = 2 * layers * width * keeping.bytes;
        let stored = recipe.stored_frames(shape.sink, shape.window);
        Footprint {
            self_attention: match keeping.packs_history {
                false => two_rows * tokens_a_frame * stored as u64,
                true => {
                    let (heads, head_dim) = (transformer.num_attention_heads, transformer.attention_head_dim);
                    layers * KeyValues::packed_bytes(stored, tokens_a_frame as usize, heads, head_dim)
                }
            },
            cross_attention: two_rows * recipe.text_len as u64,
            decoder: config.vae.decoder_state_bytes(
                rows as usize,
                columns as usize,
                ranks_that_decode(rows as usize, ranks),
                keeping,
            ),
            condition: condition_frames * (4 + config.vae.z_dim as u64) * latent_pixels * F32,
            latents: (Past::frames_max(stored, chunking) * transformer.out_channels) as u64 * latent_pixels * F32,
            chunk_latents: (chunking.longest() * transformer.out_channels) as u64 * latent_pixels * F32,
            memory: recipe.memory.map_or(0, |memory| Memory::bytes_max(&memory, size)),
            memory_list: recipe.memory.map_or(0, |memory| Memory::list_bytes_max(&memory)),
            chunk_pictures: recipe.memory.map_or(0, |_| chunking.longest() as u64 * Memory::picture_bytes(size)),
            chunk: (two_rows + width * keeping.bytes + transformer.attention_head_dim as u64 * F32) * chunk_tokens,
        }
    }

    /// The same, with what was made of the prompt in the memory of each of so many devices.
    pub fn with_prompts(self, copies: u64) -> Footprint {
        Footprint { cross_attention: self.cross_attention * copies, ..self }
    }

    /// Of a rollout of this shape, whose footprint this is, the part of rank `rank` of `ranks`, each of which is a GPU: its heads and its
    /// tokens, and on each what was made of the prompt. The first one has all that is there once.
    pub fn of_rank(&self, config: &ModelConfig, shape: &RolloutShape, rank: usize, ranks: usize) -> Footprint {
        let once = |bytes: u64| if rank == 0 { bytes } else { 0 };
        let tokens = chunk_tokens(config, shape);
        Footprint {
            self_attention: self.self_attention / ranks as u64,
            cross_attention: self.cross_attention,
            decoder: once(self.decoder),
            condition: once(self.condition),
            latents: once(self.latents),
            chunk_latents: once(self.chunk_latents),
            // Pictures by place stand in the host's memory.
            memory: 0,
            memory_list: 0,
            chunk_pictures: 0,
            chunk: self.chunk / tokens.max(1) * share(tokens as usize, rank, ranks).len() as u64,
        }
    }

    /// A rollout in the middle of a chunk, its window full.
    pub fn total(&self) -> u64 {
        self.between_chunks() + self.chunk
    }

    /// A state to go back to: all but what no chunk changes, and pictures, which it shares.
    pub fn state(&self) -> u64 {
        self.between_chunks() - self.condition - self.memory + self.memory_list
    }

    /// What stays while other rollouts are drawn.
    pub fn between_chunks(&self) -> u64 {
        self.self_attention + self.cross_attention + self.decoder + self.condition + self.latents + self.memory
    }
}

/// Bytes for people: `21.4 GiB`.
pub(crate) struct Human(pub(crate) u64);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.0 as f64;
        let mut unit = "B";
        for larger in ["KiB", "MiB", "GiB", "TiB"] {
            if bytes < 1024.0 {
                break;
            }
            bytes /= 1024.0;
            unit = larger;
        }
        let digits = if unit == "B" { 0 } else { 2 };
        f.pad(&format!("{bytes:.digits$} {unit}"))
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bytes, what) in [
            (self.self_attention, "self-attention keys and values"),
            (self.cross_attention, "cross-attention keys and values"),
            (self.decoder, "decoder state"),
            (self.condition, "condition latents"),
            (self.latents, "clean latents of the window"),
            (self.chunk, "camera and condition of a chunk, while it is drawn"),
        ] {
            writeln!(f, "  {:>12}  {what}", Human(bytes))?;
        }
        if self.memory > 0 {
            writeln!(f, "  {:>12}  pictures by their place", Human(self.memory))?;
        }
        writeln!(f, "  {:>12}  in all", Human(self.total()))?;
        write!(f, "  {:>12}  for each state that a client can go back to", Human(self.state()))
    }
}

#[cfg(test)]
mod tests {
    use ops::Compute;

    use super::super::recipe::Lineage;
    use super::*;
    use crate::load::file::File;
    use crate::wan::umt5::config::TextConfig;
    use crate::wan::vae::config::VaeConfig;

    fn lingbot(recipe: &'static str) -> ModelConfig {
        let json = r#"{"num_attention_heads": 40, "attention_head_dim": 128, "num_layers": 40, "ffn_dim": 13824}"#;
        let transformer = serde_json::from_str(json).expect("the published configuration");
        ModelConfig {
            recipe: Recipe::from_file(&File::new("causeway.json", recipe.as_bytes()), &transformer, Lineage::V2)
                .expect("a recipe"),
            transformer,
            vae: VaeConfig::default(),
            text: TextConfig::umt5_xxl(),
        }
    }

    #[test]
    fn a_rollout_of_the_14b_holds_what_the_model_says() {
        let config = lingbot("{}");
        let bytes = Footprint::of(&config, &RolloutShape::of(&config.recipe), Keeping::PROCESSOR);
        // 819 200 bytes a token in bf16, 1560 tokens a latent frame, 18 latent frames.
        assert_eq!(bytes.self_attention, 2 * 819_200 * 1560 * 18);
        assert_eq!(bytes.cross_attention, 2 * 819_200 * 512);
        // 944.3 million numbers, and 11.9 of borders.
        assert_eq!((bytes.decoder / F32 + 50_000) / 100_000, 9562);
        assert_eq!(bytes.condition, 20 * 6 * 60 * 104 * F32);
        assert_eq!(bytes.latents, 16 * (18 + 4) * 60 * 104 * F32);
        // Scale and shift of 40 blocks: 3.57 GiB in bf16.
        let camera = 2 * 40 * 5120 * 4680 * F32;
        assert_eq!(bytes.chunk, camera + 4680 * (5120 + 128) * F32);
        assert_eq!(bytes.total(), bytes.between_chunks() + bytes.chunk);
    }

    #[test]
    fn a_gpu_keeps_half_of_it() {
        let config = lingbot("{}");
        let on = |keeping| Footprint::of(&config, &RolloutShape::of(&config.recipe), keeping);
        let (processor, gpu) = (on(Keeping::PROCESSOR), on(Keeping::GPU));
        assert_eq!(gpu.self_attention, 819_200 * 1560 * 18);
        assert_eq!(
            (gpu.self_attention, gpu.cross_attention),
            (processor.self_attention / 2, processor.cross_attention / 2)
        );
        // Of the decoder also no borders: 944.3 million numbers.
        assert_eq!((gpu.decoder / 2 + 50_000) / 100_000, 9443);
        assert_eq!((gpu.condition, gpu.latents), (processor.condition, processor.latents));
    }

    #[test]
    fn a_processor_that_computes_in_a_narrow_type_keeps_the_window_in_half_of_it_and_all_else_as_before() {
        let config = lingbot("{}");
        let on = |compute| Footprint::of(&config, &RolloutShape::of(&config.recipe), Keeping::processor(compute));
        let whole = on(Compute::F32);
        assert_eq!(whole, Footprint::of(&config, &RolloutShape::of(&config.recipe), Keeping::PROCESSOR));
        for compute in [Compute::Bf16, Compute::Int8] {
            // 18 frames of 1560 tokens, and 16 that make them a multiple of 32.
            let self_attention = whole.self_attention / 2 / (18 * 1560) * (18 * 1560 + 16);
            assert_eq!(on(compute), Footprint { self_attention, ..whole });
        }
    }

    #[test]
    fn ranks_hold_their_heads_and_tokens_and_together_what_one_holds_and_the_borders_of_bands() {
        let config = lingbot("{}");
        let shape = RolloutShape::of(&config.recipe);
        let alone = Footprint::of(&config, &shape, Keeping::PROCESSOR);
        for ranks in [1, 2, 4, 5, 8] {
            let all = Footprint::over(&config, &shape, Keeping::PROCESSOR, ranks);
            assert_eq!((all.self_attention, all.chunk), (alone.self_attention, alone.chunk));
            // Two rows more for each band, of the 60 that the smallest picture has.
            assert!(all.decoder >= alone.decoder && all.decoder <= alone.decoder * (60 + 2 * ranks as u64) / 60);
            let each = OnRanks::of(&config, &shape, Keeping::PROCESSOR, ranks);
            assert_eq!(each.self_attention * ranks as u64, all.self_attention);
            // 4680 tokens are shared evenly.
            assert_eq!((each.self_attention + each.chunk) * ranks as u64 + each.once, all.total());
        }
        // 1560 tokens of one latent frame over seven ranks: the first six have one more.
        let small = RolloutShape { first_chunk: 1, ..shape };
        let config = ModelConfig { recipe: Recipe { chunk: 1, ..config.recipe }, ..config };
        let all = Footprint::of(&config, &small, Keeping::PROCESSOR);
        assert_eq!(OnRanks::of(&config, &small, Keeping::PROCESSOR, 7).chunk, all.chunk / 1560 * 223);
    }

    #[test]
    fn gpus_hold_their_heads_and_tokens_and_the_prompt_each_and_the_first_all_else() {
        let config = lingbot("{}");
        let shape = RolloutShape::of(&config.recipe);
        let alone = Footprint::of(&config, &shape, Keeping::GPU);
        for ranks in [1, 2, 4, 8] {
            let each: Vec<_> = (0..ranks).map(|rank| alone.of_rank(&config, &shape, rank, ranks)).collect();
            let all: u64 = each.iter().map(Footprint::total).sum();
            assert_eq!(all, alone.with_prompts(ranks as u64).total());
            assert!(each[1..].iter().all(|one| one.decoder + one.condition + one.latents == 0));
            assert!(each.iter().all(|one| one.self_attention * ranks as u64 == alone.self_attention));
        }
    }

    #[test]
    fn a_longer_first_chunk_needs_more_while_it_is_drawn() {
        let config = lingbot("{}");
        let of = |first_chunk| {
            let shape = RolloutShape { first_chunk, ..RolloutShape::of(&config.recipe) };
            Footprint::of(&config, &shape, Keeping::PROCESSOR)
        };
        assert_eq!(of(6).chunk, 2 * of(3).chunk);
        assert_eq!(of(1).chunk, of(3).chunk);
        assert_eq!(of(6).self_attention, of(3).self_attention);
    }

    #[test]
    fn a_motion_dependent_window_is_stored_whole() {
        let (plain, motion) =
            (lingbot("{}"), lingbot(r#"{"moving_window": 12, "still_window": 3, "still_chunks": 2}"#));
        let check = |sink, window, frames| {
            let held = |config: &ModelConfig, window| {
                let shape = RolloutShape { sink, window, ..RolloutShape::of(&config.recipe) };
                Footprint::of(config, &shape, Keeping::PROCESSOR).self_attention
            };
            assert_eq!(held(&motion, window), held(&plain, frames));
        };
        check(9, 18, 24);
        check(0, 18, 18);
    }
}
