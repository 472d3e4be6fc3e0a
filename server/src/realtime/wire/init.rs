//! A client's `init`. All of it is checked here before anything is opened: the reference finds most mistakes only in the
//! first chunk. What depends on the world is checked against its card, in a second step: while the world loads there is none.

use std::time::Duration;

use bytes::Bytes;
use pipeline::world::{
    CONDITION_FRAMES_MAX, Card, FRAMES_PER_LATENT, Held, Init, Picture, Refusal, Size, WINDOW_FRAMES_MAX,
};
use rmpv::ValueRef;

use super::fields::{Fields, as_str, list, refuse, text};
use super::{data_url, event};
use crate::media::pictures::{Encoding, Format};

/// Video frames a second that a client may ask for.
pub const FPS_MAX: u32 = 240;

/// An `init` whose fields are all well formed. What depends on the world is not decided yet: it may still be loading.
#[derive(Debug)]
pub struct InitRequest {
    prompt: String,
    model: Option<String>,
    size: Option<Size>,
    seed: u64,
    sink: Option<usize>,
    window: Option<usize>,
    condition_frames: Option<usize>,
    first_frame: Option<FirstFrame>,
    script: Option<Vec<Held>>,
    format: Format,
    preview_width_max: Option<u32>,
    fps: Option<u32>,
    paced: bool,
    max_chunks: Option<u64>,
    features: Features,
}

/// A checked `init`, but for the picture: decoding that takes time, so it is done elsewhere.
#[derive(Debug)]
pub struct Opening {
    prompt: String,
    /// The model's name, as the client gave it.
    pub model: Option<String>,
    size: Size,
    seed: u64,
    sink: usize,
    window: usize,
    condition_frames: Option<usize>,
    /// The encoded first frame, or its URL.
    pub first_frame: Option<FirstFrame>,
    /// The controls of the first latent frames, one by one.
    pub script: Option<Vec<Held>>,
    /// How frames go to the client.
    pub encoding: Encoding,
    /// How many chunks the session gets, and when.
    pub terms: Terms,
    /// Features that the client understands.
    pub features: Features,
}

/// How many chunks a session gets, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Video frames per second.
    pub fps: u32,
    /// Hold a chunk back until the one before it has been shown at `fps`.
    pub paced: bool,
    /// Chunks in all. `None`: no limit.
    pub max_chunks: Option<u64>,
}

impl Terms {
    /// How often a paced session needs a chunk; `None` for a free one.
    pub fn chunk_period(&self, card: &Card) -> Option<Duration> {
        let frames = card.chunk * FRAMES_PER_LATENT;
        self.paced.then(|| Duration::from_secs_f64(frames as f64 / f64::from(self.fps)))
    }
}

/// Features beyond the reference's messages that the client lists in `protocol_features`. Unknown names
/// are ignored: they are meant for other servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// Its position while it waits for a place.
    pub queue: bool,
    /// How to come back after a cut.
    pub session: bool,
    /// What its session is, and what became of its events.
    pub ack: bool,
    /// Where frames stand in the video: more fields of a header.
    pub timing: bool,
    /// It may say two more kinds of event.
    pub pause: bool,
}

impl Features {
    fn take(fields: &mut Fields<'_>) -> Result<Features, Refusal> {
        let mut features = Features::default();
        let Some(names) = fields.take("protocol_features") else { return Ok(features) };
        for name in list("protocol_features", names)? {
            match text("protocol_features", &name)? {
                "queue" => features.queue = true,
                "session" => features.session = true,
                "ack" => features.ack = true,
                "timing" => features.timing = true,
                "pause" => features.pause = true,
                _ => {}
            }
        }
        Ok(features)
    }

    /// As the wire calls them.
    pub fn names(&self) -> Vec<&'static str> {
        let Features { queue, session, ack, timing, pause } = *self;
        let named = [(queue, "queue"), (session, "session"), (ack, "ack"), (timing, "timing"), (pause, "pause")];
        named.into_iter().filter_map(|(has, name)| has.then_some(name)).collect()
    }
}

/// Where the first frame is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstFrame {
    /// Its file: the part of the message that holds it, or what base64 stood for.
    File(Bytes),
    /// Of http or https. Whether it may be fetched is not decided here.
    At(String),
}

