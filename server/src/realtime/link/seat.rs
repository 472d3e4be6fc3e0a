//! A place in the engine, from the init that asks for it to the chunk that is stopped when nobody wants it any more.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use pipeline::world::{Cancel, Card, ChunkPlan, Chunking, FRAMES_PER_LATENT, Init, Refusal, Size};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

use super::Realtime;
use super::connection::Writer;
use super::delivery::Parts;
use super::reads::Reads;
use super::seeking::Sought;
use super::share::{OpenFailure, find_place, full, spacing};
use crate::access::inbound::{Account, Full};
use crate::access::rules::denied::Denied;
use crate::cluster::rules::ticket::Needs;
use crate::cluster::tickets::HeldGrant;
use crate::engine::elsewhere::{Again, OpenError, Replayed};
use crate::engine::messages::{Command, Open, parts_places};
use crate::engine::thread::Engine;
use crate::engine::turns::conditions::Beginning;
use crate::engine::turns::event::Lens;
use crate::engine::turns::under_way::Conditions;
use crate::guardrails::{Blocked, Guardrails};
use crate::media::pictures;
use crate::realtime::session::CREDIT;
use crate::realtime::wire::acks::InitAck;
use crate::realtime::wire::control::Transport;
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::features::{Features, Offer};
use crate::realtime::wire::from_recording::{BYTES_MAX, FromRecording, Recorded, Source};
use crate::realtime::wire::init::{FirstFrame, InitRequest, Opening, Terms};
use crate::realtime::wire::watch::About;
use crate::recordings::{self, Recordings};

/// Of the name of a model that is not served here.
const MODEL_BYTES_LOGGED: usize = 128;

/// A place in the engine: given up, and its chunk stopped, when this is dropped.
pub(super) struct Seat {
    pub(super) id: u64,
    pub(super) engine: Engine,
    pub(super) cancel: Cancel,
    /// What steers the next chunk: the engine takes it when that begins.
    pub(super) conditions: Arc<Mutex<Conditions>>,
    pub(super) terms: Terms,
    pub(super) chunking: Chunking,
    /// The place in the video of the first chunk that is sent.
    pub(super) first_chunk: usize,
    pub(super) features: Features,
    pub(super) encoding: pictures::Encoding,
    /// What that was made of.
    pub(super) transport: Transport,
    /// The lens that its init brought.
    pub(super) lens: Option<Lens>,
    /// How its video began, for a client that may begin another, and for another server.
    pub(super) begun: Option<Arc<Init>>,
    /// Bytes and pixels of a frame that it was admitted with.
    pub(super) admitted: (u64, u64),
    /// How its world reads prompts.
    pub(super) reads: Reads,
    /// What its prompts must pass.
    pub(super) guardrails: Guardrails,
    /// The server records it.
    pub(super) recorded: bool,
    pub(super) given_up: bool,
    /// For a session with a journal: the engine is to give the state before the next chunk.
    pub(super) journal: Option<Arc<AtomicBool>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Seat {
    /// What a node needs to go on with it, and whose it is, if it has a journal.
    pub(super) fn journaled(&self, account: Option<&Arc<str>>) -> Option<(Needs, Option<String>)> {
        self.journal.as_ref()?;
        let (bytes, pixels) = self.admitted;
        let period = self.terms.chunk_period(&self.card());
        let period_us = period.map(|period| u64::try_from(period.as_micros()).unwrap_or(u64::MAX));
        Some((Needs { bytes, pixels, period_us }, account.map(|account| account.to_string())))
    }

    pub(super) fn card(&self) -> Arc<Card> {
        self.engine.card.borrow().clone().expect("a seat is one of a world")
    }

    /// What its viewers hear of it.
    pub(super) fn about(&self, session_id: &str) -> About {
        let card = self.card();
        let Size { width, height } = self.encoding.source();
        About {
            session_id: session_id.to_owned(),
            world: card.name.clone(),
            width,
            height,
            fps: self.terms.fps,
            paced: self.terms.paced,
            chunk_frames: card.chunk * FRAMES_PER_LATENT,
            features: self.features.steering(),
        }
    }

    /// Bytes of the longest chunk as it is drawn.
    pub(super) fn chunk_bytes(&self) -> u64 {
        let frames = self.chunking.longest() * FRAMES_PER_LATENT;
        frames as u64 * self.encoding.source().frame_bytes()
    }

    /// What its client asked to hear of it.
    pub(super) fn ack(&self, session_id: &str) -> Bytes {
        let About { world, width, height, fps, paced, chunk_frames, .. } = &self.about(session_id);
        let (width, height, fps, paced, chunk_frames) = (*width, *height, *fps, *paced, *chunk_frames);
        let (features, recorded) = (self.features.names(), self.recorded);
        InitAck { session_id, world, width, height, fps, paced, chunk_frames, features, recorded }.message()
    }

    /// Nothing more will be drawn: somebody else may sit here.
    pub(super) fn give_up(&mut self) {
        if !std::mem::replace(&mut self.given_up, true) {
            self.cancel.cancel();
            self.command(Command::Close(self.id));
        }
    }

    /// The chunk that is being denoised is to be begun again: unless the engine was told something since that began, for
    /// then another session may wait for it.
    pub(super) fn begin_again(&self) {
        let commands = &self.engine.commands;
        if commands.capacity() == commands.max_capacity() {
            self.cancel.give_up();
        }
    }

    pub(super) fn command(&self, command: Command) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.engine.commands.try_send(command) {
            unreachable!("the channel has a place for all that every seat can have on its way");
        }
    }
}

