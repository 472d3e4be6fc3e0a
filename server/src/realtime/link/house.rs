//! The session's side of its audience.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::audience::{Audience, Audiences};
use crate::engine::turns::event::Event;
use crate::realtime::wire::close::Close;
use crate::realtime::wire::features::Features;
use crate::realtime::wire::watch::About;

/// However many come and go, the client is told of its viewers no more often.
const VIEWERS_TOLD_EVERY: Duration = Duration::from_millis(250);

/// What a session hears of its audience.
pub(super) enum News {
    /// Somebody came or left.
    Changed,
    /// A viewer that may steer said this.
    Said(u32, Event),
    /// It is time to tell the client who watches.
    Tell,
}

/// The session's side of its audience: it ends with this.
pub(super) struct House {
    pub(super) audience: Arc<Audience>,
    said: mpsc::Receiver<(u32, Event)>,
    /// When the client was last told who watches.
    told: Option<Instant>,
    /// When it is to be told next.
    tell_at: Option<Instant>,
}

impl House {
    /// `chunk_bytes`: of the longest chunk as it is drawn.
    pub(super) fn open(
        audiences: &Arc<Audiences>,
        about: About,
        chunk_bytes: u64,
        account: Option<Arc<str>>,
        steering: Features,
    ) -> House {
        let (audience, said) = Audience::open(audiences, about, chunk_bytes, account, steering);
        House { audience, said, told: None, tell_at: None }
    }

    /// What happened next. Cancel-safe.
    pub(super) async fn news(&mut self) -> News {
        tokio::select! {
            () = self.audience.changed() => News::Changed,
            said = self.said.recv() => {
                let (viewer, event) = said.expect("the audience that is held here holds a sender");
                News::Said(viewer, event)
            }
            () = reached(self.tell_at) => {
                (self.told, self.tell_at) = (self.tell_at.take(), None);
                News::Tell
            }
        }
    }

    /// The client is to hear who watches, as soon as it may.
    pub(super) fn tell_soon(&mut self, now: Instant) {
        let soonest = self.told.map_or(now, |told| (told + VIEWERS_TOLD_EVERY).max(now));
        self.tell_at.get_or_insert(soonest);
    }

    /// The session ends with this close. Viewers are sent what was drawn, and the same close where it is theirs too.
    pub(super) fn end(&self, close: Option<&Close>) {
        let theirs = [
            Close::COMPLETE,
            Close::IDLE,
            Close::YIELDED,
            Close::LIFETIME,
            Close::FAILED,
            Close::BLOCKED,
            Close::SHUTDOWN,
        ];
        let close = close.filter(|close| theirs.contains(close)).cloned().unwrap_or(Close::PLAYER_LEFT);
        self.audience.end(close);
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// Returns at this time; never without one.
async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
