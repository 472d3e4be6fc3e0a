//! Events that change how a session goes on, and steer nothing: how frames are sent, what the client has shown, and where
//! in the video it goes back to, or which video it begins anew.

use pipeline::world::{Refusal, Size};
use rmpv::ValueRef;
use serde::{Deserialize, Serialize};

use super::features::{Features, Offer};
use super::fields::{Fields, refuse};
use super::reset::Reset;
use super::sharing::Sharing;
use crate::engine::turns::rewinds::SECONDS;
use crate::media::pictures::{Encoding, Format};
use crate::media::{h264, quantiser};

/// The lead of a client that states none: a second is more than a line needs, and short for somebody who waits for an
/// answer.
const LEAD_MS: u32 = 1000;
/// The longest lead: a client that wants more of the video at once needs no playhead.
pub const LEAD_MS_MAX: u32 = 60_000;

/// The formats that this build sends.
pub(crate) const FORMATS: &[&str] =
    if h264::AVAILABLE { &["raw", "webp", "jpeg", "h264"] } else { &["raw", "webp", "jpeg"] };

/// What a client wants changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Send the next chunk, and those after it, like this.
    Transport(Transport),
    /// Draw no further ahead than this.
    Playback(Playback),
    /// Let the film's next frame be one that can be decoded alone.
    KeyFrame,
    /// Go back in the video, and go on from there.
    Rewind(Rewind),
    /// Begin another video.
    Reset(Box<Reset>),
    /// Something about the viewers.
    Sharing(Sharing),
}

/// How frames are sent: the fields of an init that say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transport {
    format: Format,
    /// Encoded frames are scaled down to this width.
    preview_width_max: Option<u32>,
}

/// How far a client has shown the video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Playback {
    /// Video frames that it has shown, of those that this session has sent.
    pub shown: u32,
    /// How far the server may be ahead of that.
    pub lead_ms: u32,
}

/// Where to go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewind {
    /// The chunk of this place in the video is drawn next.
    Chunk(u32),
    /// The chunk that stands so much before the one that would be next.
    Ms(u32),
}

impl Control {
    /// Whether this kind of event is one, for a client that understands these features.
    pub(super) fn is_one(kind: &str, features: Features) -> bool {
        match kind {
            "transport" => features.transport,
            "playback" => features.playback,
            "key_frame" => features.key_frame,
            "rewind" => features.rewind != Offer::NotNamed,
            "reset" => features.reset,
            kind => features.spectators && Sharing::KINDS.contains(&kind),
        }
    }

    /// What an event of a kind that is one asks for.
    pub(super) fn read(kind: &str, payload: ValueRef<'_>, features: Features) -> Result<Control, Refusal> {
        if kind == "rewind" && features.rewind == Offer::NotHere {
            return Err(refuse("kind", "rewind is not offered to this session: init_ack says what is"));
        }
        if kind == "reset" {
            return Reset::read(payload).map(|reset| Control::Reset(Box::new(reset)));
        }
        if kind == "key_frame" {
            return Ok(Control::KeyFrame);
        }
        if Sharing::KINDS.contains(&kind) {
            return Sharing::read(kind, payload).map(Control::Sharing);
        }
        let mut fields = Fields::from_value("payload", payload)?;
        if kind == "transport" {
            return Transport::read(&mut fields).map(Control::Transport);
        }
        if kind == "rewind" {
            return Rewind::read(&mut fields).map(Control::Rewind);
        }
        let shown = fields.integer_in("frame", 0..=u32::MAX)?.ok_or_else(|| refuse("frame", "is missing"))?;
        let lead_ms = fields.integer_in("lead_ms", 0..=LEAD_MS_MAX)?.unwrap_or(LEAD_MS);
        Ok(Control::Playback(Playback { shown, lead_ms }))
    }
}

impl Rewind {
    fn read(fields: &mut Fields<'_>) -> Result<Rewind, Refusal> {
        let (chunk, seconds) = (fields.integer_in("chunk", 0..=u32::MAX)?, fields.number("seconds")?);
        match (chunk, seconds) {
            (Some(chunk), None) => Ok(Rewind::Chunk(chunk)),
            (None, Some(seconds)) if seconds > 0.0 && seconds <= SECONDS as f64 => {
                Ok(Rewind::Ms((seconds * 1e3).round() as u32))
            }
            (None, Some(_)) => Err(refuse("seconds", format!("must be more than 0, and {SECONDS} at most"))),
            _ => Err(refuse("payload", "must have either chunk or seconds")),
        }
    }
}

impl Transport {
    /// What a frame is sent as.
    pub fn format(self) -> Format {
        self.format
    }

    /// The fields that say how frames are sent. An absent one stands for its default.
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Transport, Refusal> {
        let format = format(fields)?;
        let width = fields.integer("realtime_preview_max_width")?;
        Ok(Transport { format, preview_width_max: width.and_then(|width| u32::try_from(width).ok()) })
    }

