//! A place in the engine, from the init that asks for it to the chunk that is stopped when nobody wants it any more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pipeline::world::{Cancel, Refusal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::conditions::ConditionQueue;
use super::delivery::Parts;
use super::event::Event;
use super::init::{Opening, Terms};
use super::session::CREDIT;
use crate::engine::{Command, Engine, Open, OpenError, parts_places};
use crate::{App, images};

/// Events that wait for the next chunk. A game that reports 60 changes a second fills it in four seconds, and the slowest
/// chunk takes two.
pub const EVENTS_WAITING: usize = 256;

/// How often a session that found no memory asks again.
const BUSY_RETRY: Duration = Duration::from_millis(100);

pub(super) enum OpenFailure {
    Refused(Refusal),
    Busy,
    Failed(String),
}

/// A place in the engine: given up, and its chunk stopped, when this is dropped.
pub(super) struct Seat {
    pub(super) id: u64,
    engine: Engine,
    cancel: Cancel,
    pub(super) events: mpsc::Sender<Event>,
    /// `None` while a delivery reads from it.
    pub(super) parts: Option<Parts>,
    pub(super) terms: Terms,
    pub(super) output: images::Output,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.command(Command::Close(self.id));
    }
}

impl Seat {
    pub(super) fn command(&self, command: Command) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.engine.commands.try_send(command) {
            unreachable!("the channel has a place for all that every seat can have on its way");
        }
    }
}

pub(super) async fn open(app: &App, init: Bytes) -> Result<Seat, OpenFailure> {
    let stopped = || OpenFailure::Failed("the server is shutting down".into());
    let mut card = app.engine.card.clone();
    let card = card.wait_for(Option::is_some).await.map_err(|_| stopped())?.clone().expect("waited for it");
    let places = parts_places(&card, CREDIT);
    let mut opening = off_the_loop(move || Opening::decode(&init, &card)).await?;
    // Before there is a seat: another's slow server must not hold one.
    let file = app.fetcher.bring(opening.first_frame.take()).await.map_err(OpenFailure::Refused)?;

    let came = Instant::now();
    let permit = match timeout(app.limits.busy_wait, app.seats.clone().acquire_owned()).await {
        Ok(permit) => permit.map_err(|_| stopped())?,
        Err(_elapsed) => return Err(OpenFailure::Busy),
    };
    // Only now: a small file can hold a large picture, and no more of those are in memory than there are seats.
    let picture = match file {
        None => None,
        Some(file) => {
            let decode = move || images::decode(&file).map_err(|reason| Refusal { field: "first_frame", reason });
            Some(off_the_loop(decode).await?)
        }
    };
    let init = opening.init(picture);
    static NEXT_SEAT: AtomicU64 = AtomicU64::new(0);
    let id = NEXT_SEAT.fetch_add(1, Ordering::Relaxed);
    let (events, events_taken) = mpsc::channel(EVENTS_WAITING);
    let (parts_drawn, parts) = mpsc::channel(places);
    let cancel = Cancel::default();
    let mut open = Box::new(Open {
        id,
        init,
        conditions: ConditionQueue::new(opening.script),
        events: events_taken,
        parts: parts_drawn,
        cancel: cancel.clone(),
        permit,
    });
    // Before the engine is asked: this future may be dropped after the engine's yes and before that is read, and then
    // nothing else would give the place up.
    let (terms, output) = (opening.terms, opening.output);
    let seat = Seat { id, engine: app.engine.clone(), cancel, events, parts: Some(parts), terms, output };
    loop {
        let (reply, answer) = oneshot::channel();
        app.engine.commands.send(Command::Open(open, reply)).await.map_err(|_| stopped())?;
        match answer.await.map_err(|_| stopped())? {
            Ok(()) => return Ok(seat),
            Err(OpenError::Refused(refusal)) => return Err(OpenFailure::Refused(refusal)),
            Err(OpenError::Failed(message)) => return Err(OpenFailure::Failed(message)),
            Err(OpenError::Busy(_)) if came.elapsed() >= app.limits.busy_wait => return Err(OpenFailure::Busy),
            Err(OpenError::Busy(back)) => open = back,
        }
        sleep(BUSY_RETRY).await;
    }
}

/// What takes a moment to check must not hold up other sockets.
pub(super) async fn off_the_loop<T: Send + 'static>(
    check: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, OpenFailure> {
    let checked = tokio::task::spawn_blocking(check).await;
    checked.map_err(|panic| OpenFailure::Failed(panic.to_string()))?.map_err(OpenFailure::Refused)
}
