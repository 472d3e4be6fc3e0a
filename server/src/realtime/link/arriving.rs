//! A session that comes from another node: it gets a place by the rules of any other, its rollout is opened where its bytes
//! stand, and it waits for its client's `resume`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use bytes::Bytes;
use pipeline::world::{Cancel, Card, ChunkInput, Init};
use tokio::sync::{mpsc, oneshot};
use tracing::{Instrument, info};

use super::Realtime;
use super::delivery::Parts;
use super::line::Over;
use super::outlet::Outlet;
use super::packed::Packed;
use super::reads::Reads;
use super::resume::ResumeTicket;
use super::running::{Arrived, Running};
use super::seat::{Panicked, Seat, Whose, journal_of, off_the_loop};
use super::share::{OpenFailure, find_place_for, frames_held, needs, spacing};
use crate::cluster::node::Cluster;
use crate::cluster::rules::ticket::Needs;
use crate::cluster::tickets::Place;
use crate::engine::elsewhere::{Again, OpenError, Replayed};
use crate::engine::messages::{Command, Open, parts_places};
use crate::engine::turns::under_way::Conditions;
use crate::guardrails::Guardrails;
use crate::phase::Phase;
use crate::realtime::session::{CREDIT, Session};
use crate::realtime::wire::features::Offer;
use crate::realtime::wire::receipts::SessionClock;

/// Why a session is not taken: for the node that has it.
#[derive(Debug)]
pub(crate) struct NotTaken {
    pub(crate) status: StatusCode,
    pub(crate) reason: String,
}

/// A video that goes on: how it began, and what is drawn before any event steers.
pub(super) struct Video {
    pub(super) init: Init,
    /// Drawn again, and not sent.
    pub(super) hidden: VecDeque<ChunkInput>,
    /// Drawn and sent.
    pub(super) shown: VecDeque<Replayed>,
}

impl NotTaken {
    pub(super) fn wrong(reason: impl ToString) -> NotTaken {
        NotTaken { status: StatusCode::BAD_REQUEST, reason: reason.to_string() }
    }

    pub(super) fn here_already() -> NotTaken {
        NotTaken { status: StatusCode::CONFLICT, reason: "is here already".to_owned() }
    }

    pub(super) fn busy(reason: impl ToString) -> NotTaken {
        NotTaken { status: StatusCode::SERVICE_UNAVAILABLE, reason: reason.to_string() }
    }
}

/// Take a session. It runs in a task of its own, which holds `present` as a connection does. `place`: of a cluster.
pub(crate) async fn take(
    realtime: Arc<Realtime>,
    bytes: Bytes,
    place: Option<Place>,
    present: mpsc::Sender<()>,
) -> Result<(), NotTaken> {
    let decoded = off_the_loop(move || {
        let packed = Packed::decode(&bytes)?;
        let (init, replay) = packed.video()?;
        let shown = replay.into_iter().map(Replayed::from).collect();
        Ok::<_, String>((packed, Video { init, hidden: VecDeque::new(), shown }))
    });
    let decoded = decoded.await.unwrap_or_else(|Panicked| Err(Panicked::WORDS.to_owned()));
    let (packed, video) = decoded.map_err(NotTaken::wrong)?;
    let card = read(&realtime)?;
    let id = packed.session_id.clone();
    let span = tracing::info_span!("session", id = %id);
    let (resumable, cluster) = (Arc::clone(&realtime.resumable), realtime.cluster.as_deref());
    let has_journal = packed.features.session && cluster.is_some_and(Cluster::has_journals);
    let journaled = place.as_ref().filter(|_| has_journal).map(|place| journaled(&card, &packed, &video.init, place));
    let ticket = ResumeTicket::of(packed.token.clone(), resumable, cluster, journaled);
    let mut ticket = ticket.ok_or_else(NotTaken::here_already)?;
    // Its client may ask any node as soon as it hears that the session has gone.
    ticket.is_known().await;
    let opened = open(&realtime, &card, packed, video, (ticket, place));
    let (arrived, parts) = opened.instrument(span.clone()).await?;
    let task = async move {
        let Over { line, close } = Running::arrived(arrived, parts, &realtime, &id).run().await;
        match line {
            Some(line) => drop(line.finish(realtime.observer.clone(), close).await),
            None => info!(reason = close.map(|close| close.reason), "over"),
        }
        drop(present);
    };
    tokio::spawn(task.instrument(span));
    Ok(())
}

/// What another node would need for it, and whose it is.
pub(super) fn journaled(card: &Card, packed: &Packed, init: &Init, place: &Place) -> (Needs, Option<String>) {
    let needs = needs(place.admitted.bytes, init, packed.terms.chunk_period(card));
    (needs, packed.account.clone())
}

/// What is drawn here, while sessions are taken.
pub(super) fn read(realtime: &Realtime) -> Result<Arc<Card>, NotTaken> {
    if *realtime.phase.borrow() != Phase::Serving {
        return Err(NotTaken::busy("this node stops, too"));
    }
    realtime.engine.card.borrow().clone().ok_or_else(|| NotTaken::busy("the world is loading"))
}

