//! Memory by place: pictures that were drawn are kept with their cameras, and shown again where the camera comes back to.
//!
//! A window of latent frames forgets what was behind a turn. Here the last picture of a latent frame is kept, unless one of
//! nearly the same view is kept already: what was drawn first stays, so a place does not drift when it is seen again. Before a
//! chunk is drawn, the nearest kept pictures are turned and shifted into its view (`warp.rs`), encoded, and put into its image
//! condition, where a session's first picture stands (`reading.rs`): a transformer that begins with a picture copies it, and needs no
//! training to remember.
//!
//! `pocket/training/memory.py` is the same in PyTorch: rules that could end in a tie are in whole numbers.

pub mod config;
mod packed;
mod reading;
mod warp;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use ops::{Device, Result};

use self::config::MemoryConfig;
pub(super) use self::reading::Remembered;
use self::warp::Shown;
use super::camera::View;
use crate::wan::vae::Vae;
use crate::world::Size;

/// The pictures that one video keeps. A clone shares them.
#[derive(Clone)]
pub(super) struct Memory {
    config: MemoryConfig,
    size: Size,
    /// The oldest first.
    kept: Vec<Arc<Kept>>,
    /// Latent frames that are drawn and that no picture was made of yet.
    drawn: VecDeque<Place>,
}

/// A latent frame, and what it is seen from.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    frame: usize,
    view: View,
}

/// A picture that was drawn.
struct Kept {
    place: Place,
    /// `(H, W, 3)`
    rgb: Box<[u8]>,
}

/// Scores and distances are compared in millionths.
const MILLIONTHS: f64 = 1e6;

impl Memory {
    /// Of a video of this size that has drawn nothing.
    pub(super) fn new(config: MemoryConfig, size: Size) -> Memory {
        Memory { config, size, kept: Vec::new(), drawn: VecDeque::new() }
    }

    /// Another world begins: none of its places was seen.
    pub(super) fn forget(&mut self) {
        (self.kept, self.drawn) = (Vec::new(), VecDeque::new());
    }

    /// What is known of each latent frame of a chunk, where anything is; `None` where nothing is of any. `window`: latent frames that
    /// the transformer sees itself. What it sees is shown only where pictures show all of a view: of a view that is partly
    /// new the window knows as much, and draws it better.
    pub(super) fn look(&self, frames: &Range<usize>, views: &[View], window: usize) -> Option<Vec<Option<Shown>>> {
        let forgotten = frames.end.saturating_sub(window);
        let older = &self.kept[..self.kept.partition_point(|kept| kept.place.frame < forgotten)];
        let of = |view: &View| {
            let all = self.shown(&self.kept, view)?;
            if all.is_whole() { Some(all) } else { self.shown(older, view) }
        };
        let shown: Vec<_> = views.iter().map(of).collect();
        shown.iter().any(Option::is_some).then_some(shown)
    }

    /// What pictures of these show of `view`.
    fn shown(&self, kept: &[Arc<Kept>], view: &View) -> Option<Shown> {
        warp::shown(&self.nearest(kept, view), view, self.size, self.config.eye_height)
    }

