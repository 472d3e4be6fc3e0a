//! The keys and values of one video's self-attention.
//!
//! `stage` as often as a chunk is denoised, `commit` once. Memory is one block per layer and frame slot, overwritten in place
//! ever after it was first written.

use std::ops::Range;

use ops::{Blocks, Result, Tensor};

use crate::Window;

/// Rolling keys and values of every layer. All layers share one [`Window`].
#[derive(Debug)]
pub struct RollingKvCache {
    window: Window,
    /// Committed frames that are being made again, instead of the current chunk.
    again: Option<Range<usize>>,
    /// Tokens of one latent frame.
    tokens: usize,
    layers: Vec<Layer>,
}

/// Keys and values of one layer: a block `(S, D)` of each for every latent frame.
#[derive(Debug)]
struct Layer {
    keys: Blocks,
    values: Blocks,
}

/// The keys and values that one layer's attention sees: an `(S, D)` block of each for every visible latent frame, which
/// has
/// `S` tokens.
#[derive(Debug)]
pub struct KvView<'a> {
    /// Keys, a block a frame.
    pub keys: Vec<&'a Tensor>,
    /// Values, in the order of the keys.
    pub values: Vec<&'a Tensor>,
}

impl RollingKvCache {
    /// An empty cache: no memory is taken before something is staged. `tokens` is per latent frame.
    pub fn new(window: Window, layers: usize, tokens: usize) -> RollingKvCache {
        let blocks = || Blocks::new(window.total());
        let layers = (0..layers).map(|_| Layer { keys: blocks(), values: blocks() }).collect();
        RollingKvCache { window, again: None, tokens, layers }
    }

    /// Which frames are visible, and which are being made.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// From now until the next [`RollingKvCache::commit`], stage these frames again, which are committed, consecutive
    /// and still held. They see the frames that stood before them, so a history is made again from its oldest frame to
    /// its newest.
    pub fn stage_again(&mut self, frames: Range<usize>) {
        assert!(!frames.is_empty() && self.again.is_none(), "one part of the history at a time");
        let held: Vec<_> = self.window.held().collect();
        assert!(frames.clone().all(|frame| held.contains(&frame)), "frames {frames:?} are held");
        self.again = Some(frames);
    }

