//! What is heard from NATS, in the words of this program.

use bytes::Bytes;

use super::rules;
use super::rules::line::Entry;

/// Something that NATS told.
#[derive(Debug)]
pub(super) enum Heard {
    /// The line is read from its beginning: what was known of it is forgotten.
    Anew,
    /// The next entry of the line: its number, its name (`ticket.ID`), its record; empty: removed.
    Entry(u64, String, Bytes),
    /// All up to this number has been read.
    Current(u64),
    /// A node's record, and the milliseconds since 1970 at which NATS took it. Empty: it has left.
    Presence(String, Bytes, u64),
}

/// Why a record was not written, or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotWritten {
    /// The log does not end where it was expected to.
    Moved,
    /// NATS did not answer. A record may have been written all the same.
    Lost,
}

/// The subjects of the line, behind its own name.
pub(super) fn name(kind: &str, id: &str) -> String {
    format!("{kind}.{id}")
}

pub(super) const TICKET: &str = "ticket";
pub(super) const GRANT: &str = "grant";
pub(super) const SESSION: &str = "session";
/// Written once, so that the log has an end to expect: NATS takes an expected end of 0 for none.
pub(super) const BEGIN: &str = "begin.line";

/// The entry that a name and a record are. `None`: it concerns another version, or cannot be read.
pub(super) fn entry(name: &str, record: &[u8]) -> Option<Entry> {
    let (kind, id) = name.split_once('.')?;
    let id = id.to_owned();
    fn some<Record: serde::de::DeserializeOwned>(name: &str, record: &[u8]) -> Option<Option<Record>> {
        if record.is_empty() {
            return Some(None);
        }
        let read = rules::read(record);
        read.map_err(|error| tracing::warn!(name, error, "a record of the cluster cannot be read")).ok().map(Some)
    }
    match kind {
        TICKET => some(name, record).map(|ticket| Entry::Ticket(id, ticket)),
        GRANT => some(name, record).map(|grant| Entry::Grant(id, grant)),
        SESSION => some(name, record).map(|node| Entry::Session(id, node)),
        _ => None,
    }
}
