//! What steered one latent frame, as a map of a recording.

use super::Invalid;
use super::cursor::{Cursor, Writer, refuse};
use crate::world::{Controls, Held, Intrinsics, Pose, Rates, Way};

pub(crate) fn write_controls(writer: &mut Writer, controls: &Controls) -> Result<(), Invalid> {
    let (held, rates, way, lens) = (controls.held(), controls.rates(), controls.way(), controls.intrinsics());
    let steers = rates != Rates::default();
    let part = way.map(|way| way.part()).filter(|&part| part != 1.0);
    let fields = [!held.is_empty(), steers, way.is_some(), part.is_some(), lens.is_some()];
    writer.map(fields.into_iter().filter(|&there| there).count());
    if !held.is_empty() {
        writer.name("held");
        writer.text("controls.held", &held.iter().collect::<String>(), Held::ALL.len())?;
    }
    if steers {
        writer.name("rates");
        writer.numbers("controls.rates", &rates.numbers())?;
    }
    if let Some(way) = way {
        writer.name("pose");
        let ([x, y, z], [w, i, j, k]) = (way.pose().position(), way.pose().quaternion());
        writer.numbers("controls.pose", &[x, y, z, w, i, j, k])?;
    }
    if let Some(part) = part {
        writer.name("part");
        writer.number(part);
    }
    if let Some(lens) = lens {
        writer.name("intrinsics");
        writer.numbers("controls.intrinsics", &lens.numbers())?;
    }
    Ok(())
}

pub(crate) fn read_controls(cursor: &mut Cursor, version: u64) -> Result<Controls, Invalid> {
    let begin = cursor.at();
    let fields = cursor.map("controls")?;
    let (mut held, mut rates, mut lens) = (Held::default(), Rates::default(), None);
    let (mut pose, mut part) = (None, None);
    cursor.fields(version, fields, |cursor, name| {
        let at = cursor.at();
        let wrong = |field| move |reason| refuse(at, field, reason);
        match name {
            "held" => held = read_held(cursor)?,
            "rates" if version >= 4 => {
                let field = "controls.rates";
                rates = Rates::new(cursor.numbers(field)?).map_err(wrong(field))?;
            }
            "pose" if version >= 4 => {
                let field = "controls.pose";
                let [x, y, z, w, i, j, k] = cursor.numbers(field)?;
                pose = Some(Pose::new([x, y, z], [w, i, j, k]).map_err(wrong(field))?);
            }
            "part" if version >= 4 => part = Some((at, cursor.number("controls.part")?)),
            "intrinsics" if version >= 4 => {
                let field = "controls.intrinsics";
                let [fx, fy, cx, cy] = cursor.numbers(field)?;
                lens = Some(Intrinsics::new(fx, fy, cx, cy).map_err(wrong(field))?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let way = match (pose, part) {
        (None, None) => None,
        (Some(pose), None) => Some(Way::to(pose)),
        (Some(pose), Some((at, part))) => {
            Some(Way::part_of(pose, part).map_err(|reason| refuse(at, "controls.part", reason))?)
        }
        (None, Some(_)) => return Err(refuse(begin, "controls.part", "is for a latent frame with a pose")),
    };
    Ok(Controls::from(held).with_rates(rates).with_way(way).with_intrinsics(lens))
}

fn read_held(cursor: &mut Cursor) -> Result<Held, Invalid> {
    let at = cursor.at();
    let mut held = Held::default();
    for key in cursor.text("controls.held", Held::ALL.len())?.chars() {
        if !Held::ALL.contains(&key) {
            let known: String = Held::ALL.iter().collect();
            return Err(refuse(at, "controls.held", format!("{key:?} is not one of the keys {known}")));
        }
        held = held.with(key);
    }
    Ok(held)
}
