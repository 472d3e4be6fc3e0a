//! The keys and values of one video's self-attention.
//!
//! `stage` as often as a chunk is denoised, `commit` once. Memory is one block per layer and frame slot, overwritten in place
//! ever after it was first written.

use std::ops::Range;

use ops::{KeyValues, Result, Tensor};

use crate::Window;

/// What a cache is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Layers of the transformer.
    pub layers: usize,
    /// Tokens of one latent frame.
    pub tokens: usize,
    /// Heads whose keys and values are kept.
    pub heads: usize,
    /// Kept in bf16, packed for attention when they are staged. Else as they are staged.
    pub packed: bool,
}

/// Rolling keys and values of every layer. All layers share one [`Window`].
#[derive(Debug)]
pub struct RollingKvCache {
    window: Window,
    /// Committed frames that are being made again, instead of the current chunk.
    again: Option<Range<usize>>,
    /// Tokens of one latent frame.
    tokens: usize,
    layers: Vec<KeyValues>,
}

/// The keys and values that one layer's attention sees: an `(S, D)` block of each for every visible latent frame, which has `S`
/// tokens.
#[derive(Debug)]
pub struct KvView<'a> {
    layer: &'a KeyValues,
    /// Where the visible frames are.
    slots: Vec<usize>,
}

impl KvView<'_> {
    /// Attention of these queries, `(N, D)`, to all that is visible: `(N, D)`.
    pub fn attend(&self, queries: &Tensor) -> Result<Tensor> {
        self.layer.attend(queries, &self.slots)
    }

    /// Keys and values, a block a frame, as they are kept.
    pub fn blocks(&self) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
        let blocks = self.slots.iter().map(|slot| self.layer.block(*slot));
        Ok(blocks.collect::<Result<Vec<_>>>()?.into_iter().unzip())
    }
}

impl RollingKvCache {
    /// An empty cache: no memory is taken before something is staged.
    pub fn new(window: Window, shape: KvShape) -> RollingKvCache {
        let KvShape { layers, tokens, heads, packed } = shape;
        let layer = |_| match packed {
            true => KeyValues::packed(window.total(), heads),
            false => KeyValues::new(window.total(), heads),
        };
        let layers = (0..layers).map(layer).collect();
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
            let of_frame = |rows: &Tensor| rows.narrow(0, i * self.tokens, self.tokens);
            blocks.write(slot, &of_frame(keys)?, &of_frame(values)?)?;
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
        KvView { layer: &self.layers[layer], slots: frames.map(|frame| self.window.slot(frame)).collect() }
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
        let layers = self.layers.iter().map(KeyValues::copy).collect::<Result<_>>()?;
        Ok(RollingKvCache { window: self.window.clone(), again: self.again.clone(), tokens: self.tokens, layers })
    }

    /// Slots of committed frames: the same in every layer.
    pub fn committed(&self) -> usize {
        self.window.current().start.min(self.window.total())
    }

    /// Keys and values of `layer` in a slot that was written, as they are kept: `(S, D)` each.
    pub fn slot(&self, layer: usize, slot: usize) -> Result<(Tensor, Tensor)> {
        self.layers[layer].block(slot)
    }

    /// One that goes on with a `window` in the middle of a video. `held` gives what lies in each slot of each layer, as
    /// [`RollingKvCache::slot`] does.
    pub fn going_on(
        window: Window,
        shape: KvShape,
        mut held: impl FnMut(usize, usize) -> Result<(Tensor, Tensor)>,
    ) -> Result<RollingKvCache> {
        let mut cache = RollingKvCache::new(window, shape);
        let slots = cache.committed();
        for (index, layer) in cache.layers.iter_mut().enumerate() {
            for slot in 0..slots {
                let (keys, values) = held(index, slot)?;
                layer.write(slot, &keys, &values)?;
            }
        }
        Ok(cache)
    }

    /// Bytes held now: grows with the window until that is full, where they are kept as they are staged.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(KeyValues::bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use ops::Device;

    use super::*;

    const TOKENS: usize = 2;

    /// Keys of width 3.
    fn cache(window: Window, layers: usize, packed: bool) -> RollingKvCache {
        RollingKvCache::new(window, KvShape { layers, tokens: TOKENS, heads: 1, packed })
    }

    /// A key's number, which says what frame and pass it comes from. bf16 holds whole numbers up to 256.
    fn mark(frame: usize, pass: usize) -> usize {
        4 * frame + pass
    }

    /// Keys that say which frame and pass they come from; values are their negative.
    fn chunk(window: &Window, pass: usize) -> Result<(Tensor, Tensor)> {
        let rows: Vec<f32> = window.current().flat_map(|frame| [mark(frame, pass) as f32; TOKENS * 3]).collect();
        let keys = Tensor::from_vec(rows, [window.current().len() * TOKENS, 3], &Device::cpu())?;
        let values = keys.to_vec::<f32>()?.into_iter().map(|key| -key).collect();
        Ok((keys.clone(), Tensor::from_vec(values, keys.dims(), &Device::cpu())?))
    }

