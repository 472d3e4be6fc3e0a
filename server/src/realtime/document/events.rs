//! What a client may say during a session: every kind of event, and its payload.

use pipeline::world::PROMPT_BYTES_MAX;
use serde_json::{Value, json};

use super::form::{Form, Incoming, QUALITIES, integer, may, must, word};
use crate::engine::turns::rewinds::SECONDS;
use crate::realtime::wire::control::{FORMATS, LEAD_MS_MAX};
use crate::realtime::wire::event::{SCRIPT_ITEMS_MAX, TRANSITIONS_MAX};
use crate::realtime::wire::from_recording::CHUNKS_MAX;
use crate::realtime::wire::sharing::ROLES;

fn keys() -> Value {
    json!({ "type": "array", "items": { "type": "string", "examples": ["w", "a", "s", "d", "i", "j", "k", "l"] } })
}

pub(super) fn script() -> Value {
    json!({ "type": "array", "items": keys(), "maxItems": SCRIPT_ITEMS_MAX, "description": "The keys of each latent frame to come." })
}

fn state() -> Value {
    json!({
        "type": "object",
        "required": ["mode", "transitions"],
        "properties": {
            "mode": { "type": "string", "enum": ["state"] },
            "transitions": {
                "type": "array",
                "maxItems": TRANSITIONS_MAX,
                "items": {
                    "type": "object",
                    "properties": {
                        "actions": keys(),
                        "client_ts_ms": { "type": "number", "description": "When it happened, by the client's clock." },
                        "rates": rates(),
                        "pose": pose(),
                        "intrinsics": lens(),
                        "at_ms": {
                            "type": "number", "minimum": 0, "maximum": u32::MAX,
                            "description": "When, in milliseconds of the video, as pts_ms; with rates, poses or intrinsics.",
                        },
                    },
                },
                "description": "Each says all keys that are held from then on, and how the camera is steered besides; what is absent stays as it was.",
            },
        },
    })
}

fn rates() -> Value {
    let rate = |about: &str| json!({ "type": "number", "minimum": -1, "maximum": 1, "description": about });
    json!({
        "type": "object",
        "properties": {
            "forward": rate("Ahead, as a part of what a held key does."),
            "strafe": rate("To the right."),
            "yaw": rate("Turning right."),
            "pitch": rate("Looking up."),
        },
        "description": "Motion as parts of a held key's; with the feature rates.",
    })
}

fn pose() -> Value {
    json!({
        "type": "array",
        "description": "Camera from world, OpenCV axes: 16 numbers row by row, or 4 lists of 4; with the feature poses.",
    })
}

pub(super) fn lens() -> Value {
    let pixels = |about: &str| json!({ "type": "number", "description": about });
    json!({
        "type": "object",
        "properties": {
            "fx": pixels("Focal length across, in pixels of the video."),
            "fy": pixels("Focal length down."),
            "cx": pixels("Where the axis meets the picture, from its left edge."),
            "cy": pixels("The same from its top edge."),
            "fov_x_deg": { "type": "number", "minimum": 1, "maximum": 179, "description": "In place of the four." },
        },
        "description": "The lens, as four numbers or a field of view; with the feature intrinsics.",
    })
}

fn camera_actions() -> Value {
    json!({ "oneOf": [script(), state()] })
}

fn composite() -> Value {
    json!({
        "type": "object",
        "required": ["input_types"],
        "properties": {
            "input_types": { "type": "array", "items": { "type": "string", "enum": INPUT_TYPES }, "minItems": 1, "maxItems": 16 },
            "prompt": { "type": "string", "minLength": 1, "maxLength": PROMPT_BYTES_MAX },
            "camera_actions": camera_actions(),
        },
    })
}

/// How frames are sent.
fn transport() -> Value {
    json!({
        "type": "object",
        "properties": {
            "realtime_output_format": { "type": "string", "enum": FORMATS },
            "output_compression": { "type": "integer", "minimum": 0, "maximum": 100 },
            "output_quality": { "type": "string", "enum": QUALITIES },
            "realtime_preview_max_width": { "type": "integer" },
        },
    })
}

fn playback() -> Value {
    let frame = "Video frames that the client has shown, counted as they were sent.";
    json!({
        "type": "object",
        "required": ["frame"],
        "properties": {
            "frame": { "type": "integer", "minimum": 0, "maximum": u32::MAX, "description": frame },
            "lead_ms": { "type": "integer", "minimum": 0, "maximum": LEAD_MS_MAX, "description": "By default 1000." },
        },
    })
}

