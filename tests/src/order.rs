//! The order of a session's messages, and the arithmetic that ties them together.
//!
//! Every test that receives through [`Client`](crate::client::Client) runs these checks on every message, so most of the
//! protocol's counting rules are proved a thousand times over and need no test of their own. Each rule that fails names
//! itself.

use crate::message::{Header, Skipped, Stats};
use anyhow::{Result, ensure};

/// Below this many bytes a payload travels inside its header's map, from it on in a message of its own.
pub const PAYLOAD_OF_ITS_OWN: usize = 65_536;

/// The progress of a session: what has been received so far.
#[derive(Debug, Default)]
pub struct Order {
    chunk: u64,
    /// Whatever chunk comes next is due.
    anywhere: bool,
    session_id: Option<String>,
    event_id: Option<u64>,
    previous_request: Option<String>,
    /// The chunk being received, once its first batch came.
    open: Option<OpenChunk>,
}

#[derive(Debug)]
struct OpenChunk {
    request_id: String,
    content_type: String,
    event_id: Option<u64>,
    batches_due: usize,
    batches: usize,
    frames: usize,
    source_bytes: u64,
    wire_bytes: u64,
}

impl Order {
    /// Some frames came. `wire_bytes`: of both messages, where there were two.
    pub fn batch(&mut self, header: &Header, payload: usize, own_message: bool, wire_bytes: usize) -> Result<()> {
        if std::mem::take(&mut self.anywhere) {
            self.chunk = header.chunk_index;
        }
        ensure!(
            header.chunk_index == self.chunk,
            "frames of chunk {} where those of chunk {} are due",
            header.chunk_index,
            self.chunk
        );
        self.request_id(&header.request_id)?;
        // Deliberately not the reference's rule, where ids go back and vanish: the newest id applied, never an older one.
        ensure!(header.event_id >= self.event_id, "event id {:?} after {:?}", header.event_id, self.event_id);
        self.event_id = header.event_id;
        payload_is_as_announced(header, payload, own_message)?;

        let open = self.open.get_or_insert_with(|| OpenChunk {
            request_id: header.request_id.clone(),
            content_type: header.content_type.clone(),
            event_id: header.event_id,
            batches_due: header.num_frame_batches,
            batches: 0,
            frames: 0,
            source_bytes: 0,
            wire_bytes: 0,
        });
        ensure!(header.request_id == open.request_id, "one chunk, two request ids");
        ensure!(header.content_type == open.content_type, "one chunk, two content types");
        ensure!(header.event_id == open.event_id, "one chunk, two event ids");
        ensure!(header.num_frame_batches == open.batches_due, "one chunk, two batch counts");
        ensure!(
            header.frame_batch_index == open.batches && open.batches < open.batches_due,
            "batch {} of {} after {} batches",
            header.frame_batch_index,
            header.num_frame_batches,
            open.batches
        );
        open.batches += 1;
        ensure!(
            header.is_final_frame_batch == (open.batches == open.batches_due),
            "batch {} of {} says is_final_frame_batch {}",
            header.frame_batch_index,
            header.num_frame_batches,
            header.is_final_frame_batch
        );
        open.frames += header.num_frames;
        open.source_bytes += (header.num_frames * header.bytes_per_frame) as u64;
        open.wire_bytes += wire_bytes as u64;
        Ok(())
    }

    /// A chunk's statistics came: its end.
    pub fn stats(&mut self, stats: &Stats) -> Result<()> {
        self.request_id(&stats.request_id)?;
        let Some(open) = self.open.take() else { anyhow::bail!("chunk_stats without frames before them") };
        ensure!(open.batches == open.batches_due, "chunk_stats after {} of {} batches", open.batches, open.batches_due);
        ensure!(stats.chunk_index == self.chunk, "chunk_stats of {} in chunk {}", stats.chunk_index, self.chunk);
        ensure!(stats.request_id == open.request_id, "chunk_stats with another request id than the frames");
        ensure!(stats.request_id.starts_with(&format!("{}_", stats.session_id)), "request id without the session's");
        ensure!(stats.content_type == open.content_type, "chunk_stats with another content type than the frames");
        ensure!(stats.event_id == open.event_id, "stats say event {:?}, frames {:?}", stats.event_id, open.event_id);
        ensure!(stats.num_batches == open.batches, "num_batches {} for {}", stats.num_batches, open.batches);
        ensure!(stats.num_frames == open.frames, "num_frames {} for {}", stats.num_frames, open.frames);
        ensure!(stats.raw_bytes == open.source_bytes, "raw_bytes {} for {}", stats.raw_bytes, open.source_bytes);
        ensure!(
            stats.ws_payload_bytes == open.wire_bytes,
            "ws_payload_bytes {} for {} received",
            stats.ws_payload_bytes,
            open.wire_bytes
        );
        self.previous_request = Some(open.request_id);
        self.chunk += 1;
        Ok(())
    }

