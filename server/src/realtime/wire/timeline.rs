//! The message before a chunk that does not follow the one before it.

use bytes::Bytes;
use pipeline::world::Size;
use serde::Serialize;

use super::encode;

#[derive(Serialize)]
#[serde(tag = "type", rename = "timeline")]
struct Timeline {
    /// The number of the chunk that comes next. It counts on, whatever the video does.
    chunk_index: usize,
    /// The place of that chunk in the video.
    video_chunk: usize,
    /// Video frames before it.
    first_frame_index: usize,
    /// Of the event that asked to go there, if it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<u32>,
    /// To a viewer: of the video from here on.
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    /// To a viewer: pixels of a column.
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
}

/// For a client that asked for what changes the place.
pub(crate) fn timeline(
    chunk_index: usize,
    (video_chunk, first_frame_index): (usize, usize),
    event_id: Option<u32>,
) -> Bytes {
    encode(&Timeline { chunk_index, video_chunk, first_frame_index, event_id, width: None, height: None })
}

/// For a viewer, which did not ask for it.
pub(crate) fn viewers_timeline(
    chunk_index: usize,
    (video_chunk, first_frame_index): (usize, usize),
    Size { width, height }: Size,
) -> Bytes {
    let (width, height) = (Some(width), Some(height));
    encode(&Timeline { chunk_index, video_chunk, first_frame_index, event_id: None, width, height })
}
