//! The bytes of a rollout between two chunks: with its [`Init`] enough to go on with the video in another process, to the
//! byte.
//!
//! A [`State`](crate::world::State) stays in the rollout that made it; these bytes leave the machine. Nothing here opens a file
//! or reads a clock. Every length is checked against the bytes that are there before anything is allocated.
//!
//! # Format
//!
//! One map of MessagePack (<https://msgpack.org>), and behind it the 32 bytes of the map's SHA-256. The fields of the map:
//!
//! | field            | value                                                                                    |
//! |------------------|------------------------------------------------------------------------------------------|
//! | `causeway_state` | integer: the version of this format, 1. Always the first field                           |
//! | `world`          | text: the world's name. This field and the next two are a recording's `drawn_by`         |
//! | `weights`        | text: a fingerprint of its weights and settings                                          |
//! | `compute`        | text: the type that it computes in                                                       |
//! | `size`           | list of two integers: width and height of the video in pixels                            |
//! | `sink`, `window` | integers: latent frames pinned, and visible in all                                       |
//! | `first_chunk`, `chunk` | integers: latent frames of the first chunk, and of every other                     |
//! | `seed`           | integer                                                                                  |
//! | `rollout`        | bytes: a map of what changes from chunk to chunk, as the world has it                    |
//!
//! All but the last say whose state it is: a world goes on with its own states alone. Numbers of tensors are bytes: f32, the
//! lowest byte first.

use sha2::{Digest, Sha256};

use crate::recording::cursor::{Cursor, Writer, refuse};
use crate::recording::{Invalid, Origin, read_size, write_size};
use crate::world::{Card, Chunking, Init, Refusal, Size, WorldError};

/// The most bytes of a state. A rollout that holds more stays where it is: in a second, a network carries about as much.
pub const BYTES_MAX: usize = 64 << 20;

/// The version of the format that is written and read here.
pub const VERSION: u64 = 1;

const VERSION_FIELD: &str = "causeway_state";
const DIGEST_BYTES: usize = 32;
const NAME_BYTES_MAX: usize = 256;

/// The video that a state belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whose {
    origin: Origin,
    size: Size,
    sink: usize,
    window: usize,
    chunking: Chunking,
    seed: u64,
}

impl Whose {
    /// The video that a world of this card draws from `init`.
    pub(crate) fn of(origin: Origin, card: &Card, init: &Init) -> Whose {
        let Init { size, sink, window, seed, .. } = *init;
        Whose { origin, size, sink, window, chunking: init.chunking(card), seed }
    }

    /// The whole state, out of what the world keeps of its rollout.
    pub(crate) fn seal(&self, rollout: &[u8]) -> Result<Vec<u8>, WorldError> {
        self.encode(rollout).map_err(wrong)
    }

    fn encode(&self, rollout: &[u8]) -> Result<Vec<u8>, Invalid> {
        let Whose { origin: Origin { world, weights, compute }, size, sink, window, chunking, seed } = self;
        let mut writer = Writer::default();
        writer.map(11);
        write_integer(&mut writer, VERSION_FIELD, VERSION)?;
        for (name, text) in [("world", world), ("weights", weights), ("compute", compute)] {
            writer.name(name);
            writer.text(name, text, NAME_BYTES_MAX)?;
        }
        writer.name("size");
        write_size(&mut writer, "size", *size)?;
        for (name, number) in
            [("sink", *sink), ("window", *window), ("first_chunk", chunking.first), ("chunk", chunking.later)]
        {
            write_integer(&mut writer, name, number as u64)?;
        }
        write_integer(&mut writer, "seed", *seed)?;
        writer.name("rollout");
        writer.bytes("rollout", rollout, BYTES_MAX)?;
        let mut bytes = writer.into_bytes();
        bytes.extend_from_slice(&Sha256::digest(&bytes));
        match bytes.len() <= BYTES_MAX {
            true => Ok(bytes),
            false => Err(refuse(0, "rollout", format!("{} bytes in all; at most {BYTES_MAX}", bytes.len()))),
        }
    }

    /// What the world kept of its rollout, out of a whole state. `Err`: it is damaged, of another version, or of another
    /// video.
    pub(crate) fn unseal<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], WorldError> {
        if bytes.len() > BYTES_MAX {
            return Err(refused(format!("{} bytes; at most {BYTES_MAX}", bytes.len())));
        }
        let Some((map, digest)) = bytes.split_last_chunk::<DIGEST_BYTES>() else {
            return Err(refused(format!("{} bytes are none", bytes.len())));
        };
        if Sha256::digest(map)[..] != digest[..] {
            return Err(refused("is damaged: its checksum is another"));
        }
        let (whose, rollout) = read(map).map_err(wrong)?;
        self.must_be(&whose)?;
        Ok(rollout)
    }

    fn must_be(&self, given: &Whose) -> Result<(), WorldError> {
        let Whose { origin, size, sink, window, chunking, seed } = self;
        let (theirs, ours) = (&given.origin, origin);
        // A name is for people: two machines may keep the same world in folders of two names.
        if (&theirs.weights, &theirs.compute) != (&ours.weights, &ours.compute) {
            let words = |Origin { world, weights, compute }: &Origin| {
                format!("{world} (weights {weights}, computed in {compute})")
            };
            return Err(refused(format!("is of the world {}; here it is {}", words(theirs), words(ours))));
        }
        let numbers = |size: Size, sink: usize, window: usize, chunking: Chunking, seed: u64| {
            let Chunking { first, later } = chunking;
            format!("{size}, {sink} of {window} latent frames pinned, chunks of {first} and {later}, seed {seed}")
        };
        let theirs = numbers(given.size, given.sink, given.window, given.chunking, given.seed);
        let ours = numbers(*size, *sink, *window, *chunking, *seed);
        if theirs == ours { Ok(()) } else { Err(refused(format!("is of a video of {theirs}; this one has {ours}"))) }
    }
}

