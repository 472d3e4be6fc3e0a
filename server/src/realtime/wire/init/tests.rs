//! Inits in every form: which are taken, and which error the others get.

use crate::media::pictures::Format;
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
        "realtime_output_pacing":true,"realtime_causal_sink_size":6,"realtime_causal_kv_cache_num_frames":12,"realtime_first_chunk_num_frames":5,
        "condition_inputs":{"camera_actions":[["w"],[]],"other":1},"model":"any","unknown":{"a":[1]},
        "enable_upscaling":false,"num_inference_steps":4,"guidance_scale":1.0,"first_frame":"data:image/png;base64,AAEC""#,
    )
    .expect("all of it is allowed");
    assert_eq!(opening.terms, Terms { fps: 25, paced: true, max_chunks: Some(4) });
    assert_eq!(opening.script, Some(vec![Held::default().with('w'), Held::default()]));
    assert_eq!(opening.first_frame, Some(FirstFrame::File(Bytes::from_static(&[0, 1, 2]))));
    let init = opening.init(None);
    assert_eq!((init.seed, init.sink, init.window, init.condition_frames), (100_000, 6, 12, Some(45)));
    assert_eq!((init.first_chunk, decode("").expect("least").init(None).first_chunk), (Some(5), None));
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
    check(r#""realtime_output_format":"png""#, "realtime_output_format", "raw, webp, jpeg, h264");
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
