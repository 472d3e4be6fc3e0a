//! The beginning of a session out of a recording: which one, how much of it, and whether its frames are sent.
//!
//! A recording comes from a client, so nothing in it is trusted: what it holds is counted while it is read, and reading
//! ends at a bound. Whether the world draws what it asks for is checked like an init.

use std::collections::VecDeque;
use std::mem::size_of;

use bytes::Bytes;
use pipeline::recording::{self, Invalid};
use pipeline::world::{ChunkInput, ChunkPlan, Chunking, Controls, Init, Origin, Refusal};
use rmpv::ValueRef;

use super::fields::{Fields, refuse};

/// The longest recording that is read: as long as a message may be.
pub const BYTES_MAX: u64 = 32 << 20;
/// Chunks that a session can begin with: an hour of the pocket world.
pub const CHUNKS_MAX: u32 = 16_384;
/// Memory for what steers them. An hour of keys and prompts takes far less.
pub const INPUT_BYTES_MAX: u64 = 16 << 20;

/// What a client says of the recording that its session begins with.
#[derive(Debug)]
pub struct FromRecording {
    /// Where it is.
    pub source: Source,
    /// Chunks of it that are drawn; `None`: all.
    chunks: Option<u32>,
    /// Whether their frames are sent.
    show: bool,
}

/// Where a recording is.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// In the message.
    File(Bytes),
    /// The server's own, of this session.
    Session(String),
}

/// A recording that was read.
#[derive(Debug)]
pub struct Recorded {
    /// How its video began.
    pub init: Init,
    /// What drew it, if it says so.
    pub origin: Option<Origin>,
    /// What steered each chunk that is to be drawn.
    pub inputs: VecDeque<ChunkInput>,
    /// Whether the frames of those chunks are sent.
    pub show: bool,
    /// Bytes that `inputs` take.
    pub bytes: u64,
}

impl FromRecording {
    /// All of a file, shown.
    pub fn whole(file: Bytes) -> FromRecording {
        FromRecording { source: Source::File(file), chunks: None, show: true }
    }

    /// The field `recording` of an init, if there is one. What a recording decides itself must not stand beside it.
    pub(super) fn read(fields: &mut Fields<'_>, message: &Bytes) -> Result<Option<FromRecording>, Refusal> {
        let Some(value) = fields.take("recording") else { return Ok(None) };
        for name in [
            "prompt",
            "size",
            "seed",
            "first_frame",
            "num_frames",
            "realtime_causal_sink_size",
            "realtime_causal_kv_cache_num_frames",
            "realtime_first_chunk_num_frames",
        ] {
            if fields.take(name).is_some() {
                return Err(refuse(name, "comes from the recording: leave it out"));
            }
        }
        let mut fields = Fields::from_value("recording", value)?;
        let file = match fields.take("file") {
            None => None,
            Some(ValueRef::Binary(file)) => Some(Source::File(message.slice_ref(file))),
            Some(_) => return Err(refuse("recording", "file: must be the bytes of a recording")),
        };
        let session = fields.text("session_id")?.map(|id| Source::Session(id.to_owned()));
        let source = match (file, session) {
            (Some(source), None) | (None, Some(source)) => source,
            _ => return Err(refuse("recording", "must have either file or session_id")),
        };
        let chunks = fields.integer_in("chunks", 1..=CHUNKS_MAX)?;
        let show = fields.flag_if_said("show")?.unwrap_or(true);
        Ok(Some(FromRecording { source, chunks, show }))
    }

    /// Read the recording. What follows the chunks that are asked for is not looked at.
    pub fn decode(&self, file: &[u8]) -> Result<Recorded, Refusal> {
        let wrong = |invalid: Invalid| refuse("recording", invalid.to_string());
        let (init, mut chunks) = recording::read(file).map_err(wrong)?;
        let origin = chunks.origin.take();
        let most = self.chunks.unwrap_or(CHUNKS_MAX) as usize;
        let (mut inputs, mut bytes) = (VecDeque::new(), 0);
        while inputs.len() < most {
            let input = match chunks.next() {
                Some(Ok(input)) => input,
                // It is being written, or was cut off: what is whole counts.
                None | Some(Err(Invalid::Incomplete { .. })) => break,
                Some(Err(invalid)) => return Err(wrong(invalid)),
            };
            bytes += bytes_of(&input);
            if bytes > INPUT_BYTES_MAX {
                let reason = format!("what steers its chunks takes more than {INPUT_BYTES_MAX} bytes");
                return Err(refuse("recording", reason));
            }
            inputs.push_back(input);
        }
        match self.chunks {
            Some(asked) if inputs.len() < asked as usize => {
                let reason = format!("has {} whole chunks, and {asked} are asked for", inputs.len());
                Err(refuse("recording", reason))
            }
            None if inputs.len() == most && chunks.next().is_some() => {
                Err(refuse("recording", format!("has more than {CHUNKS_MAX} chunks: say how many with chunks")))
            }
            _ if inputs.is_empty() => Err(refuse("recording", "holds no whole chunk")),
            _ => Ok(Recorded { init, origin, inputs, show: self.show, bytes }),
        }
    }
}

