//! What one clip holds, in bytes, told from configuration, size and length: for admission and for people.
//!
//! Latents and positions are f32, all else is as the device keeps numbers. Unlike a session's, a clip's temporaries are counted:
//! at full size they are as large as all that it keeps.

use std::fmt;

use ops::Keeping;
use ops::collective::share;

use super::config::ModelConfig;
use super::config::transformer::{Activation, PATCH};
use crate::lingbot::footprint::Human;
use crate::wan::vae::ranks_that_decode;
use crate::world::{FRAMES_PER_LATENT, Size};

const F32: u64 = 4;

/// What a client chooses that costs memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClipShape {
    /// Of the clip.
    pub size: Size,
    /// Video frames: one more than a multiple of four.
    pub frames: usize,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the negative prompt, where guidance can be on.
    pub negative_tokens: Option<usize>,
}

/// Where a clip's bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// The latent, its flows, and what the solver remembers.
    pub latents: u64,
    /// Keys and values of both prompts, every layer, and the positions of the video behind each.
    pub prompts: u64,
    /// Of one pass of the transformer.
    pub pass: u64,
    /// The frames every convolution of the decoder carries.
    pub decoder: u64,
    /// Of decoding one latent frame.
    pub decoding: u64,
}

/// How a clip's bytes are divided among ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnRanks {
    /// How many there are.
    pub ranks: usize,
    /// Keys and values of both prompts for each rank's heads, and the positions of its tokens: the most that a rank has.
    pub prompts: u64,
    /// Of one pass of the transformer: the most that a rank has. One of them reads the prompts, whole.
    pub pass: u64,
    /// All that is held once, in memory that the ranks share: the latent, and of the decoder what all carry and work with.
    pub once: u64,
}

impl OnRanks {
    /// Of a clip of this shape on a processor that keeps numbers so.
    pub fn of(config: &ModelConfig, shape: &ClipShape, keeping: Keeping, ranks: usize) -> OnRanks {
        let all = Footprint::over(config, shape, keeping, ranks);
        let first = all.of_rank(config, shape, 0, ranks);
        OnRanks { ranks, prompts: first.prompts, pass: first.pass, once: all.latents + all.decoder + all.decoding }
    }
}

impl fmt::Display for OnRanks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OnRanks { ranks, prompts, pass, once } = *self;
        write!(
            f,
            "of the longest of these clips, each of {ranks} ranks holds at most {} of the prompts and {} of a pass; {} are held once",
            Human(prompts),
            Human(pass),
            Human(once)
        )
    }
}

/// Tokens of the clip.
fn video_tokens(config: &ModelConfig, shape: &ClipShape) -> u64 {
    let side = |pixels: u32| (u64::from(pixels) / config.vae.spatial_factor() as u64).div_ceil(PATCH as u64);
    let frames = ((shape.frames - 1) / FRAMES_PER_LATENT + 1) as u64;
    frames * side(shape.size.height) * side(shape.size.width)
}

impl Footprint {
    /// What a clip of this shape holds at most.
    pub fn of(config: &ModelConfig, shape: &ClipShape, keeping: Keeping) -> Footprint {
        Footprint::over(config, shape, keeping, 1)
    }

    /// As [`Footprint::of`], on all ranks of a team together: the bands that they decode have borders of their own.
    pub fn over(config: &ModelConfig, shape: &ClipShape, keeping: Keeping, ranks: usize) -> Footprint {
        let (transformer, vae) = (&config.transformer, &config.vae);
        let side = vae.spatial_factor() as u64;
        let (rows, columns) = (u64::from(shape.size.height) / side, u64::from(shape.size.width) / side);
        let frames = ((shape.frames - 1) / FRAMES_PER_LATENT + 1) as u64;
        let tokens = video_tokens(config, shape);
        let (queries, keys) = (transformer.query_width() as u64, transformer.key_width() as u64);
        let (layers, width) = (transformer.layers as u64, transformer.hidden_size as u64);
        let text_tokens = (shape.prompt_tokens + shape.negative_tokens.unwrap_or(0)) as u64;
        let branches = 1 + u64::from(shape.negative_tokens.is_some());
        let inner = transformer.intermediate_size as u64;
        // Gate, up and their product, or up and its square.
        let feed_forward = if transformer.activation == Activation::SwiGlu { 3 } else { 2 } * inner;
        // Queries and what they attended to, keys and values; before and after their positions.
        let attention = 3 * queries + 3 * keys;
        // The running state, its norm, and two sums on the way.
        let row = 4 * width + feed_forward.max(attention);
        let longest_text = shape.prompt_tokens.max(shape.negative_tokens.unwrap_or(0)) as u64;
        let last = vae.decoder_base_dim.unwrap_or(vae.base_dim) as u64;
        let pixels = shape.size.pixels() / (vae.patch() * vae.patch()) as u64;
        Footprint {
            // The sample, two flows, two clean predictions, the last sample, and two on the way between them.
            latents: 8 * transformer.latent_channels as u64 * frames * rows * columns * F32,
            prompts: 2 * layers * keys * text_tokens * keeping.bytes
                + branches * transformer.head_dim as u64 * tokens * F32,
            pass: row * tokens.max(longest_text) * keeping.bytes,
            decoder: vae.decoder_state_bytes(
                rows as usize,
                columns as usize,
                ranks_that_decode(rows as usize, ranks),
                keeping,
            ),
            // The last level, which is the largest: what enters it has twice the channels; three of these at a time.
            decoding: 3 * FRAMES_PER_LATENT as u64 * pixels * 2 * last * keeping.bytes,
        }
    }

