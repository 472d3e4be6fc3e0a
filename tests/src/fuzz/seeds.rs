//! Valid inputs, from which all others are made; and families of inputs that are alike but for their length.

use std::time::Duration;

use anyhow::Result;
use pipeline::recording::{self, Origin};
use pipeline::testcard::Testcard;
use pipeline::world::{self, Cancel, ChunkInput, Controls, Held, Intrinsics, Picture, Pose, Rates, Size, Way, World};
use rmpv::Value;
use server::media::pictures;

use super::{Target, encode, spoil};
use crate::message::{Event, Init, map};

/// Inputs alike but for their length, and what is long about them.
pub(super) type Family = (&'static str, fn(usize) -> Vec<u8>);

/// The families of a target in which length is cheap to have.
pub(super) fn families(target: Target) -> Vec<Family> {
    match target {
        Target::Event => vec![
            ("transitions", |n| encode(&Event::changes(vec!["wl"; n]).into())),
            ("script", |n| encode(&Event::script(vec!["w"; n]).into())),
            ("keys", |n| encode(&with_strangers(Event::hold("w").into(), n))),
            ("nothing", |n| vec![0x91; n]),
        ],
        Target::Init => vec![
            ("prompt", |n| encode(&Init::new(&"é".repeat(n)).into())),
            ("keys", |n| encode(&with_strangers(Init::new("p").into(), n))),
            ("data", |n| {
                let data = format!("data:image/png;base64,{}", "AAAA".repeat(10 * n));
                encode(&Init::new("p").set("first_frame", data).into())
            }),
            ("nothing", |n| vec![0x91; n]),
        ],
        Target::Resume => vec![
            ("token", |n| encode(&resume(&"é".repeat(n), Value::Nil))),
            ("keys", |n| encode(&with_strangers(resume("t", 1.into()), n))),
        ],
        Target::Recording => vec![
            ("chunks", |n| [beginning("p"), b"\x80".repeat(n)].concat()),
            ("steered chunks", |n| [beginning("p"), b"\x81\xa8controls\x91\x81\xa4held\xa1w".repeat(n)].concat()),
            ("prompt", |n| beginning(&"p".repeat(n))),
            ("nothing", |n| vec![0x91; n]),
        ],
        Target::Form => vec![
            ("text", |n| part("prompt", &"é".repeat(n.min(4000)))),
            ("brackets", |n| part(&format!("a{}", "[b]".repeat(n)), "1")),
            ("almost boundaries", |n| part("zzz", &"\r\n--fuz".repeat(n))),
            ("list", |n| part("zzz", &format!("[{}]", vec!["0"; n].join(",")))),
            ("headers", |n| format!("--fuzz\r\n{}", "A: b\r\n".repeat(n)).into_bytes()),
            ("nothing", |n| vec![b'-'; n]),
        ],
        Target::Containers => vec![
            ("names", |n| {
                let names: Vec<_> = (0..n).map(|i| format!("\"k{i}\":1")).collect();
                format!("{{\"prompt\":\"p\",{}}}", names.join(",")).into_bytes()
            }),
            ("text in text", |n| {
                let inside = format!("{{\"zzz\":[{}]}}", vec!["0"; n].join(","));
                serde_json::json!({ "prompt": "p", "extra_body": inside }).to_string().into_bytes()
            }),
            ("script", |n| {
                serde_json::json!({ "prompt": "p", "camera_actions": vec!["w"; n] }).to_string().into_bytes()
            }),
            ("nothing", |n| vec![b'['; n]),
        ],
        Target::State => vec![
            // Long text where the version should be.
            ("fields", |n| {
                spoil::sealed(encode(&Value::Map(vec![(Value::from("causeway_state"), Value::from("x".repeat(n)))])))
            }),
            ("nothing", |n| spoil::sealed(vec![0x81; n])),
        ],
        Target::Picture => vec![
            ("garbage", |n| vec![0x5a; 100 * n]),
            // Chunks of no bytes that no decoder knows.
            ("PNG chunks", |n| {
                let (head, rest) = PNG.split_at(33);
                [head, &b"\0\0\0\0abCd\x62\x99\xb8\x2e".repeat(n), rest].concat()
            }),
            ("JPEG markers", |n| [&[0xff, 0xd8][..], &[0xff, 0xfe, 0, 2].repeat(n), &[0xff, 0xd9]].concat()),
        ],
        Target::Caption => vec![
            ("keys", |n| {
                let entries: Vec<_> = (0..n).map(|i| format!("\"k{i}\":{i}")).collect();
                format!("{{{}}}", entries.join(",")).into_bytes()
            }),
            ("one key", |n| format!("{{{}}}", vec!["\"k\":1"; n].join(",")).into_bytes()),
            ("text", |n| format!("{{\"k\":\"{}\"}}", "é\\u00e9".repeat(n)).into_bytes()),
            ("levels", |n| format!("{{\"k\":{}", "[".repeat(n)).into_bytes()),
            ("digits", |n| format!("{{\"k\":{}}}", "7".repeat(n)).into_bytes()),
            ("decimals", |n| format!("{{\"k\":0.{}}}", "7".repeat(n)).into_bytes()),
            ("space", |n| format!("{{{}", " ".repeat(n)).into_bytes()),
        ],
    }
}

/// Prompts that are JSON objects.
pub(super) fn captions() -> Vec<Vec<u8>> {
    [
        "{}",
        r#"{"scene": {"place": "harbour", "time": "dusk"}, "fps": 3, "objects": ["crane", 2, 1.5, true, null]}"#,
        r#" { "caption" : "na\u00efve \ud83d\udea2 \ud83d \n", "n": 1e3, "m": -0.25E-7, "resolution": "old", "duration": [] } "#,
        r#"{"a": 123456789012345678901234567890, "b": "海港 🚢", "a": {"c": [[[{}]]]}}"#,
    ]
    .map(|caption| caption.as_bytes().to_vec())
    .to_vec()
}

/// `value`, a map, with so many more keys that nobody knows.
fn with_strangers(value: Value, count: usize) -> Value {
    let Value::Map(mut entries) = value else { unreachable!("a message is a map") };
    entries.extend((0..count).map(|i| (Value::from(format!("k{i}")), Value::Nil)));
    Value::Map(entries)
}

pub(super) fn events() -> Vec<Value> {
    let pose = map([("mode", "state".into()), ("transitions", Value::Array(vec![]))]);
    let rates = map([("forward", 0.5.into()), ("yaw", Value::from(-1))]);
    let lens = map([("fov_x_deg", 60.into())]);
    let steered = map([("actions", Value::Array(vec!["w".into()])), ("rates", rates), ("intrinsics", lens)]);
    let start = (0..16).map(|at| Value::from(u8::from(at % 5 == 0)));
    let start = Value::Array(start.collect());
    let events = [
        Event::prompt("a road at dusk").id(7),
        Event::hold("w").id(1),
        Event::changes(["w", "wl", ""]).id(4_294_967_295),
        Event::script(["w", "a", "", "sd", "ijkl"]),
        Event::composite([Event::prompt("night"), Event::hold("d")]).id(3),
        Event::new("camera_actions", pose),
        Event::clock(-12.5),
        Event::rewind(3).id(11),
        Event::reset([("prompt", "a beach".into()), ("size", "64x48".into()), ("seed", 5.into())]).id(12),
        Event::reset([("first_frame", Value::Binary(PNG.to_vec()))]),
        Event::steers([steered, map([("pose", start), ("at_ms", 250.into())])]).id(9),
    ];
    events.into_iter().map(Value::from).collect()
}

pub(super) fn inits() -> Vec<Value> {
    let script = map([("camera_actions", crate::message::script(["w", "", "il"]))]);
    let lens = ["fx", "fy", "cx", "cy"].map(|name| (name, Value::from(500.5)));
    let lens = map(lens);
    let inits = [
        Init::new("a meadow"),
        Init::new("a meadow").size(64, 48).format("jpeg").set("output_compression", 80).paced(16).max_chunks(3),
        Init::new("é").seed(1 << 60).set("condition_inputs", script).set("num_frames", 45),
        Init::new("p").set("first_frame", "data:image/png;base64,AAECAwQ=").set("output_quality", "low"),
        Init::new("p").first_frame(PNG).format("webp").set("realtime_preview_max_width", 320),
        Init::new("p").set("realtime_causal_sink_size", 6).set("realtime_causal_kv_cache_num_frames", 12.0),
        Init::new("p").set("fps", "25").set("enable_upscaling", false).features(["queue", "telepathy"]),
        Init::new("p").set("intrinsics", lens).features(["intrinsics", "rates", "poses", "receipts"]),
    ];
    inits.into_iter().map(Value::from).collect()
}

fn resume(token: &str, last_chunk: Value) -> Value {
    map([("type", "resume".into()), ("token", token.into()), ("last_chunk", last_chunk)])
}

pub(super) fn resumes() -> Vec<Value> {
    vec![resume(&"0123456789abcdef".repeat(2), 7.into()), resume("é", Value::Nil), resume("", Value::from(-1))]
}

/// The first map of a recording without a picture.
fn beginning(prompt: &str) -> Vec<u8> {
    let init = world::Init {
        prompt: prompt.to_owned(),
        first_frame: None,
        size: Size { width: 64, height: 48 },
        seed: 1 << 60,
        sink: 6,
        window: 18,
        first_chunk: None,
        condition_frames: None,
    };
    recording::encode_init(&init, None).expect("within the bounds")
}

/// The content type of every form here.
pub(super) const FORM_TYPE: &str = "multipart/form-data; boundary=fuzz";

/// A form of one part and a prompt.
fn part(name: &str, content: &str) -> Vec<u8> {
    form(&[(name, content), ("prompt", "p")])
}

fn form(parts: &[(&str, &str)]) -> Vec<u8> {
    let part = |(name, content): &(&str, &str)| {
        format!("--fuzz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n")
    };
    let parts: String = parts.iter().map(part).collect();
    format!("{parts}--fuzz--\r\n").into_bytes()
}

pub(super) fn forms() -> Vec<Vec<u8>> {
    let file = "--fuzz\r\nContent-Disposition: form-data; name=\"input_reference\"; filename=\"a \\\"b\\\".png\"\r\n\
                Content-Type: image/png\r\n\r\n\u{89}PNG\r\n--fuz\r\n";
    let with_file = [file.as_bytes(), &part("seed", "7")].concat();
    vec![
        form(&[("prompt", "a meadow")]),
        form(&[("prompt", "{\"a\": 1}"), ("seconds", "4.5"), ("size", "96x64"), ("n", "2"), ("fps", "8")]),
        form(&[("prompt", "p"), ("extra_params[use_system_prompt]", "false"), ("zzz[]", "1"), ("zzz[]", "2")]),
        form(&[("prompt", "p"), ("camera_actions", "w*12,wl*6,-*3"), ("prompts[]", "2:night"), ("num_frames", "33")]),
        form(&[("prompt", "p"), ("extra_body", "{\"flow_shift\": 2, \"extra_args\": {\"seed\": 1}}"), ("user", "u")]),
        with_file,
    ]
}

pub(super) fn containers() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"prompt":"a meadow"}"#,
        r#"{"prompt":"p","extra_body":{"flow_shift":2,"extra_params":{"guardrails":false,"seed":[1,2]}},"n":2}"#,
        r#"{"prompt":"p","extra_json":"{\"num_frames\": 33, \"fps\": \"8\"}","extra_args":{"size":"96x64"},"seed":null}"#,
        r#"{"prompt":"p","condition_inputs":{"camera_actions":[["w"],[],["w","l"]]},"prompts":[{"chunk":1,"prompt":"x"}]}"#,
        r#"{"prompt":"p","guidance_interval":[1,2.5],"output_quality":"high","metadata":{"a":[{"b":[null,true,-1e3]}]}}"#,
        r#"{"prompt":"p","image_reference":{"image_url":"data:image/png;base64,AAAA"},"width":64,"height":"48"}"#,
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// Each a list of maps: the first and those of the chunks.
/// The video that states are of.
pub(super) fn state_of() -> world::Init {
    let (init, _) = recording::read(&beginning("a meadow")).expect("our own");
    world::Init { size: Size { width: 8, height: 6 }, ..init }
}

