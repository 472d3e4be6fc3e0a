//! A server's message from its bytes.

use bytes::Bytes;
use serde::Deserialize;

use crate::Error;
use crate::connection::Whole;
use crate::message::{
    Applied, Batch, Clock, EventAck, Header, Hello, InitAck, Message, Moved, PromptRead, Received, Refused, Shared,
    Skipped, Stage, Standing, Stats, Timeline, Viewers, Watching,
};

impl Message {
    /// Whether the message after this one is a payload, whatever it looks like.
    pub(crate) fn announces_a_payload(map: &[u8]) -> Result<bool, Error> {
        Ok(Message::kind_of(map)? == "frame_batch_header")
    }

    /// The type of a message, by its name on the wire.
    pub fn kind_of(map: &[u8]) -> Result<&str, Error> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(borrow)]
            r#type: &'a str,
        }
        Ok(rmp_serde::from_slice::<Kind<'_>>(map).map_err(unreadable)?.r#type)
    }

    /// The message; `None` for a type that this version does not know, which a client passes by.
    pub fn read(Whole { map, payload }: Whole) -> Result<Option<Message>, Error> {
        let known = [
            "frame_batch",
            "frame_batch_header",
            "chunk_stats",
            "error",
            "session",
            "queue",
            "init_ack",
            "event_ack",
            "event_received",
            "event_applied",
            "clock",
            "timeline",
            "watching",
            "stage",
            "skipped",
            "shared",
            "viewers",
            "prompt_read",
            "moved",
        ];
        if !known.contains(&Message::kind_of(&map)?) {
            return Ok(None);
        }
        Ok(Some(match rmp_serde::from_slice(&map).map_err(unreadable)? {
            Incoming::FrameBatch(Embedded { header, payload }) => {
                Message::Batch(Batch { header, payload: Bytes::from(payload.into_vec()) })
            }
            Incoming::FrameBatchHeader(header) => {
                let payload = payload.ok_or_else(|| Error::Unreadable("a header without its payload".to_owned()))?;
                Message::Batch(Batch { header, payload })
            }
            Incoming::ChunkStats(stats) => Message::Stats(stats),
            Incoming::Error(error) => Message::Error(error),
            Incoming::Session(hello) => Message::Session(hello),
            Incoming::Queue(standing) => Message::Queue(standing),
            Incoming::InitAck(begun) => Message::Begun(begun),
            Incoming::EventAck(ack) => Message::Ack(ack),
            Incoming::EventReceived(received) => Message::Received(received),
            Incoming::EventApplied(applied) => Message::Applied(applied),
            Incoming::Clock(clock) => Message::Clock(clock),
            Incoming::Timeline(timeline) => Message::Timeline(timeline),
            Incoming::Watching(watching) => Message::Watching(watching),
            Incoming::Stage(stage) => Message::Stage(stage),
            Incoming::Skipped(skipped) => Message::Skipped(skipped),
            Incoming::Shared(shared) => Message::Shared(shared),
            Incoming::Viewers(viewers) => Message::Viewers(viewers),
            Incoming::PromptRead(read) => Message::PromptRead(read),
            Incoming::Moved(moved) => Message::Moved(moved),
        }))
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Incoming {
    FrameBatch(Embedded),
    FrameBatchHeader(Header),
    ChunkStats(Stats),
    Error(Refused),
    Session(Hello),
    Queue(Standing),
    InitAck(InitAck),
    EventAck(EventAck),
    EventReceived(Received),
    EventApplied(Applied),
    Clock(Clock),
    Timeline(Timeline),
    Watching(Watching),
    Stage(Stage),
    Skipped(Skipped),
    Shared(Shared),
    Viewers(Viewers),
    PromptRead(PromptRead),
    Moved(Moved),
}

#[derive(Deserialize)]
struct Embedded {
    #[serde(flatten)]
    header: Header,
    payload: serde_bytes::ByteBuf,
}

fn unreadable(error: rmp_serde::decode::Error) -> Error {
    Error::Unreadable(error.to_string())
}
