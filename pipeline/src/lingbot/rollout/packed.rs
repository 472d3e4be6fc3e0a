//! A rollout's state as bytes: the map that [`crate::packed`] puts into a whole.
//!
//! | field     | value                                                                                                |
//! |-----------|------------------------------------------------------------------------------------------------------|
//! | `chunks`  | integer: chunks drawn                                                                                |
//! | `prompt`  | text, as the text encoder reads it. Its keys and values are computed again: they are the same bits   |
//! | `draws`   | integer: draws of noise so far                                                                       |
//! | `camera`  | map ([`super::super::camera`])                                                                       |
//! | `still`   | integer: chunks that the camera has rested. Absent: this world does not look at it                   |
//! | `history` | list of bytes: keys, then values of each layer, `(slots·S, D)`, with the heads of all ranks          |
//! | `past`    | list of maps: the chunks of which a frame is held, oldest first                                      |
//! | `decoder` | map: what the decoder carries ([`crate::wan::vae`])                                                  |
//! | `memory`  | list of maps: pictures by their place ([`super::super::memory`]). Absent: this world reads none       |
//!
//! A chunk of the past has its `index`, its `clean` latents, the `camera` before it and its `controls` if it was steered, and
//! `recent` if its view was limited.
//!
//! Ranks share heads and rows: here they are whole, so a state is opened by any number of ranks.

use ops::{Result as OpsResult, Tensor};

use super::super::past::PastChunk;
use super::*;
use crate::packed::{self, must_end, read_floats, write_floats, write_integer, wrong};
use crate::recording::Invalid;
use crate::recording::controls::{read_controls, write_controls};
use crate::recording::cursor::{Cursor, Writer, refuse};
use crate::wan::vae::ranks_that_decode;
use crate::world::{Controls, PROMPT_BYTES_MAX, WINDOW_FRAMES_MAX};

/// The version of recordings that controls are written as.
const CONTROLS_VERSION: u64 = crate::recording::VERSION;
/// More chunks than any video has: places in it stay far from the end of an integer.
const CHUNKS_MAX: u64 = 1 << 40;
/// A prompt in a world's own words may be longer than the client's.
const OWN_WORDS_BYTES_MAX: usize = 4 * PROMPT_BYTES_MAX;
const LAYERS_MAX: u64 = 1 << 12;
/// Chunks of the past are in the window.
const WINDOW_MAX: u64 = WINDOW_FRAMES_MAX as u64;

/// What the bytes of a state hold, read and checked.
struct Unpacked {
    chunks: usize,
    prompt: String,
    draws: u64,
    camera: CameraPath,
    still: Option<usize>,
    /// Keys, then values of each layer.
    history: Vec<Vec<f32>>,
    past: Vec<PastRead>,
    decoder: DecoderState,
    memory: Option<Memory>,
}

struct PastRead {
    index: usize,
    clean: Vec<f32>,
    camera: Option<(CameraPath, Vec<Controls>)>,
    recent: Option<usize>,
}

impl LingBotRollout {
    /// A rollout that began with `init` and goes on where these bytes stand.
    pub(in crate::lingbot) fn open_at(
        nets: &Arc<Nets>,
        card: &Card,
        init: Init,
        noise: Noise,
        packed: &[u8],
    ) -> Result<LingBotRollout, WorldError> {
        let rollout = Whose::of(nets.origin.clone(), card, &init).unseal(packed)?;
        let mut opened = LingBotRollout::begin(nets, card, init, noise, LingBotRollout::prompt_of(rollout)?)?;
        opened.unpack(rollout)?;
        Ok(opened)
    }

    /// The state between two chunks.
    pub(super) fn packed(&self) -> Result<Vec<u8>, WorldError> {
        let device = &self.nets.device;
        if device.about().is_some() {
            return Err(packed::refused(format!(
                "of a rollout on {device} cannot be packed: that is built for processors"
            )));
        }
        let Some((_, draws)) = self.now.noise.place() else {
            return Err(packed::refused("of a rollout of recorded noise cannot be packed"));
        };
        // Asked before anything is copied: a large world's history is some gigabytes.
        let history: u64 = self.now.histories.iter().map(RollingKvCache::bytes).sum();
        let pictures = self.now.memory.as_ref().map_or(0, Memory::bytes);
        let bytes = history + self.now.past.bytes() + self.now.decoder.bytes() + pictures;
        if bytes > packed::BYTES_MAX as u64 {
            return Err(packed::refused(format!("{bytes} bytes; at most {} are packed", packed::BYTES_MAX)));
        }
        let mut writer = Writer::default();
        self.write(&mut writer, draws)?;
        self.whose.seal(&writer.into_bytes())
    }

