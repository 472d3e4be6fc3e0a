//! What is remembered of a chunk's views, as it stands in the image condition.

use ops::{Device, FrameStack, Result, Tensor};

use super::warp::Shown;
use crate::lingbot::nets::MASK_PLANES;
use crate::wan::vae::Vae;
use crate::world::Size;

/// What is remembered of the views of a chunk: the share of its image condition that stays, and what is added to it. `(4 + C, F, h,
/// w)` each: 0 and ours for tokens all of whose pixels are known, else 1 and 0.
pub(in crate::lingbot) struct Remembered {
    keep: Tensor,
    put: Tensor,
}

impl Remembered {
    /// Encode what is known of each latent frame of a chunk, each as the first picture of a video. `size`: of the pictures.
    pub(super) fn of(vae: &Vae, shown: &[Option<Shown>], size: Size, device: &Device) -> Result<Remembered> {
        let side = vae.spatial_factor();
        let (rows, columns) = (size.height as usize / side, size.width as usize / side);
        let (plane, channels) = (rows * columns, MASK_PLANES + vae.latent_channels());
        // Frame after frame: `(F, 4 + C, h, w)`.
        let mut keep = vec![1.0; shown.len() * channels * plane];
        let mut put = vec![0.0; keep.len()];
        let frames = keep.chunks_exact_mut(channels * plane).zip(put.chunks_exact_mut(channels * plane));
        for (shown, (keep, put)) in shown.iter().zip(frames) {
            let Some(shown) = shown else { continue };
            let is_known = known_tokens(&shown.known, columns, side);
            if !is_known.contains(&true) {
                continue;
            }
            // A mask of ones, and the latents.
            put[..MASK_PLANES * plane].fill(1.0);
            let encoded = vae.encode(picture(shown, size, device)?, 1)?.to_f32()?.to_vec::<f32>()?;
            put[MASK_PLANES * plane..].copy_from_slice(&encoded);
            for (at, (keep, put)) in keep.iter_mut().zip(put).enumerate() {
                let (row, column) = (at % plane / columns, at % columns);
                let is_known = is_known[row / 2 * (columns / 2) + column / 2];
                (*keep, *put) = if is_known { (0.0, *put) } else { (1.0, 0.0) };
            }
        }
        let by_channel = |values: Vec<f32>| {
            Tensor::from_vec(values, [shown.len(), channels, rows, columns], device)?.permute(&[1, 0, 2, 3])
        };
        Ok(Remembered { keep: by_channel(keep)?, put: by_channel(put)? })
    }

    /// The image condition of the chunk, `(4 + C, F, h, w)`, with what is remembered.
    pub(in crate::lingbot) fn told(&self, condition: &Tensor) -> Result<Tensor> {
        (condition * &self.keep)? + &self.put
    }
}

/// One frame of three channels in [-1, 1]: 0, the grey in the middle, where nothing is known.
fn picture(shown: &Shown, size: Size, device: &Device) -> Result<FrameStack> {
    let (height, width) = (size.height as usize, size.width as usize);
    let mut planes = vec![0.0; 3 * height * width];
    for (channel, plane) in planes.chunks_exact_mut(height * width).enumerate() {
        for (at, value) in plane.iter_mut().enumerate().filter(|(at, _)| shown.known[*at]) {
            *value = shown.picture[3 * at + channel] / 127.5 - 1.0;
        }
    }
    FrameStack::from_tensor(&Tensor::from_vec(planes, [3, 1, height, width], device)?)
}

/// Of which tokens all pixels are known: 2×2 latents of `side`×`side` pixels, `columns` latents in a row.
fn known_tokens(known: &[bool], columns: usize, side: usize) -> Vec<bool> {
    let (width, token) = (columns * side, 2 * side);
    let is_known = |first: usize| (0..token).all(|y| known[first + y * width..][..token].iter().all(|&known| known));
    let rows = known.len() / width / token;
    (0..rows * (columns / 2))
        .map(|at| is_known(at / (columns / 2) * token * width + at % (columns / 2) * token))
        .collect()
}