/// States of the test card: before its first chunk, and after some with poses and another prompt.
pub(super) fn states() -> Result<Vec<Value>> {
    let world = Testcard::new(Duration::ZERO);
    let mut rollout = world.open(state_of())?;
    let mut states = vec![rollout.pack()?];
    for prompt in [None, Some("night".to_owned())] {
        let pose = Controls::default().with_way(Some(Way::to(Pose::START)));
        let controls = Some(vec![pose; rollout.plan().latent_frames]);
        let input = ChunkInput { prompt, controls, ..ChunkInput::default() };
        rollout.generate(&input, &Cancel::default(), &mut |_| ())?;
        states.push(rollout.pack()?);
    }
    states.iter().map(|bytes| Ok(rmpv::decode::read_value(&mut &bytes[..])?)).collect()
}

pub(super) fn recordings() -> Result<Vec<Value>> {
    let size = Size { width: 4, height: 3 };
    let picture = Picture { size, rgb: (0..36).collect() };
    let (init, _) = recording::read(&beginning("é"))?;
    let with_picture = world::Init { first_frame: Some(picture), condition_frames: Some(45), ..init };
    let origin = Origin { world: "pocket".to_owned(), weights: "0123ab".to_owned(), compute: "f32".to_owned() };
    let controls = |keys: [&str; 3]| Some(keys.map(|keys| Held::from_tokens(keys.split(' ')).into()).to_vec());
    let (rates, lens) = (Rates::new([0.5, 0.0, -1.0, 0.0]), Intrinsics::new(500.0, 400.0, 32.0, 24.0));
    let (rates, lens) = (rates.map_err(anyhow::Error::msg)?, lens.map_err(anyhow::Error::msg)?);
    let half = Way::part_of(Pose::START, 0.5).map_err(anyhow::Error::msg)?;
    let steered = Controls::from(Held::default().with('w')).with_rates(rates);
    let steered = steered.with_way(Some(half)).with_intrinsics(Some(lens));
    let chunks = [
        ChunkInput::default(),
        ChunkInput { prompt: None, recache: false, steps: None, controls: Some(vec![steered, Controls::default()]) },
        ChunkInput { prompt: Some("a road at dusk".into()), recache: false, steps: None, controls: None },
        ChunkInput { prompt: None, recache: false, steps: Some(8), controls: controls(["w", "w l", ""]) },
        ChunkInput {
            prompt: Some("night".into()),
            recache: false,
            steps: None,
            controls: controls(["", "w a s d i j k l", "s"]),
        },
    ];
    let chunks: Vec<_> = chunks.iter().map(recording::encode_chunk).collect::<Result<_, _>>()?;
    let value = |bytes: &Vec<u8>| rmpv::decode::read_value(&mut &bytes[..]);
    let recordings =
        [beginning(""), beginning("a meadow"), recording::encode_init(&with_picture, Some(&origin))?].map(|first| {
            let maps: Vec<_> = std::iter::once(&first).chain(&chunks).map(value).collect::<Result<_, _>>()?;
            Ok(Value::Array(maps))
        });
    recordings.into_iter().collect()
}