/// Whose session it is, for its recording.
pub(super) struct Whose {
    pub(super) account: Option<Arc<str>>,
    pub(super) session: String,
}

/// Wait for a place, and open what an init asks for: gives the seat, the channel that its chunks come through, and the grant
/// if it was a cluster's.
/// `writer` is for a client that asked to hear where it stands; it says when it last said that it still waits. `held` is
/// what the init holds, until all of it is used.
pub(super) async fn open(
    realtime: &Realtime,
    (of, sought): (Whose, Sought),
    mut init: InitRequest,
    (writer, waits_still): (Writer, watch::Receiver<Instant>),
    mut held: Option<Account>,
) -> Result<(Seat, Parts, Option<HeldGrant>), OpenFailure> {
    let stopped = || OpenFailure::Failed("the server is shutting down".into());
    let mut card = realtime.engine.card.clone();
    let loading = card.borrow().is_none();
    let waits =
        loading.then(|| realtime.queue.before_the_world()).transpose().map_err(|refused| full(realtime, &refused))?;
    let card = card.wait_for(Option::is_some).await.map_err(|_| stopped())?.clone().expect("waited for it");
    drop(waits);
    let recorded = match init.take_recording() {
        Some(from) => Some(read_recording(realtime, &of, from, held.as_mut()).await.map_err(OpenFailure::Refused)?),
        None => None,
    };
    recorded.iter().for_each(|recorded| init.begins_like(&recorded.init));
    let mut opening = init.check(&card).map_err(OpenFailure::Refused)?;
    let rewinds = spacing(realtime, &card, &opening.init(None), u64::MAX);
    opening.features.rewind = opening.features.rewind.limited(rewinds.is_some());
    let rewinds = rewinds.filter(|_| opening.features.rewind == Offer::Open);
    if let Some(recorded) = &recorded {
        let drawn = opening.init(None);
        recorded.check(&drawn, drawn.chunking(&card)).map_err(OpenFailure::Refused)?;
    }
    let is_recorded = Recordings::records(realtime.recordings.as_deref(), opening.record)
        .map_err(|reason| OpenFailure::Refused(Refusal { field: "record", reason: reason.to_owned() }))?;
    if let Some(asked) = opening.model.take().filter(|asked| *asked != card.name) {
        let asked = &asked[..asked.floor_char_boundary(MODEL_BYTES_LOGGED)];
        warn!(asked, served = %card.name, "another model was asked for");
    }

    let guardrails = check_prompts(realtime, &opening, recorded.as_ref()).await?;

    // Before there is a place: another's slow server must not hold one.
    let file = match opening.first_frame.take() {
        None => None,
        Some(FirstFrame::File(file)) => Some(file),
        Some(FirstFrame::At(url)) => {
            let fetched = realtime.fetcher.fetch(&url).await;
            let room = fetched.and_then(|file| match held.as_mut().map(|held| held.hold(file.len() as u64)) {
                Some(Err(Full)) => Err(Denied::TooManyBytes.to_string()),
                Some(Ok(())) | None => Ok(file),
            });
            let file = room.map_err(|reason| OpenFailure::Refused(Refusal { field: "first_frame", reason }))?;
            Some(file.into())
        }
    };

    let needs = (recorded.as_ref(), rewinds);
    let (admitted, grant) = find_place(realtime, &opening, &card, needs, (&writer, waits_still), sought).await?;
    // Only now: a session that waits for a place keeps the file, which is smaller.
    let picture = match file {
        None => None,
        Some(file) => {
            let read = realtime.pictures.read(file, opening.size()).await;
            Some(read.map_err(|reason| OpenFailure::Refused(Refusal { field: "first_frame", reason }))?)
        }
    };
    let chunking = opening.init(None).chunking(&card);
    let first_steered = recorded.as_ref().map(|recorded| ChunkPlan::new(recorded.inputs.len(), chunking));
    // After a beginning that was steered the camera rests, which is not the same as a camera that was never used.
    let rests = recorded.as_ref().is_some_and(Recorded::is_steered);
    let beginning = Beginning {
        script: opening.script.take().or_else(|| rests.then(Vec::new)),
        from: first_steered.map_or(0, |plan| plan.first_latent_frame),
        lens: opening.lens,
        fps: opening.terms.fps,
        size: opening.size(),
        every_tap: opening.features.steers(),
    };
    let Opening { terms, encoding, transport, features, lens, .. } = opening;
    let (id, cancel) = (admitted.id, Cancel::default());
    let conditions = Arc::new(Mutex::new(Conditions::new(beginning)));
    let (init, again) = match recorded {
        None => (opening.init(picture), None),
        Some(Recorded { init, origin, inputs, show, .. }) => {
            let (hidden, shown) = if show { (VecDeque::new(), inputs) } else { (inputs, VecDeque::new()) };
            let shown = shown.into_iter().map(Replayed::from).collect();
            (init, Some(Box::new(Again { origin, hidden, shown })))
        }
    };
    let reads = Reads::of(&card, features, &init);
    let first_chunk = again.as_ref().map_or(0, |again| again.hidden.len());
    let begun = (features.reset || realtime.moving.is_some()).then(|| Arc::new(init.clone()));
    let share = (admitted.bytes, init.size.pixels());
    let journal = journal_of(realtime, features);
    let (parts_drawn, parts) = mpsc::channel(parts_places(chunking.longest(), CREDIT));
    let open = Open {
        admitted,
        init,
        paced: terms.paced,
        conditions: Arc::clone(&conditions),
        parts: parts_drawn,
        cancel: cancel.clone(),
        record: realtime
            .recordings
            .clone()
            .filter(|_| is_recorded)
            .map(|recordings| (recordings, of.name(&of.session))),
        rewinds,
        again,
        state: None,
        recorded: None,
        journal: journal.clone(),
    };
    // Created before the engine is asked: this future may be dropped after the engine has opened the seat and before
    // the answer is read; then nothing else would free the seat.
    let seat = Seat {
        id,
        engine: realtime.engine.clone(),
        cancel,
        conditions,
        terms,
        chunking,
        first_chunk,
        features,
        encoding,
        transport,
        lens,
        begun,
        admitted: share,
        reads,
        guardrails,
        recorded: is_recorded,
        given_up: false,
        journal,
    };
    let (reply, answer) = oneshot::channel();
    realtime.engine.commands.send(Command::Open(Box::new(open), reply)).await.map_err(|_| stopped())?;
    match answer.await.map_err(|_| stopped())? {
        Ok(()) => Ok((seat, parts, grant)),
        Err(OpenError::Refused(refusal)) => Err(OpenFailure::Refused(refusal)),
        Err(OpenError::Failed(message)) => Err(OpenFailure::Failed(message)),
    }
}