    /// Which pictures show part of what `view` sees, the nearest first, and the older of two alike. A turn is exact, a step is not: an
    /// angle as wide as a picture counts as much as an eighth of `reach_metres`.
    fn nearest<'a>(&self, kept: &'a [Arc<Kept>], view: &View) -> Vec<&'a Kept> {
        let (wide, reach) = (view.wide_degrees(), self.config.reach_metres);
        let mut found: Vec<(u64, &Kept)> = kept
            .iter()
            .filter_map(|kept| {
                let (metres, degrees) = kept.place.view.apart(view);
                let score = (MILLIONTHS * (metres / reach + degrees / wide / 8.0)).round();
                (metres <= reach && degrees < wide).then_some((score as u64, &**kept))
            })
            .collect();
        // Keeps the order of equals: the oldest first.
        found.sort_by_key(|(score, _)| *score);
        found.truncate(self.config.seen);
        found.into_iter().map(|(_, kept)| kept).collect()
    }

    /// What is shown of a chunk's views, as latents.
    pub(super) fn encode(&self, vae: &Vae, shown: &[Option<Shown>], device: &Device) -> Result<Remembered> {
        Remembered::of(vae, shown, self.size, device)
    }

    /// A chunk is drawn to its latents, from these views; their pictures come next. Without views nothing of it is kept.
    pub(super) fn drew(&mut self, frames: &Range<usize>, views: &[View]) {
        self.drawn = frames.clone().zip(views).map(|(frame, &view)| Place { frame, view }).collect();
    }

    /// Whether a picture of the next latent frame is to be kept: of one that is not, none has to be made.
    pub(super) fn keeps_next(&self) -> bool {
        self.drawn.front().is_some_and(|place| self.is_new(place))
    }

    /// The pictures of the next latent frame, `(T, H, W, 3)`. Keeps the last of them, if nothing like it is kept. Without room, the
    /// one that is farthest away goes.
    pub(super) fn keep(&mut self, rgb: &[u8]) {
        let Some(place) = self.drawn.pop_front().filter(|place| self.is_new(place)) else { return };
        let last = &rgb[rgb.len() - self.size.frame_bytes() as usize..];
        let room = self.config.frames;
        if self.kept.len() >= room {
            let far = |kept: &Kept| (MILLIONTHS * kept.place.view.apart(&place.view).0).round() as u64;
            // The oldest of those that are equally far: the last of equals is what `max_by_key` gives.
            let (at, _) = self.kept.iter().enumerate().rev().max_by_key(|(_, kept)| far(kept)).expect("there is one");
            self.kept.remove(at);
        }
        // As long as it may be, and no longer: what was admitted is exact.
        self.kept.reserve_exact(room - self.kept.len());
        self.kept.push(Arc::new(Kept { place, rgb: last.into() }));
    }

    /// The next latent frame leaves no picture.
    pub(super) fn pass_over(&mut self) {
        self.drawn.pop_front();
    }

    fn is_new(&self, place: &Place) -> bool {
        let MemoryConfig { apart_metres, apart_degrees, .. } = self.config;
        !self.kept.iter().any(|kept| {
            let (metres, degrees) = kept.place.view.apart(&place.view);
            metres < apart_metres && degrees < apart_degrees
        })
    }

    /// Bytes of the pictures that are kept now, and of the list of them.
    pub(super) fn bytes(&self) -> u64 {
        self.kept.len() as u64 * (Memory::picture_bytes(self.size) + LISTED_BYTES)
    }

    /// Bytes of the list of pictures alone: what a copy adds.
    pub(super) fn list_bytes_max(config: &MemoryConfig) -> u64 {
        config.frames as u64 * LISTED_BYTES
    }

    /// Bytes of a picture and its camera.
    pub(super) fn picture_bytes(size: Size) -> u64 {
        // Two counters stand beside what is shared.
        size.frame_bytes() + (size_of::<Kept>() + 2 * size_of::<usize>()) as u64
    }

    /// The most bytes of a video's pictures.
    pub(super) fn bytes_max(config: &MemoryConfig, size: Size) -> u64 {
        config.frames as u64 * (Memory::picture_bytes(size) + LISTED_BYTES)
    }
}

const LISTED_BYTES: u64 = size_of::<Arc<Kept>>() as u64;

#[cfg(test)]
impl Memory {
    /// Bytes of several memories, pictures that they share counted once.
    pub(super) fn bytes_of_all(memories: &[&Memory]) -> u64 {
        let all = memories.iter().flat_map(|memory| &memory.kept);
        let pictures: std::collections::BTreeSet<*const Kept> = all.clone().map(Arc::as_ptr).collect();
        pictures.len() as u64 * Memory::picture_bytes(memories[0].size) + all.count() as u64 * LISTED_BYTES
    }
}

#[cfg(test)]
mod tests;