    fn write(&self, writer: &mut Writer, draws: u64) -> Result<(), WorldError> {
        let Progress { chunks, text, histories, past, camera, motion, decoder, memory, .. } = &self.now;
        writer.map(7 + usize::from(motion.is_some()) + usize::from(memory.is_some()));
        let mut head = || {
            write_integer(writer, "chunks", *chunks as u64)?;
            writer.name("prompt");
            writer.text("prompt", text, OWN_WORDS_BYTES_MAX)?;
            write_integer(writer, "draws", draws)?;
            writer.name("camera");
            camera.write(writer)?;
            if let Some(motion) = motion {
                write_integer(writer, "still", motion.still_chunks() as u64)?;
            }
            writer.name("history");
            writer.list("history", 2 * self.nets.config.transformer.num_layers, 0..=LAYERS_MAX)
        };
        head().map_err(wrong)?;
        for layer in 0..self.nets.config.transformer.num_layers {
            for keys in [true, false] {
                let slots = (0..histories[0].committed()).map(|slot| {
                    let of = |rank: &RollingKvCache| {
                        let both = rank.slot(layer, slot)?;
                        Ok(if keys { both.0 } else { both.1 })
                    };
                    let ranks = histories.iter().map(of).collect::<OpsResult<Vec<_>>>()?;
                    Tensor::cat(&ranks, 1)?.to_vec::<f32>()
                });
                let all = slots.collect::<OpsResult<Vec<_>>>()?.concat();
                write_floats(writer, "history", &all).map_err(wrong)?;
            }
        }
        writer.name("past");
        writer.list("past", past.chunks().len(), 0..=WINDOW_MAX).map_err(wrong)?;
        for chunk in past.chunks() {
            self.write_past(writer, chunk)?;
        }
        writer.name("decoder");
        decoder.write(writer).map_err(wrong)?;
        let Some(memory) = memory else { return Ok(()) };
        writer.name("memory");
        memory.write(writer).map_err(wrong)
    }

    fn write_past(&self, writer: &mut Writer, chunk: &PastChunk) -> Result<(), WorldError> {
        let Chunking { first, later } = self.chunking;
        let index = (chunk.first_latent_frame + later - first) / later;
        let index = if chunk.first_latent_frame == 0 { 0 } else { index };
        let clean = chunk.clean.to_vec::<f32>()?;
        let mut write = || {
            writer.map(2 + 2 * usize::from(chunk.camera.is_some()) + usize::from(chunk.recent.is_some()));
            write_integer(writer, "index", index as u64)?;
            writer.name("clean");
            write_floats(writer, "past.clean", &clean)?;
            if let Some((camera, controls)) = &chunk.camera {
                writer.name("camera");
                camera.write(writer)?;
                writer.name("controls");
                writer.list("past.controls", controls.len(), 1..=WINDOW_MAX)?;
                controls.iter().try_for_each(|controls| write_controls(writer, controls))?;
            }
            if let Some(recent) = chunk.recent {
                write_integer(writer, "recent", recent as u64)?;
            }
            Ok(())
        };
        write().map_err(wrong)
    }