/// Whether a session of these features has a journal. The first chunk comes with a state.
pub(super) fn journal_of(realtime: &Realtime, features: Features) -> Option<Arc<AtomicBool>> {
    let has_one = features.session && realtime.cluster.as_ref().is_some_and(|cluster| cluster.has_journals());
    has_one.then(|| Arc::new(AtomicBool::new(true)))
}

impl Whose {
    /// The name of the recording of one of the account's sessions.
    pub(super) fn name(&self, session: &str) -> String {
        recordings::name(self.account.as_deref(), session)
    }
}

/// The recording that a session begins with. Its values are `held` beside the message until the session begins.
async fn read_recording(
    realtime: &Realtime,
    of: &Whose,
    from: FromRecording,
    held: Option<&mut Account>,
) -> Result<Recorded, Refusal> {
    let refuse = |reason: String| Refusal { field: "recording", reason };
    let own = match &from.source {
        Source::File(_) => None,
        Source::Session(id) if !recordings::is_session_id(id) => {
            return Err(refuse("session_id: is the id of no session".to_owned()));
        }
        Source::Session(id) => match &realtime.recordings {
            Some(recordings) => Some((Arc::clone(recordings), of.name(id))),
            None => return Err(refuse("session_id: this server records no session".to_owned())),
        },
    };
    let read = off_the_loop(move || match (own, &from.source) {
        (Some((recordings, name)), _) => from.decode(&recordings.read(&name, BYTES_MAX).map_err(refuse)?),
        (None, Source::File(file)) => from.decode(file),
        (None, Source::Session(_)) => unreachable!("it was looked up"),
    });
    let recorded = read.await.unwrap_or_else(|Panicked| Err(refuse(Panicked::WORDS.to_owned())))?;
    let picture = recorded.init.first_frame.as_ref().map_or(0, |picture| picture.rgb.len() as u64);
    match held.map(|held| held.hold(recorded.bytes + picture)) {
        Some(Err(Full)) => Err(refuse(Denied::TooManyBytes.to_string())),
        Some(Ok(())) | None => Ok(recorded),
    }
}

