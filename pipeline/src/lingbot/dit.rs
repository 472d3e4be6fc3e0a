//! The causal diffusion transformer of LingBot World: a noisy chunk and what surrounds it in, a flow out.
//!
//! Two passes, two verbs: [`Dit::predict_flow`] predicts, [`Dit::remember`] stores a finished chunk's keys and values
//! and predicts nothing. Both write the chunk's keys and values into the history; only `remember`'s stay.
//!
//! Everything that does not change from pass to pass is a value computed earlier: [`TimeEmbedding`] once per process,
//! the prompt's [`PromptKvCache`] once per prompt, [`Condition`] once per chunk.

use std::ops::Range;

use kvcache::PromptKvCache;
use ops::activation::{Activation, silu};
use ops::collective::Rank;
use ops::norm::layer_norm_modulate;
use ops::patch::{patchify, unpatchify};
use ops::rope::{Grid, Rotary};
use ops::{Device, Error, Linear, Result, Tensor, Then};

use super::block::Block;
use super::config::transformer::TransformerConfig;
use super::context::{Condition, PassContext};
use super::tensors::PATCH;
use crate::load::error::LoadError;
use crate::load::weights::Weights;

/// The weights of the transformer.
pub struct Dit {
    config: TransformerConfig,
    device: Device,
    /// The patch embedding, cut in two: the noisy channels change every pass, mask and condition do not.
    patch_noisy: Linear,
    patch_fixed: Linear,
    camera_patch: Linear,
    camera_mlp: (Linear, Linear),
    text_mlp: (Linear, Linear),
    time_mlp: (Linear, Linear),
    time_projection: Linear,
    blocks: Vec<Block>,
    head_modulation: Tensor,
    head: Linear,
}

/// One noise level, as the network sees it.
pub struct TimeEmbedding {
    /// `(D)`, for the head.
    pub embedding: Tensor,
    /// `(6, D)`, for every block.
    pub projection: Tensor,
}

/// The values that a chunk's [`Condition`] is computed from.
#[derive(Clone, Copy)]
pub struct ChunkConditions<'a> {
    /// Absolute number of the chunk's first latent frame.
    pub first_latent_frame: usize,
    /// Mask and condition latents: `(20, F, h, w)`.
    pub fixed: &'a Tensor,
    /// Rays: `(384, F, h, w)`.
    pub camera: Option<&'a Tensor>,
    /// A limit on the history between sink and chunk, in latent frames.
    pub recent: Option<usize>,
}

impl Dit {
    /// `weights` holds the tensors that [`tensors::transformer`](super::tensors::transformer) lists.
    pub fn load(config: &TransformerConfig, weights: &Weights) -> std::result::Result<Dit, LoadError> {
        let linear = |name: &str| weights.at(name).linear();
        let device = weights.device().clone();

        let patch = weights.at("patch_embedding");
        let (all, bias) = (patch.stored("weight")?, patch.stored("bias")?);
        let noisy = config.out_channels * PATCH;
        Ok(Dit {
            patch_noisy: Linear::of_inputs(&all, 0..noisy, None, &device)?,
            patch_fixed: Linear::of_inputs(&all, noisy..config.in_channels * PATCH, Some(&bias), &device)?,
            camera_patch: linear("patch_embedding_wancamctrl")?,
            camera_mlp: (linear("c2ws_hidden_states_layer1")?, linear("c2ws_hidden_states_layer2")?),
            text_mlp: (linear("text_embedding.0")?, linear("text_embedding.2")?),
            time_mlp: (linear("time_embedding.0")?, linear("time_embedding.2")?),
            time_projection: linear("time_projection.1")?,
            blocks: (0..config.num_layers)
                .map(|layer| Block::load(config, &weights.at("blocks").at(layer), layer))
                .collect::<std::result::Result<_, _>>()?,
            head_modulation: weights.tensor("head.modulation")?.squeeze(0)?,
            head: linear("head.head")?,
            device,
            config: config.clone(),
        })
    }

    /// The configuration it was loaded with.
    pub fn config(&self) -> &TransformerConfig {
        &self.config
    }

    /// Its blocks, first to last.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The flow at this noise level. `x`: `(C, F, h, w)`, the noisy chunk → the same shape, on every rank.
    pub fn predict_flow(&self, x: &Tensor, time: &TimeEmbedding, context: &mut PassContext) -> Result<Tensor> {
        let mut h = self.tokens(x, context.condition)?;
        for block in &self.blocks {
            h = block.forward(&h, &time.projection, context)?;
        }
        let modulation = |row| self.head_modulation.get(row)? + &time.embedding;
        let h = layer_norm_modulate(&h, &modulation(1)?, &modulation(0)?, self.config.eps)?;
        let (_, _, height, width) = x.dims4()?;
        unpatchify(&context.rank.gather(self.head.apply(&h)?)?, height, width)
    }