    /// Write the current chunk's keys and values of `layer`, `(F·S, D)` frame-major, over whatever was staged for it
    /// before, and look at what is visible now. `recent` limits the history between sink and chunk, see
    /// [`Window::visible`].
    pub fn stage(&mut self, layer: usize, keys: &Tensor, values: &Tensor, recent: Option<usize>) -> Result<KvView<'_>> {
        let staged = self.again.clone().unwrap_or_else(|| self.window.current());
        let blocks = &mut self.layers[layer];
        for (i, frame) in staged.enumerate() {
            // A new slot is always the next one: frames come in order.
            let slot = self.window.slot(frame);
            blocks.keys.write(slot, &keys.narrow(0, i * self.tokens, self.tokens)?)?;
            blocks.values.write(slot, &values.narrow(0, i * self.tokens, self.tokens)?)?;
        }
        Ok(match &self.again {
            Some(again) => self.view(layer, self.window.visible_again(again, recent)),
            None => self.view(layer, self.window.visible(recent)),
        })
    }

    /// What `layer` holds of committed chunks, oldest first.
    pub fn held(&self, layer: usize) -> KvView<'_> {
        self.view(layer, self.window.held())
    }

    fn view(&self, layer: usize, frames: impl Iterator<Item = usize>) -> KvView<'_> {
        let Layer { keys, values } = &self.layers[layer];
        let slots = frames.map(|frame| self.window.slot(frame));
        let (keys, values) = slots.map(|slot| (keys.get(slot), values.get(slot))).unzip();
        KvView { keys, values }
    }

    /// The current chunk is final; the next `stage` begins another one. What was staged again is final, too: the
    /// current chunk is the one it was.
    pub fn commit(&mut self) {
        if self.again.take().is_none() {
            self.window.advance();
        }
    }

    /// The same keys and values in memory of their own: what is staged here later does not change the copy.
    pub fn copy(&self) -> Result<RollingKvCache> {
        let copy = |layer: &Layer| Result::Ok(Layer { keys: layer.keys.copy()?, values: layer.values.copy()? });
        let layers = self.layers.iter().map(copy).collect::<Result<_>>()?;
        Ok(RollingKvCache { window: self.window.clone(), again: self.again.clone(), tokens: self.tokens, layers })
    }

    /// How many slots were written: the same in every layer.
    pub fn written(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.keys.written())
    }

    /// Keys and values of `layer` as they lie in a slot that was written: `(S, D)` each.
    pub fn slot(&self, layer: usize, slot: usize) -> (&Tensor, &Tensor) {
        let Layer { keys, values } = &self.layers[layer];
        (keys.get(slot), values.get(slot))
    }

    /// One that goes on with a `window` in the middle of a video. `held` gives what lies in each slot of each layer, as
    /// [`RollingKvCache::slot`] does.
    pub fn going_on(
        window: Window,
        layers: usize,
        tokens: usize,
        mut held: impl FnMut(usize, usize) -> Result<(Tensor, Tensor)>,
    ) -> Result<RollingKvCache> {
        let slots = window.current().start.min(window.total());
        let mut cache = RollingKvCache::new(window, layers, tokens);
        for (index, layer) in cache.layers.iter_mut().enumerate() {
            for slot in 0..slots {
                let (keys, values) = held(index, slot)?;
                layer.keys.write(slot, &keys)?;
                layer.values.write(slot, &values)?;
            }
        }
        Ok(cache)
    }

    /// Bytes held now: grows with the window until that is full.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.keys.bytes() + layer.values.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use ops::Device;

    use super::*;

    const TOKENS: usize = 2;

    /// Keys that say which frame and pass they come from; values are their negative.
    fn chunk(window: &Window, pass: usize) -> Result<(Tensor, Tensor)> {
        let rows: Vec<f32> = window.current().flat_map(|frame| [(100 * frame + pass) as f32; TOKENS * 3]).collect();
        let keys = Tensor::from_vec(rows, [window.current().len() * TOKENS, 3], &Device::cpu())?;
        let values = keys.to_vec::<f32>()?.into_iter().map(|key| -key).collect();
        Ok((keys.clone(), Tensor::from_vec(values, keys.dims(), &Device::cpu())?))
    }

    fn firsts(view: &KvView<'_>) -> Result<Vec<usize>> {
        view.keys
            .iter()
            .zip(&view.values)
            .map(|(keys, values)| {
                let (keys, values) = (keys.to_vec::<f32>()?, values.to_vec::<f32>()?);
                assert!(keys.iter().all(|key| *key == keys[0]), "a block is one frame");
                assert_eq!(values[0], -keys[0]);
                Ok(keys[0] as usize)
            })
            .collect()
    }

    #[test]
    fn every_layer_sees_the_last_pass_of_every_visible_frame() -> Result<()> {
        for (total, sink, per_chunk) in [(6, 2, 3), (9, 0, 1), (5, 1, 2), (4, 0, 4), (7, 3, 2)] {
            let window = Window::new(total, sink, per_chunk).expect("possible");
            let mut cache = RollingKvCache::new(window, 2, TOKENS);
            for _ in 0..8 {
                let window = cache.window().clone();
                for pass in 0..3 {
                    let (keys, values) = chunk(&window, pass)?;
                    for layer in 0..2 {
                        let seen = firsts(&cache.stage(layer, &keys, &values, None)?)?;
                        let expected: Vec<_> = window
                            .visible(None)
                            .map(|f| 100 * f + if window.current().contains(&f) { pass } else { 2 })
                            .collect();
                        assert_eq!(seen, expected);
                    }
                }
                cache.commit();
            }
        }
        Ok(())
    }

    #[test]
    fn frames_staged_again_see_what_is_held_before_them_and_the_chunk_goes_on_where_it_was() -> Result<()> {
        // Frames 0 and 1 are pinned; of the rest 4 to 7 are held.
        let mut cache = RollingKvCache::new(Window::new(6, 2, 2).expect("possible"), 1, TOKENS);
        for _ in 0..4 {
            let (keys, values) = chunk(cache.window(), 0)?;
            cache.stage(0, &keys, &values, None)?;
            cache.commit();
        }
        let bytes = cache.bytes();
        let mut again = |frames: Range<usize>, recent| -> Result<Vec<usize>> {
            let rows: Vec<f32> = frames.clone().flat_map(|frame| [(100 * frame + 1) as f32; TOKENS * 3]).collect();
            let values = rows.iter().map(|row| -row).collect();
            let tensor = |rows| Tensor::from_vec(rows, [frames.len() * TOKENS, 3], &Device::cpu());
            cache.stage_again(frames.clone());
            let seen = firsts(&cache.stage(0, &tensor(rows)?, &tensor(values)?, recent)?)?;
            cache.commit();
            Ok(seen)
        };
        assert_eq!(again(0..2, None)?, [1, 101]);
        assert_eq!(again(4..5, None)?, [1, 101, 401]);
        assert_eq!(again(5..8, Some(0))?, [1, 101, 501, 601, 701]);
        assert_eq!(firsts(&cache.held(0))?, [1, 101, 401, 501, 601, 701]);
        assert_eq!((cache.bytes(), cache.window().current()), (bytes, 8..10));
        Ok(())
    }

    #[test]
    fn memory_grows_until_the_window_is_full_and_never_past_it() -> Result<()> {
        let window = Window::new(6, 2, 2).expect("possible");
        // Keys and values of six frames, three f32 a token.
        let full = 2 * 6 * TOKENS as u64 * 3 * 4;
        let mut cache = RollingKvCache::new(window, 1, TOKENS);
        assert_eq!(cache.bytes(), 0);
        for expected in [full / 3, 2 * full / 3, full, full, full] {
            let (keys, values) = chunk(cache.window(), 0)?;
            cache.stage(0, &keys, &values, None)?;
            assert_eq!(cache.bytes(), expected);
            cache.commit();
        }
        Ok(())
    }

    #[test]
    fn a_recent_limit_hides_frames_without_forgetting_them() -> Result<()> {
        let mut cache = RollingKvCache::new(Window::new(6, 1, 1).expect("possible"), 1, TOKENS);
        for _ in 0..5 {
            let (keys, values) = chunk(cache.window(), 0)?;
            cache.stage(0, &keys, &values, Some(1))?;
            cache.commit();
        }
        let (keys, values) = chunk(cache.window(), 0)?;
        assert_eq!(firsts(&cache.stage(0, &keys, &values, Some(1))?)?, [0, 400, 500]);
        assert_eq!(firsts(&cache.stage(0, &keys, &values, None)?)?, [0, 100, 200, 300, 400, 500]);
        Ok(())
    }
}