/// Find a place for it, and open its rollout.
pub(super) async fn open(
    realtime: &Realtime,
    card: &Arc<Card>,
    packed: Packed,
    Video { init, hidden, shown }: Video,
    (ticket, place): (ResumeTicket, Option<Place>),
) -> Result<(Arrived, Parts), NotTaken> {
    let Packed { features, terms, transport, .. } = packed;
    card.choose_size(Some(init.size)).map_err(NotTaken::wrong)?;
    let encoding = transport.of(init.size).map_err(NotTaken::wrong)?;
    let guardrails = guardrails(realtime, packed.guarded)?;
    let chunking = init.chunking(card);
    let conditions = packed.conditions.unpack(terms.fps, init.size, Instant::now()).map_err(NotTaken::wrong)?;
    let stay = realtime.bounds.stay;
    let session: Session =
        packed.session.unpack((terms, features, stay), chunking, Instant::now()).map_err(NotTaken::wrong)?;
    let backlog = packed.backlog.unpack(realtime.bounds.backlog_bytes).map_err(NotTaken::wrong)?;

    // What it could go back to stays behind: it is kept anew from here on.
    let rewinds = spacing(realtime, card, &init, u64::MAX);
    if rewinds.is_none() && features.rewind == Offer::Open {
        return Err(NotTaken::wrong("its client may go back in the video, and nothing is kept for that here"));
    }
    let rewinds = rewinds.filter(|_| features.rewind == Offer::Open);
    let frames = frames_held(card, &init, (features, realtime.moving.is_some()), terms, encoding);
    let (admitted, grant) = find_place_for(realtime, &init, terms.chunk_period(card), (frames, rewinds), place)
        .await
        .map_err(|failure| match failure {
        OpenFailure::Busy(error) => NotTaken::busy(error.content),
        OpenFailure::Refused(refusal) => NotTaken::busy(refusal),
        OpenFailure::Blocked(error) => NotTaken::wrong(error.content),
        OpenFailure::Failed(reason) => NotTaken::busy(reason),
        OpenFailure::Elsewhere(_) | OpenFailure::Redirect(_) | OpenFailure::TooManySessions(_) => {
            unreachable!("a place is looked for here alone")
        }
    })?;

    // A recording cannot begin in the middle of a video: only one that comes along goes on.
    let recorded = packed.recording.filter(|_| realtime.recordings.is_some());
    let recorded = recorded.map(|(video, bytes)| (video, bytes.into_vec()));
    let is_recorded = recorded.is_some();
    let whose = Whose { account: packed.account.map(Arc::from), session: packed.session_id };
    let (id, cancel) = (admitted.id, Cancel::default());
    let conditions = Arc::new(Mutex::new(Conditions::going_on(conditions)));
    let reads = Reads::of(card, features, &init);
    let begun = Some(Arc::new(init.clone()));
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
        record: recorded
            .as_ref()
            .and(realtime.recordings.clone())
            .map(|recordings| (recordings, whose.name(&whose.session))),
        rewinds,
        again: Some(Box::new(Again { origin: None, hidden, shown })),
        state: Some(packed.rollout.into_vec()),
        recorded,
        journal: journal.clone(),
    };
    // As in `seat::open`: whatever happens to this future, the place is given up.
    let seat = Seat {
        id,
        engine: realtime.engine.clone(),
        cancel,
        conditions,
        terms,
        chunking,
        first_chunk: packed.first_chunk,
        features,
        encoding,
        transport,
        lens: packed.lens,
        begun,
        admitted: share,
        reads,
        guardrails,
        recorded: is_recorded,
        given_up: false,
        journal,
    };
    let gone = || NotTaken::busy("the server is shutting down");
    let (reply, answer) = oneshot::channel();
    realtime.engine.commands.send(Command::Open(Box::new(open), reply)).await.map_err(|_| gone())?;
    match answer.await.map_err(|_| gone())? {
        Ok(()) => {}
        Err(OpenError::Refused(refusal)) => return Err(NotTaken::wrong(refusal)),
        Err(OpenError::Failed(reason)) => return Err(NotTaken::busy(reason)),
    }
    realtime.observer.metrics.arrivals.add(1);
    let clock = SessionClock::new(
        Instant::now()
            .checked_sub(Duration::from_secs_f64(packed.clock_ms.min(CLOCK_MS_MAX) / 1e3))
            .unwrap_or_else(Instant::now),
    );
    let may_send = ticket.may_send().filter(|_| seat.journal.is_some());
    let arrived = Arrived {
        id: whose.session,
        seat,
        session,
        ticket,
        outlet: Arc::new(Outlet::without_a_line(backlog).fenced(may_send)),
        journal_from: None,
        next_chunk: packed.next_chunk,
        elsewhere: packed.went_elsewhere.then_some(packed.elsewhere_id),
        clock,
        account: whose.account,
        grant,
    };
    Ok((arrived, parts))
}

/// A year.
const CLOCK_MS_MAX: f64 = 366.0 * 24.0 * 3600.0 * 1e3;

/// As the session was checked where it began, and as this server asks.
fn guardrails(realtime: &Realtime, guarded: bool) -> Result<Guardrails, NotTaken> {
    // One that was not checked is checked here only if this server lets nobody do without.
    let checked = match realtime.guardrails.switch(Some(guarded)) {
        Ok(checked) => checked,
        Err(_) if guarded => return Err(NotTaken::wrong("its prompts are checked, and none are here")),
        Err(_) => true,
    };
    Ok(if checked { realtime.guardrails.clone() } else { Guardrails::default() })
}