    /// Go on where these bytes stand. `self` was just opened.
    pub(super) fn unpack(&mut self, rollout: &[u8]) -> Result<(), WorldError> {
        let Unpacked { chunks, prompt, draws, camera, still, history, past, decoder, memory } =
            self.read(rollout).map_err(wrong)?;
        let nets = Arc::clone(&self.nets);
        let (transformer, ranks) = (&nets.config.transformer, self.now.histories.len());
        let (width, tokens) =
            (transformer.num_attention_heads * transformer.attention_head_dim, nets.tokens(self.size));
        let window = self.now.window().clone().after(chunks);
        let own = width / ranks;
        let remembered = nets.remembered(self.size);
        let mut histories = Vec::with_capacity(ranks);
        for rank in 0..ranks {
            let of = |numbers: &[f32], slot: usize| -> OpsResult<Tensor> {
                let block = numbers[slot * tokens * width..][..tokens * width].to_vec();
                Tensor::from_vec(block, [tokens, width], &nets.device)?.narrow(1, rank * own, own)?.copy()
            };
            let held = |layer: usize, slot| Ok((of(&history[2 * layer], slot)?, of(&history[2 * layer + 1], slot)?));
            histories.push(RollingKvCache::going_on(window.clone(), remembered, held)?);
        }
        let (_, _, h, w) = self.fixed.dims4()?;
        let mut kept = Past::default();
        let held: Vec<usize> = window.held().collect();
        for chunk in past {
            let plan = ChunkPlan::new(chunk.index, self.chunking);
            let shape = [transformer.out_channels, plan.latent_frames, h, w];
            let (first_latent_frame, piece) = (plan.first_latent_frame, self.piece(&plan)?);
            let clean = Tensor::from_vec(chunk.clean, shape, &nets.device)?;
            kept.keep(
                PastChunk { first_latent_frame, clean, camera: chunk.camera, piece, recent: chunk.recent },
                &held,
            );
        }
        let motion = nets.config.recipe.motion.zip(still).map(|(config, still)| MotionWindow::after(config, still));
        let noise = Noise::seeded_after(self.seed, draws, &nets.device);
        let (prompts, text) = (self.now.prompts.clone(), prompt.into());
        self.now = Progress { chunks, prompts, text, histories, past: kept, camera, motion, noise, decoder, memory };
        Ok(())
    }

    /// The prompt of a state, in the world's own words.
    pub(super) fn prompt_of(rollout: &[u8]) -> Result<String, WorldError> {
        let mut cursor = Cursor::new(rollout);
        let mut find = || {
            let count = cursor.map("rollout")?;
            // The second field: what stands before it is read over.
            let mut prompt = None;
            for _ in 0..count.min(2) {
                match cursor.text("the name of a field", 64)? {
                    "chunks" => _ = cursor.integer("chunks", 0..=CHUNKS_MAX)?,
                    _ => prompt = Some(cursor.text("prompt", OWN_WORDS_BYTES_MAX)?.to_owned()),
                }
            }
            cursor.required("prompt", prompt)
        };
        find().map_err(wrong)
    }