/// How the next video of a session begins.
fn reset() -> Value {
    json!({
        "type": ["object", "null"],
        "properties": {
            "prompt": { "type": "string", "description": "What the world is to look like." },
            "seed": { "type": "integer", "minimum": 0, "maximum": u64::MAX, "description": "Decides all random numbers." },
            "size": { "type": "string", "pattern": "^[0-9]+x[0-9]+$", "description": "Width and height, as in 832x480." },
            "first_frame": { "type": ["string", "boolean"], "description": "As in an init; false: none." },
        },
    })
}

/// Where in the video to go back to.
fn rewind() -> Value {
    let chunk = "The place in the video of the chunk that is drawn next.";
    json!({
        "type": "object",
        "oneOf": [{ "required": ["chunk"] }, { "required": ["seconds"] }],
        "properties": {
            "chunk": { "type": "integer", "minimum": 0, "maximum": u32::MAX, "description": chunk },
            "seconds": { "type": "number", "exclusiveMinimum": 0, "maximum": SECONDS, "description": "Before the next chunk." },
        },
    })
}

/// A recorded video that a session begins with.
pub(super) fn recording() -> Value {
    json!({
        "type": "object",
        "oneOf": [{ "required": ["file"] }, { "required": ["session_id"] }],
        "properties": {
            "file": { "type": "string", "contentEncoding": "base64", "description": "The bytes of a recording." },
            "session_id": { "type": "string", "description": "A session of the same account that the server recorded." },
            "chunks": { "type": "integer", "minimum": 1, "maximum": CHUNKS_MAX, "description": "Drawn of it; by default all." },
            "show": { "type": "boolean", "description": "Whether their frames are sent; by default true." },
        },
    })
}

fn number_of(name: &str, about: &str) -> Value {
    let number = json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX, "description": about });
    json!({ "type": "object", "required": [name], "properties": { name: number } })
}

/// Kinds of event that may be parts of a composite.
const INPUT_TYPES: &[&str] = &["prompt", "camera_actions"];

