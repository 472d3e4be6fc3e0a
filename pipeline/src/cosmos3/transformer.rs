//! The two stacks as one network: a prompt is read once, then the flow of a latent is predicted at each step, by a team of
//! ranks if there is one. The stack that reads does so on one rank alone.

use ops::collective::{Rank, Team, share};
use ops::rope_halves::HalvesRotary;
use ops::{Device, Tensor};

use super::config::transformer::TransformerConfig;
use super::generation::Generation;
use super::mrope::{Grid, Mrope};
use super::understanding::{Prefix, Understanding};
use crate::load::error::LoadError;
use crate::load::weights::Weights;
use crate::world::{Cancel, Spans, WorldError};

/// The weights of both stacks.
pub struct Transformer {
    device: Device,
    team: Team,
    mrope: Mrope,
    understanding: Understanding,
    /// One that all ranks share, or one a rank where each has memory of its own.
    generations: Vec<Generation>,
}

/// One prompt of one clip: what it is to every step. A value, made once and dropped with the clip.
pub struct Branch {
    /// Of each rank's heads and tokens.
    ranks: Vec<BranchOfRank>,
}

/// A rank's part of a [`Branch`].
struct BranchOfRank {
    /// Keys and values of its heads.
    prefix: Prefix,
    /// The positions of its tokens. They depend on the prompt: the video stands behind it.
    rotary: HalvesRotary,
}

impl Branch {
    /// What the stack that reads made of the prompt, for the heads of the first rank.
    pub fn prefix(&self) -> &Prefix {
        &self.ranks[0].prefix
    }

    /// The positions of the video's tokens that the first rank has.
    pub fn rotary(&self) -> &HalvesRotary {
        &self.ranks[0].rotary
    }

    /// Bytes that all ranks hold of it.
    pub fn bytes(&self) -> u64 {
        self.ranks.iter().map(|rank| rank.prefix.bytes() + rank.rotary.bytes()).sum()
    }

    fn tokens(&self) -> Result<usize, ops::Error> {
        self.ranks.iter().map(|rank| rank.rotary.tables().0.dim(0)).sum()
    }
}

impl Transformer {
    /// `weights` holds the tensors that [`tensors::transformer`](super::tensors::transformer) lists.
    pub fn load(config: &TransformerConfig, weights: &Weights) -> Result<Transformer, LoadError> {
        Ok(Transformer {
            device: weights.device().clone(),
            team: Team::alone(),
            mrope: Mrope::new(config),
            understanding: Understanding::load(config, weights)?,
            generations: vec![Generation::load(config, weights)?],
        })
    }

    /// The same, drawn by a team.
    pub fn over(self, team: Team) -> Transformer {
        Transformer { team, ..self }
    }

    /// The same, with the stack that draws on further devices: `weights` on each.
    pub fn and_on<'a>(
        mut self,
        config: &TransformerConfig,
        weights: impl Iterator<Item = Result<Weights<'a>, LoadError>>,
    ) -> Result<Transformer, LoadError> {
        for weights in weights {
            self.generations.push(Generation::load(config, &weights?)?);
        }
        Ok(self)
    }

    /// The ranks that draw.
    pub fn team(&self) -> &Team {
        &self.team
    }

    /// What computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The stack that reads.
    pub fn understanding(&self) -> &Understanding {
        &self.understanding
    }

    /// The stack that draws, as the first rank has it.
    pub fn generation(&self) -> &Generation {
        &self.generations[0]
    }

    /// How positions become angles.
    pub fn mrope(&self) -> &Mrope {
        &self.mrope
    }

    /// Read a prompt for a video of this grid. Looks at `cancel` before each layer.
    pub fn read(&self, tokens: &[u32], grid: &Grid, cancel: &Cancel) -> Result<Branch, WorldError> {
        let text = self.mrope.rotary(&self.mrope.text(tokens.len()), &self.device)?;
        let prefix = self.understanding.read(tokens, &text, cancel)?;
        let rotary = self.mrope.rotary(&self.mrope.video(tokens.len(), grid), &self.device)?;
        let ranks = self.team.ranks();
        if ranks == 1 {
            return Ok(Branch { ranks: vec![BranchOfRank { prefix, rotary }] });
        }
        let (video_tokens, key_width) = (rotary.tables().0.dim(0)?, prefix.keys(0).dim(1)?);
        if video_tokens < ranks {
            let message = format!("{ranks} ranks cannot share the {video_tokens} tokens of this video");
            return Err(WorldError::Failed(message));
        }
        let of_rank = |rank: &Rank, (): &mut ()| {
            let rotary = match rank.device() {
                Some(device) if rank.number() > 0 => {
                    self.mrope.rotary(&self.mrope.video(tokens.len(), grid), &device)?
                }
                _ => rotary.clone(),
            };
            Ok::<_, ops::Error>(BranchOfRank {
                prefix: prefix.of_channels(share(key_width, rank.number(), ranks), rank)?,
                rotary: rotary.of_tokens(share(video_tokens, rank.number(), ranks))?,
            })
        };
        Ok(Branch { ranks: self.team.run(&mut vec![(); ranks], of_rank)? })
    }

    /// The flow of `latent`, `(C, F, h, w)`, at the time of [`Generation::time_embedding`]. The first `given` latent frames are
    /// clean; what is predicted for them means nothing. Looks at `cancel` before each layer; what each takes goes to `spans`.
    pub fn predict_flow(
        &self,
        latent: &Tensor,
        given: usize,
        time: &Tensor,
        branch: &Branch,
        cancel: &Cancel,
        spans: &Spans,
    ) -> Result<Tensor, WorldError> {
        let (_, frames, height, width) = latent.dims4()?;
        let given = given * branch.tokens()? / frames;
        let nobody = Spans::default();
        let mut flows = self.team.run(&mut vec![(); self.team.ranks()], |rank, ()| -> Result<Tensor, WorldError> {
            let BranchOfRank { prefix, rotary } = &branch.ranks[rank.number()];
            // All ranks are in the same layer: the first one's time is told.
            let spans = if rank.number() == 0 { spans } else { &nobody };
            let generation = &self.generations[rank.number().min(self.generations.len() - 1)];
            let mut h = generation.begin(&rank.spread(latent)?, given, &rank.spread(time)?, rank)?;
            for layer in 0..generation.layers() {
                // A rank that sees this first ends the others in the same layer.
                cancel.check()?;
                let _span = spans.begin(|| format!("layer{layer}"));
                h = generation.layer(layer, &h, prefix, rotary, rank)?;
            }
            Ok(generation.finish(&generation.norm(&h)?, height, width, rank)?)
        })?;
        Ok(flows.swap_remove(0))
    }
}