    /// Store the keys and values of a finished chunk. `clean`: `(C, F, h, w)`; `time` is the one of a clean chunk.
    pub fn remember(&self, clean: &Tensor, time: &TimeEmbedding, context: &mut PassContext) -> Result<()> {
        let (last, others) = self.blocks.split_last().expect("a transformer has a block");
        let mut h = self.tokens(clean, context.condition)?;
        for block in others {
            h = block.forward(&h, &time.projection, context)?;
        }
        last.remember(&h, &time.projection, context)
    }

    /// What enters the first block, of the tokens of `condition`: `(n, D)`.
    pub fn tokens(&self, x: &Tensor, condition: &Condition) -> Result<Tensor> {
        self.patch_noisy.apply_then(&rows(&patchify(x)?, &condition.tokens)?, Then::Add(&condition.fixed_tokens))
    }

    /// Once per process and noise level. `t` runs from 0 (clean) to 1000 (noise).
    pub fn time_embedding(&self, t: f64) -> Result<TimeEmbedding> {
        let half = self.config.freq_dim / 2;
        let angles = (0..half).map(|j| t * (-(10_000f64.ln()) * j as f64 / half as f64).exp());
        let (cos, sin): (Vec<_>, Vec<_>) = angles.map(|a| (a.cos() as f32, a.sin() as f32)).unzip();
        let sinusoid = Tensor::from_vec([cos, sin].concat(), [1, 2 * half], &self.device)?;
        let embedding = mlp(&self.time_mlp, &sinusoid, Activation::Silu)?;
        let projection = self.time_projection.apply(&silu(&embedding)?)?;
        Ok(TimeEmbedding {
            embedding: embedding.squeeze(0)?,
            projection: projection.reshape([6, self.config.width()])?,
        })
    }

    /// Once per prompt. `context`: `(text length, text width)`; rows past the prompt are zero, and take part all the
    /// same.
    pub fn read_prompt(&self, context: &Tensor) -> Result<PromptKvCache> {
        let text = self.embed_text(context)?;
        let layers = self.blocks.iter().map(|block| block.prompt_keys_values(&text));
        Ok(PromptKvCache::new(layers.collect::<Result<_>>()?))
    }

    /// `(text length, text width)` → `(text length, D)`.
    pub fn embed_text(&self, context: &Tensor) -> Result<Tensor> {
        mlp(&self.text_mlp, context, Activation::GeluTanh)
    }

    /// Once per chunk, of the tokens of `rank`.
    pub fn condition(&self, chunk: ChunkConditions<'_>, rank: &Rank) -> Result<Condition> {
        let (_, frames, height, width) = chunk.fixed.dims4()?;
        let first_latent_frame = chunk.first_latent_frame;
        let grid = Grid { first_latent_frame, frames, rows: height / 2, columns: width / 2 };
        let tokens = rank.share(grid.tokens());
        if tokens.is_empty() {
            let (all, ranks) = (grid.tokens(), rank.count());
            return Err(Error::new(format_args!("{ranks} ranks cannot share {all} tokens: each takes at least one")));
        }
        let camera = match chunk.camera {
            Some(rays) => {
                let camera = self.embed_patches(&rows(&patchify(rays)?, &tokens)?)?;
                Some(self.blocks.iter().map(|b| b.camera_modulation(&camera)).collect::<Result<_>>()?)
            }
            None => None,
        };
        let rotary = Rotary::new(grid, self.config.attention_head_dim, &self.device)?;
        Ok(Condition {
            rotary: if rank.count() == 1 { rotary } else { rotary.of_tokens(tokens.clone())? },
            fixed_tokens: self.patch_fixed.apply(&rows(&patchify(chunk.fixed)?, &tokens)?)?,
            camera,
            recent: chunk.recent,
            tokens,
        })
    }

    /// `(384, F, h, w)` → `(N, D)`, shared by all blocks.
    pub fn embed_camera(&self, rays: &Tensor) -> Result<Tensor> {
        self.embed_patches(&patchify(rays)?)
    }

    /// `(n, 1536)`, patches of rays → `(n, D)`.
    fn embed_patches(&self, rays: &Tensor) -> Result<Tensor> {
        let embedded = self.camera_patch.apply(rays)?;
        let (first, second) = &self.camera_mlp;
        let inner = first.apply_then(&embedded, Then::Activate(Activation::Silu))?;
        second.apply_then(&inner, Then::Add(&embedded))
    }

    /// The first layer of [`Dit::embed_camera`].
    pub fn patch_camera(&self, rays: &Tensor) -> Result<Tensor> {
        self.camera_patch.apply(&patchify(rays)?)
    }
}

/// The rows of these tokens. A view.
fn rows(all: &Tensor, tokens: &Range<usize>) -> Result<Tensor> {
    all.narrow(0, tokens.start, tokens.len())
}

fn mlp(layers: &(Linear, Linear), x: &Tensor, activation: Activation) -> Result<Tensor> {
    layers.1.apply(&layers.0.apply_then(x, Then::Activate(activation))?)
}
