//! The bytes of a recording: how a video began and what steered each chunk.
//!
//! A rollout reads nothing else, so these bytes are enough to draw the video again. Nothing here opens a file or reads
//! a clock. Reading checks every length against a bound and against the bytes that are there before it allocates, so
//! that bytes from a stranger cost no more memory than they have themselves.
//!
//! # Format
//!
//! A recording is a sequence of MessagePack values (<https://msgpack.org>), one after another, with nothing between
//! them. The first is a map that says how the video began. Each of the others is a map that says what steered one
//! chunk, in the order of the chunks. So a recording can be written while its video is drawn, and one that was cut off
//! is valid up to its last complete map.
//!
//! The first map:
//!
//! | field                | value                                                                                          |
//! |----------------------|------------------------------------------------------------------------------------------------|
//! | `causeway_recording` | integer: the version of this format, 5; 1 to 4 are read too. Always the first field             |
//! | `prompt`             | text, at most 8192 bytes                                                                        |
//! | `size`               | list of two integers: width and height of the video in pixels, 1 to 2³² − 1                     |
//! | `seed`               | integer, 0 to 2⁶⁴ − 1. JavaScript needs a BigInt for those past 2⁵³                             |
//! | `sink`               | integer: latent frames pinned, 0 to 1023 and less than `window`                                 |
//! | `window`             | integer: latent frames visible in all, 1 to 1024                                                |
//! | `condition_frames`   | integer: video frames of the image condition, 0 to 257. Absent: as many as the world needs      |
//! | `first_chunk`        | integer: latent frames of the first chunk, 1 to 1024. Absent: as the world has it. Since version 2 |
//! | `first_frame`        | map: the picture that the video starts from. Absent: there is none                              |
//! | `first_frame.size`   | list of two integers: width and height in pixels, at most 40 million pixels together            |
//! | `first_frame.rgb`    | bytes: 3·width·height, row by row from the top, red, green and blue of each pixel               |
//! | `drawn_by`           | map: what drew the video. Absent: it is not known. Since version 3                              |
//! | `drawn_by.world`     | text, at most 256 bytes: the world's name                                                       |
//! | `drawn_by.weights`   | text, at most 256 bytes: a fingerprint of its weights and settings                              |
//! | `drawn_by.compute`   | text, at most 256 bytes: the type that it computes in, `f32`                                    |
//!
//! The map of a chunk:
//!
//! | field           | value                                                                                              |
//! |-----------------|-----------------------------------------------------------------------------------------------------|
//! | `prompt`        | text, at most 8192 bytes: the prompt from this chunk on. Absent: as before                           |
//! | `recache`       | boolean: true, with `prompt`: what is remembered of earlier frames is made again first. Absent:       |
//! |                 | false. Since version 2                                                                               |
//! | `steps`         | integer, 1 to 1000: it was denoised in so many steps, evenly spaced. Absent: in as many as the world's |
//! |                 | recipe says. Since version 5                                                                         |
//! | `controls`      | list of 1 to 1024 maps, one for each latent frame of the chunk. Absent: no control was ever used,    |
//! |                 | which steers a model differently from a camera at rest                                               |
//! | `controls.held` | text: the keys held, each by its letter out of `wasdijkl`. Absent: none                              |
//! | `controls.rates` | list of four numbers, −1 to 1: forward, right, turning right, looking up, as parts of what a key   |
//! |                 | does, added to the keys. Absent: all 0. Since version 4                                              |
//! | `controls.pose` | list of seven numbers: the pose that the camera goes to. Its position in the axes of the video's     |
//! |                 | beginning, each at most 10⁶, and the quaternion `w x y z`, of length 1, out of the camera's axes.    |
//! |                 | Absent: none. Since version 4                                                                        |
//! | `controls.part` | number, more than 0 and at most 1, with `pose`: how much of the way to it is gone in this latent     |
//! |                 | frame. Absent: all of it. Since version 4                                                            |
//! | `controls.intrinsics` | list of four numbers: `fx fy cx cy` in pixels of the video. Absent: the world's own. Since version 4 |
//!
//! A field not named here, a field given twice and a value of another type are errors, and so is another version: a
//! field that is added later gets a new version. A *number* is a 64-bit float and nothing else. A recording of an earlier version is one of this version without the
//! fields that came later. Fields may come in any order after the version. They are written in the order above, integers and lengths in their shortest form, so that equal
//! values have equal bytes.
//!
//! The picture is stored decoded: two decoders of JPEG may differ in a level, and a recording must give the same bytes
//! anywhere. It is by far the largest part, 3 bytes a pixel, where a chunk of three latent frames takes about 35 bytes.
//! Fitting the picture to the video first ([`crate::first_frame::fit`]) makes it as small as one frame of the video,
//! and changes nothing that is drawn, because fitting a picture that fits leaves it as it is.

