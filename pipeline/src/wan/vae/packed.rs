//! What decoding carries, as bytes: whole frames, whatever number of ranks had their rows.

use ops::{FrameShape, FrameStack};

use super::{Carried, DecoderState};
use crate::packed::{read_floats, write_floats, write_integer};
use crate::recording::Invalid;
use crate::recording::cursor::{Cursor, Writer, refuse};

/// More convolutions than a decoder has.
const SLOTS_MAX: u64 = 1024;
/// More pixels a side, and channels, than a decoder has. Three sides are multiplied, and four bytes.
const SIDE_MAX: u64 = 1 << 16;
/// A convolution carries the last two frames at most.
const CARRIED_MAX: u64 = 2;

impl DecoderState {
    /// A map of the latents' size and of each convolution's frames. `Err` in `ops`' words if they are not in main memory.
    pub(crate) fn write(&self, writer: &mut Writer) -> Result<(), Invalid> {
        let (height, width) = self.latent.unwrap_or_default();
        writer.map(3);
        write_integer(writer, "height", height as u64)?;
        write_integer(writer, "width", width as u64)?;
        writer.name("carried");
        let slots = self.carried.first().map_or(0, |carried| carried.whole().count());
        writer.list("decoder.carried", slots, 0..=SLOTS_MAX)?;
        let ranks: Vec<Vec<(usize, &FrameStack)>> = self.carried.iter().map(|rank| rank.whole().collect()).collect();
        for place in 0..slots {
            let (slot, first) = ranks[0][place];
            let FrameShape { width, channels, border, .. } = first.shape();
            let bands: Vec<&FrameStack> = ranks.iter().map(|rank| rank[place].1).collect();
            let height: usize = bands.iter().map(|band| band.shape().height).sum();
            writer.map(7);
            for (name, number) in [
                ("slot", slot),
                ("frames", first.len()),
                ("height", height),
                ("width", width),
                ("channels", channels),
                ("border", border),
            ] {
                write_integer(writer, name, number as u64)?;
            }
            writer.name("values");
            write_floats(writer, "decoder.carried.values", &whole(&bands))?;
        }
        Ok(())
    }

    /// The state of a stream of latents of this height and width, which goes on over this many ranks.
    pub(crate) fn read(
        cursor: &mut Cursor,
        version: u64,
        latent: (usize, usize),
        ranks: usize,
    ) -> Result<DecoderState, Invalid> {
        let at = cursor.at();
        let count = cursor.map("decoder")?;
        let (mut height, mut width, mut carried) = (None, None, None);
        cursor.fields(version, count, |cursor, name| {
            match name {
                "height" => height = Some(cursor.integer("decoder.height", 0..=SIDE_MAX)? as usize),
                "width" => width = Some(cursor.integer("decoder.width", 0..=SIDE_MAX)? as usize),
                "carried" => {
                    let slots = cursor.list("decoder.carried", 0..=SLOTS_MAX)?;
                    let mut all = vec![Carried::default(); ranks];
                    for _ in 0..slots {
                        read_slot(cursor, version, latent.0, &mut all)?;
                    }
                    carried = Some(all);
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let given = (cursor.required("decoder.height", height)?, cursor.required("decoder.width", width)?);
        let carried = cursor.required("decoder.carried", carried)?;
        match given {
            (0, 0) => Ok(DecoderState::new()),
            _ if given == latent => Ok(DecoderState { carried, bands: 1, latent: Some(latent) }),
            _ => Err(refuse(at, "decoder", format!("is for latents of {given:?}; this video has {latent:?}"))),
        }
    }
}

/// The values of all bands, one below the other, frame by frame.
fn whole(bands: &[&FrameStack]) -> Vec<f32> {
    let all: Vec<Vec<f32>> = bands.iter().map(|band| band.values()).collect();
    let frames = bands[0].len();
    let of =
        |frame: usize| all.iter().flat_map(move |band| &band[frame * band.len() / frames..][..band.len() / frames]);
    (0..frames).flat_map(of).copied().collect()
}

fn read_slot(cursor: &mut Cursor, version: u64, latent_rows: usize, ranks: &mut [Carried]) -> Result<(), Invalid> {
    let at = cursor.at();
    let count = cursor.map("decoder.carried")?;
    let (mut slot, mut frames, mut height, mut width, mut channels, mut border) = (None, None, None, None, None, None);
    let mut values = None;
    cursor.fields(version, count, |cursor, name| {
        let mut number = |most: u64| cursor.integer(name, 0..=most).map(|number| Some(number as usize));
        match name {
            "slot" => slot = number(SLOTS_MAX)?,
            "frames" => frames = number(CARRIED_MAX)?,
            "height" => height = number(SIDE_MAX)?,
            "width" => width = number(SIDE_MAX)?,
            "channels" => channels = number(SIDE_MAX)?,
            "border" => border = number(1)?,
            "values" => {
                // Checked against the numbers before it, which are always written first.
                let mut all = [frames, height, width, channels].into_iter().map(|n| n.unwrap_or(usize::MAX));
                let product = all.try_fold(1_usize, usize::checked_mul).unwrap_or(usize::MAX);
                values = Some(read_floats(cursor, "decoder.carried.values", product)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let slot = cursor.required("decoder.carried.slot", slot)?;
    let shape = FrameShape {
        height: cursor.required("decoder.carried.height", height)?,
        width: cursor.required("decoder.carried.width", width)?,
        channels: cursor.required("decoder.carried.channels", channels)?,
        border: cursor.required("decoder.carried.border", border)?,
    };
    let values = cursor.required("decoder.carried.values", values)?;
    if latent_rows == 0 || !shape.height.is_multiple_of(latent_rows) || latent_rows < ranks.len() {
        let reason = format!("{} rows, for latents of {latent_rows} rows", shape.height);
        return Err(refuse(at, "decoder.carried.height", reason));
    }
    let (scale, count) = (shape.height / latent_rows, ranks.len());
    for (rank, carried) in ranks.iter_mut().enumerate() {
        let rows = scale * (rank * latent_rows / count)..scale * ((rank + 1) * latent_rows / count);
        let band = FrameStack::of_rows(&values, shape, rows)
            .map_err(|error| refuse(at, "decoder.carried", error.to_string()))?;
        carried.keep(slot, 0, band, CARRIED_MAX as usize);
    }
    Ok(())
}