/// The guardrails of this session, once the init's prompt and those of a recording have passed them.
async fn check_prompts(
    realtime: &Realtime,
    opening: &Opening,
    recorded: Option<&Recorded>,
) -> Result<Guardrails, OpenFailure> {
    let checked = realtime
        .guardrails
        .switch(opening.guardrails)
        .map_err(|switch| OpenFailure::Refused(Refusal { field: "use_guardrails", reason: switch.to_string() }))?;
    if !checked {
        return Ok(Guardrails::default());
    }
    let guardrails = realtime.guardrails.clone();
    let more = recorded.into_iter().flat_map(Recorded::prompts);
    let prompts: Vec<String> = std::iter::once(opening.prompt()).chain(more).map(str::to_owned).collect();
    match off_the_loop(move || guardrails.check(prompts.iter().map(String::as_str))).await {
        Ok(Ok(())) => Ok(realtime.guardrails.clone()),
        Ok(Err(Blocked { guardrail })) => {
            realtime.observer.blocked(guardrail);
            Err(OpenFailure::Blocked(ClientError::guardrail_blocked(None)))
        }
        Err(Panicked) => Err(OpenFailure::Blocked(ClientError::guardrail_blocked(None))),
    }
}

/// Run blocking work on a thread of its own, so that other sockets are not delayed.
pub(super) async fn off_the_loop<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| {
        // The panic's text goes to the log only: it reveals internals.
        tracing::error!(error = %panic, "a check panicked");
        Panicked
    })
}

/// The work gave no result.
pub(super) struct Panicked;

impl Panicked {
    /// For the client.
    pub(super) const WORDS: &str = "this could not be checked";
}
