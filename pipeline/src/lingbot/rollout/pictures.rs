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

    /// For comparisons with a recording: keep these pictures of the next latent frame in place of those that are decoded next, which
    /// may differ by one where a number lies between two bytes.
    #[doc(hidden)]
    pub fn keep_recorded(&mut self, rgb: &[u8]) {
        if let Some(memory) = &mut self.now.memory {
            memory.keep(rgb);
        }
    }

    /// Carry the decoder on over one latent frame whose pictures nobody is shown.
    pub(super) fn decode_unseen(&mut self, latent: &Tensor) -> ops::Result<()> {
        let (team, vae) = (self.nets.denoiser.team(), &self.nets.vae);
        let video = team.lead(|| vae.decode_over(team, latent, &mut self.now.decoder))?;
        match &mut self.now.memory {
            Some(memory) if memory.keeps_next() => memory.keep(&pixels::to_rgb8(&video)?),
            Some(memory) => memory.pass_over(),
            None => {}
        }
        Ok(())
    }

    /// Hand over a latent frame's pictures, the first ones only if the latent that they come from is `finite`.
    pub(super) fn give(
        &mut self,
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

    /// The pictures, and how long the device decoded them. Waits for them. The last one may be remembered.
    fn hand_over(&mut self, decoded: Decoded) -> Result<(Frames, Duration), WorldError> {
        let Decoded { rgb, count, times: (began, ended) } = decoded;
        let rgb = rgb.wait()?;
        if let Some(memory) = &mut self.now.memory {
            memory.keep(&rgb);
        }
        Ok((Frames { size: self.size, count, rgb }, began.until(&ended)?))
    }
}
