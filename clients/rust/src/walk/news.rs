//! What a walk has to tell: frames, receipts, and why it ended.

/// Why a walk ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection to be had.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The server did not take the first message, or could not go on: its own words, and which field was wrong.
    #[error("the server refused: {0}")]
    Refused(String),
    /// The server closed the connection otherwise than after the last chunk.
    #[error("closed with {code}: {reason}")]
    Closed {
        /// As RFC 6455 numbers them; 1006 for a line that broke.
        code: u16,
        /// In the server's words.
        reason: String,
    },
    /// A message cannot be read, so nothing after it can be.
    #[error("a message that cannot be read: {0}")]
    Unreadable(String),
}

/// One picture of the video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// A picture file, or `3·width·height` bytes of RGB8 rows from the top where `content_type` is [`RAW`](Frame::RAW).
    pub data: &'a [u8],
    /// `image/jpeg`, `image/webp`, or [`RAW`](Frame::RAW).
    pub content_type: &'a str,
    /// Pixels of a row.
    pub width: u32,
    /// Pixels of a column.
    pub height: u32,
    /// The chunk that it belongs to, from 0.
    pub chunk: u64,
    /// Its number in the video, from 0.
    pub index: u64,
    /// The largest id of the events that it shows.
    pub event_id: Option<u32>,
    /// When it is due, counted from the first frame, where the server says so.
    pub pts_ms: Option<u64>,
}

impl Frame<'_> {
    /// The content type of frames that are not encoded.
    pub const RAW: &'static str = "application/x-raw-rgb";
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The id that [`Walk::send`] gave.
    pub event_id: u32,
    /// The first chunk that shows it.
    pub chunk: u64,
    /// A later event replaced it before any chunk could show it.
    pub superseded: bool,
    /// The first video frame that shows it, from 0, where the server says so.
    pub first_frame: Option<u64>,
}

/// What a walk has to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum News<'a> {
    /// One picture of the video.
    Frame(Frame<'a>),
    /// What became of an event. A server without receipts is believed by the ids on its frames.
    Receipt(Receipt),
    /// There is no place yet; 1 is the next.
    Waiting {
        /// Counted from 1.
        position: u32,
    },
    /// An event was not taken; the walk goes on.
    Refused {
        /// The event's id, where the server says it.
        event_id: Option<u32>,
        /// The server's words, and which field was wrong.
        why: String,
    },
    /// The line broke, and the walk tries to come back.
    Away,
    /// The walk goes on after a cut.
    Back,
    /// The last chunk was sent. Nothing comes after this.
    Complete,
}