pub(crate) mod controls;
pub(crate) mod cursor;
mod origin;

use std::ops::RangeInclusive;

pub use self::origin::Origin;
use crate::world::{
    CONDITION_FRAMES_MAX, ChunkInput, FIRST_FRAME_PIXELS_MAX, Init, PROMPT_BYTES_MAX, Picture, Size, WINDOW_FRAMES_MAX,
};
use controls::{read_controls, write_controls};
use cursor::{Cursor, Writer, refuse};

/// The version of the format that is written here. Earlier ones are read, too.
pub const VERSION: u64 = 5;

/// The first field of a recording. Its value is the version.
const VERSION_FIELD: &str = "causeway_recording";

const SIDE: RangeInclusive<u64> = 1..=u32::MAX as u64;
const SEED: RangeInclusive<u64> = 0..=u64::MAX;
const SINK: RangeInclusive<u64> = 0..=WINDOW_FRAMES_MAX as u64 - 1;
const WINDOW: RangeInclusive<u64> = 1..=WINDOW_FRAMES_MAX as u64;
/// It fits into the window.
const FIRST_CHUNK: RangeInclusive<u64> = 1..=WINDOW_FRAMES_MAX as u64;
const CONDITION_FRAMES: RangeInclusive<u64> = 0..=CONDITION_FRAMES_MAX as u64;
/// As many as there are noise levels.
const STEPS: RangeInclusive<u64> = 1..=1000;
/// A chunk fits into the window.
const CONTROLS: RangeInclusive<u64> = 1..=WINDOW_FRAMES_MAX as u64;
const RGB_BYTES_MAX: usize = 3 * FIRST_FRAME_PIXELS_MAX as usize;

/// Why bytes are no recording, or a value cannot be written as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The bytes end inside a map: the recording was cut off there, or is still being written. All maps before it are
    /// complete.
    #[error("the recording ends inside the map that begins at byte {at}")]
    Incomplete {
        /// Where that map begins. The bytes before it are a whole recording, unless it is 0.
        at: usize,
    },
    /// A value that this format does not allow.
    #[error("byte {at} of the recording: {field}: {reason}")]
    Refused {
        /// Where the value, or the name of an unknown field, stands.
        at: usize,
        /// The field, as the tables at the head of this file name it.
        field: String,
        /// What was wrong and what is allowed.
        reason: String,
    },
}

/// The bytes that the recording of a video begins with, and what draws it, if that is known. `Err` if a value is past a
/// bound of the format.
pub fn encode_init(init: &Init, origin: Option<&Origin>) -> Result<Vec<u8>, Invalid> {
    let mut writer = Writer::default();
    let optional =
        [init.condition_frames.is_some(), init.first_chunk.is_some(), init.first_frame.is_some(), origin.is_some()];
    writer.map(6 + optional.into_iter().filter(|&there| there).count());
    writer.name(VERSION_FIELD);
    writer.integer(VERSION_FIELD, VERSION, VERSION..=VERSION)?;
    writer.name("prompt");
    writer.text("prompt", &init.prompt, PROMPT_BYTES_MAX)?;
    writer.name("size");
    write_size(&mut writer, "size", init.size)?;
    writer.name("seed");
    writer.integer("seed", init.seed, SEED)?;
    writer.name("sink");
    writer.integer("sink", init.sink as u64, SINK)?;
    writer.name("window");
    writer.integer("window", init.window as u64, WINDOW)?;
    check_window(writer.at(), init)?;
    if let Some(frames) = init.condition_frames {
        writer.name("condition_frames");
        writer.integer("condition_frames", frames as u64, CONDITION_FRAMES)?;
    }
    if let Some(frames) = init.first_chunk {
        writer.name("first_chunk");
        writer.integer("first_chunk", frames as u64, FIRST_CHUNK)?;
    }
    if let Some(picture) = &init.first_frame {
        writer.name("first_frame");
        writer.map(2);
        writer.name("size");
        write_size(&mut writer, "first_frame.size", picture.size)?;
        check_picture(writer.at(), picture.size, picture.rgb.len())?;
        writer.name("rgb");
        writer.bytes("first_frame.rgb", &picture.rgb, RGB_BYTES_MAX)?;
    }
    if let Some(origin) = origin {
        writer.name("drawn_by");
        origin.write(&mut writer)?;
    }
    Ok(writer.into_bytes())
}

