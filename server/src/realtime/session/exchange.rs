//! What a session is told, and what it wants done.

use std::time::{Duration, Instant};

use crate::engine::turns::event::Event;
use crate::realtime::wire::close::Close;
use crate::realtime::wire::control::Transport;
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::reset::Reset;
use crate::realtime::wire::sharing::{Reins, Sharing};
use pipeline::world::Chunking;

/// What happens to a session.
pub enum Input<'a> {
    /// The world has opened the rollout.
    Opened,
    /// The rollout went back, and this chunk is next; or it could not, and goes on where it was.
    Back(Option<usize>),
    /// The next video is open, and cut like this; or it cannot begin, and the one before goes on.
    Anew(Option<Chunking>),
    /// All that was to steer the chunk of an [`Output::Step`] steers it.
    Ready,
    /// The client sent a binary message.
    Binary(&'a [u8]),
    /// A viewer that may steer said this.
    Guest(u32, Event),
    /// Who steers has changed.
    Reins(Reins),
    /// The client sent text, which says nothing here.
    Text,
    /// The engine has drawn the first frames of a chunk.
    Chunk {
        /// The largest id of the events that it shows.
        event_id: Option<u32>,
        /// Video frames of the whole chunk.
        frames: usize,
        /// A key was held in it.
        moves: bool,
        /// It was drawn in as many steps as most are, and begun once.
        usual: bool,
    },
    /// All messages of the chunk are sent, or kept for a client that may come back.
    Written,
    /// The line was cut, and the client may come back on another.
    Lost,
    /// The client is back.
    Found,
    /// Another waits for the place that this one has.
    Wanted,
    /// It has left its place, and waits for its client to come back.
    Parked,
    /// The client of a parked session is back, and waits for a place.
    Returning,
    /// It is to go on in another process: all that was granted is sent first.
    Depart,
    /// Finish the granted chunks, then close with this code and reason.
    End(Close),
    /// The world failed.
    Failed(String),
    /// A guardrail does not let a frame leave.
    Blocked,
    /// Time has passed.
    Tick,
}

/// What a session wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Nothing is under way: pack it, and let it go on elsewhere.
    Depart,
    /// Let the engine draw this many more chunks. It draws the one with the earliest due time first.
    Grant {
        /// How many more.
        chunks: u64,
        /// When the first of them is to be shown.
        due: Instant,
    },
    /// Let the engine know when the next grant of a paced session will come, if no event brings it forward and no pause
    /// puts it off. `None`: there will be none. Said once for each chunk that was drawn.
    ExpectGrant {
        /// When that is.
        at: Option<Instant>,
    },
    /// Let this event steer the next chunk.
    Steer(Event),
    /// Let this event of a viewer steer the next chunk.
    Guest(u32, Event),
    /// Change who watches, or who steers. With the id of the event that asked for it.
    Sharing(Option<u32>, Sharing),
    /// Tell the client that its event has come.
    Received {
        /// The event's own id.
        id: Option<u32>,
        /// When it came.
        at: Instant,
    },
    /// Tell the client what time it is here.
    Clock {
        /// What time it is there, in milliseconds.
        client_ms: f64,
        /// When its question came.
        at: Instant,
    },
    /// A stepped session's next chunk may begin once all events before this steer it: then say [`Input::Ready`].
    Step,
    /// Let the rollout go back to this chunk, and say [`Input::Back`]. All that was granted is sent. With the id of the
    /// event that asked for it.
    Rewind(Option<u32>, usize),
    /// What comes from now on steers the next video, if that can begin.
    Leave,
    /// Begin the next video, and say [`Input::Anew`]. All that was granted is sent. With the id of the event that asked for
    /// it.
    Reset(Option<u32>, Box<Reset>),
    /// Send frames like this from the next chunk on. With the id of the event that asked for it.
    Transport(Option<u32>, Transport),
    /// Let the next frame of the film be one that can be decoded alone.
    WantKeyFrame,
    /// Tell the client what was wrong.
    Tell(ClientError),
    /// Send the drawn chunk. The duration is the time that pacing delayed it, before its start and after its drawing.
    Send {
        /// How long pace kept it.
        pace_wait: Duration,
    },
    /// End the connection, for this reason.
    Close(Close),
}