impl InitRequest {
    /// All fields but `type` and `api_key`. `fields` are those of `message`, of which a picture keeps its part.
    pub(crate) fn read(fields: &mut Fields<'_>, message: &Bytes) -> Result<InitRequest, Refusal> {
        let prompt = fields.text("prompt")?.ok_or_else(|| refuse("prompt", "is missing"))?;
        event::check_prompt(prompt)?;

        let size = fields.text("size")?.map(|text| text.parse().map_err(|reason: String| refuse("size", reason)));
        let frames = |number: u32| number as usize;
        let window_frames_max = WINDOW_FRAMES_MAX as u32;
        let request = InitRequest {
            prompt: prompt.to_owned(),
            size: size.transpose()?,
            sink: fields.integer_in("realtime_causal_sink_size", 0..=window_frames_max)?.map(frames),
            window: fields.integer_in("realtime_causal_kv_cache_num_frames", 1..=window_frames_max)?.map(frames),
            // Clients send zero for "not set".
            condition_frames: fields
                .integer_in("num_frames", 0..=CONDITION_FRAMES_MAX as u32)?
                .map(frames)
                .filter(|&frames| frames > 0),
            fps: fields.integer_in("fps", 1..=FPS_MAX)?,
            max_chunks: fields.integer_in("max_chunks", 1..=u64::MAX)?,
            paced: fields.flag("realtime_output_pacing")?,
            model: fields.take("model").and_then(|model| as_str(&model).map(str::to_owned)),
            seed: fields.integer_in("seed", 0..=u64::MAX)?.unwrap_or(SEED),
            first_frame: first_frame(fields, message)?,
            script: script(fields)?,
            format: format(fields)?,
            preview_width_max: fields
                .integer("realtime_preview_max_width")?
                .and_then(|width| u32::try_from(width).ok()),
            features: Features::take(fields)?,
        };
        refuse_what_is_not_done(fields)?;
        Ok(request)
    }

    /// Check the rest against the world's card.
    pub fn check(self, card: &Card) -> Result<Opening, Refusal> {
        let size = card.choose_size(self.size)?;
        let (sink, window) = card.choose_window(self.sink, self.window)?;
        let encoding = Encoding::new(self.format, size, self.preview_width_max);
        let (sent, side_max) = (encoding.sent(), self.format.side_max());
        if sent.width.max(sent.height) > side_max {
            let format = self.format.name();
            return Err(refuse(
                "size",
                format!("{sent} cannot be sent as {format}: a side is at most {side_max} pixels"),
            ));
        }
        if card.needs_first_frame && self.first_frame.is_none() {
            return Err(refuse("first_frame", format!("is missing: {} starts from a picture", card.name)));
        }
        Ok(Opening {
            prompt: self.prompt,
            model: self.model,
            size,
            seed: self.seed,
            sink,
            window,
            condition_frames: self.condition_frames,
            first_frame: self.first_frame,
            script: self.script,
            encoding,
            terms: Terms { fps: self.fps.unwrap_or(card.fps), paced: self.paced, max_chunks: self.max_chunks },
            features: self.features,
        })
    }
}

impl Opening {
    /// The world's part of the request.
    pub fn init(&self, first_frame: Option<Picture>) -> Init {
        Init {
            prompt: self.prompt.clone(),
            first_frame,
            size: self.size,
            seed: self.seed,
            sink: self.sink,
            window: self.window,
            condition_frames: self.condition_frames,
        }
    }

    /// Width and height of the video as it is drawn.
    pub fn size(&self) -> Size {
        self.size
    }
}

/// As the reference's.
const SEED: u64 = 42;

fn first_frame(fields: &mut Fields<'_>, message: &Bytes) -> Result<Option<FirstFrame>, Refusal> {
    let text = match fields.take("first_frame") {
        None => return Ok(None),
        Some(ValueRef::Binary(file)) => return Ok(Some(FirstFrame::File(message.slice_ref(file)))),
        Some(ValueRef::String(text)) => text.into_str().unwrap_or_default(),
        Some(_) => return Err(refuse("first_frame", FIRST_FRAME_FORMS)),
    };
    let begins = |with: &str| text.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with));
    if begins("http://") || begins("https://") {
        return Ok(Some(FirstFrame::At(text.to_owned())));
    }
    let file = data_url::read(text).ok_or_else(|| refuse("first_frame", FIRST_FRAME_FORMS))?;
    Ok(Some(FirstFrame::File(file.map_err(|reason| refuse("first_frame", reason))?.into())))
}