fn bytes_of(input: &ChunkInput) -> u64 {
    let prompt = input.prompt.as_ref().map_or(0, String::len);
    let controls = input.controls.as_ref().map_or(0, Vec::len) * size_of::<Controls>();
    (size_of::<ChunkInput>() + prompt + controls) as u64
}

impl Recorded {
    /// All prompts but the first.
    pub fn prompts(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().filter_map(|input| input.prompt.as_deref())
    }

    /// Whether any control was used: then the camera rests until the client steers.
    pub fn is_steered(&self) -> bool {
        self.inputs.iter().any(|input| input.controls.is_some())
    }

    /// Check it against what the world would draw. `drawn`: how a video begins here that is asked for like this one.
    pub fn check(&self, drawn: &Init, chunking: Chunking) -> Result<(), Refusal> {
        if (drawn.sink, drawn.window) != (self.init.sink, self.init.window) {
            let (sink, window) = (self.init.sink, self.init.window);
            let reason = format!(
                "was drawn with a window of {window} and a sink of {sink}; this world has {} and {}",
                drawn.window, drawn.sink
            );
            return Err(refuse("recording", reason));
        }
        for (index, input) in self.inputs.iter().enumerate() {
            let plan = ChunkPlan::new(index, chunking);
            input.check(&plan).map_err(|error| refuse("recording", format!("chunk {index}: {error}")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use pipeline::recording::{encode_chunk, encode_init};
    use pipeline::world::Size;

    use super::*;

    fn recorded(inputs: &[ChunkInput]) -> Vec<u8> {
        let init = Init {
            prompt: "a meadow".into(),
            first_frame: None,
            size: Size { width: 32, height: 16 },
            seed: 7,
            sink: 0,
            window: 9,
            first_chunk: None,
            condition_frames: None,
        };
        let mut bytes = encode_init(&init, None).expect("within all bounds");
        inputs.iter().for_each(|input| bytes.extend(encode_chunk(input).expect("within all bounds")));
        bytes
    }

    fn asked(chunks: Option<u32>) -> FromRecording {
        FromRecording { source: Source::Session(String::new()), chunks, show: true }
    }

    fn prompt(text: &str) -> ChunkInput {
        ChunkInput { prompt: Some(text.into()), ..ChunkInput::default() }
    }

    #[test]
    fn as_many_chunks_are_read_as_are_asked_for_and_a_file_that_was_cut_off_has_what_is_whole() {
        let file = recorded(&[prompt("a"), prompt("b"), prompt("c")]);
        let count = |chunks, file: &[u8]| asked(chunks).decode(file).map(|recorded| recorded.inputs.len());
        assert_eq!(count(None, &file), Ok(3));
        assert_eq!(count(Some(2), &file), Ok(2));
        assert_eq!(count(None, &file[..file.len() - 1]), Ok(2));
        for (chunks, file, words) in [
            (Some(4), &file[..], "3 whole chunks"),
            (None, &recorded(&[])[..], "no whole chunk"),
            (None, &file[1..], "no recording"),
            (None, &b"\x89PNG"[..], "no recording"),
        ] {
            let refusal = count(chunks, file).expect_err(words);
            assert!(refusal.field == "recording" && refusal.reason.contains(words), "{refusal}");
        }
    }

    #[test]
    fn a_recording_takes_no_more_memory_than_is_allowed() {
        // A chunk without controls is one byte, and a control is one.
        let empty = vec![ChunkInput::default(); CHUNKS_MAX as usize + 1];
        let refusal = asked(None).decode(&recorded(&empty)).expect_err("too many");
        assert!(refusal.reason.contains("more than 16384 chunks"), "{refusal}");
        let recorded_all = asked(Some(CHUNKS_MAX)).decode(&recorded(&empty)).expect("as many as may be");
        assert_eq!(recorded_all.bytes, u64::from(CHUNKS_MAX) * size_of::<ChunkInput>() as u64);
        let still = ChunkInput { controls: Some(vec![Controls::default(); 1024]), ..ChunkInput::default() };
        let many = vec![still; 1 + INPUT_BYTES_MAX as usize / (1024 * size_of::<Controls>())];
        assert!(recorded(&many).len() < INPUT_BYTES_MAX as usize);
        let refusal = asked(None).decode(&recorded(&many)).expect_err("too much");
        assert!(refusal.reason.contains("bytes"), "{refusal}");
    }
}
