//! A latent frame into pictures, which are on their way while the next one is decoded.

use std::time::Duration;

use ops::{Arriving, Moment, Tensor, pixels};

use super::LingBotRollout;
use crate::world::{Frames, Timings, WorldError};

/// Latent frames that are decoded ahead of the one whose pixels are handed over: while a GPU decodes the next one, the pixels of
/// the last are copied and encoded. More would only hold memory.
pub(super) const DECODED_AHEAD: usize = 1;

/// One latent frame's pictures on their way, and when the device decoded it.
pub(super) struct Decoded {
    pub(super) rgb: Arriving<Vec<u8>>,
    count: usize,
    times: (Moment, Moment),
}

impl LingBotRollout {
    /// One latent frame's pictures. `latent`: `(16, 1, h, w)`, normalised. Frames must come in order. Waits for them.
    pub fn decode(&mut self, latent: &Tensor) -> Result<Frames, WorldError> {
        let decoded = self.begin_decode(latent)?;
        self.hand_over(decoded).map(|(frames, _)| frames)
    }

    /// Ask for one latent frame's pictures.
    pub(super) fn begin_decode(&mut self, latent: &Tensor) -> ops::Result<Decoded> {
        let device = &self.nets.device;
        let began = device.moment()?;
        let (team, vae) = (self.nets.denoiser.team(), &self.nets.vae);
        let video = team.lead(|| vae.decode_over(team, latent, &mut self.now.decoder))?;
        // Before the pixels' copy, so that it has passed when they are here.
        let ended = device.moment()?;
        let rgb = pixels::begin_rgb8(&video)?;
        Ok(Decoded { rgb, count: video.len(), times: (began, ended) })
    }

    /// Hand over a latent frame's pictures, the first ones only if the latent that they come from is `finite`.
    pub(super) fn give(
        &self,
        decoded: Decoded,
        index: usize,
        finite: &mut Option<Arriving<bool>>,
        timings: &mut Timings,
        sink: &mut dyn FnMut(Frames),
    ) -> Result<(), WorldError> {
        let (frames, took) = self.hand_over(decoded)?;
        if let Some(finite) = finite.take() {
            self.must_be_finite(index, finite.wait()?)?;
        }
        timings.vae += took;
        sink(frames);
        Ok(())
    }

    /// The pictures, and how long the device decoded them. Waits for them.
    fn hand_over(&self, decoded: Decoded) -> Result<(Frames, Duration), WorldError> {
        let Decoded { rgb, count, times: (began, ended) } = decoded;
        let rgb = rgb.wait()?;
        Ok((Frames { size: self.size, count, rgb }, began.until(&ended)?))
    }
}
