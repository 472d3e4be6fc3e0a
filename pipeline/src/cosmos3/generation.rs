//! The stack that draws: a diffusion transformer over latent tokens, each of which sees the prompt and all other tokens.

use ops::activation::Activation;
use ops::attention::{Heads, grouped_attention};
use ops::collective::Rank;
use ops::norm::rms_norm;
use ops::patch::{patchify_channel_last, unpatchify};
use ops::residual::add_to_rows_from;
use ops::rope_halves::HalvesRotary;
use ops::{Device, Linear, Result, Tensor, Then};

use super::config::transformer::{TIME_WIDTH, TransformerConfig};
use super::layer::{Layer, Names};
use super::understanding::Prefix;
use crate::load::error::LoadError;
use crate::load::weights::Weights;

/// The weights that draw.
pub struct Generation {
    device: Device,
    eps: f64,
    timestep_scale: f64,
    proj_in: Linear,
    time: (Linear, Linear),
    layers: Vec<Layer>,
    norm: Tensor,
    proj_out: Linear,
}

/// What the tensors of its layers are called.
pub(super) const NAMES: Names = Names {
    suffix: "_moe_gen",
    q: "add_q_proj",
    k: "add_k_proj",
    v: "add_v_proj",
    out: "to_add_out",
    norms: Some(["norm_added_q", "norm_added_k"]),
};

/// One layer of the tokens of `rank`: `(n, D)` → `(n, D)`. `text`: keys and values of its heads that the same layer of the other
/// stack made of the prompt.
pub(super) fn draw(
    layer: &Layer,
    h: &Tensor,
    text: [&Tensor; 2],
    rotary: &HalvesRotary,
    rank: &Rank,
) -> Result<Tensor> {
    let x = layer.before_attention(h)?;
    let keys = layer.keys(&layer.raw_keys(&x)?, rotary)?;
    let values = layer.values(&x)?;
    let queries = layer.queries(&x, rotary)?;
    let [queries, keys, values] = rank.own_heads([&queries, &keys, &values])?;
    let all = layer.heads();
    let heads = Heads { queries: all.queries / rank.count(), keys: all.keys / rank.count() };
    let attended = grouped_attention(&queries, &[text[0], &keys], &[text[1], &values], heads)?;
    layer.after_attention(h, &rank.own_tokens(attended)?)
}

impl Generation {
    pub(super) fn load(config: &TransformerConfig, weights: &Weights) -> std::result::Result<Generation, LoadError> {
        let layer = |layer: usize| Layer::load(config, &weights.at("layers").at(layer), &NAMES);
        let linear = |name: &str| weights.at(name).linear();
        Ok(Generation {
            device: weights.device().clone(),
            eps: config.eps,
            timestep_scale: config.timestep_scale,
            proj_in: linear("proj_in")?,
            time: (linear("time_embedder.linear_1")?, linear("time_embedder.linear_2")?),
            layers: (0..config.layers).map(layer).collect::<std::result::Result<_, LoadError>>()?,
            norm: weights.tensor("norm_moe_gen.weight")?,
            proj_out: linear("proj_out")?,
        })
    }

    /// How many layers there are.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// What a timestep (0 to 1000) is to the tokens: `(D)`. Once a step, for both prompts.
    pub fn time_embedding(&self, timestep: f64) -> Result<Tensor> {
        let half = TIME_WIDTH / 2;
        let time = timestep * self.timestep_scale;
        let angles = (0..half).map(|j| time * libm::exp(-libm::log(10_000.0) * j as f64 / half as f64));
        let (cos, sin): (Vec<_>, Vec<_>) =
            angles.map(|angle| (libm::cos(angle) as f32, libm::sin(angle) as f32)).unzip();
        let waves = Tensor::from_vec([cos, sin].concat(), [1, TIME_WIDTH], &self.device)?;
        self.time.1.apply(&self.time.0.apply_then(&waves, Then::Activate(Activation::Silu))?)?.squeeze(0)
    }

    /// `(C, F, h, w)` → `(N, D)`, without the time.
    pub fn embed(&self, latent: &Tensor) -> Result<Tensor> {
        self.proj_in.apply(&patchify_channel_last(latent)?)
    }

    /// What enters the first layer, of the tokens of `rank`: `(n, D)`. `time`: of [`Generation::time_embedding`]; the first
    /// `given` of all tokens are clean and are told no time at all.
    pub fn begin(&self, latent: &Tensor, given: usize, time: &Tensor, rank: &Rank) -> Result<Tensor> {
        let patches = patchify_channel_last(latent)?;
        let own = rank.share(patches.dim(0)?);
        let tokens = self.proj_in.apply(&patches.narrow(0, own.start, own.len())?)?;
        add_to_rows_from(&tokens, given.saturating_sub(own.start), time)
    }

    /// One layer of the tokens of `rank`: `(n, D)` → `(n, D)`. `prefix`: of its heads. `rotary`: of the positions of its tokens
    /// behind this prompt.
    pub fn layer(
        &self,
        layer: usize,
        h: &Tensor,
        prefix: &Prefix,
        rotary: &HalvesRotary,
        rank: &Rank,
    ) -> Result<Tensor> {
        draw(&self.layers[layer], h, [prefix.keys(layer), prefix.values(layer)], rotary, rank)
    }

    /// What leaves the last layer, normalised: `(n, D)`.
    pub fn norm(&self, h: &Tensor) -> Result<Tensor> {
        rms_norm(h, &self.norm, self.eps)
    }

    /// `(n, D)`, the normalised tokens of `rank` → the flow `(C, F, h, w)`, on every rank.
    pub fn finish(&self, normed: &Tensor, height: usize, width: usize, rank: &Rank) -> Result<Tensor> {
        let patches = rank.gather(self.proj_out.apply(normed)?)?;
        let flow = unpatchify(&patches, height.next_multiple_of(2), width.next_multiple_of(2))?;
        flow.narrow(2, 0, height)?.narrow(3, 0, width)?.copy()
    }
}
