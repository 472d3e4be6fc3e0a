//! What a client may send: first messages here, events in `events`. A new field of a parser, a new kind of event and a new
//! feature each need a line; tests say so.

use pipeline::world::{CONDITION_FRAMES_MAX, WINDOW_FRAMES_MAX};
use serde_json::{Value, json};

use super::events::{events, lens, recording, script};
use super::form::{Form, Incoming, Message, PROMPT, QUALITIES, TEXT, integer, may, must, word};
use crate::realtime::wire::control::FORMATS;
use crate::realtime::wire::init::FPS_MAX;

pub(super) fn messages() -> Vec<Message> {
    all().iter().map(Incoming::message).collect()
}

pub(super) fn all() -> Vec<Incoming> {
    let mut all = vec![init(), resume(), watch(), hello()];
    all.extend(events());
    all
}

const WINDOW: i128 = WINDOW_FRAMES_MAX as i128;

fn init() -> Incoming {
    let whole = i128::from(u64::MAX);
    let number = Form::Number { least: Some(0.0), most: None };
    let only_false = || Form::Schema(json!({ "type": "boolean", "const": false }));
    Incoming {
        name: "init",
        summary: "Begins a session. A mistake is answered with an error, and another init may follow on the same socket.",
        feature: None,
        fields: vec![
            word(&["init"], "The type of the message."),
            may(
                "prompt",
                PROMPT,
                "What the world looks like, in bytes of UTF-8; must be there, unless recording is. Empty text is allowed.",
            ),
            may(
                "first_frame",
                Form::Schema(first_frame()),
                "The picture to start from, stretched to size. Some worlds need one.",
            ),
            may(
                "size",
                TEXT,
                "Pixels, as WIDTHxHEIGHT; by default the world's own. GET /v1/models says which sizes it draws.",
            ),
            may("fps", integer(1, i128::from(FPS_MAX)), "Frames a second, for pacing; by default the world's own."),
            may(
                "realtime_output_pacing",
                Form::Flag,
                "Send a chunk when the one before it has been shown at fps; by default false.",
            ),
            may("seed", integer(0, whole), "The same init and the same inputs give the same bytes; by default 42."),
            may("max_chunks", integer(1, whole), "Close with 1000 after so many; by default endless."),
            may("realtime_output_format", Form::OneOf(FORMATS), "How frames are sent; by default raw."),
            may(
                "output_compression",
                integer(0, 100),
                "Quality of JPEG and WebP; 0 means the encoder's own; by default 50.",
            ),
            may("output_quality", Form::OneOf(QUALITIES), "Quality in a word, where output_compression is absent."),
            may(
                "realtime_preview_max_width",
                Form::Schema(json!({ "type": "integer" })),
                "Encoded frames are scaled down to this width.",
            ),
            may(
                "realtime_causal_kv_cache_num_frames",
                integer(1, WINDOW),
                "The window: latent frames that the model sees, at least a chunk.",
            ),
            may(
                "realtime_causal_sink_size",
                integer(0, WINDOW),
                "Latent frames at the beginning that stay in the window.",
            ),
            may(
                "realtime_first_chunk_num_frames",
                integer(1, WINDOW),
                "Latent frames of the first chunk, at most twice a chunk.",
            ),
            may(
                "num_frames",
                integer(0, CONDITION_FRAMES_MAX as i128),
                "Video frames of picture condition, for worlds that use it.",
            ),
            may(
                "condition_inputs",
                Form::Schema(json!({ "type": "object", "properties": { "camera_actions": script() } })),
                "A script for the beginning.",
            ),
            may(
                "protocol_features",
                Form::Schema(json!({ "type": "array", "items": { "type": "string", "examples": FEATURES } })),
                "What the client understands beyond the reference. Other names are ignored.",
            ),
            may(
                "intrinsics",
                Form::Schema(lens()),
                "The lens from the first frame on; with the feature intrinsics, in worlds that follow it.",
            ),
            may("recording", Form::Schema(recording()), "The beginning of the video, with the feature recording."),
            may(
                "record",
                Form::Schema(json!({ "type": "boolean" })),
                "Whether the session is recorded, with the feature recording; what the operator does not do is refused.",
            ),
            may("api_key", TEXT, "A key or token, where the server asks for one and none came before."),
            may("model", TEXT, "Not compared with the served world."),
            may(
                "num_inference_steps",
                Form::Schema(json!({ "type": "integer" })),
                "Checked; without effect on a distilled model.",
            ),
            may("guidance_scale", number.clone(), "Checked; without effect on a distilled model."),
            may("guidance_scale_2", number, "Checked; without effect on a distilled model."),
            may("negative_prompt", TEXT, "Checked; without effect on a distilled model."),
            may(
                "use_guardrails",
                Form::Flag,
                "Whether prompts and frames are checked; by default as the operator says.",
            ),
            may("guardrails", Form::Flag, "The same by another name; use_guardrails counts where both are given."),
            may("enable_upscaling", only_false(), "Not offered: true is refused."),
            may("enable_frame_interpolation", only_false(), "Not offered: true is refused."),
            may("enhance_prompt", only_false(), "Not offered: true is refused."),
            may("upscaling_model_path", TEXT, "Without effect. A URL is refused, as in the reference."),
            may("frame_interpolation_model_path", TEXT, "Without effect. A URL is refused, as in the reference."),
        ],
        examples: vec![
            json!({ "type": "init", "prompt": "a meadow" }),
            json!({
                "type": "init", "prompt": "an autumn forest", "size": "96x64", "seed": 7, "fps": 16, "realtime_output_pacing": true,
                "realtime_output_format": "jpeg", "output_compression": 92, "max_chunks": 100,
                "protocol_features": ["queue", "session", "ack", "timing", "pause"],
                "condition_inputs": { "camera_actions": [["w"], ["w", "l"], []] },
            }),
            json!({
                "type": "init", "prompt": "a road", "protocol_features": ["rates", "poses", "intrinsics", "receipts"],
                "intrinsics": { "fx": 500, "fy": 500, "cx": 416, "cy": 240 },
            }),
            json!({
                "type": "init", "protocol_features": ["recording", "rewind"], "record": true,
                "recording": { "session_id": "5d41402abc4b2a76b9719d911017c592", "chunks": 40, "show": false },
            }),
        ],
    }
}