/// One red pixel.
pub(super) const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde\0\0\0\x0cIDAT\
    \x08\xd7c\xf8\xcf\xc0\0\0\x03\x01\x01\0\x18\xdd\x8d\xb0\0\0\0\0IEND\xaeB`\x82";

pub(super) fn pictures() -> Result<Vec<Vec<u8>>> {
    use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};
    let rgb = RgbImage::from_fn(24, 17, |x, y| image::Rgb([10 * x as u8, 14 * y as u8, (x * y) as u8]));
    let rgba = RgbaImage::from_fn(9, 30, |x, y| image::Rgba([x as u8, y as u8, 200, 8 * y as u8]));
    let rgb = DynamicImage::from(rgb);
    let mut files = vec![PNG.to_vec()];
    let drawn = [
        (rgb.clone(), ImageFormat::Png),
        (rgba.into(), ImageFormat::Png),
        (rgb.to_luma16().into(), ImageFormat::Png),
        (rgb.clone(), ImageFormat::Jpeg),
        (rgb.to_luma8().into(), ImageFormat::Jpeg),
        (rgb.clone(), ImageFormat::WebP),
    ];
    for (picture, format) in drawn {
        let mut file = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut file, format)?;
        files.push(file.into_inner());
    }
    let (width, height) = (rgb.width(), rgb.height());
    let size = Size { width, height };
    // The two encoders that the server has itself: a JPEG of another make, and a lossy WebP.
    files.push(pictures::jpeg(rgb.to_rgb8().as_raw(), size, 70)?);
    files.push(pictures::webp(rgb.to_rgb8().as_raw(), size, 40)?);
    Ok(files)
}