    /// For frames of this size. `Err`: the format has no pictures of this size.
    pub fn of(self, size: Size) -> Result<Encoding, Refusal> {
        let encoding = Encoding::new(self.format, size, self.preview_width_max);
        let (sent, side_max) = (encoding.sent(), self.format.side_max());
        if sent.width.max(sent.height) > side_max {
            let format = self.format.name();
            let reason = format!("{sent} cannot be sent as {format}: a side is at most {side_max} pixels");
            return Err(refuse("size", reason));
        }
        if let Format::H264 { .. } = self.format {
            h264::check(sent).map_err(|error| refuse("size", error.to_string()))?;
        }
        Ok(encoding)
    }
}

fn format(fields: &mut Fields<'_>) -> Result<Format, Refusal> {
    let worded = match fields.text("output_quality")? {
        Some("maximum") => 100,
        Some("high") => 90,
        Some("medium") => 55,
        Some("low") => 35,
        None | Some("default") => 50,
        Some(_) => return Err(refuse("output_quality", "must be one of maximum, high, medium, low, default")),
    };
    let asked = fields.integer_in("output_compression", 0..=100u8)?;
    // Zero asks for the encoder's default; an absent field for the default of the named quality.
    let quality = |own: u8| match asked {
        None => worded,
        Some(0) => own,
        Some(asked) => asked,
    };
    match fields.text("realtime_output_format")? {
        None | Some("raw") => Ok(Format::Raw),
        Some("webp") => Ok(Format::Webp { quality: quality(90) }),
        Some("jpeg") => Ok(Format::Jpeg { quality: quality(95) }),
        Some("h264") if h264::AVAILABLE => Ok(Format::H264 { quantiser: quantiser::of_quality(quality(75)) }),
        Some(_) => Err(refuse("realtime_output_format", format!("must be one of {}", FORMATS.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Asked;
    use super::super::message;
    use super::*;

    fn both() -> Features {
        Features { transport: true, playback: true, key_frame: true, rewind: Offer::Open, ..Features::default() }
    }

    fn read(json: &str) -> Result<Control, &'static str> {
        match Asked::decode(&message(json), both()) {
            Ok(Asked::Control(Some(4), control)) => Ok(control),
            Ok(other) => panic!("{other:?}"),
            Err(invalid) => Err(invalid.refusal.field),
        }
    }

    #[test]
    fn a_transport_has_the_fields_of_an_init() {
        let check = |payload: &str, format, preview_width_max| {
            let json = format!(r#"{{"type":"event","kind":"transport","event_id":4,"payload":{payload}}}"#);
            assert_eq!(read(&json), Ok(Control::Transport(Transport { format, preview_width_max })), "{payload}");
        };
        check("{}", Format::Raw, None);
        check(r#"{"realtime_output_format":"jpeg"}"#, Format::Jpeg { quality: 50 }, None);
        check(
            r#"{"realtime_output_format":"webp","output_compression":0,"realtime_preview_max_width":320}"#,
            Format::Webp { quality: 90 },
            Some(320),
        );
        let wrong = r#"{"type":"event","kind":"transport","event_id":4,"payload":{"realtime_output_format":"gif"}}"#;
        assert_eq!(read(wrong), Err("realtime_output_format"));
        assert_eq!(read(r#"{"type":"event","kind":"transport","event_id":4}"#), Err("payload"));
    }

    #[test]
    fn a_way_back_is_a_chunk_or_seconds() {
        let check = |payload: &str, expected: Result<Rewind, &'static str>| {
            let json = format!(r#"{{"type":"event","kind":"rewind","event_id":4,"payload":{payload}}}"#);
            assert_eq!(read(&json), expected.map(Control::Rewind), "{payload}");
        };
        check(r#"{"chunk":7}"#, Ok(Rewind::Chunk(7)));
        check(r#"{"seconds":2.5}"#, Ok(Rewind::Ms(2500)));
        check(r#"{"seconds":10}"#, Ok(Rewind::Ms(10_000)));
        check(r#"{"seconds":0}"#, Err("seconds"));
        check(r#"{"seconds":10.1}"#, Err("seconds"));
        check(r#"{"chunk":-1}"#, Err("chunk"));
        check(r#"{"chunk":1,"seconds":1}"#, Err("payload"));
        check("{}", Err("payload"));
    }

    #[test]
    fn a_playhead_has_a_frame_and_may_have_a_lead() {
        let check = |payload: &str, expected: Result<(u32, u32), &'static str>| {
            let json = format!(r#"{{"type":"event","kind":"playback","event_id":4,"payload":{payload}}}"#);
            let expected = expected.map(|(shown, lead_ms)| Control::Playback(Playback { shown, lead_ms }));
            assert_eq!(read(&json), expected, "{payload}");
        };
        check(r#"{"frame":48}"#, Ok((48, LEAD_MS)));
        check(r#"{"frame":48.0,"lead_ms":"250"}"#, Ok((48, 250)));
        check(r#"{"lead_ms":250}"#, Err("frame"));
        check(r#"{"frame":-1}"#, Err("frame"));
        check(r#"{"frame":1,"lead_ms":60001}"#, Err("lead_ms"));
    }
}
