//! A running session that arrives elsewhere: what its client and its viewers hear of it, and what goes on from there.

use std::time::Instant;

use pipeline::world::Refusal;

use super::elsewhere::{Arrival, Way};
use super::running::Running;
use crate::cluster::journal::Journal;
use crate::realtime::session::Input;
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::event::Invalid;

impl Running<'_> {
    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let input = match arrival {
            Arrival::Back(id, to, Ok(())) => {
                self.land(id);
                Input::Back(Some(to))
            }
            Arrival::Back(id, _, Err(reason)) => {
                self.tell(&ClientError::invalid_event(Invalid { id, refusal: Refusal { field: "payload", reason } }));
                Input::Back(None)
            }
            Arrival::Prepared(id, Ok(next)) => {
                let size = next.init().size;
                self.listed.session.resized(size);
                self.seat.reads.beginning(id, next.init()).into_iter().for_each(|read| self.say(read));
                let (answer, chunking) = self.seat.begin(next);
                self.house.audience.resize(size, self.seat.chunk_bytes());
                return self.elsewhere.goes(Way::Opening(id, chunking, answer));
            }
            Arrival::Prepared(_, Err(error)) => {
                self.conditions().stays();
                self.tell(&error);
                Input::Anew(None)
            }
            Arrival::Opened(id, chunking) => {
                self.land(id);
                Input::Anew(Some(chunking))
            }
        };
        self.session.handle(input, Instant::now());
    }

    /// The next chunk does not follow the one before it, for the event of this id.
    fn land(&mut self, id: Option<u32>) {
        self.elsewhere.arrived = Some(id);
        self.ticket.iter().filter_map(|ticket| ticket.journal.as_ref()).for_each(Journal::begins_anew);
        // A film's frame from here would be made of those that the client leaves.
        self.stream.want_key();
    }
}