    /// A session is taken up here: what was received of a chunk before counts for nothing.
    pub fn begin_at(&mut self, chunk: u64) {
        self.chunk = chunk;
        self.open = None;
    }

    /// A viewer may come at any chunk.
    pub fn begin_anywhere(&mut self) {
        (self.anywhere, self.open) = (true, None);
    }

    /// A viewer was not sent some chunks: never half of one.
    pub fn skip(&mut self, skipped: &Skipped) -> Result<()> {
        ensure!(self.open.is_none(), "{skipped:?} inside a chunk");
        ensure!(
            skipped.chunks > 0 && skipped.next_chunk == self.chunk + skipped.chunks,
            "{skipped:?} at {}",
            self.chunk
        );
        self.chunk = skipped.next_chunk;
        Ok(())
    }

    /// Whether a close now would leave a chunk without its end.
    pub fn is_inside_a_chunk(&self) -> bool {
        self.open.is_some()
    }

    /// `<session>_<chunk>`, 32 lower-case hexadecimal digits each; the session's stays, the chunk's is new.
    fn request_id(&mut self, id: &str) -> Result<()> {
        let is_hex = |text: &str| text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let (session, chunk) = id.split_once('_').unwrap_or((id, ""));
        ensure!(is_hex(session) && is_hex(chunk), "request id {id:?} is not two times 32 hexadecimal digits");
        ensure!(self.previous_request.as_deref() != Some(id), "request id {id} belonged to the chunk before");
        let known = self.session_id.get_or_insert_with(|| session.to_owned());
        ensure!(known == session, "the session was {known}, now it is {session}");
        Ok(())
    }
}