const FIRST_FRAME_FORMS: &str = "must be the bytes of a picture, or data:image/TYPE;base64,DATA";

fn script(fields: &mut Fields<'_>) -> Result<Option<Vec<Held>>, Refusal> {
    let Some(inputs) = fields.take("condition_inputs") else { return Ok(None) };
    let mut inputs = Fields::from_value("condition_inputs", inputs)?;
    let Some(actions) = inputs.take("camera_actions") else { return Ok(None) };
    event::script("camera_actions", actions).map(Some)
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
        Some(_) => Err(refuse("realtime_output_format", "must be one of raw, webp, jpeg")),
    }
}

/// Modes that do not exist here. Ignoring these keys would promise them. Other unknown keys are ignored, as in the
/// reference.
fn refuse_what_is_not_done(fields: &mut Fields<'_>) -> Result<(), Refusal> {
    for name in ["enable_upscaling", "enable_frame_interpolation", "enhance_prompt"] {
        if fields.flag(name)? {
            return Err(refuse(name, "is not offered by this server: leave it out, or send false"));
        }
    }
    for name in ["upscaling_model_path", "frame_interpolation_model_path"] {
        if fields.text(name)?.is_some_and(|path| path.contains("://")) {
            return Err(refuse(name, "must be a local path or a HuggingFace repo id, not a URL"));
        }
    }
    // It has no effect on a distilled model, but an invalid value is still an error.
    fields.integer("num_inference_steps")?;
    for name in ["guidance_scale", "guidance_scale_2"] {
        if fields.number(name)?.is_some_and(|scale| scale < 0.0) {
            return Err(refuse(name, "must not be negative"));
        }
    }
    fields.text("negative_prompt")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use pipeline::testcard::Testcard;
    use pipeline::world::{Sizes, World};

    use super::super::first_message::{self, FirstMessage, WrongFirst};
    use super::super::message;
    use super::*;

    fn card() -> Card {
        Card::clone(Testcard::new(std::time::Duration::ZERO).card())
    }

    fn read(message: Vec<u8>, card: &Card) -> Result<Opening, Refusal> {
        match first_message::decode(&message.into()).message {
            Ok(FirstMessage::Init(request)) => request.check(card),
            Err(WrongFirst::Init(refusal)) => Err(refusal),
            other => panic!("no init: {other:?}"),
        }
    }

    fn decode(fields: &str) -> Result<Opening, Refusal> {
        let comma = if fields.is_empty() { "" } else { "," };
        read(message(&format!(r#"{{"type":"init","prompt":"p"{comma}{fields}}}"#)), &card())
    }

    #[test]
    fn what_is_left_out_is_what_the_card_says() {
        let opening = decode("").expect("the least an init can be");
        assert_eq!(opening.terms, Terms { fps: 16, paced: false, max_chunks: None });
        assert_eq!(opening.encoding, Encoding::new(Format::Raw, opening.size, None));
        assert!(opening.script.is_none() && opening.first_frame.is_none());
        let init = opening.init(None);
        assert_eq!((init.seed, init.sink, init.window, init.condition_frames), (42, 9, 18, None));
        assert_eq!(init.size.to_string(), "832x480");
    }

    #[test]
    fn what_is_asked_for_is_what_is_opened() {
        let opening = decode(
            r#""size":" 64 X 48 ","fps":"25","seed":100000.0,"max_chunks":4.0,"num_frames":45,
            "realtime_output_pacing":true,"realtime_causal_sink_size":6,"realtime_causal_kv_cache_num_frames":12,
            "condition_inputs":{"camera_actions":[["w"],[]],"other":1},"model":"any","unknown":{"a":[1]},
            "enable_upscaling":false,"num_inference_steps":4,"guidance_scale":1.0,"first_frame":"data:image/png;base64,AAEC""#,
        )
        .expect("all of it is allowed");
        assert_eq!(opening.terms, Terms { fps: 25, paced: true, max_chunks: Some(4) });
        assert_eq!(opening.script, Some(vec![Held::default().with('w'), Held::default()]));
        assert_eq!(opening.first_frame, Some(FirstFrame::File(Bytes::from_static(&[0, 1, 2]))));
        let init = opening.init(None);
        assert_eq!((init.seed, init.sink, init.window, init.condition_frames), (100_000, 6, 12, Some(45)));
        assert_eq!(init.size, Size { width: 64, height: 48 });
    }

    #[test]
    fn a_seed_is_any_number_of_64_bits() {
        let seed = |json: &str| decode(&format!(r#""seed":{json}"#)).expect(json).init(None).seed;
        assert_eq!(seed("9223372036854775808"), 1 << 63);
        assert_eq!(seed("18446744073709551615"), u64::MAX);
        assert_eq!(seed(r#""18446744073709551615""#), u64::MAX);
        assert_eq!(seed("1152921504606846976.0"), 1 << 60);
    }

    #[test]
    fn quality_is_fifty_unless_a_number_or_a_word_says_otherwise() {
        let check = |fields: &str, expected: Format| {
            assert_eq!(decode(fields).expect(fields).encoding.format(), expected, "{fields}");
        };
        check(r#""realtime_output_format":"webp""#, Format::Webp { quality: 50 });
        check(r#""realtime_output_format":"jpeg","output_compression":80"#, Format::Jpeg { quality: 80 });
        check(r#""realtime_output_format":"webp","output_compression":0"#, Format::Webp { quality: 90 });
        check(r#""realtime_output_format":"jpeg","output_compression":0"#, Format::Jpeg { quality: 95 });
        check(r#""realtime_output_format":"jpeg","output_quality":"low""#, Format::Jpeg { quality: 35 });
        check(
            r#""realtime_output_format":"jpeg","output_quality":"low","output_compression":7"#,
            Format::Jpeg { quality: 7 },
        );
        check(r#""output_compression":80"#, Format::Raw);
    }

    #[test]
    fn a_bad_value_is_refused_by_the_name_of_its_field() {
        let check = |fields: &str, field: &str, reason: &str| {
            let refusal = decode(fields).expect_err(fields);
            assert_eq!(refusal.field, field, "{fields}");
            assert!(refusal.reason.contains(reason), "{refusal}");
        };
        check(r#""size":"bogus""#, "size", "size must be formatted as positive WIDTHxHEIGHT");
        check(r#""size":"0x48""#, "size", "positive WIDTHxHEIGHT");
        check(r#""size":"8000x8000""#, "size", "8294400 pixels");
        check(r#""size":64"#, "size", "must be text");
        check(r#""size":"16384x2","realtime_output_format":"webp""#, "size", "at most 16383");
        check(r#""fps":0"#, "fps", "1 to 240");
        check(r#""fps":25.5"#, "fps", "integer");
        check(r#""seed":-1"#, "seed", "at least 0");
        check(r#""seed":[1]"#, "seed", "a list");
        check(r#""seed":18446744073709551616.0"#, "seed", "0 to 18446744073709551615");
        check(r#""max_chunks":0"#, "max_chunks", "at least 1");
        check(r#""fps":18446744073709551615"#, "fps", "1 to 240");
        check(r#""num_frames":258"#, "num_frames", "0 to 257");
        check(r#""realtime_output_format":"png""#, "realtime_output_format", "raw, webp, jpeg");
        check(r#""output_compression":300"#, "output_compression", "0 to 100");
        check(r#""output_quality":"best""#, "output_quality", "maximum");
        check(r#""realtime_causal_sink_size":-1"#, "realtime_causal_sink_size", "0 to");
        check(r#""realtime_causal_sink_size":16"#, "realtime_causal_sink_size", "no room");
        check(r#""realtime_causal_kv_cache_num_frames":0"#, "realtime_causal_kv_cache_num_frames", "1 to");
        check(r#""realtime_causal_kv_cache_num_frames":2"#, "realtime_causal_kv_cache_num_frames", "chunk of 3");
        check(r#""condition_inputs":[]"#, "condition_inputs", "must be a map");
        check(r#""condition_inputs":{"camera_actions":"w"}"#, "camera_actions", "must be a list");
        check(r#""first_frame":"/etc/passwd""#, "first_frame", "data:image");
        check(r#""first_frame":"data:image/png;base64,???""#, "first_frame", "base64");
        check(r#""first_frame":7"#, "first_frame", "bytes");
        check(r#""enhance_prompt":true"#, "enhance_prompt", "not offered");
        check(r#""enable_upscaling":true"#, "enable_upscaling", "not offered");
        check(r#""enable_frame_interpolation":1"#, "enable_frame_interpolation", "not offered");
        check(r#""upscaling_model_path":"https://x/y""#, "upscaling_model_path", "not a URL");
        check(r#""guidance_scale":-0.5"#, "guidance_scale", "negative");
        check(r#""protocol_features":"queue""#, "protocol_features", "must be a list");
        check(r#""protocol_features":[7]"#, "protocol_features", "must be text");
        check(r#""realtime_output_pacing":"perhaps""#, "realtime_output_pacing", "true or false");
        let long = "p".repeat(1 << 20);
        let init = message(&format!(r#"{{"type":"init","prompt":"{long}"}}"#));
        assert_eq!(read(init, &card()).expect_err("a megabyte of prompt").field, "prompt");
    }

    #[test]
    fn what_a_client_can_hear_is_what_it_names_and_other_names_are_ignored() {
        let queue = |fields: &str| decode(fields).expect(fields).features.queue;
        assert!(queue(r#""protocol_features":["telepathy","queue"]"#));
        assert!(!queue("") && !queue(r#""protocol_features":[]"#) && !queue(r#""protocol_features":["Queue"]"#));
        let all = r#""protocol_features":["queue","session","ack","timing","pause"]"#;
        assert_eq!(decode(all).expect("all").features.names(), ["queue", "session", "ack", "timing", "pause"]);
    }

    #[test]
    fn a_paced_session_needs_a_chunk_as_often_as_one_is_shown() {
        let period = |fields: &str| decode(fields).expect(fields).terms.chunk_period(&card());
        assert_eq!(period(r#""fps":24,"realtime_output_pacing":true"#), Some(Duration::from_millis(500)));
        assert_eq!(period(r#""fps":24"#), None);
    }

    #[test]
    fn an_init_names_itself_and_has_a_prompt() {
        for (json, field) in [
            (r#"{"prompt":"p"}"#, "type"),
            (r#"{"type":"event"}"#, "type"),
            (r#"{"type":"init"}"#, "prompt"),
            ("[]", "message"),
        ] {
            assert_eq!(read(message(json), &card()).expect_err(json).field, field);
        }
        assert!(read(message(r#"{"type":"init","prompt":""}"#), &card()).is_ok());
    }

    #[test]
    fn a_world_that_starts_from_a_picture_refuses_an_init_without_one() {
        let card = Card { needs_first_frame: true, ..card() };
        let refusal = read(message(r#"{"type":"init","prompt":"p"}"#), &card).expect_err("no picture");
        assert_eq!(refusal.field, "first_frame");
    }

    #[test]
    fn a_size_that_the_world_does_not_draw_is_refused_with_those_it_does() {
        let size = Size { width: 128, height: 96 };
        let card = Card { sizes: Sizes::Only(vec![size]), default_size: size, ..card() };
        let decode = |json| read(message(json), &card);
        assert_eq!(decode(r#"{"type":"init","prompt":"p"}"#).expect("the default").size(), size);
        let refusal = decode(r#"{"type":"init","prompt":"p","size":"832x480"}"#).expect_err("not drawn");
        assert!(refusal.reason.contains("128x96"), "{refusal}");
    }

    #[test]
    fn the_smallest_init_of_the_reference_is_read() {
        let bytes = b"\x85\xa4type\xa4init\xa6prompt\xa1p\xa4size\xa32x2\xaamax_chunks\x01\xa4seed\x07";
        let opening = read(bytes.to_vec(), &card()).expect("47 bytes");
        assert_eq!((opening.size().width, opening.terms.max_chunks, opening.init(None).seed), (2, Some(1), 7));
    }
}