fn read(map: &[u8]) -> Result<(Whose, &[u8]), Invalid> {
    let mut cursor = Cursor::new(map);
    let count = cursor.map("a state")?;
    let at = cursor.at();
    if count == 0 || cursor.text("the name of the first field", NAME_BYTES_MAX)? != VERSION_FIELD {
        return Err(refuse(at, VERSION_FIELD, "is not the first field: these bytes are no state"));
    }
    let version = cursor.integer(VERSION_FIELD, 0..=u64::MAX)?;
    if version != VERSION {
        return Err(refuse(at, VERSION_FIELD, format!("version {version}; this program reads version {VERSION}")));
    }
    let (mut world, mut weights, mut compute, mut size, mut seed) = (None, None, None, None, None);
    let (mut sink, mut window, mut first, mut later, mut rollout) = (None, None, None, None, None);
    cursor.fields(VERSION, count - 1, |cursor, name| {
        let number = |cursor: &mut Cursor| cursor.integer(name, 0..=u64::MAX >> 1).map(|number| number as usize);
        match name {
            "world" => world = Some(cursor.text(name, NAME_BYTES_MAX)?.to_owned()),
            "weights" => weights = Some(cursor.text(name, NAME_BYTES_MAX)?.to_owned()),
            "compute" => compute = Some(cursor.text(name, NAME_BYTES_MAX)?.to_owned()),
            "size" => size = Some(read_size(cursor, name)?),
            "sink" => sink = Some(number(cursor)?),
            "window" => window = Some(number(cursor)?),
            "first_chunk" => first = Some(number(cursor)?),
            "chunk" => later = Some(number(cursor)?),
            "seed" => seed = Some(cursor.integer(name, 0..=u64::MAX)?),
            "rollout" => rollout = Some(cursor.bytes(name, BYTES_MAX)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    must_end(&cursor)?;
    let origin = Origin {
        world: cursor.required("world", world)?,
        weights: cursor.required("weights", weights)?,
        compute: cursor.required("compute", compute)?,
    };
    let chunking = Chunking { first: cursor.required("first_chunk", first)?, later: cursor.required("chunk", later)? };
    let whose = Whose {
        origin,
        size: cursor.required("size", size)?,
        sink: cursor.required("sink", sink)?,
        window: cursor.required("window", window)?,
        chunking,
        seed: cursor.required("seed", seed)?,
    };
    Ok((whose, cursor.required("rollout", rollout)?))
}

/// The same state under another whole: for tests of what lies inside the checksum.
#[doc(hidden)]
pub fn sealed_again(mut map: Vec<u8>) -> Vec<u8> {
    map.truncate(map.len().saturating_sub(DIGEST_BYTES));
    map.extend_from_slice(&Sha256::digest(&map));
    map
}

pub(crate) fn must_end(cursor: &Cursor) -> Result<(), Invalid> {
    if cursor.is_at_end() { Ok(()) } else { Err(refuse(cursor.at(), "the map", "is not the end: bytes follow it")) }
}

pub(crate) fn write_integer(writer: &mut Writer, name: &str, number: u64) -> Result<(), Invalid> {
    writer.name(name);
    writer.integer(name, number, 0..=u64::MAX)
}

/// The numbers of a tensor.
pub(crate) fn write_floats(writer: &mut Writer, field: &str, values: &[f32]) -> Result<(), Invalid> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    writer.bytes(field, &bytes, BYTES_MAX)
}

/// So many numbers of a tensor.
pub(crate) fn read_floats(cursor: &mut Cursor, field: &str, count: usize) -> Result<Vec<f32>, Invalid> {
    let at = cursor.at();
    let bytes = cursor.bytes(field, BYTES_MAX)?;
    if Some(bytes.len()) != count.checked_mul(size_of::<f32>()) {
        return Err(refuse(at, field, format!("{} bytes; it must be {count} numbers of 4 bytes", bytes.len())));
    }
    let values: Vec<f32> = bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect();
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(values),
        false => Err(refuse(at, field, "holds a number that is not finite")),
    }
}

pub(crate) fn refused(reason: impl Into<String>) -> WorldError {
    WorldError::Refused(Refusal { field: "state", reason: reason.into() })
}

/// In the words of a state.
pub(crate) fn wrong(invalid: Invalid) -> WorldError {
    refused(match invalid {
        Invalid::Incomplete { at } => format!("ends inside the map that begins at byte {at}"),
        Invalid::Refused { at, field, reason } => format!("byte {at}: {field}: {reason}"),
    })
}
