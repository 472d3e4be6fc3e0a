//! Modes that do not exist here: asked for, they are refused, because the result would be another thing than was wanted.
//!
//! A page sends its switched-off switches, too. So a value that is false in Python, or a text that stands for one, asks for
//! nothing, and is accepted.

use serde_json::Value;

use super::fields::{Fields, number};
use super::form::FilePart;
use super::invalid::{Invalid, quoted};
use pipeline::world::Card;

/// Whether a value asks for something. Texts that are empty, or stand for false, nothing or zero, do not.
pub fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::String(text) => {
            let falsy = ["", "false", "0", "0.0", "no", "off", "none", "null", "[]", "{}"];
            !falsy.contains(&text.trim().to_ascii_lowercase().as_str())
        }
    }
}

/// Fields that ask for video to video.
const OF_VIDEOS: [&str; 5] =
    ["condition_frame_indexes", "condition_video_keep", "video_reference", "video_url", "video_path"];

/// Modes that no world here has.
const NOWHERE: [&str; 6] = [
    "enhance_prompt",
    "enable_frame_interpolation",
    "enable_upscaling",
    "upscaling_model_path",
    "frame_interpolation_model_path",
    "lora",
];

/// Paths on the server's disk.
const PATHS: [&str; 2] = ["output_path", "perf_dump_path"];

/// Refuse the first mode of this order that is asked for and not there. The names are taken: a falsy one asked for nothing.
pub fn missing_modes(fields: &mut Fields, files: &[FilePart], card: &Card) -> Result<(), Invalid> {
    let family = &card.clips.family;
    let mode = |what: &str, rest: &str| format!("{family} {what} is not supported by Causeway yet{rest}");
    let mut asked = |name: &str| fields.take(name).is_some_and(|value| is_truthy(&value));

    let sound = asked("generate_sound");
    let seconds = fields.take("sound_duration").filter(is_truthy);
    let has_length = seconds.is_some_and(|seconds| number(&seconds).map_or(true, |seconds| seconds > 0.0));
    if sound || has_length {
        let name = if sound { "generate_sound" } else { "sound_duration" };
        let rest = "; omit generate_sound for video-only generation.";
        return Err(Invalid::unsupported(name, mode("video-with-sound", rest)));
    }
    let mut first = |names: &[&'static str]| {
        // All of them are taken, also those behind the first.
        let asked = names.iter().map(|&name| (name, fields.take(name).is_some_and(|value| is_truthy(&value))));
        let asked: Vec<_> = asked.collect();
        asked.into_iter().find_map(|(name, asked)| asked.then_some(name))
    };
    if let Some(name) = first(&["action_mode", "action"]) {
        return Err(Invalid::unsupported(name, mode("action generation", ".")));
    }
    let video = files.iter().find(|file| file.field == "video_reference" || is_video(file)).map(|file| file.field);
    if let Some(name) = first(&OF_VIDEOS).or(video) {
        return Err(Invalid::unsupported(name, mode("video-to-video conditioning", ".")));
    }
    let controls: Vec<String> = fields.names().filter(|name| name.starts_with("control_")).map(str::to_owned).collect();
    for name in controls {
        if fields.take(&name).is_some_and(|value| is_truthy(&value)) {
            return Err(Invalid::unsupported(quoted(&name).to_owned(), mode("control transfer", ".")));
        }
    }
    let mut first = |names: &[&'static str]| {
        names.iter().copied().find(|name| fields.take(name).is_some_and(|value| is_truthy(&value)))
    };
    if let Some(name) = first(&NOWHERE) {
        return Err(Invalid::unsupported(name, format!("{name} is not supported by this server")));
    }
    if let Some(name) = first(&PATHS) {
        return Err(Invalid::unsupported(name, format!("{name}: where files go is for the operator to say")));
    }
    Ok(())
}

/// Whether a file that should be a picture is a video: by what its client says of it, by its name, or by its first bytes.
pub fn is_video(file: &FilePart) -> bool {
    let said = file.content_type.as_deref().is_some_and(|kind| kind.to_ascii_lowercase().starts_with("video/"));
    let ending =
        file.name.as_deref().and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending.to_ascii_lowercase());
    let named = ending.is_some_and(|ending| {
        ["mp4", "m4v", "mov", "webm", "mkv", "avi", "mpg", "mpeg", "flv", "wmv", "ogv"].contains(&ending.as_str())
    });
    said || named || holds_video(&file.bytes)
}

/// Whether these are the first bytes of a film: MP4 and its kin, Matroska and WebM, AVI.
pub fn holds_video(bytes: &[u8]) -> bool {
    match bytes {
        // AVIF and HEIC pictures have the same box, with a brand of their own.
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => {
            ![&b"avif"[..], b"avis", b"heic", b"heix", b"mif1"].iter().any(|&picture| brand.starts_with(picture))
        }
        [0x1a, 0x45, 0xdf, 0xa3, ..] => true,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_switched_off_switch_asks_for_nothing() {
        let falsy = [
            json!(null),
            json!(false),
            json!(0),
            json!(0.0),
            json!(-0.0),
            json!(""),
            json!([]),
            json!({}),
            json!("false"),
            json!(" FALSE "),
            json!("0"),
            json!("0.0"),
            json!("no"),
            json!("Off"),
            json!("none"),
            json!("Null"),
            json!("[]"),
            json!("{}"),
        ];
        falsy.iter().for_each(|value| assert!(!is_truthy(value), "{value}"));
        let truthy =
            [json!(true), json!(1), json!(-1), json!("true"), json!("x"), json!([0]), json!({"a": 0}), json!("00")];
        truthy.iter().for_each(|value| assert!(is_truthy(value), "{value}"));
    }

    #[test]
    fn a_video_is_known_by_its_type_its_name_or_its_bytes() {
        let file = |name: &str, kind: &str, bytes: &'static [u8]| FilePart {
            field: "input_reference",
            name: Some(name.to_owned()),
            content_type: Some(kind.to_owned()),
            bytes: bytes.into(),
        };
        assert!(is_video(&file("a", "Video/MP4", b"xx")) && is_video(&file("a.MOV", "", b"xx")));
        assert!(is_video(&file("a", "", b"\0\0\0\x20ftypisom")) && is_video(&file("a", "", b"\x1a\x45\xdf\xa3")));
        assert!(!is_video(&file("a.png", "image/png", b"\x89PNG")) && !is_video(&file("a", "", b"\0\0\0\x20ftypavif")));
        assert!(!is_video(&file("a", "", b"RIFF\0\0\0\0WEBP")));
    }
}
