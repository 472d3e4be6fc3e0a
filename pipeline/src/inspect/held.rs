//! What of a model and of what it draws lies where: on a GPU, on each of several, or with each rank on a processor.

use std::fmt;

use ops::Keeping;

use super::{Inspection, Report};
use crate::lingbot::footprint::Human;
use crate::load::model_dir::Component;
use crate::{cosmos3, lingbot, team};

/// Bytes of a GPU's memory that a model and its sessions or clips take. The temporaries of a pass come on top of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnGpu {
    /// All weights, as bf16. The text encoder's table of tokens stays in main memory.
    pub weights: u64,
    /// One session or clip.
    pub session: u64,
    /// Which of both it is.
    pub unit: &'static str,
}

/// How a session or a clip is divided among ranks on a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRanks {
    /// Of LingBot World.
    Session(lingbot::footprint::OnRanks),
    /// Of Cosmos3.
    Clip(cosmos3::footprint::OnRanks),
}

impl Inspection {
    /// What it takes of a GPU. `None` if it is incomplete.
    pub fn on_gpu(&self) -> Option<OnGpu> {
        match self {
            Inspection::LingBot(report) if report.is_complete() => report.on_gpu(),
            Inspection::Cosmos3(report) if report.is_complete() => report.on_gpu(),
            _ => None,
        }
    }

    /// What it takes of the GPU of rank `rank` of `ranks`: the first one holds all that is there once. `None` if it is incomplete.
    ///
    /// # Errors
    /// If this number of ranks cannot share the model's heads.
    pub fn on_gpu_of(&self, rank: usize, ranks: usize) -> ops::Result<Option<OnGpu>> {
        if ranks == 1 {
            return Ok(self.on_gpu());
        }
        match self {
            Inspection::LingBot(report) if report.is_complete() => report.on_gpu_of(rank, ranks),
            Inspection::Cosmos3(report) if report.is_complete() => report.on_gpu_of(rank, ranks),
            _ => Ok(None),
        }
    }

    /// How a session, or the longest clip that was asked about, is divided among ranks on the processor. `None` if there is none.
    ///
    /// # Errors
    /// If this number of ranks cannot share the model's heads.
    pub fn on_ranks(&self, ranks: usize) -> ops::Result<Option<OnRanks>> {
        match self {
            Inspection::LingBot(report) => Ok(report.on_ranks(ranks)?.map(OnRanks::Session)),
            Inspection::Cosmos3(report) => Ok(report.on_ranks(ranks)?.map(OnRanks::Clip)),
        }
    }
}

impl OnGpu {
    /// Sessions, or clips, that fit into `memory` bytes beside the weights.
    pub fn sessions(&self, memory: u64) -> u64 {
        memory.saturating_sub(self.weights) / self.session.max(1)
    }
}

impl fmt::Display for OnGpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OnGpu { weights, session, unit } = self;
        let beside = if *unit == "session" { ", temporaries of a pass not counted" } else { "" };
        write!(f, "{} of weights as bf16, {} a {unit}{beside}", Human(*weights), Human(*session))
    }
}

impl fmt::Display for OnRanks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OnRanks::Session(session) => session.fmt(f),
            OnRanks::Clip(clip) => clip.fmt(f),
        }
    }
}

impl Report {
    fn on_ranks(&self, ranks: usize) -> ops::Result<Option<lingbot::footprint::OnRanks>> {
        let (Ok(config), Some(Ok((shape, _)))) = (&self.config, &self.session) else { return Ok(None) };
        team::check(ranks, &lingbot::divided(&config.transformer))?;
        let keeping = Keeping::processor(self.compute);
        Ok(Some(lingbot::footprint::OnRanks::of(config, shape, keeping, ranks)))
    }

    fn on_gpu_of(&self, rank: usize, ranks: usize) -> ops::Result<Option<OnGpu>> {
        let (Ok(config), Some(Ok((shape, _)))) = (&self.config, &self.session) else { return Ok(None) };
        team::check(ranks, &lingbot::divided(&config.transformer))?;
        let (Some(whole), Some(footprint)) = (self.on_gpu(), self.session_on_gpu) else { return Ok(None) };
        let transformer = self.networks.iter().find(|(component, _)| *component == Component::Transformer);
        let transformer = transformer.and_then(|(_, network)| network.as_ref().ok()).map_or(0, |it| 2 * it.parameters);
        let weights = if rank == 0 { whole.weights } else { transformer };
        let session = footprint.of_rank(config, shape, rank, ranks).total();
        Ok(Some(OnGpu { weights, session, ..whole }))
    }

    pub(super) fn on_gpu(&self) -> Option<OnGpu> {
        let parameters: u64 =
            self.networks.iter().filter_map(|(_, network)| Some(network.as_ref().ok()?.parameters)).sum();
        let text = self.config.as_ref().ok()?.text.clone();
        let table = (text.vocab_size * text.d_model) as u64;
        Some(OnGpu { weights: 2 * (parameters - table), session: self.session_on_gpu?.total(), unit: "session" })
    }
}
