//! Watching a session: a viewer's first message, and what viewers and the player are told of each other.

use bytes::Bytes;
use pipeline::world::Refusal;
use serde::Serialize;

use super::control::Transport;
use super::encode;
use super::fields::{Fields, refuse};
use super::sharing::{Reins, Role};

/// A viewer's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRequest {
    /// Names the session, and what the viewer may do.
    pub token: String,
    /// How frames are sent. `None`: as to the player.
    pub transport: Option<Transport>,
}

impl WatchRequest {
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<WatchRequest, Refusal> {
        let token = fields.text("token")?.ok_or_else(|| refuse("token", "is missing"))?.to_owned();
        // Read even if they do not count: a mistake is told.
        let named = fields.has("realtime_output_format");
        let transport = Transport::read(fields)?;
        Ok(WatchRequest { token, transport: named.then_some(transport) })
    }
}

/// A session as its viewers see it. Its size alone may change while the session runs.
#[derive(Debug, Clone)]
pub struct About {
    /// As logs name it.
    pub session_id: String,
    /// The served world's name.
    pub world: String,
    /// Of the video as it is drawn.
    pub width: u32,
    /// Pixels of a column.
    pub height: u32,
    /// Video frames a second.
    pub fps: u32,
    /// Whether chunks are held back until they are due.
    pub paced: bool,
    /// Video frames; the first chunk may have fewer.
    pub chunk_frames: usize,
    /// How the camera can be steered beside keys.
    pub features: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "watching")]
struct Watching<'a> {
    session_id: &'a str,
    viewer_id: u32,
    role: &'static str,
    world: &'a str,
    width: u32,
    height: u32,
    fps: u32,
    paced: bool,
    chunk_frames: usize,
    features: &'a [&'static str],
}

/// The first message to a viewer.
pub(crate) fn watching(about: &About, viewer_id: u32, role: Role) -> Bytes {
    let About { session_id, world, width, height, fps, paced, chunk_frames, features } = about;
    encode(&Watching {
        session_id,
        viewer_id,
        role: role.name(),
        world,
        width: *width,
        height: *height,
        fps: *fps,
        paced: *paced,
        chunk_frames: *chunk_frames,
        features,
    })
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "stage")]
struct Stage {
    player: &'static str,
    paused: bool,
    camera: u32,
    prompt: u32,
}

/// To a viewer, after its first message and with each change: whether the player is there, and who steers.
pub(crate) fn stage(is_here: bool, paused: bool, reins: Reins) -> Bytes {
    let player = if is_here { "here" } else { "away" };
    encode(&Stage { player, paused, camera: reins.camera, prompt: reins.prompt })
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "skipped")]
struct Skipped {
    chunks: u32,
    next_chunk: usize,
}

/// To a viewer that was too slow: how many chunks it was not sent, and which comes next.
pub(crate) fn skipped(chunks: u32, next_chunk: usize) -> Bytes {
    encode(&Skipped { chunks, next_chunk })
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "shared")]
struct Shared<'a> {
    share_id: u32,
    role: &'static str,
    token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<u32>,
}

/// To the player: the token that it asked for. `event_id`: that of its event.
pub(crate) fn shared(share_id: u32, role: Role, token: &str, event_id: Option<u32>) -> Bytes {
    encode(&Shared { share_id, role: role.name(), token, event_id })
}

/// A viewer that may be handed something.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Guest {
    /// As `hand_over` names it.
    pub viewer_id: u32,
    /// What it may be allowed.
    pub role: &'static str,
    /// The token that it came with.
    pub share_id: u32,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "viewers")]
struct Viewers<'a> {
    count: usize,
    camera: u32,
    prompt: u32,
    guests: &'a [Guest],
}

/// To the player: how many watch, who steers, and which viewers may.
pub(crate) fn viewers(count: usize, reins: Reins, guests: &[Guest]) -> Bytes {
    encode(&Viewers { count, camera: reins.camera, prompt: reins.prompt, guests })
}

#[cfg(test)]
mod tests {
    use super::super::first_message::{FirstMessage, WrongFirst, decode};
    use super::super::message;
    use super::*;

    #[test]
    fn a_watch_request_names_a_token_and_may_say_how_frames_are_sent() {
        let check = |json: &str, expected: Result<bool, &str>| {
            let read = match decode(&message(json).into()).message {
                Ok(FirstMessage::Watch(WatchRequest { token, transport })) if token == "t" => Ok(transport.is_some()),
                Err(WrongFirst::Watch(refusal)) => Err(refusal.field),
                other => panic!("{other:?}"),
            };
            assert_eq!(read, expected, "{json}");
        };
        check(r#"{"type":"watch","token":"t"}"#, Ok(false));
        check(r#"{"type":"watch","token":"t","output_compression":92}"#, Ok(false));
        check(r#"{"type":"watch","token":"t","realtime_output_format":"jpeg","output_compression":92}"#, Ok(true));
        check(r#"{"type":"watch"}"#, Err("token"));
        check(r#"{"type":"watch","token":"t","realtime_output_format":"gif"}"#, Err("realtime_output_format"));
        check(r#"{"type":"watch","token":"t","output_compression":101}"#, Err("output_compression"));
    }
}