    /// Of a clip of this shape, whose footprint this is, the part of rank `rank` of `ranks`: its heads and its tokens. The
    /// first one reads prompts and has all that is there once.
    pub fn of_rank(&self, config: &ModelConfig, shape: &ClipShape, rank: usize, ranks: usize) -> Footprint {
        let once = |bytes: u64| if rank == 0 { bytes } else { 0 };
        let tokens = video_tokens(config, shape);
        let own = share(tokens as usize, rank, ranks).len() as u64;
        let longest_text = shape.prompt_tokens.max(shape.negative_tokens.unwrap_or(0)) as u64;
        let branches = 1 + u64::from(shape.negative_tokens.is_some());
        let positions = branches * config.transformer.head_dim as u64 * F32;
        Footprint {
            latents: once(self.latents),
            prompts: (self.prompts - positions * tokens) / ranks as u64 + positions * own,
            pass: self.pass / tokens.max(longest_text).max(1) * own.max(once(longest_text)),
            decoder: once(self.decoder),
            decoding: once(self.decoding),
        }
    }

    /// While it is drawn: a pass and the decoding of a frame never are at the same time, nor do prompts outlive the last step.
    pub fn total(&self) -> u64 {
        self.latents + (self.prompts + self.pass).max(self.decoder + self.decoding)
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bytes, what) in [
            (self.latents, "latent, flows and what the solver remembers"),
            (self.prompts, "keys and values of both prompts, and positions"),
            (self.pass, "one pass of the transformer"),
            (self.decoder, "decoder state"),
            (self.decoding, "decoding one latent frame"),
        ] {
            writeln!(f, "  {:>12}  {what}", Human(bytes))?;
        }
        write!(f, "  {:>12}  at most at a time", Human(self.total()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cosmos3::config::sampling::Sampling;
    use crate::wan::vae::config::VaeConfig;

    #[test]
    fn ranks_hold_their_heads_and_tokens_and_together_what_one_holds() {
        let json = serde_json::json!({
            "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
            "head_dim": 128, "intermediate_size": 12288, "vocab_size": 151936, "latent_channel": 48
        });
        let config = ModelConfig {
            transformer: serde_json::from_value(json).expect("the published configuration"),
            vae: VaeConfig::default(),
            sampling: Sampling::FlowUniPc,
        };
        let size = Size { width: 832, height: 480 };
        let shape = ClipShape { size, frames: 93, prompt_tokens: 512, negative_tokens: Some(10) };
        let alone = Footprint::of(&config, &shape, Keeping::GPU);
        for ranks in [1, 2, 4, 8] {
            let each: Vec<_> = (0..ranks).map(|rank| alone.of_rank(&config, &shape, rank, ranks)).collect();
            assert_eq!(each.iter().map(|one| one.prompts).sum::<u64>(), alone.prompts);
            assert_eq!(
                each.iter().map(|one| one.pass).sum::<u64>(),
                alone.pass,
                "a clip has more tokens than its prompt"
            );
            assert_eq!(each.iter().map(|one| one.latents + one.decoder).sum::<u64>(), alone.latents + alone.decoder);
            let said = OnRanks::of(&config, &shape, Keeping::PROCESSOR, ranks);
            assert!(said.prompts * ranks as u64 >= Footprint::of(&config, &shape, Keeping::PROCESSOR).prompts);
        }
    }
}
