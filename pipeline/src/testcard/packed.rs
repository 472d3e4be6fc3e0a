//! The test card's state as bytes: a map of `caption`, `hash`, `chunk`, `frame` and, once poses came, `pose`.

use super::{CAPTION_BYTES, Caption, Progress};
use crate::packed::{self, must_end, write_integer, wrong};
use crate::recording::Invalid;
use crate::recording::cursor::{Cursor, Writer, refuse};
use crate::world::{Pose, WorldError};

/// Far from the end of an integer.
const FRAMES_MAX: u64 = 1 << 48;

impl Progress {
    pub(super) fn pack(&self) -> Result<Vec<u8>, WorldError> {
        self.encode().map_err(wrong)
    }

    fn encode(&self) -> Result<Vec<u8>, Invalid> {
        let Progress { caption: Caption { text, hash }, chunk, frame, pose } = self;
        let mut writer = Writer::default();
        writer.map(4 + usize::from(pose.is_some()));
        writer.name("caption");
        writer.text("caption", text, CAPTION_BYTES)?;
        write_integer(&mut writer, "hash", (*hash).into())?;
        write_integer(&mut writer, "chunk", *chunk as u64)?;
        write_integer(&mut writer, "frame", *frame as u64)?;
        if let Some(pose) = pose {
            writer.name("pose");
            let ([x, y, z], [w, i, j, k]) = (pose.position(), pose.quaternion());
            writer.numbers("pose", &[x, y, z, w, i, j, k])?;
        }
        Ok(writer.into_bytes())
    }

    pub(super) fn unpack(bytes: &[u8]) -> Result<Progress, WorldError> {
        Progress::decode(bytes).map_err(wrong)
    }

    fn decode(bytes: &[u8]) -> Result<Progress, Invalid> {
        let mut cursor = Cursor::new(bytes);
        let count = cursor.map("rollout")?;
        let (mut text, mut hash, mut chunk, mut frame, mut pose) = (None, None, None, None, None);
        cursor.fields(packed::VERSION, count, |cursor, name| {
            let at = cursor.at();
            match name {
                "caption" => text = Some(cursor.text(name, CAPTION_BYTES)?.to_owned()),
                "hash" => hash = Some(cursor.integer(name, 0..=u32::MAX.into())? as u32),
                "chunk" => chunk = Some(cursor.integer(name, 0..=FRAMES_MAX)? as usize),
                "frame" => frame = Some(cursor.integer(name, 0..=FRAMES_MAX)? as usize),
                "pose" => pose = Some(Pose::kept(cursor.numbers(name)?).map_err(|reason| refuse(at, name, reason))?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        must_end(&cursor)?;
        let caption = Caption { text: cursor.required("caption", text)?, hash: cursor.required("hash", hash)? };
        Ok(Progress { caption, chunk: cursor.required("chunk", chunk)?, frame: cursor.required("frame", frame)?, pose })
    }
}
