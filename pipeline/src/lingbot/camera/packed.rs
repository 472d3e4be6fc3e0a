//! A camera as bytes: what its next step depends on. Its configuration is the world's.

use super::{Attitude, CameraPath};
use crate::recording::Invalid;
use crate::recording::cursor::{Cursor, Writer, refuse};
use crate::world::Pose;

impl CameraPath {
    /// A map.
    pub(in crate::lingbot) fn write(&self, writer: &mut Writer) -> Result<(), Invalid> {
        let CameraPath { position, attitude, unit, starts, .. } = self;
        writer.map(4);
        writer.name("position");
        writer.numbers("camera.position", position)?;
        match attitude {
            Attitude::Level { yaw_deg, pitch_deg } => {
                writer.name("level");
                writer.numbers("camera.level", &[*yaw_deg, *pitch_deg])?;
            }
            Attitude::Free(pose) => {
                writer.name("pose");
                let ([x, y, z], [w, i, j, k]) = (pose.position(), pose.quaternion());
                writer.numbers("camera.pose", &[x, y, z, w, i, j, k])?;
            }
        }
        writer.name("unit");
        writer.number(*unit);
        writer.name("starts");
        writer.boolean(*starts);
        Ok(())
    }

    /// The same camera where the bytes say that it stands.
    pub(in crate::lingbot) fn read(&self, cursor: &mut Cursor, version: u64) -> Result<CameraPath, Invalid> {
        let count = cursor.map("camera")?;
        let (mut position, mut attitude, mut unit, mut starts) = (None, None, None, None);
        cursor.fields(version, count, |cursor, name| {
            let at = cursor.at();
            let finite = |field: &str, numbers: &[f64]| match numbers.iter().all(|number| number.is_finite()) {
                true => Ok(()),
                false => Err(refuse(at, field, "holds a number that is not finite")),
            };
            match name {
                "position" => {
                    let numbers: [f64; 3] = cursor.numbers("camera.position")?;
                    finite("camera.position", &numbers)?;
                    position = Some(numbers);
                }
                "level" if attitude.is_none() => {
                    let [yaw_deg, pitch_deg] = cursor.numbers("camera.level")?;
                    finite("camera.level", &[yaw_deg, pitch_deg])?;
                    attitude = Some(Attitude::Level { yaw_deg, pitch_deg });
                }
                "pose" if attitude.is_none() => {
                    let pose = Pose::kept(cursor.numbers("camera.pose")?);
                    attitude = Some(Attitude::Free(pose.map_err(|reason| refuse(at, "camera.pose", reason))?));
                }
                "unit" => {
                    let number = cursor.number("camera.unit")?;
                    finite("camera.unit", &[number])?;
                    unit = Some(number);
                }
                "starts" => starts = Some(cursor.boolean("camera.starts")?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(CameraPath {
            position: cursor.required("camera.position", position)?,
            attitude: cursor.required("camera.level", attitude)?,
            unit: cursor.required("camera.unit", unit)?,
            starts: cursor.required("camera.starts", starts)?,
            ..self.clone()
        })
    }
}
