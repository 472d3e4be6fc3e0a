//! Places in a video: latent frames, counted in video frames. The very first latent frame has one, every other four.

use pipeline::world::FRAMES_PER_LATENT;

/// The first video frame of a latent frame.
pub fn first_frame_of(latent_frame: usize) -> usize {
    latent_frame.checked_sub(1).map_or(0, |later| 1 + later * FRAMES_PER_LATENT)
}

pub(super) fn position(latent_frame: usize) -> f64 {
    first_frame_of(latent_frame) as f64
}

/// The latent frame that a video frame belongs to.
pub(super) fn containing(frame: f64) -> usize {
    if frame < 1.0 { 0 } else { 1 + ((frame - 1.0) / FRAMES_PER_LATENT as f64) as usize }
}

/// The first latent frame whose first video frame is `frame` or a later one.
pub(super) fn from(frame: f64) -> usize {
    if frame <= 0.0 { 0 } else { 1 + ((frame - 1.0).max(0.0) / FRAMES_PER_LATENT as f64).ceil() as usize }
}

/// A place in the video, a given number of latent frames and a part of one from its beginning.
pub(super) fn place_of(latent_frames: f64) -> f64 {
    if latent_frames <= 1.0 { latent_frames } else { 1.0 + (latent_frames - 1.0) * FRAMES_PER_LATENT as f64 }
}
