//! A session as bytes, for another process: its rollout, and everything that a server knows of it and that must go on.
//!
//! MessagePack with named fields; an unknown field is an error, and so is another version. Two things inside are formats of
//! their own: the rollout ([`pipeline::packed`]), and the beginning and the inputs of its video ([`pipeline::recording`]).
//!
//! The token that its client comes back with is inside, so these bytes are secret.

use std::collections::VecDeque;

use pipeline::recording::{self, encode_chunk, encode_init};
use pipeline::world::{ChunkInput, Init};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::engine::turns::conditions::packed::PackedConditions;
use crate::engine::turns::event::Lens;
use crate::moving::SESSION_BYTES_MAX;
use crate::realtime::session::backlog::PackedBacklog;
use crate::realtime::session::packed::PackedSession;
use crate::realtime::wire::control::Transport;
use crate::realtime::wire::features::Features;
use crate::realtime::wire::init::Terms;

/// The version that is written and read here. Nodes of two versions move no session to each other, unless both say the same.
pub(super) const VERSION: u32 = 1;

/// In place of a token that is not written: a session's journal has none.
pub(super) const NO_TOKEN: &str = "00000000000000000000000000000000";

/// The most bytes of a recording that goes along: eight hours of chunks, and a first frame. A longer one ends here.
pub(super) const RECORDING_BYTES_MAX: u64 = 4 << 20;

/// Bytes of all but the rollout, the beginning and the backlog: the recording, and waiting events.
const REST_BYTES: usize = RECORDING_BYTES_MAX as usize + (1 << 20);

/// A session that moves.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Packed {
    pub(super) causeway_session: u32,
    pub(super) session_id: String,
    /// What its client comes back with: a secret.
    pub(super) token: String,
    /// Whose it is, by the name of a key.
    pub(super) account: Option<String>,
    pub(super) features: Features,
    pub(super) terms: Terms,
    pub(super) transport: Transport,
    pub(super) lens: Option<Lens>,
    /// Its prompts and frames are checked.
    pub(super) guarded: bool,
    pub(super) first_chunk: usize,
    /// The number of the next chunk, as its client counts them.
    pub(super) next_chunk: usize,
    /// The next chunk does not follow the one before it, and for which event.
    pub(super) went_elsewhere: bool,
    pub(super) elsewhere_id: Option<u32>,
    /// What the client's receipts count from, in milliseconds.
    pub(super) clock_ms: f64,
    pub(super) conditions: PackedConditions,
    pub(super) session: PackedSession,
    pub(super) backlog: PackedBacklog,
    /// How its video began: a recording without chunks.
    pub(super) beginning: ByteBuf,
    /// What steers the next chunks, before any event does: a recording's chunks, one by one.
    pub(super) replay: VecDeque<ByteBuf>,
    /// The number of its video in the session, and that video's recording so far. `None`: it is not recorded, or no more.
    pub(super) recording: Option<(u32, ByteBuf)>,
    pub(super) rollout: ByteBuf,
}

impl Packed {
    /// `Err`: these bytes are no session of this version.
    pub(super) fn decode(bytes: &[u8]) -> Result<Packed, String> {
        if bytes.len() > SESSION_BYTES_MAX {
            return Err(format!("{} bytes; at most {SESSION_BYTES_MAX}", bytes.len()));
        }
        #[derive(Deserialize)]
        struct Version {
            causeway_session: u32,
        }
        let version: Version = rmp_serde::from_slice(bytes).map_err(|error| format!("is no session: {error}"))?;
        if version.causeway_session != VERSION {
            return Err(format!("version {} of a session; this program reads {VERSION}", version.causeway_session));
        }
        let packed: Packed = rmp_serde::from_slice(bytes).map_err(|error| format!("is no session: {error}"))?;
        // A token of ours, and an id of ours: both are shown to clients and looked up.
        let is_one = |text: &str| text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !is_one(&packed.token) || !is_one(&packed.session_id) {
            return Err("its id or its token is not 32 hexadecimal digits".to_owned());
        }
        // The name of a key, and of a folder of recordings.
        let is_name = |text: &str| text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_');
        if packed.account.as_deref().is_some_and(|account| account.is_empty() || !is_name(account)) {
            return Err("its account is no name of a key".to_owned());
        }
        packed.lens.map_or(Ok(()), Lens::check)?;
        if packed.terms.fps == 0
            || !packed.clock_ms.is_finite()
            || packed.clock_ms < 0.0
            || packed.next_chunk >> 40 != 0
        {
            return Err("a rate, a time or a number of chunks that no session has".to_owned());
        }
        Ok(packed)
    }

    /// `Err`: it is more than may move.
    pub(super) fn encode(&self) -> Result<Vec<u8>, String> {
        let bytes = rmp_serde::to_vec_named(self).map_err(|error| error.to_string())?;
        match bytes.len() <= SESSION_BYTES_MAX {
            true => Ok(bytes),
            false => Err(format!("{} bytes; at most {SESSION_BYTES_MAX} move", bytes.len())),
        }
    }

    /// What is left for the backlog beside a rollout and a beginning of these bytes.
    pub(super) fn room_for_backlog(rollout: &[u8], beginning: &[u8]) -> usize {
        SESSION_BYTES_MAX.saturating_sub(REST_BYTES + rollout.len() + beginning.len())
    }

    /// How its video began, and what steers its next chunks.
    pub(super) fn video(&self) -> Result<(Init, VecDeque<ChunkInput>), String> {
        let beginning = [&self.beginning].into_iter().chain(&self.replay).flat_map(|part| part.iter()).copied();
        let bytes: Vec<u8> = beginning.collect();
        let (init, chunks) = recording::read(&bytes).map_err(|invalid| invalid.to_string())?;
        let replay = chunks.collect::<Result<_, _>>().map_err(|invalid| invalid.to_string())?;
        Ok((init, replay))
    }
}

/// How a video began, as bytes.
pub(super) fn beginning(init: &Init) -> Result<ByteBuf, String> {
    encode_init(init, None).map(ByteBuf::from).map_err(|invalid| invalid.to_string())
}

/// What steers the next chunks, as bytes.
pub(super) fn inputs(replay: &VecDeque<ChunkInput>) -> Result<VecDeque<ByteBuf>, String> {
    let encoded = replay.iter().map(|input| encode_chunk(input).map(ByteBuf::from));
    encoded.collect::<Result<_, _>>().map_err(|invalid| invalid.to_string())
}