pub(super) fn events() -> Vec<Incoming> {
    let event = |name,
                 kind: &'static [&'static str],
                 summary,
                 payload: Option<(Value, &'static str)>,
                 feature,
                 example: Value| {
        let mut fields = vec![
            word(&["event"], "The type of the message."),
            must("kind", Form::OneOf(kind), "What the event is about."),
            may(
                "event_id",
                integer(0, i128::from(u32::MAX)),
                "Counted up by the client. It comes back on the frames that the event changed.",
            ),
        ];
        let is_step = matches!(kind, ["step"]);
        let payload_of = if is_step { may } else { must };
        fields.extend(payload.map(|(schema, about)| payload_of("payload", Form::Schema(schema), about)));
        if is_step || matches!(kind, ["prompt" | "composite_input"]) {
            fields.push(may(
                "recache",
                Form::Flag,
                "Let the past count as if it had been drawn with the new prompt; by default false.",
            ));
        }
        Incoming { name, summary, fields, feature, examples: vec![example] }
    };
    vec![
        event(
            "event_camera_actions",
            &["camera_actions"],
            "Steers by keys: those that are held, or a script that is played once.",
            Some((camera_actions(), "A script, or what is held.")),
            None,
            json!({
                "type": "event", "kind": "camera_actions", "event_id": 17,
                "payload": {
                    "mode": "state",
                    "transitions": [
                        { "actions": ["w", "l"], "client_ts_ms": 81234 },
                        { "rates": { "forward": 0.5, "yaw": -0.25 }, "intrinsics": { "fov_x_deg": 75 }, "at_ms": 2312.5 },
                        { "pose": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], "at_ms": 3312.5 },
                    ],
                },
            }),
        ),
        event(
            "event_prompt",
            &["prompt"],
            "Another prompt, from the next chunk on.",
            Some((
                json!({ "type": "string", "minLength": 1, "maxLength": PROMPT_BYTES_MAX }),
                "The prompt, in bytes of UTF-8.",
            )),
            None,
            json!({ "type": "event", "kind": "prompt", "event_id": 18, "payload": "a meadow by night", "recache": true }),
        ),
        event(
            "event_composite_input",
            &["composite_input"],
            "Several parts that take effect in the same chunk, or not at all.",
            Some((composite(), "The parts by their names.")),
            None,
            json!({
                "type": "event", "kind": "composite_input", "event_id": 19,
                "payload": { "input_types": ["prompt", "camera_actions"], "prompt": "by day", "camera_actions": [["w"], []] },
            }),
        ),
        event(
            "event_pause",
            &["pause"],
            "Draw no more, until resume.",
            None,
            Some("pause"),
            json!({ "type": "event", "kind": "pause" }),
        ),
        event(
            "event_resume",
            &["resume"],
            "Go on after a pause.",
            None,
            Some("pause"),
            json!({ "type": "event", "kind": "resume" }),
        ),
        event(
            "event_step",
            &["step"],
            "Draw exactly one chunk. Nothing else is drawn in such a session.",
            Some((composite(), "What steers the chunk, as in composite_input; or nil.")),
            Some("step"),
            json!({
                "type": "event", "kind": "step", "event_id": 20,
                "payload": { "input_types": ["camera_actions"], "camera_actions": [["w"]] },
            }),
        ),
        event(
            "event_transport",
            &["transport"],
            "How frames are sent from the next chunk on.",
            Some((transport(), "The fields of an init; one that is left out has its default.")),
            Some("transport"),
            json!({ "type": "event", "kind": "transport", "payload": { "realtime_output_format": "jpeg", "output_compression": 60 } }),
        ),
        event(
            "event_playback",
            &["playback"],
            "What the client has shown: the server draws no further ahead than a lead.",
            Some((playback(), "The playhead.")),
            Some("playback"),
            json!({ "type": "event", "kind": "playback", "payload": { "frame": 48, "lead_ms": 250 } }),
        ),
        event(
            "event_key_frame",
            &["key_frame"],
            "Let the next frame of an H.264 film be one that can be decoded without those before.",
            None,
            Some("key_frame"),
            json!({ "type": "event", "kind": "key_frame" }),
        ),
        event(
            "event_clock",
            &["clock"],
            "What time is it there? Answered by clock.",
            Some((
                json!({
                    "type": "object",
                    "required": ["client_ms"],
                    "properties": { "client_ms": { "type": "number", "description": "The client's own time." } },
                }),
                "What time it is here.",
            )),
            Some("receipts"),
            json!({ "type": "event", "kind": "clock", "payload": { "client_ms": 81234.5 } }),
        ),
        event(
            "event_reset",
            &["reset"],
            "Begin another video in the same session.",
            Some((reset(), "How it begins; what is absent is as it was.")),
            Some("reset"),
            json!({ "type": "event", "kind": "reset", "event_id": 22, "payload": { "prompt": "a road at dusk", "seed": 7 } }),
        ),
        event(
            "event_rewind",
            &["rewind"],
            "Go back in the video, and go on from there.",
            Some((rewind(), "Where to.")),
            Some("rewind"),
            json!({ "type": "event", "kind": "rewind", "event_id": 21, "payload": { "seconds": 5 } }),
        ),
        event(
            "event_share",
            &["share"],
            "A token for viewers. Answered by shared.",
            Some((
                json!({ "type": "object", "required": ["role"], "properties": { "role": { "type": "string", "enum": ROLES } } }),
                "What its viewers may be allowed.",
            )),
            Some("spectators"),
            json!({ "type": "event", "kind": "share", "event_id": 21, "payload": { "role": "view" } }),
        ),
        event(
            "event_unshare",
            &["unshare"],
            "Ends a token, and sends away who came with it.",
            Some((number_of("share_id", "The number of the share, as shared says it."), "Which one.")),
            Some("spectators"),
            json!({ "type": "event", "kind": "unshare", "payload": { "share_id": 1 } }),
        ),
        event(
            "event_hand_over",
            &["hand_over"],
            "Lets a viewer hold what its role allows: a director the prompt, one of the role control the camera too.",
            Some((number_of("viewer_id", "The number of the viewer, as viewers says it."), "To whom.")),
            Some("spectators"),
            json!({ "type": "event", "kind": "hand_over", "payload": { "viewer_id": 3 } }),
        ),
        event(
            "event_take_back",
            &["take_back"],
            "Lets the player steer alone again.",
            None,
            Some("spectators"),
            json!({ "type": "event", "kind": "take_back" }),
        ),
        event(
            "event_wait",
            &["wait"],
            "Keep the place in the queue.",
            None,
            Some("queue"),
            json!({ "type": "event", "kind": "wait" }),
        ),
    ]
}
