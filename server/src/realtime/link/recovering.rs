//! A session whose node died, and whose client has come back: it goes on here from its journal. The newest state that its
//! client is not behind is opened, what was steered since is drawn again, and only what the client has not is sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use pipeline::world::ChunkInput;
use tracing::{info, warn};

use super::Realtime;
use super::arriving::{NotTaken, Video, journaled, open, read};
use super::delivery::Parts;
use super::journaling::Record;
use super::packed::Packed;
use super::resume::ResumeTicket;
use super::running::Arrived;
use super::seat::{Panicked, off_the_loop};
use crate::cluster::journal::Kept;
use crate::cluster::tickets::Place;
use crate::engine::elsewhere::Replayed;
use crate::realtime::session::backlog::PackedBacklog;

/// Go on with the session of this token, whose client has this chunk as its last. It waits for its client.
pub(super) async fn recover(
    realtime: &Realtime,
    token: &str,
    last_chunk: Option<usize>,
    place: Place,
) -> Result<(Arrived, Parts), NotTaken> {
    let cluster = realtime.cluster.as_ref().expect("only a node of a cluster has places of it");
    let kept = cluster.read_journal(token).await.map_err(|error| NotTaken::busy(format!("its journal: {error:#}")))?;
    let next = last_chunk.map_or(0, |last| last.saturating_add(1));
    let own = token.to_owned();
    let decoded = off_the_loop(move || choose(kept, next)?.unpack(own));
    let decoded = decoded.await.unwrap_or_else(|Panicked| Err(Panicked::WORDS.to_owned()));
    let (packed, video, from) = decoded.map_err(NotTaken::wrong)?;
    info!(
        session = packed.session_id,
        next,
        again = video.hidden.len(),
        replayed = video.shown.len(),
        "a session of a lost node goes on here"
    );
    let card = read(realtime)?;
    let journaled = cluster.has_journals().then(|| journaled(&card, &packed, &video.init, &place));
    let (resumable, cluster) = (Arc::clone(&realtime.resumable), realtime.cluster.as_deref());
    let ticket = ResumeTicket::of(token.to_owned(), resumable, cluster, journaled);
    let mut ticket = ticket.ok_or_else(NotTaken::here_already)?;
    // From now on the node that had it sends nothing more, should it come back.
    ticket.is_known().await;
    let (mut arrived, parts) = open(realtime, &card, packed, video, (ticket, Some(place))).await?;
    arrived.journal_from = Some(from);
    Ok((arrived, parts))
}

/// A state, and the records that follow it.
struct Choice {
    from: usize,
    packed: Packed,
    records: Vec<Record>,
    /// The number of the chunk that the client needs next.
    next: usize,
}

/// What cannot be read is as if it were missing: the other state may do.
fn readable<T>(part: Result<T, String>) -> Option<T> {
    part.inspect_err(|error| warn!(error, "part of a journal cannot be read")).ok()
}

/// The newest state that the client is not behind, with all records up to the newest. `Err`: there is none.
fn choose(kept: Kept, next: usize) -> Result<Choice, String> {
    let records = kept.records.iter().map(|record| Record::decode(record).map(|record| (record.chunk, record)));
    let mut records: BTreeMap<usize, Record> = records.filter_map(readable).collect();
    let states = kept.states.iter().map(|(at, state)| Packed::decode(state).map(|packed| (*at, packed)));
    let mut states: Vec<(usize, Packed)> = states.filter_map(readable).collect();
    states.sort_by_key(|(_, packed)| std::cmp::Reverse(packed.next_chunk));
    let found = format!(
        "states before chunks {:?} and {} records up to {:?}",
        states.iter().map(|(_, packed)| packed.next_chunk).collect::<Vec<_>>(),
        records.len(),
        records.keys().next_back()
    );
    for (from, packed) in states {
        let first = packed.next_chunk;
        let Some(place) = records.get(&first).map(|record| record.place).filter(|_| first <= next) else { continue };
        // A record may be missing, and the video may have gone elsewhere since.
        let follows = |at: &usize| records.get(at).is_some_and(|record| record.place == place + (at - first));
        let end = (first..).take_while(follows).last().map_or(first, |last| last + 1);
        if next <= end {
            let records = (first..end).filter_map(|at| records.remove(&at)).collect();
            return Ok(Choice { from, packed, records, next });
        }
    }
    Err(format!("its journal has no way to chunk {next}: {found}"))
}

impl Choice {
    fn unpack(self, token: String) -> Result<(Packed, Video, usize), String> {
        let Choice { from, mut packed, records, next } = self;
        let hidden = next - packed.next_chunk;
        let newest = records.last().expect("a state is chosen with its record");
        packed.conditions = newest.conditions.clone();
        if let Some(before) = hidden.checked_sub(1).map(|at| &records[at]) {
            packed.session = before.session.clone();
            (packed.went_elsewhere, packed.elsewhere_id) = (false, None);
        }
        packed.replay = records.iter().map(|record| record.input.clone()).collect();
        (packed.token, packed.next_chunk, packed.backlog) = (token, next, PackedBacklog::none_before(next));
        let (init, mut inputs) = packed.video()?;
        let shown = inputs.split_off(hidden.min(inputs.len()));
        let shown = shown.into_iter().zip(&records[hidden..]);
        let shown = shown.map(|(input, record): (ChunkInput, &Record)| Replayed {
            input,
            event_id: record.event_id,
            acks: record.acks(),
        });
        let shown = shown.collect();
        Ok((packed, Video { init, hidden: inputs, shown }, from))
    }
}