/// The names of the features that this server has.
pub(super) const FEATURES: &[&str] = &[
    "queue",
    "session",
    "ack",
    "timing",
    "pause",
    "step",
    "transport",
    "playback",
    "key_frame",
    "rates",
    "poses",
    "intrinsics",
    "receipts",
    "rewind",
    "reset",
    "recording",
    "spectators",
    "unknown_words",
    "moved",
    "redirect",
];

fn first_frame() -> Value {
    json!({
        "type": "string",
        "contentEncoding": "base64",
        "examples": ["data:image/png;base64,…", "https://pictures.example/meadow.jpg"],
        "$comment": "Bytes of a JPEG, PNG or WebP; or text: a data URL of one, or a URL where the operator allows its host.",
    })
}

fn resume() -> Incoming {
    Incoming {
        name: "resume",
        summary: "Instead of an init: goes on with the session whose line was cut.",
        feature: Some("session"),
        fields: vec![
            word(&["resume"], "The type of the message."),
            must("token", TEXT, "The resume_token of the session message."),
            may(
                "last_chunk",
                integer(-1, i128::from(u32::MAX)),
                "The last chunk that the client has whole; absent or -1: none.",
            ),
            may("api_key", TEXT, "As in init."),
        ],
        examples: vec![json!({ "type": "resume", "token": "0f8fad5bd9cb469fa16570867728950e", "last_chunk": 41 })],
    }
}

fn watch() -> Incoming {
    Incoming {
        name: "watch",
        summary: "Instead of an init: watches the session that a token of its player stands for.",
        feature: None,
        fields: vec![
            word(&["watch"], "The type of the message."),
            must("token", TEXT, "The token of a shared message."),
            may(
                "realtime_output_format",
                Form::OneOf(FORMATS),
                "How frames are sent; by default as they go to the player, with all that follows here.",
            ),
            may("output_compression", integer(0, 100), "As in init, with realtime_output_format."),
            may("output_quality", Form::OneOf(QUALITIES), "As in init, with realtime_output_format."),
            may(
                "realtime_preview_max_width",
                Form::Schema(json!({ "type": "integer" })),
                "As in init, with realtime_output_format.",
            ),
        ],
        examples: vec![json!({
            "type": "watch", "token": "cwv_VGhlIG1lYWRvdyBpcyBncmVlbiwgdGhlIHNreSBibHVl",
            "realtime_output_format": "jpeg", "output_compression": 92,
        })],
    }
}

fn hello() -> Incoming {
    Incoming {
        name: "hello",
        summary: "Before an init or a resume, in a cluster: opens the place that was granted on this node.",
        feature: None,
        fields: vec![
            word(&["hello"], "The type of the message."),
            must("token", TEXT, "The token of a redirect message, or of POST /v1/sessions. Good once."),
        ],
        examples: vec![json!({ "type": "hello", "token": "cwg_2c624232cdd221771294dfbb310aca00.1.c2VjcmV0" })],
    }
}
