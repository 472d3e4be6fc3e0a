//! A session's share of the server: how much it needs, asked for and waited for.

use std::time::{Duration, Instant};

use pipeline::world::{Card, FRAMES_PER_LATENT, Init, Refusal};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};

use super::Realtime;
use super::connection::Writer;
use crate::admission::queue::{Admitted, QueueTicket, Standing};
use crate::admission::rules::{Obstacle, Refused};
use crate::engine::turns::rewinds::Spacing;
use crate::media::{h264, pictures};
use crate::realtime::session::CREDIT;
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::features::Features;
use crate::realtime::wire::from_recording::Recorded;
use crate::realtime::wire::init::{Opening, Terms};
use crate::realtime::wire::queue;

/// However the queue moves, one that waits hears of it no more often.
pub(super) const SAID_EVERY: Duration = Duration::from_millis(250);

/// Why a session does not begin.
pub(super) enum OpenFailure {
    Refused(Refusal),
    /// A guardrail does not let its prompt be drawn.
    Blocked(ClientError),
    /// There is no place, as this says.
    Busy(ClientError),
    Failed(String),
}

/// Video frames of a session that may be drawn and not yet written, and what is kept of its beginning. `moves`: sessions may go
/// on at another server.
pub(super) fn frames_held(
    card: &Card,
    init: &Init,
    (features, moves): (Features, bool),
    terms: Terms,
    encoding: pictures::Encoding,
) -> usize {
    let credit = if terms.paced { 1 } else { CREDIT };
    let mut frames = credit as usize * init.chunking(card).longest() * FRAMES_PER_LATENT;
    // One that may change its transport may become a film.
    if features.transport || matches!(encoding.format(), pictures::Format::H264 { .. }) {
        frames += h264::frames_held(init.size);
    }
    // The picture that another video may begin with again, or this one at another server.
    frames += usize::from(features.reset || moves);
    frames
}

/// How the states of a session are spaced that it can go back to, within so many bytes. `None`: its world keeps none, or
/// needs more for them.
pub(super) fn spacing(realtime: &Realtime, card: &Card, init: &Init, bytes_max: u64) -> Option<Spacing> {
    Spacing::within(card, realtime.queue.state_bytes(init)?, bytes_max.min(realtime.bounds.rewind_bytes))
}

pub(super) async fn find_place(
    realtime: &Realtime,
    opening: &Opening,
    card: &Card,
    (recorded, rewinds): (Option<&Recorded>, Option<Spacing>),
    (writer, waits_still): (&Writer, watch::Receiver<Instant>),
) -> Result<Admitted, OpenFailure> {
    let (came, init) = (Instant::now(), opening.init(None));
    let features = (opening.features, realtime.moving.is_some());
    let frames = frames_held(card, &init, features, opening.terms, opening.encoding);
    let beside = rewinds.map_or(0, Spacing::bytes) + recorded.map_or(0, |recorded| recorded.bytes);
    let ticket = ask(realtime, &init, opening.terms.chunk_period(card), (frames, beside))?;
    let (patience, writer) = match opening.features.queue {
        true => (realtime.bounds.queue_wait, Some(writer)),
        false => (realtime.bounds.busy_wait, None),
    };
    placed(realtime, came, wait(ticket, (patience, waits_still), writer).await)
}

/// A place for a session of another server, whose client is not here: it waits as one that knows of no queue.
pub(super) async fn find_place_for(
    realtime: &Realtime,
    init: &Init,
    period: Option<Duration>,
    (frames, rewinds): (usize, Option<Spacing>),
) -> Result<Admitted, OpenFailure> {
    let came = Instant::now();
    let ticket = ask(realtime, init, period, (frames, rewinds.map_or(0, Spacing::bytes)))?;
    let (_says_nothing, waits_still) = watch::channel(came);
    placed(realtime, came, wait(ticket, (realtime.bounds.busy_wait, waits_still), None).await)
}

fn ask(
    realtime: &Realtime,
    init: &Init,
    period: Option<Duration>,
    (frames, beside): (usize, u64),
) -> Result<QueueTicket, OpenFailure> {
    realtime.queue.ask(init, period, frames, beside).map_err(|refused| match refused {
        Refused::QueueFull { .. } | Refused::ClipsFull { .. } => full(realtime, &refused),
        Refused::TooLarge { .. } => {
            realtime.observer.refused(refused.name());
            let reason = format!("{} with a window of {}: {refused}", init.size, init.window);
            OpenFailure::Refused(Refusal { field: "size", reason })
        }
    })
}

fn placed(realtime: &Realtime, came: Instant, place: Result<Admitted, Obstacle>) -> Result<Admitted, OpenFailure> {
    let place = place.map_err(|obstacle| {
        realtime.observer.refused(obstacle.name());
        OpenFailure::Busy(ClientError::busy(&obstacle))
    })?;
    realtime.observer.placed(came.elapsed());
    Ok(place)
}

pub(super) fn full(realtime: &Realtime, refused: &Refused) -> OpenFailure {
    realtime.observer.refused(refused.name());
    OpenFailure::Busy(ClientError::queue_full(refused))
}

/// Wait for admission, for as long as this since the client last said that it waits. A client that asked for it is told
/// its position meanwhile.
async fn wait(
    mut ticket: QueueTicket,
    (patience, mut waits_still): (Duration, watch::Receiver<Instant>),
    writer: Option<&Writer>,
) -> Result<Admitted, Obstacle> {
    let mut said = None;
    let came = Instant::now();
    loop {
        let deadline = came.max(*waits_still.borrow_and_update()) + patience;
        let standing = *ticket.standing.borrow_and_update();
        let Standing::Waits(waiting) = standing else { return Ok(ticket.into_admitted()) };
        let news = (waiting.position, waiting.estimate, waiting.obstacle.name());
        if let Some(writer) = writer
            && said.replace(news) != Some(news)
        {
            // A client that is gone or does not read is noticed where its messages are read.
            let _ = writer.say(queue::queue(&waiting)).await;
        }
        let (mut placed, mut changed) = (ticket.standing.clone(), ticket.standing.clone());
        tokio::select! {
            biased;
            told = placed.wait_for(|standing| *standing == Standing::Placed) => {
                told.expect("a ticket is told as long as it is held");
            }
            () = sleep_until(deadline.into()) => return Err(waiting.obstacle),
            Ok(()) = waits_still.changed() => {}
            () = async {
                sleep(SAID_EVERY).await;
                changed.changed().await.expect("a ticket is told as long as it is held");
            }, if writer.is_some() => {}
        }
    }
}