    fn read(&self, rollout: &[u8]) -> Result<Unpacked, Invalid> {
        let mut cursor = Cursor::new(rollout);
        let transformer = &self.nets.config.transformer;
        let (mut chunks, mut prompt, mut draws, mut camera, mut still) = (None, None, None, None, None);
        let (mut history, mut past, mut decoder, mut memory) = (None, None, None, None);
        let (version, layers) = (packed::VERSION, transformer.num_layers as u64);
        let width = transformer.num_attention_heads * transformer.attention_head_dim;
        let slot = self.nets.tokens(self.size) * width;
        let count = cursor.map("rollout")?;
        let [_, _, h, w] = self.fixed.dims() else { unreachable!("four sides: a picture's latents") };
        let (h, w) = (*h, *w);
        cursor.fields(version, count, |cursor, name| {
            match name {
                "chunks" => chunks = Some(cursor.integer(name, 0..=CHUNKS_MAX)? as usize),
                "prompt" => prompt = Some(cursor.text(name, OWN_WORDS_BYTES_MAX)?.to_owned()),
                "draws" => draws = Some(cursor.integer(name, 0..=u64::MAX)?),
                "camera" => camera = Some(self.now.camera.read(cursor, version)?),
                "still" => still = Some(cursor.integer(name, 0..=CHUNKS_MAX)? as usize),
                "history" => {
                    let chunks = cursor.required("chunks", chunks)?;
                    let window = self.now.window().clone().after(chunks);
                    let slots = window.current().start.min(window.total());
                    let count = cursor.list("history", 2 * layers..=2 * layers)?;
                    let all = (0..count).map(|_| read_floats(cursor, "history", slots * slot));
                    history = Some(all.collect::<Result<_, _>>()?);
                }
                "past" => {
                    let count = cursor.list("past", 0..=WINDOW_MAX)?;
                    past = Some((0..count).map(|_| self.read_past(cursor, (h, w))).collect::<Result<Vec<_>, _>>()?);
                }
                "decoder" => {
                    let ranks = ranks_that_decode(h, self.nets.denoiser.team().sharers());
                    decoder = Some(DecoderState::read(cursor, version, (h, w), ranks)?);
                }
                "memory" => {
                    let Some(ours) = &self.now.memory else { return Ok(false) };
                    let chunks = cursor.required("chunks", chunks)?;
                    let frames = ChunkPlan::new(chunks, self.chunking).first_latent_frame;
                    memory = Some(ours.read(cursor, version, frames)?);
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        must_end(&cursor)?;
        let unpacked = Unpacked {
            chunks: cursor.required("chunks", chunks)?,
            prompt: cursor.required("prompt", prompt)?,
            draws: cursor.required("draws", draws)?,
            camera: cursor.required("camera", camera)?,
            still,
            history: cursor.required("history", history)?,
            past: cursor.required("past", past)?,
            decoder: cursor.required("decoder", decoder)?,
            memory: match &self.now.memory {
                Some(_) => Some(cursor.required("memory", memory)?),
                None => None,
            },
        };
        self.check(&unpacked, cursor.at())?;
        Ok(unpacked)
    }

    fn read_past(&self, cursor: &mut Cursor, (h, w): (usize, usize)) -> Result<PastRead, Invalid> {
        let version = packed::VERSION;
        let (mut index, mut clean, mut camera, mut controls, mut recent) = (None, None, None, None, None);
        let count = cursor.map("past")?;
        let channels = self.nets.config.transformer.out_channels;
        cursor.fields(version, count, |cursor, name| {
            let frames = |index| ChunkPlan::new(index, self.chunking).latent_frames;
            match name {
                "index" => index = Some(cursor.integer("past.index", 0..=CHUNKS_MAX)? as usize),
                "clean" => {
                    let index = cursor.required("past.index", index)?;
                    clean = Some(read_floats(cursor, "past.clean", channels * frames(index) * h * w)?);
                }
                "camera" => camera = Some(self.now.camera.read(cursor, version)?),
                "controls" => {
                    let frames = frames(cursor.required("past.index", index)?) as u64;
                    let count = cursor.list("past.controls", frames..=frames)?;
                    let all = (0..count).map(|_| read_controls(cursor, CONTROLS_VERSION));
                    controls = Some(all.collect::<Result<Vec<_>, _>>()?);
                }
                "recent" => recent = Some(cursor.integer("past.recent", 0..=CHUNKS_MAX)? as usize),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if camera.is_some() != controls.is_some() {
            return Err(refuse(cursor.at(), "past.camera", "and past.controls come together"));
        }
        let (index, clean) = (cursor.required("past.index", index)?, cursor.required("past.clean", clean)?);
        Ok(PastRead { index, clean, camera: camera.zip(controls), recent })
    }

    /// What a rollout takes for granted.
    fn check(&self, unpacked: &Unpacked, at: usize) -> Result<(), Invalid> {
        let held = self.now.window().clone().after(unpacked.chunks).held();
        let past: Vec<_> = unpacked.past.iter().map(|chunk| ChunkPlan::new(chunk.index, self.chunking)).collect();
        if !past.is_sorted_by(|a, b| a.index < b.index) || past.iter().any(|plan| plan.index >= unpacked.chunks) {
            return Err(refuse(at, "past", "is not in the order of its chunks, or ahead of the video"));
        }
        for frame in held {
            if !past.iter().any(|plan| plan.latent_range().contains(&frame)) {
                return Err(refuse(at, "past", format!("latent frame {frame} is held, and its chunk is missing")));
            }
        }
        match unpacked.still.is_some() == self.now.motion.is_some() {
            true => Ok(()),
            false => Err(refuse(at, "still", "is there for a world that looks at it, and for no other")),
        }
    }
}
