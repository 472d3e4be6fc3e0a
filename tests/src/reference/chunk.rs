//! A chunk of the reference on the wire: its pictures, its frame messages, its statistics.

use std::time::Duration;

use anyhow::Result;
use axum::extract::ws::{Message, WebSocket};
use rmpv::Value;

use super::{send, uuid_like};
use crate::message::map;

const PAYLOAD_ALONE_BYTES: usize = 65_536;

/// A flat picture: red for the keys held, green for the chunk.
pub(super) fn picture(width: usize, height: usize, keys: usize, chunk: u64, format: &str) -> Vec<u8> {
    let pixel = [(keys * 40).min(255) as u8, (chunk % 256) as u8, 128];
    let pixels = pixel.repeat(width * height);
    if format == "raw" {
        return pixels;
    }
    let mut file = std::io::Cursor::new(Vec::new());
    let kind = if format == "jpeg" { image::ImageFormat::Jpeg } else { image::ImageFormat::WebP };
    let encoded =
        image::write_buffer_with_format(&mut file, &pixels, width as u32, height as u32, image::ColorType::Rgb8, kind);
    encoded.expect("a flat picture of a checked size can be encoded");
    file.into_inner()
}

pub(super) struct Label<'a> {
    pub(super) session_id: &'a str,
    pub(super) chunk: u64,
    pub(super) event_id: Option<u64>,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) format: &'a str,
}

pub(super) struct Sent {
    request_id: String,
    batches: usize,
    bytes: usize,
    content_type: &'static str,
}

impl Label<'_> {
    /// All frames of the chunk.
    pub(super) async fn send(&self, socket: &mut WebSocket, frames: &[Vec<u8>]) -> Result<Sent> {
        let raw = self.format == "raw";
        let request_id = format!("{}_{}", self.session_id, uuid_like());
        let content_type = match self.format {
            "raw" => "application/x-raw-rgb",
            "jpeg" => "image/jpeg",
            _ => "image/webp",
        };
        let groups: Vec<&[Vec<u8>]> = frames.chunks(if raw { 16 } else { 6 }).collect();
        let mut bytes_sent = 0;
        for (index, group) in groups.iter().enumerate() {
            let payload = group.concat();
            let alone = payload.len() >= PAYLOAD_ALONE_BYTES;
            let mut fields: Vec<(&str, Value)> = vec![
                ("type", if alone { "frame_batch_header" } else { "frame_batch" }.into()),
                ("request_id", request_id.as_str().into()),
                ("chunk_index", self.chunk.into()),
                ("content_type", content_type.into()),
                ("num_frames", group.len().into()),
                ("total_size", payload.len().into()),
                ("frame_batch_index", index.into()),
                ("num_frame_batches", groups.len().into()),
                ("is_final_frame_batch", (index + 1 == groups.len()).into()),
            ];
            fields.extend(self.event_id.map(|id| ("event_id", id.into())));
            let side = |pixels: usize| Value::from(pixels);
            fields.extend([
                ("format", if raw { "rgb24" } else { self.format }.into()),
                ("width", side(self.width)),
                ("height", side(self.height)),
                ("channels", 3.into()),
                ("bytes_per_frame", (self.width * self.height * 3).into()),
            ]);
            if raw {
                fields.push(("raw_size", payload.len().into()));
            }
            fields.push(("encoding", self.format.into()));
            if !raw {
                fields.extend([
                    ("source_width", side(self.width)),
                    ("source_height", side(self.height)),
                    ("preview_width", side(self.width)),
                    ("preview_height", side(self.height)),
                    ("payload_lengths", Value::Array(group.iter().map(|file| file.len().into()).collect())),
                ]);
            }
            if !alone {
                fields.push(("payload", Value::Binary(payload.clone())));
            }
            bytes_sent += send(socket, &map(fields)).await?;
            if alone {
                bytes_sent += payload.len();
                socket.send(Message::Binary(payload.into())).await?;
            }
        }
        Ok(Sent { request_id, batches: groups.len(), bytes: bytes_sent, content_type })
    }

    /// The message after its frames.
    pub(super) fn stats(
        &self,
        sent: &Sent,
        frames: usize,
        forward: Duration,
        wait: Duration,
        total: Duration,
    ) -> Value {
        let ms = |duration: Duration| Value::from(duration.as_millis() as u64);
        map([
            ("type", "chunk_stats".into()),
            ("session_id", self.session_id.into()),
            ("request_id", sent.request_id.as_str().into()),
            ("chunk_index", self.chunk.into()),
            ("event_id", self.event_id.map_or(Value::Nil, Value::from)),
            ("request_prepare_ms", 0.into()),
            ("scheduler_forward_ms", ms(forward)),
            ("pace_wait_ms", ms(wait)),
            ("header_write_ms", 0.into()),
            ("raw_payload_build_ms", 0.into()),
            ("raw_write_ms", 0.into()),
            ("ws_write_ms", 0.into()),
            ("chunk_total_ms", ms(total)),
            ("num_batches", sent.batches.into()),
            ("num_frames", frames.into()),
            ("raw_bytes", (frames * self.width * self.height * 3).into()),
            ("ws_payload_bytes", sent.bytes.into()),
            ("content_type", sent.content_type.into()),
        ])
    }
}
