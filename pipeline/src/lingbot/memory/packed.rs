//! What a video remembers as bytes: a list of maps, the oldest picture first.
//!
//! | field   | value                                                                               |
//! |---------|-------------------------------------------------------------------------------------|
//! | `frame` | integer: the latent frame that it was drawn in                                      |
//! | `pose`  | list of seven numbers: position, then the quaternion `w x y z`                      |
//! | `lens`  | list of four numbers: `fx fy cx cy`                                                 |
//! | `rgb`   | bytes: `(H, W, 3)`                                                                  |

use std::sync::Arc;

use super::{Kept, Memory, Place};
use crate::lingbot::camera::View;
use crate::packed::write_integer;
use crate::recording::Invalid;
use crate::recording::cursor::{Cursor, Writer, refuse};
use crate::world::{Intrinsics, Pose};

impl Memory {
    pub(in crate::lingbot) fn write(&self, writer: &mut Writer) -> Result<(), Invalid> {
        writer.list("memory", self.kept.len(), 0..=self.config.frames as u64)?;
        for Kept { place: Place { frame, view }, rgb } in self.kept.iter().map(Arc::as_ref) {
            writer.map(4);
            write_integer(writer, "frame", *frame as u64)?;
            writer.name("pose");
            writer.numbers("memory.pose", &<[f64; 7]>::from(view.pose))?;
            writer.name("lens");
            writer.numbers("memory.lens", &view.lens.numbers())?;
            writer.name("rgb");
            writer.bytes("memory.rgb", rgb, rgb.len())?;
        }
        Ok(())
    }

    /// What the bytes hold, of a video that has drawn `frames` latent frames. `self` says how much that may be.
    pub(in crate::lingbot) fn read(&self, cursor: &mut Cursor, version: u64, frames: usize) -> Result<Memory, Invalid> {
        let count = cursor.list("memory", 0..=self.config.frames as u64)?;
        let mut memory = Memory::new(self.config, self.size);
        for _ in 0..count {
            let at = cursor.at();
            let kept = self.read_kept(cursor, version, frames)?;
            if memory.kept.last().is_some_and(|last| last.place.frame >= kept.place.frame) {
                return Err(refuse(at, "memory.frame", "is not after the one before it"));
            }
            memory.kept.push(Arc::new(kept));
        }
        Ok(memory)
    }

    fn read_kept(&self, cursor: &mut Cursor, version: u64, frames: usize) -> Result<Kept, Invalid> {
        let (mut frame, mut pose, mut lens, mut rgb) = (None, None, None, None);
        let count = cursor.map("memory")?;
        cursor.fields(version, count, |cursor, name| {
            let at = cursor.at();
            match name {
                "frame" => {
                    let number = cursor.integer("memory.frame", 0..=u64::MAX)?;
                    if number >= frames as u64 {
                        return Err(refuse(at, "memory.frame", format!("{number}: only {frames} were drawn")));
                    }
                    frame = Some(number as usize);
                }
                "pose" => {
                    let kept = Pose::kept(cursor.numbers("memory.pose")?);
                    pose = Some(kept.map_err(|reason| refuse(at, "memory.pose", reason))?);
                }
                "lens" => {
                    let numbers: [f64; 4] = cursor.numbers("memory.lens")?;
                    let kept = Intrinsics::try_from(numbers);
                    lens = Some(kept.map_err(|reason| refuse(at, "memory.lens", reason))?);
                }
                "rgb" => {
                    let bytes = self.size.frame_bytes() as usize;
                    let picture = cursor.bytes("memory.rgb", bytes)?;
                    if picture.len() != bytes {
                        let reason = format!("{} bytes; a picture of {} has {bytes}", picture.len(), self.size);
                        return Err(refuse(at, "memory.rgb", reason));
                    }
                    rgb = Some(picture.into());
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let view = View { pose: cursor.required("memory.pose", pose)?, lens: cursor.required("memory.lens", lens)? };
        let place = Place { frame: cursor.required("memory.frame", frame)?, view };
        Ok(Kept { place, rgb: cursor.required("memory.rgb", rgb)? })
    }
}