/// The bytes that the next chunk adds to a recording. `Err` if a value is past a bound of the format.
pub fn encode_chunk(input: &ChunkInput) -> Result<Vec<u8>, Invalid> {
    let mut writer = Writer::default();
    let fields = [input.prompt.is_some(), input.recache, input.steps.is_some(), input.controls.is_some()];
    writer.map(fields.into_iter().filter(|&there| there).count());
    if let Some(prompt) = &input.prompt {
        writer.name("prompt");
        writer.text("prompt", prompt, PROMPT_BYTES_MAX)?;
    }
    if input.recache {
        check_recache(writer.at(), input)?;
        writer.name("recache");
        writer.boolean(true);
    }
    if let Some(steps) = input.steps {
        writer.name("steps");
        writer.integer("steps", steps as u64, STEPS)?;
    }
    if let Some(controls) = &input.controls {
        writer.name("controls");
        writer.list("controls", controls.len(), CONTROLS)?;
        for controls in controls {
            write_controls(&mut writer, controls)?;
        }
    }
    Ok(writer.into_bytes())
}

/// Read how a video began. What steered its chunks is read one by one, as the iterator is advanced.
///
/// Every value is within the bounds of the format. Whether the world at hand offers them is another question: see
/// [`crate::world::Card`].
pub fn read(bytes: &[u8]) -> Result<(Init, Chunks<'_>), Invalid> {
    let mut cursor = Cursor::new(bytes);
    let (init, origin, version) = read_init(&mut cursor)?;
    Ok((init, Chunks { origin, cursor, version, failed: false }))
}

/// What steered the chunks of a recording, in their order. Ends after the last one, or after an error.
pub struct Chunks<'a> {
    /// What drew the video, if the recording says so.
    pub origin: Option<Origin>,
    cursor: Cursor<'a>,
    version: u64,
    failed: bool,
}

impl Iterator for Chunks<'_> {
    type Item = Result<ChunkInput, Invalid>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.cursor.is_at_end() {
            return None;
        }
        let chunk = read_chunk(&mut self.cursor, self.version);
        self.failed = chunk.is_err();
        Some(chunk)
    }
}