fn payload_is_as_announced(header: &Header, payload: usize, own_message: bool) -> Result<()> {
    ensure!(header.total_size == payload, "total_size {} for a payload of {payload}", header.total_size);
    ensure!(
        own_message == (payload >= PAYLOAD_OF_ITS_OWN),
        "a payload of {payload} bytes {} a message of its own",
        if own_message { "in" } else { "without" }
    );
    ensure!(header.num_frame_batches >= 1 && header.num_frames >= 1, "an empty batch");
    ensure!(header.channels == 3, "{} channels", header.channels);
    let area = |width: u32, height: u32| width as usize * height as usize * 3;
    let sent = area(header.width, header.height);
    if header.content_type == "application/x-raw-rgb" {
        ensure!(header.format == "rgb24" && header.encoding == "raw", "raw frames called {}", header.format);
        ensure!(header.bytes_per_frame == sent, "bytes_per_frame {} for {sent}", header.bytes_per_frame);
        ensure!(header.total_size == header.num_frames * sent, "{} frames of {sent} in {payload}", header.num_frames);
        ensure!(header.raw_size == Some(payload), "raw_size {:?} for {payload}", header.raw_size);
        ensure!(header.num_frames <= 16, "{} raw frames in one message", header.num_frames);
        ensure!(header.payload_lengths.is_none() && header.source_width.is_none(), "raw frames with encoded fields");
        return Ok(());
    }
    let format = match header.content_type.as_str() {
        "image/jpeg" => "jpeg",
        "image/webp" => "webp",
        "video/h264" => "h264",
        other => anyhow::bail!("content type {other:?}"),
    };
    ensure!(header.key_frames.is_some() == (format == "h264"), "key frames {:?} of {format}", header.key_frames);
    ensure!(header.key_frames.iter().flatten().all(|key| *key < header.num_frames), "a key frame past the last frame");
    ensure!(header.format == format && header.encoding == format, "{format} frames called {}", header.format);
    ensure!(header.num_frames <= 6, "{} encoded frames in one message", header.num_frames);
    ensure!(header.raw_size.is_none(), "encoded frames with raw_size");
    let (Some(width), Some(height)) = (header.source_width, header.source_height) else {
        anyhow::bail!("encoded frames without their source size");
    };
    ensure!(header.bytes_per_frame == area(width, height), "bytes_per_frame is not of the source frame");
    ensure!(
        (header.preview_width, header.preview_height) == (Some(header.width), Some(header.height)),
        "preview size {:?}x{:?} for frames of {}x{}",
        header.preview_width,
        header.preview_height,
        header.width,
        header.height
    );
    let lengths = header.payload_lengths.as_deref().unwrap_or_default();
    ensure!(lengths.len() == header.num_frames, "{} lengths for {} frames", lengths.len(), header.num_frames);
    ensure!(lengths.iter().sum::<usize>() == payload, "lengths that do not add up to the payload");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            request_id: format!("{0}_{0}", "0123456789abcdef".repeat(2)),
            chunk_index: 0,
            content_type: "application/x-raw-rgb".into(),
            num_frames: 2,
            total_size: 24,
            frame_batch_index: 0,
            num_frame_batches: 1,
            is_final_frame_batch: true,
            event_id: None,
            format: "rgb24".into(),
            width: 2,
            height: 2,
            channels: 3,
            bytes_per_frame: 12,
            raw_size: Some(24),
            encoding: "raw".into(),
            source_width: None,
            source_height: None,
            preview_width: None,
            preview_height: None,
            payload_lengths: None,
            key_frames: None,
            first_frame_index: None,
            pts_ms: None,
            controls_age_ms: None,
        }
    }

    fn stats() -> Stats {
        Stats {
            session_id: "0123456789abcdef".repeat(2),
            request_id: header().request_id,
            chunk_index: 0,
            event_id: None,
            request_prepare_ms: 0,
            scheduler_forward_ms: 0,
            pace_wait_ms: 0,
            header_write_ms: 0,
            raw_payload_build_ms: 0,
            raw_write_ms: 0,
            ws_write_ms: 0,
            chunk_total_ms: 0,
            num_batches: 1,
            num_frames: 2,
            raw_bytes: 24,
            ws_payload_bytes: 300,
            content_type: "application/x-raw-rgb".into(),
        }
    }

    #[test]
    fn a_chunk_in_order_passes() {
        let mut order = Order::default();
        order.batch(&header(), 24, false, 300).expect("a good batch");
        assert!(order.is_inside_a_chunk());
        order.stats(&stats()).expect("its statistics");
        assert!(!order.is_inside_a_chunk());
    }

    /// C31, C34, C35, C39, on every message that any test receives.
    #[test]
    fn each_wrong_header_is_caught() {
        let check = |what: &str, spoil: fn(&mut Header)| {
            let mut header = header();
            spoil(&mut header);
            assert!(Order::default().batch(&header, 24, false, 300).is_err(), "{what} went through");
        };
        check("a skipped chunk", |h| h.chunk_index = 1);
        check("a skipped batch", |h| h.frame_batch_index = 1);
        check("a wrong final mark", |h| h.is_final_frame_batch = false);
        check("a wrong total", |h| h.total_size = 23);
        check("a wrong frame count", |h| h.num_frames = 1);
        check("a wrong raw size", |h| h.raw_size = None);
        check("an upper-case id", |h| h.request_id = h.request_id.to_uppercase());
        check("an id without a chunk part", |h| h.request_id.truncate(32));
        check("a wrong size", |h| h.width = 3);
        check("another type", |h| h.content_type = "image/png".into());
        check("a JPEG without lengths", |h| {
            (h.content_type, h.format, h.encoding) = ("image/jpeg".into(), "jpeg".into(), "jpeg".into());
        });
        assert!(Order::default().batch(&header(), 24, true, 300).is_err(), "a small payload in its own message");
    }

    /// C32, C45, C47, C49, on every chunk that any test receives.
    #[test]
    fn each_wrong_statistic_is_caught() {
        let check = |what: &str, spoil: fn(&mut Stats)| {
            let mut order = Order::default();
            order.batch(&header(), 24, false, 300).expect("a good batch");
            let mut stats = stats();
            spoil(&mut stats);
            assert!(order.stats(&stats).is_err(), "{what} went through");
        };
        check("another chunk", |s| s.chunk_index = 1);
        check("another request", |s| s.request_id.replace_range(40..41, "0"));
        check("another session", |s| s.session_id = "f".repeat(32));
        check("another event", |s| s.event_id = Some(1));
        check("frames", |s| s.num_frames = 3);
        check("batches", |s| s.num_batches = 2);
        check("raw bytes", |s| s.raw_bytes = 25);
        check("wire bytes", |s| s.ws_payload_bytes = 301);
        assert!(Order::default().stats(&stats()).is_err(), "statistics without frames");
    }

    #[test]
    fn an_event_id_never_goes_back() {
        let mut order = Order::default();
        let first = Header { num_frame_batches: 2, is_final_frame_batch: false, event_id: Some(4), ..header() };
        order.batch(&first, 24, false, 300).expect("a good batch");
        let second = Header { frame_batch_index: 1, is_final_frame_batch: true, event_id: Some(3), ..first };
        assert!(order.batch(&second, 24, false, 300).is_err());
    }
}
