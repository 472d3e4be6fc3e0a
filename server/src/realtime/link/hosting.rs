//! A running session and its viewers: what its client wants changed about them, what they say, and when its client hears of
//! them.

use std::time::Instant;

use super::house::News;
use super::running::Running;
use crate::realtime::session::Input;
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::event::Invalid;
use crate::realtime::wire::sharing::{Reins, Sharing};
use crate::realtime::wire::watch;

impl Running<'_> {
    pub(super) fn tell_whom(&self, whom: u32, error: &ClientError) {
        match whom {
            Reins::PLAYER => self.tell(error),
            viewer => self.house.audience.tell_viewer(viewer, error),
        }
    }

    /// Its client wants something changed about its viewers.
    pub(super) fn share(&mut self, id: Option<u32>, sharing: Sharing) {
        let audience = &self.house.audience;
        let done = match sharing {
            Sharing::Share(role) => audience.share(role).map(|(share, token)| {
                self.say(watch::shared(share, role, &token, id));
            }),
            Sharing::Unshare(share) => audience.unshare(share),
            Sharing::HandOver(viewer) => audience.hand_over(viewer),
            Sharing::TakeBack => {
                audience.take_back();
                Ok(())
            }
        };
        if let Err(refusal) = done {
            self.tell(&ClientError::invalid_event(Invalid { id, refusal }));
        }
        // Before another event of the client is read, so that it may steer at once.
        self.session.handle(Input::Reins(self.house.audience.reins()), Instant::now());
    }

    pub(super) fn hear_of_viewers(&mut self, news: News) {
        let now = Instant::now();
        match news {
            News::Said(viewer, event) => self.session.handle(Input::Guest(viewer, event), now),
            News::Changed => {
                self.session.handle(Input::Reins(self.house.audience.reins()), now);
                if self.seat.features.spectators {
                    self.house.tell_soon(now);
                }
            }
            News::Tell => self.say(self.house.audience.viewers_message()),
        }
    }
}