fn read_init(cursor: &mut Cursor) -> Result<(Init, Option<Origin>, u64), Invalid> {
    let (fields, version) = read_version(cursor)?;
    let (mut prompt, mut size, mut seed, mut sink, mut window) = (None, None, None, None, None);
    let (mut condition_frames, mut first_chunk, mut first_frame, mut origin) = (None, None, None, None);
    cursor.fields(version, fields - 1, |cursor, name| {
        match name {
            "prompt" => prompt = Some(cursor.text("prompt", PROMPT_BYTES_MAX)?),
            "size" => size = Some(read_size(cursor, "size")?),
            "seed" => seed = Some(cursor.integer("seed", SEED)?),
            "sink" => sink = Some(cursor.integer("sink", SINK)?),
            "window" => window = Some(cursor.integer("window", WINDOW)?),
            "condition_frames" => condition_frames = Some(cursor.integer(name, CONDITION_FRAMES)?),
            "first_chunk" if version >= 2 => first_chunk = Some(cursor.integer(name, FIRST_CHUNK)?),
            "first_frame" => first_frame = Some(read_picture(cursor, version)?),
            "drawn_by" if version >= 3 => origin = Some(Origin::read(cursor, version)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let init = Init {
        prompt: cursor.required("prompt", prompt)?.to_owned(),
        size: cursor.required("size", size)?,
        seed: cursor.required("seed", seed)?,
        sink: cursor.required("sink", sink)? as usize,
        window: cursor.required("window", window)? as usize,
        first_chunk: first_chunk.map(|frames| frames as usize),
        condition_frames: condition_frames.map(|frames| frames as usize),
        first_frame,
    };
    check_window(cursor.at(), &init)?;
    Ok((init, origin, version))
}

/// Read up to the version, which must not be newer than ours. Gives the number of fields in the first map, and the
/// version.
fn read_version(cursor: &mut Cursor) -> Result<(usize, u64), Invalid> {
    const FOREIGN: &str = "is not the first field of a map: these bytes are no recording";
    let foreign = |error| match error {
        Invalid::Refused { at, .. } => refuse(at, VERSION_FIELD, FOREIGN),
        incomplete => incomplete,
    };
    let fields = cursor.map("the first map").map_err(foreign)?;
    let at = cursor.at();
    let name = match fields {
        0 => "",
        _ => cursor.text("a name", VERSION_FIELD.len()).map_err(foreign)?,
    };
    if name != VERSION_FIELD {
        return Err(refuse(at, VERSION_FIELD, FOREIGN));
    }
    let at = cursor.at();
    let version = cursor.integer(VERSION_FIELD, 0..=u64::MAX)?;
    if !(1..=VERSION).contains(&version) {
        let reason = format!("version {version} of the format; this program reads versions 1 to {VERSION}");
        return Err(refuse(at, VERSION_FIELD, reason));
    }
    Ok((fields, version))
}

fn read_chunk(cursor: &mut Cursor, version: u64) -> Result<ChunkInput, Invalid> {
    cursor.begin_map();
    let at = cursor.at();
    let fields = cursor.map("a chunk")?;
    let (mut prompt, mut recache, mut steps, mut controls) = (None, false, None, None);
    cursor.fields(version, fields, |cursor, name| {
        match name {
            "prompt" => prompt = Some(cursor.text("prompt", PROMPT_BYTES_MAX)?),
            "recache" if version >= 2 => recache = cursor.boolean(name)?,
            "steps" if version >= 5 => steps = Some(cursor.integer(name, STEPS)? as usize),
            "controls" => {
                let count = cursor.list("controls", CONTROLS)?;
                controls = Some((0..count).map(|_| read_controls(cursor, version)).collect::<Result<_, _>>()?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let input = ChunkInput { prompt: prompt.map(str::to_owned), recache, steps, controls };
    check_recache(at, &input)?;
    Ok(input)
}

pub(crate) fn write_size(writer: &mut Writer, field: &str, size: Size) -> Result<(), Invalid> {
    writer.list(field, 2, 2..=2)?;
    writer.integer(field, size.width.into(), SIDE)?;
    writer.integer(field, size.height.into(), SIDE)
}

pub(crate) fn read_size(cursor: &mut Cursor, field: &str) -> Result<Size, Invalid> {
    cursor.list(field, 2..=2)?;
    let mut side = || cursor.integer(field, SIDE).map(|side| side as u32);
    Ok(Size { width: side()?, height: side()? })
}

fn read_picture(cursor: &mut Cursor, version: u64) -> Result<Picture, Invalid> {
    let fields = cursor.map("first_frame")?;
    let (mut size, mut rgb) = (None, None);
    cursor.fields(version, fields, |cursor, name| {
        match name {
            "size" => size = Some(read_size(cursor, "first_frame.size")?),
            "rgb" => rgb = Some(cursor.bytes("first_frame.rgb", RGB_BYTES_MAX)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let size = cursor.required("first_frame.size", size)?;
    let rgb: &[u8] = cursor.required("first_frame.rgb", rgb)?;
    check_picture(cursor.at(), size, rgb.len())?;
    Ok(Picture { size, rgb: rgb.to_vec() })
}

fn check_picture(at: usize, size: Size, rgb_bytes: usize) -> Result<(), Invalid> {
    if size.pixels() > FIRST_FRAME_PIXELS_MAX {
        let reason = format!("is {size}: at most {FIRST_FRAME_PIXELS_MAX} pixels are allowed");
        return Err(refuse(at, "first_frame.size", reason));
    }
    if size.frame_bytes() != rgb_bytes as u64 {
        let reason = format!("{rgb_bytes} bytes; a picture of {size} has {}", size.frame_bytes());
        return Err(refuse(at, "first_frame.rgb", reason));
    }
    Ok(())
}

fn check_window(at: usize, init: &Init) -> Result<(), Invalid> {
    if init.sink >= init.window {
        let reason =
            format!("{} pinned latent frames leave no room for a chunk in a window of {}", init.sink, init.window);
        return Err(refuse(at, "sink", reason));
    }
    if let Some(frames) = init.first_chunk.filter(|&frames| frames > init.window) {
        return Err(refuse(
            at,
            "first_chunk",
            format!("{frames} latent frames do not fit into a window of {}", init.window),
        ));
    }
    Ok(())
}

fn check_recache(at: usize, input: &ChunkInput) -> Result<(), Invalid> {
    match input.recache && input.prompt.is_none() {
        true => Err(refuse(at, "recache", "is for a chunk with a new prompt")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