    fn firsts(view: &KvView<'_>) -> Result<Vec<usize>> {
        let (keys, values) = view.blocks()?;
        keys.iter()
            .zip(&values)
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
        for packed in [false, true] {
            for (total, sink, per_chunk) in [(6, 2, 3), (9, 0, 1), (5, 1, 2), (4, 0, 4), (7, 3, 2)] {
                let window = Window::new(total, sink, per_chunk).expect("possible");
                let mut cache = cache(window, 2, packed);
                for _ in 0..8 {
                    let window = cache.window().clone();
                    for pass in 0..3 {
                        let (keys, values) = chunk(&window, pass)?;
                        for layer in 0..2 {
                            let seen = firsts(&cache.stage(layer, &keys, &values, None)?)?;
                            let expected: Vec<_> = window
                                .visible(None)
                                .map(|f| mark(f, if window.current().contains(&f) { pass } else { 2 }))
                                .collect();
                            assert_eq!(seen, expected);
                        }
                    }
                    cache.commit();
                }
            }
        }
        Ok(())
    }

    #[test]
    fn frames_staged_again_see_what_is_held_before_them_and_the_chunk_goes_on_where_it_was() -> Result<()> {
        // Frames 0 and 1 are pinned; of the rest 4 to 7 are held.
        let mut cache = cache(Window::new(6, 2, 2).expect("possible"), 1, false);
        for _ in 0..4 {
            let (keys, values) = chunk(cache.window(), 0)?;
            cache.stage(0, &keys, &values, None)?;
            cache.commit();
        }
        let bytes = cache.bytes();
        let mut again = |frames: Range<usize>, recent| -> Result<Vec<usize>> {
            let rows: Vec<f32> = frames.clone().flat_map(|frame| [mark(frame, 1) as f32; TOKENS * 3]).collect();
            let values = rows.iter().map(|row| -row).collect();
            let tensor = |rows| Tensor::from_vec(rows, [frames.len() * TOKENS, 3], &Device::cpu());
            cache.stage_again(frames.clone());
            let seen = firsts(&cache.stage(0, &tensor(rows)?, &tensor(values)?, recent)?)?;
            cache.commit();
            Ok(seen)
        };
        assert_eq!(again(0..2, None)?, [0, 1].map(|frame| mark(frame, 1)));
        assert_eq!(again(4..5, None)?, [0, 1, 4].map(|frame| mark(frame, 1)));
        assert_eq!(again(5..8, Some(0))?, [0, 1, 5, 6, 7].map(|frame| mark(frame, 1)));
        assert_eq!(firsts(&cache.held(0))?, [0, 1, 4, 5, 6, 7].map(|frame| mark(frame, 1)));
        assert_eq!((cache.bytes(), cache.window().current()), (bytes, 8..10));
        Ok(())
    }

    #[test]
    fn memory_grows_until_the_window_is_full_and_never_past_it() -> Result<()> {
        let window = Window::new(6, 2, 2).expect("possible");
        // Keys and values of six frames, three f32 a token.
        let full = 2 * 6 * TOKENS as u64 * 3 * 4;
        let mut cache = cache(window, 1, false);
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
    fn packed_keys_and_values_take_their_memory_at_once_and_a_copy_has_its_own() -> Result<()> {
        let mut one = cache(Window::new(6, 2, 2).expect("possible"), 1, true);
        assert_eq!(one.bytes(), 0);
        let stage = |cache: &mut RollingKvCache, pass| -> Result<Vec<usize>> {
            let (keys, values) = chunk(cache.window(), pass)?;
            firsts(&cache.stage(0, &keys, &values, None)?)
        };
        stage(&mut one, 1)?;
        one.commit();
        assert_eq!(one.bytes(), KeyValues::packed_bytes(6, TOKENS, 1, 3));
        let (before, mut copy) = (firsts(&one.held(0))?, one.copy()?);
        copy.stage_again(0..1);
        stage(&mut copy, 2)?;
        assert_eq!(firsts(&one.held(0))?, before);
        Ok(())
    }

    #[test]
    fn a_recent_limit_hides_frames_without_forgetting_them() -> Result<()> {
        let mut cache = cache(Window::new(6, 1, 1).expect("possible"), 1, false);
        for _ in 0..5 {
            let (keys, values) = chunk(cache.window(), 0)?;
            cache.stage(0, &keys, &values, Some(1))?;
            cache.commit();
        }
        let (keys, values) = chunk(cache.window(), 0)?;
        assert_eq!(firsts(&cache.stage(0, &keys, &values, Some(1))?)?, [0, 4, 5].map(|frame| mark(frame, 0)));
        assert_eq!(firsts(&cache.stage(0, &keys, &values, None)?)?, [0, 1, 2, 3, 4, 5].map(|frame| mark(frame, 0)));
        Ok(())
    }
}
