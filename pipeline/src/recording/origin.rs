//! What drew a video, in its recording.

use ops::Device;

use super::Invalid;
use super::cursor::{Cursor, Writer};
use crate::load::fingerprint::Fingerprint;
use crate::world::Card;

const BYTES_MAX: usize = 256;

/// What drew a video. Equal values draw the same bytes from the same recording, on one family of processors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The world's name: for people.
    pub world: String,
    /// A fingerprint of its weights and settings.
    pub weights: String,
    /// The type that it computes in: `f32`, or on a GPU `bf16 on sm_90`.
    pub compute: String,
}

impl Origin {
    /// A world of these weights, drawn on `device`.
    pub(crate) fn of(card: &Card, weights: Fingerprint, device: &Device) -> Origin {
        Origin { world: card.name.clone(), weights: weights.finish(), compute: device.arithmetic() }
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), Invalid> {
        let Origin { world, weights, compute } = self;
        writer.map(3);
        for (name, field, text) in [
            ("world", "drawn_by.world", world),
            ("weights", "drawn_by.weights", weights),
            ("compute", "drawn_by.compute", compute),
        ] {
            writer.name(name);
            writer.text(field, text, BYTES_MAX)?;
        }
        Ok(())
    }

    pub(super) fn read(cursor: &mut Cursor, version: u64) -> Result<Origin, Invalid> {
        let fields = cursor.map("drawn_by")?;
        let (mut world, mut weights, mut compute) = (None, None, None);
        cursor.fields(version, fields, |cursor, name| {
            match name {
                "world" => world = Some(cursor.text("drawn_by.world", BYTES_MAX)?),
                "weights" => weights = Some(cursor.text("drawn_by.weights", BYTES_MAX)?),
                "compute" => compute = Some(cursor.text("drawn_by.compute", BYTES_MAX)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Origin {
            world: cursor.required("drawn_by.world", world)?.to_owned(),
            weights: cursor.required("drawn_by.weights", weights)?.to_owned(),
            compute: cursor.required("drawn_by.compute", compute)?.to_owned(),
        })
    }
}
