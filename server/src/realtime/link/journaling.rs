//! What a running session writes into its journal: of each chunk, before it is sent, what steers it and what would go on after
//! it; now and then the state of the rollout before it.

use std::sync::Arc;
use std::time::Instant;

use pipeline::recording::encode_chunk;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tracing::warn;

use super::packed::{self, Packed};
use super::running::Running;
use crate::cluster::journal::JournalWriter;
use crate::engine::elsewhere::Journaled;
use crate::engine::turns::acks::Acks;
use crate::engine::turns::conditions::packed::PackedConditions;
use crate::realtime::session::backlog::PackedBacklog;
use crate::realtime::session::packed::PackedSession;

/// The version that is written and read here.
const VERSION: u32 = 1;

/// A chunk in a journal, as MessagePack with named fields.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    causeway_journal: u32,
    /// Its number, as the client counts.
    pub(super) chunk: usize,
    /// Its place in the video.
    pub(super) place: usize,
    /// What goes on after it.
    pub(super) session: PackedSession,
    pub(super) conditions: PackedConditions,
    pub(super) event_id: Option<u32>,
    applied: Vec<u32>,
    superseded: Vec<u32>,
    /// What steers it, as a recording has it.
    pub(super) input: ByteBuf,
}

impl Record {
    /// `Err`: these bytes are no record of this version.
    pub(super) fn decode(bytes: &[u8]) -> Result<Record, String> {
        let record: Record = rmp_serde::from_slice(bytes).map_err(|error| format!("is no record: {error}"))?;
        match record.causeway_journal {
            VERSION => Ok(record),
            other => Err(format!("version {other} of a record; this program reads {VERSION}")),
        }
    }

    /// What its client hears with it. When its events came is not kept: no receipt measures that.
    pub(super) fn acks(&self) -> Acks {
        Acks { applied: self.applied.clone(), superseded: self.superseded.clone(), receipts: Vec::new() }
    }
}

/// The state before a chunk, once it is asked for.
type State = Box<dyn FnOnce() -> Result<Vec<u8>, String> + Send>;

/// A chunk on its way into the journal.
pub(super) struct Entry {
    writer: JournalWriter,
    record: Vec<u8>,
    state: Option<State>,
}

impl Entry {
    /// Returns once it stands there, or NATS does not answer: then the chunk is sent without.
    pub(super) async fn written(self) {
        self.writer.log(self.record, self.state).await;
    }
}

impl Running<'_> {
    /// What the journal gets of the chunk that is sent next. `None`: the session has none.
    pub(super) fn entry(&mut self) -> Option<Entry> {
        let (drawn, noted) = self.chunk.noted()?;
        let (plan, event_id, acks) = (drawn.plan, drawn.event_id, drawn.acks.clone());
        let writer = self.ticket.as_ref()?.journal.as_ref()?.writer();
        let Journaled { input, conditions, state } = *noted;
        let (now, chunk) = (Instant::now(), self.next_chunk);
        let record = encode_chunk(&input).map_err(|invalid| invalid.to_string()).and_then(|input| {
            let record = Record {
                causeway_journal: VERSION,
                chunk,
                place: plan.index,
                session: self.session.pack_at(chunk as u64 + 1, plan.index + 1, now),
                conditions,
                event_id,
                applied: acks.applied,
                superseded: acks.superseded,
                input: input.into(),
            };
            rmp_serde::to_vec_named(&record).map_err(|error| error.to_string())
        });
        let record = record.map_err(|reason| warn!(reason, "a chunk is not in its journal")).ok()?;
        let state = state.and_then(|state| self.state(chunk, plan.index, state, now));
        Some(Entry { writer, record, state })
    }

    fn state(&self, chunk: usize, place: usize, state: Vec<u8>, now: Instant) -> Option<State> {
        let init = Arc::clone(self.seat.begun.as_ref()?);
        let mut session = Packed {
            next_chunk: chunk,
            session: self.session.pack_at(chunk as u64, place, now),
            backlog: PackedBacklog::none_before(chunk),
            rollout: state.into(),
            ..self.packed(now)
        };
        Some(Box::new(move || {
            session.beginning = packed::beginning(&init)?;
            session.encode()
        }))
    }
}
