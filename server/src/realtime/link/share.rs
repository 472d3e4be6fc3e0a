//! A session's share of the server: how much it needs, asked for and waited for.

use std::time::{Duration, Instant};

use pipeline::world::{Card, FRAMES_PER_LATENT, Init, Refusal};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};

use super::Realtime;
use super::bounds::SAID_EVERY;
use super::connection::Writer;
use super::relayed::Drawn;
use super::seeking::{Found, Sought, seek};
use crate::admission::queue::{Admitted, QueueTicket, Standing};
use crate::admission::rules::{Obstacle, Refused};
use crate::cluster::rules::ticket::Needs;
use crate::cluster::tickets::{HeldGrant, Place, Way};
use crate::engine::turns::rewinds::Spacing;
use crate::media::{h264, pictures};
use crate::realtime::session::CREDIT;
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::features::{Features, Offer};
use crate::realtime::wire::from_recording::Recorded;
use crate::realtime::wire::init::{Opening, Terms};
use crate::realtime::wire::queue;

/// Why a session does not begin.
pub(super) enum OpenFailure {
    Refused(Refusal),
    /// A guardrail does not let its prompt be drawn.
    Blocked(ClientError),
    /// There is no place, as this says.
    Busy(ClientError),
    Failed(String),
    /// Another node of the cluster draws it: the line there.
    Elsewhere(Box<Drawn>),
    /// Another node draws it, and the client goes there itself.
    Redirect(Way),
    /// Its key has so many sessions in the cluster.
    TooManySessions(usize),
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

/// What a session needs that begins like this, without a recording.
pub(crate) fn needs_of(realtime: &Realtime, opening: &Opening, card: &Card) -> Needs {
    let init = opening.init(None);
    let features = (opening.features, realtime.moving.is_some());
    let frames = frames_held(card, &init, features, opening.terms, opening.encoding);
    let goes_back = opening.features.rewind == Offer::Open;
    let rewinds = spacing(realtime, card, &init, u64::MAX).filter(|_| goes_back);
    let bytes = realtime.queue.bytes(&init, frames, rewinds.map_or(0, Spacing::bytes));
    needs(bytes, &init, opening.terms.chunk_period(card))
}

pub(super) fn needs(bytes: u64, init: &Init, period: Option<Duration>) -> Needs {
    let period_us = period.map(|period| u64::try_from(period.as_micros()).unwrap_or(u64::MAX));
    Needs { bytes, pixels: init.size.pixels(), period_us }
}

pub(super) async fn find_place(
    realtime: &Realtime,
    opening: &Opening,
    card: &Card,
    (recorded, rewinds): (Option<&Recorded>, Option<Spacing>),
    (writer, waits_still): (&Writer, watch::Receiver<Instant>),
    sought: Sought,
) -> Result<(Admitted, Option<HeldGrant>), OpenFailure> {
    let (came, init) = (Instant::now(), opening.init(None));
    let features = (opening.features, realtime.moving.is_some());
    let frames = frames_held(card, &init, features, opening.terms, opening.encoding);
    let beside = rewinds.map_or(0, Spacing::bytes) + recorded.map_or(0, |recorded| recorded.bytes);
    let period = opening.terms.chunk_period(card);
    let bytes = realtime.queue.bytes(&init, frames, beside);
    if let Some(place) = sought.place {
        return taken(realtime, (came, &init), bytes, place);
    }
    let (patience, writer) = match opening.features.queue {
        true => (realtime.bounds.queue_wait, Some(writer)),
        false => (realtime.bounds.busy_wait, None),
    };
    if let Some(cluster) = &realtime.cluster {
        let needs = needs(bytes, &init, period);
        let goes_itself = opening.features.redirect;
        let found = seek(cluster, (needs, sought), (patience, waits_still), writer, goes_itself).await;
        return match found {
            Found::Here(Place { admitted, grant }) => {
                realtime.observer.placed(came.elapsed());
                Ok((admitted, Some(grant)))
            }
            Found::Elsewhere(drawn) => Err(OpenFailure::Elsewhere(drawn)),
            Found::Redirect(way) => Err(OpenFailure::Redirect(way)),
            Found::Refused(refused) => Err(refuse(realtime, &init, refused)),
            Found::TooManySessions(most) => Err(OpenFailure::TooManySessions(most)),
            Found::Nothing(obstacle) => Err(busy(realtime, &obstacle)),
            Found::Failed(message) => Err(OpenFailure::Failed(message)),
        };
    }
    let ticket = ask(realtime, &init, period, (frames, beside))?;
    Ok((placed(realtime, came, wait(ticket, (patience, waits_still), writer).await)?, None))
}

/// A place for a session of another server, whose client is not here: it waits as one that knows of no queue.
pub(super) async fn find_place_for(
    realtime: &Realtime,
    init: &Init,
    period: Option<Duration>,
    (frames, rewinds): (usize, Option<Spacing>),
    place: Option<Place>,
) -> Result<(Admitted, Option<HeldGrant>), OpenFailure> {
    let (came, beside) = (Instant::now(), rewinds.map_or(0, Spacing::bytes));
    if let Some(place) = place {
        return taken(realtime, (came, init), realtime.queue.bytes(init, frames, beside), place);
    }
    let ticket = ask(realtime, init, period, (frames, beside))?;
    let (_says_nothing, waits_still) = watch::channel(came);
    let waited = wait(ticket, (realtime.bounds.busy_wait, waits_still), None).await;
    Ok((placed(realtime, came, waited)?, None))
}

/// The place that the cluster has granted, if it is as large as it must be.
fn taken(
    realtime: &Realtime,
    (came, init): (Instant, &Init),
    bytes: u64,
    Place { admitted, grant }: Place,
) -> Result<(Admitted, Option<HeldGrant>), OpenFailure> {
    if admitted.bytes < bytes {
        let reason = format!(
            "{} takes {bytes} bytes here, and the node that it came to asked for {}: nodes of a cluster need the same flags",
            init.size, admitted.bytes
        );
        return Err(OpenFailure::Refused(Refusal { field: "size", reason }));
    }
    realtime.observer.placed(came.elapsed());
    Ok((admitted, Some(grant)))
}

fn ask(
    realtime: &Realtime,
    init: &Init,
    period: Option<Duration>,
    (frames, beside): (usize, u64),
) -> Result<QueueTicket, OpenFailure> {
    realtime.queue.ask(init, period, frames, beside).map_err(|refused| refuse(realtime, init, refused))
}

fn refuse(realtime: &Realtime, init: &Init, refused: Refused) -> OpenFailure {
    match refused {
        Refused::QueueFull { .. } | Refused::ClipsFull { .. } => full(realtime, &refused),
        Refused::TooLarge { .. } => {
            realtime.observer.refused(refused.name());
            let reason = format!("{} with a window of {}: {refused}", init.size, init.window);
            OpenFailure::Refused(Refusal { field: "size", reason })
        }
    }
}

fn placed(realtime: &Realtime, came: Instant, place: Result<Admitted, Obstacle>) -> Result<Admitted, OpenFailure> {
    let place = place.map_err(|obstacle| busy(realtime, &obstacle))?;
    realtime.observer.placed(came.elapsed());
    Ok(place)
}

fn busy(realtime: &Realtime, obstacle: &Obstacle) -> OpenFailure {
    realtime.observer.refused(obstacle.name());
    OpenFailure::Busy(ClientError::busy(obstacle))
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
