//! How a valid input is changed: one thing about a value, or some of its bytes.

use pipeline::packed::sealed_again;
use rmpv::Value;

use super::encode;
use crate::chance::Chance;

/// What one change may add: the memory that is measured is to be the parser's, not ours.
const GROWTH_BYTES: usize = 128 << 10;

/// Change one thing about a value, somewhere in it.
pub(super) fn change_value(value: &mut Value, chance: &mut Chance) {
    // Down to a random depth.
    match value {
        Value::Array(items) if !items.is_empty() && !chance.one_in(3) => {
            let at = chance.below(items.len());
            return change_value(&mut items[at], chance);
        }
        Value::Map(entries) if !entries.is_empty() && !chance.one_in(4) => {
            let at = chance.below(entries.len());
            let (key, inside) = &mut entries[at];
            return change_value(if chance.one_in(8) { key } else { inside }, chance);
        }
        _ => {}
    }
    match (chance.below(6), value) {
        (0, Value::Array(items)) if !items.is_empty() => {
            let item = chance.pick(items).clone();
            // Or three of these, one inside another, are gigabytes.
            let most = GROWTH_BYTES / encode(&item).len();
            let times = [1, 16, 600, 5000][chance.below(4)].min(most);
            items.extend(std::iter::repeat_n(item, times));
        }
        (0, Value::Map(entries)) if !entries.is_empty() => {
            let mut entry = chance.pick(entries).clone();
            change_value(&mut entry.1, chance);
            entries.push(entry);
        }
        (1, Value::Map(entries)) if !entries.is_empty() => drop(entries.remove(chance.below(entries.len()))),
        (1, Value::Array(items)) if !items.is_empty() => drop(items.remove(chance.below(items.len()))),
        (2, value) => {
            let inside = std::mem::replace(value, Value::Nil);
            *value = if chance.one_in(2) { Value::Array(vec![inside]) } else { Value::Map(vec![("a".into(), inside)]) };
        }
        (3, Value::String(text)) => {
            let once = text.as_str().unwrap_or_default();
            let longer = once.repeat((1 + chance.below(300)).min(1 + GROWTH_BYTES / once.len().max(1)));
            *text = longer.into();
        }
        (_, value) => *value = odd_value(chance),
    }
}

fn odd_value(chance: &mut Chance) -> Value {
    let words =
        ["", "0", "-1", "1e9", "inf", "NaN", " 16 ", "true", "init", "event", "state", "raw", "é\0", "99x0", "0x0"];
    let numbers = [0, 1, -1, 2, 127, 255, 256, 4096, i64::from(u32::MAX), 1 << 53, i64::MAX, i64::MIN];
    match chance.below(9) {
        0 => Value::Nil,
        1 => chance.one_in(2).into(),
        2 => (*chance.pick(&numbers)).into(),
        3 => Value::from(u64::MAX - chance.below(2) as u64),
        4 => Value::F64(*chance.pick(&[0.5, -0.0, 1e300, f64::NAN, f64::INFINITY, 16.0, 9.007_199_254_740_992e15])),
        5 => (*chance.pick(&words)).into(),
        6 => Value::Binary((0..chance.below(20)).map(|_| chance.next() as u8).collect()),
        7 => Value::Ext(chance.next() as i8, vec![0; chance.below(9)]),
        _ => Value::String(format!("{}x{}", chance.below(20_000), chance.below(20_000)).into()),
    }
}

/// Change some bytes, wherever they are.
pub(super) fn change_bytes(bytes: &mut Vec<u8>, others: &[Vec<u8>], chance: &mut Chance) {
    if bytes.is_empty() {
        return bytes.push(chance.next() as u8);
    }
    let at = chance.below(bytes.len());
    let span = at..(at + 1 + chance.below(16)).min(bytes.len());
    match chance.below(8) {
        0 => bytes[at] ^= 1 << chance.below(8),
        1 => bytes[at] = chance.next() as u8,
        // Lengths are where parsers believe too much.
        2 => bytes[at] = *chance.pick(&[0x00, 0x7f, 0x80, 0xff, 0xc6, 0xc9, 0xdb, 0xdd, 0xdf]),
        3 => bytes[span].fill(*chance.pick(&[0x00, 0xff])),
        4 => bytes.truncate(at),
        5 => {
            bytes.drain(span);
        }
        6 => {
            let again = bytes[span].repeat(1 + chance.below(8));
            bytes.splice(at..at, again);
        }
        _ => {
            let other = chance.pick(others);
            let from = chance.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
    }
}

/// Put the checksum of every chunk of a PNG right, so that what was changed is read.
pub(super) fn mend_png(file: &mut [u8]) {
    let mut at = 8;
    while let Some(head) = file.get(at..at + 8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let end = at.saturating_add(8).saturating_add(length);
        if end.saturating_add(4) > file.len() {
            return;
        }
        let sum = crc32(&file[at + 4..end]);
        file[end..end + 4].copy_from_slice(&sum.to_be_bytes());
        at = end + 4;
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let fold = |sum: u32, &byte: &u8| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| sum >> 1 ^ (0xedb8_8320 & 0_u32.wrapping_sub(sum & 1)))
    };
    !bytes.iter().fold(u32::MAX, fold)
}

/// A state's map with room for its checksum, and the checksum.
pub(super) fn sealed(mut map: Vec<u8>) -> Vec<u8> {
    map.extend([0; 32]);
    sealed_again(map)
}

/// Half of the time change a state inside its rollout, which is a map of its own.
pub(super) fn change_rollout(state: &mut Value, chance: &mut Chance) -> bool {
    let Value::Map(fields) = state else { return false };
    let rollout = fields.iter_mut().find(|(name, _)| name.as_str() == Some("rollout"));
    let Some((_, Value::Binary(bytes))) = rollout.filter(|_| chance.one_in(2)) else { return false };
    let Ok(mut value) = rmpv::decode::read_value(&mut &bytes[..]) else { return false };
    change_value(&mut value, chance);
    *bytes = encode(&value);
    true
}

#[cfg(test)]
mod tests {
    use super::super::seeds::PNG;
    use super::*;

    /// The check value of the algorithm's own catalogue.
    #[test]
    fn a_checksum_is_the_one_of_png() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let mut mended = PNG.to_vec();
        mend_png(&mut mended);
        assert_eq!(mended, PNG);
    }
}
