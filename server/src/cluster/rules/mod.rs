//! What a cluster decides: who is there, who is next, who may draw what. Sans-IO: no clock, no await.
//!
//! All nodes read the same log of entries, numbered by NATS, and so come to the same picture. A node that wants to grant a
//! ticket writes the grant only if the log still ends where the node has read it to: a grant that was decided on an older
//! picture is not written.

pub mod epoch;
pub mod grant;
pub mod line;
pub mod nodes;
pub mod stand;
pub mod ticket;
pub mod token;

/// Longest record in NATS: a ticket never holds a picture or a prompt.
pub const RECORD_BYTES_MAX: usize = 4096;

/// The bytes of a record.
///
/// # Errors
/// If it is longer than [`RECORD_BYTES_MAX`].
pub fn write(record: &impl serde::Serialize) -> Result<Vec<u8>, String> {
    let bytes = serde_json::to_vec(record).map_err(|error| error.to_string())?;
    if bytes.len() <= RECORD_BYTES_MAX { Ok(bytes) } else { Err(too_long(bytes.len())) }
}

/// A record from its bytes, which another version of this program may have written.
///
/// # Errors
/// If it is too long, or lacks a field.
pub fn read<Record: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<Record, String> {
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(too_long(bytes.len()));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn too_long(bytes: usize) -> String {
    format!("a record of {bytes} bytes: at most {RECORD_BYTES_MAX} are allowed")
}
