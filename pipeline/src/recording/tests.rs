//! Every value comes back, and bytes that are no recording are refused by name, whatever they claim.
//!
//! Over 400 lines: each version's bytes stand here in full.

use super::*;
use crate::world::{Controls, Held, Intrinsics, Pose, Rates, Way};

fn init() -> Init {
    Init {
        prompt: "a road".into(),
        first_frame: None,
        size: Size { width: 64, height: 48 },
        seed: 7,
        sink: 6,
        window: 18,
        first_chunk: None,
        condition_frames: None,
    }
}

fn picture(width: u32, height: u32) -> Picture {
    let size = Size { width, height };
    Picture { size, rgb: (0..size.frame_bytes()).map(|i| (37 * i) as u8).collect() }
}

fn held(keys: &str) -> Controls {
    keys.chars().fold(Held::default(), Held::with).into()
}

/// A turn of 120° about a diagonal: a quaternion whose numbers are exact.
fn pose() -> Pose {
    Pose::new([1.5, 0.0, -2.0], [0.5, 0.5, -0.5, 0.5]).expect("a pose")
}

/// One latent frame for each way of steering, and one with all of them.
fn steered() -> Vec<Controls> {
    let rates = Rates::new([1.0, -0.5, 0.0, 0.25]).expect("rates");
    let lens = Intrinsics::new(500.0, 400.0, 32.0, -24.0).ok();
    let half = Way::part_of(pose(), 0.5).ok();
    vec![
        held("").with_rates(rates),
        held("").with_way(Some(Way::to(pose()))),
        held("").with_way(half),
        held("").with_intrinsics(lens),
        held("wl").with_rates(rates).with_way(half).with_intrinsics(lens),
    ]
}

/// The whole recording.
fn encode(init: &Init, chunks: &[ChunkInput]) -> Vec<u8> {
    let mut bytes = encode_init(init, None).expect("within the bounds");
    bytes.extend(chunks.iter().flat_map(|input| encode_chunk(input).expect("within the bounds")));
    bytes
}

fn decode(bytes: &[u8]) -> Result<(Init, Vec<ChunkInput>), Invalid> {
    let (init, chunks) = read(bytes)?;
    Ok((init, chunks.collect::<Result<_, _>>()?))
}

fn check_round_trip(init: &Init, chunks: &[ChunkInput]) {
    let bytes = encode(init, chunks);
    assert_eq!(decode(&bytes), Ok((init.clone(), chunks.to_vec())));
    assert_eq!(encode(&init.clone(), chunks), bytes, "the same value, the same bytes");
}

/// A recording with a value in each of its fields, and where its maps begin.
fn with_everything() -> (Vec<u8>, Vec<usize>) {
    let init = Init { first_frame: Some(picture(2, 3)), condition_frames: Some(45), first_chunk: Some(5), ..init() };
    let chunks = [
        ChunkInput::default(),
        ChunkInput { prompt: Some("Straße, 道".into()), recache: true, steps: None, controls: None },
        ChunkInput { prompt: None, recache: false, steps: None, controls: Some(vec![held("wl"), held(""), held("s")]) },
        ChunkInput { prompt: Some(String::new()), recache: false, steps: None, controls: Some(vec![held("wasdijkl")]) },
        ChunkInput { prompt: None, recache: false, steps: Some(300), controls: Some(steered()) },
    ];
    let lengths = chunks.each_ref().map(|chunk| encode(&init, std::slice::from_ref(chunk)).len());
    let first = encode(&init, &[]).len();
    let mut begins = vec![0, first];
    begins.extend(lengths.iter().scan(first, |at, length| {
        *at += length - first;
        Some(*at)
    }));
    (encode(&init, &chunks), begins)
}

#[test]
fn every_beginning_comes_back() {
    check_round_trip(&init(), &[]);
    for prompt in ["", "é", &"p".repeat(31), &"p".repeat(32), &"p".repeat(256), &"道".repeat(PROMPT_BYTES_MAX / 3)] {
        check_round_trip(&Init { prompt: prompt.to_owned(), ..init() }, &[]);
    }
    for shift in 0..64 {
        for seed in [(1 << shift) - 1, 1 << shift, u64::MAX - (1 << shift)] {
            check_round_trip(&Init { seed, ..init() }, &[]);
        }
    }
    for (width, height) in [(1, 1), (127, 128), (255, 256), (65_535, 65_536), (u32::MAX, u32::MAX)] {
        check_round_trip(&Init { size: Size { width, height }, ..init() }, &[]);
    }
    for (sink, window) in [(0, 1), (9, 18), (127, 128), (1023, 1024)] {
        check_round_trip(&Init { sink, window, ..init() }, &[]);
    }
    for first_chunk in [None, Some(1), Some(18)] {
        check_round_trip(&Init { first_chunk, ..init() }, &[]);
    }
    for condition_frames in [None, Some(0), Some(45), Some(257)] {
        for first_frame in [None, Some(picture(1, 1)), Some(picture(9, 10)), Some(picture(200, 150))] {
            check_round_trip(&Init { condition_frames, first_frame, ..init() }, &[]);
        }
    }
}

#[test]
fn every_chunk_comes_back() {
    let sets = (0..256_u32).map(|set| Held::ALL.into_iter().enumerate().filter(move |(bit, _)| set >> bit & 1 == 1));
    let mut sets: Vec<Controls> =
        sets.map(|set| set.map(|(_, key)| key).fold(Held::default(), Held::with).into()).collect();
    sets.splice(7..7, steered());
    let scripts = [1, 3, 15, 16, 256, 1024].map(|count| sets.iter().cycle().take(count).cloned().collect::<Vec<_>>());
    let controls = scripts.into_iter().map(Some).chain([None]);
    for controls in controls {
        for prompt in [None, Some(String::new()), Some("night".to_owned()), Some("p".repeat(PROMPT_BYTES_MAX))] {
            let input = ChunkInput { prompt, recache: false, steps: None, controls: controls.clone() };
            check_round_trip(&init(), &[ChunkInput { recache: input.prompt.is_some(), ..input.clone() }, input]);
        }
    }
    let chunks: Vec<_> = (0..300)
        .map(|i| ChunkInput { prompt: None, recache: false, steps: None, controls: Some(vec![sets[i % 256].clone()]) })
        .collect();
    check_round_trip(&init(), &chunks);
}

/// Recordings that exist must stay readable: if this fails, the format has changed and needs another version.
#[test]
fn the_bytes_of_version_1_are_these() {
    let init = Init { first_frame: Some(picture(2, 1)), seed: 1 << 40, condition_frames: Some(45), ..init() };
    let chunks = [
        ChunkInput { prompt: None, recache: false, steps: None, controls: Some(vec![held("lw"), held(""), held("s")]) },
        ChunkInput { prompt: Some("dusk".into()), recache: false, steps: None, controls: None },
        ChunkInput::default(),
    ];
    let expected = [
        b"\x88\xb2causeway_recording\x01".as_slice(),
        b"\xa6prompt\xa6a road",
        b"\xa4size\x92\x40\x30",
        b"\xa4seed\xcf\x00\x00\x01\x00\x00\x00\x00\x00",
        b"\xa4sink\x06",
        b"\xa6window\x12",
        b"\xb0condition_frames\x2d",
        b"\xabfirst_frame\x82\xa4size\x92\x02\x01\xa3rgb\xc4\x06\x00\x25\x4a\x6f\x94\xb9",
        b"\x81\xa8controls\x93\x81\xa4held\xa2wl\x80\x81\xa4held\xa1s",
        b"\x81\xa6prompt\xa4dusk",
        b"\x80",
    ]
    .concat();
    assert_eq!(decode(&expected), Ok((init.clone(), chunks.to_vec())));
    let mut newest = expected;
    newest[20] = VERSION as u8;
    assert_eq!(encode(&init, &chunks), newest);
}

/// As above, with what version 2 added.
#[test]
fn the_bytes_of_version_2_are_these() {
    let init = Init { first_chunk: Some(5), ..init() };
    let chunks = [ChunkInput { prompt: Some("dusk".into()), recache: true, steps: None, controls: None }];
    let with = |version: u8| {
        [
            b"\x87\xb2causeway_recording".as_slice(),
            &[version],
            b"\xa6prompt\xa6a road\xa4size\x92\x40\x30\xa4seed\x07\xa4sink\x06\xa6window\x12",
            b"\xabfirst_chunk\x05",
            b"\x82\xa6prompt\xa4dusk\xa7recache\xc3",
        ]
        .concat()
    };
    assert_eq!(encode(&init, &chunks), with(VERSION as u8));
    assert_eq!(decode(&with(2)), Ok((init, chunks.to_vec())));
    let Err(Invalid::Refused { field, reason, .. }) = decode(&with(1)) else { panic!("version 1 has no first_chunk") };
    assert_eq!((field.as_str(), reason.as_str()), ("first_chunk", "is not a field of version 1"));
}

/// As above, with what version 3 added.
#[test]
fn the_bytes_of_version_3_are_these() {
    let origin = Origin { world: "pocket".into(), weights: "0123ab".into(), compute: "f32".into() };
    let with = |version: u8| {
        [
            b"\x87\xb2causeway_recording".as_slice(),
            &[version],
            b"\xa6prompt\xa6a road\xa4size\x92\x40\x30\xa4seed\x07\xa4sink\x06\xa6window\x12",
            b"\xa8drawn_by\x83\xa5world\xa6pocket\xa7weights\xa60123ab\xa7compute\xa3f32",
        ]
        .concat()
    };
    assert_eq!(encode_init(&init(), Some(&origin)), Ok(with(VERSION as u8)));
    let bytes = with(3);
    let (read_init, chunks) = read(&bytes).expect("version 3");
    assert_eq!((read_init, chunks.origin), (init(), Some(origin)));
    let Err(Invalid::Refused { field, .. }) = decode(&with(2)) else { panic!("version 2 has no drawn_by") };
    assert_eq!(field, "drawn_by");
}

/// As above, with what version 4 added.
#[test]
fn the_bytes_of_version_4_are_these() {
    let chunks = [ChunkInput { prompt: None, recache: false, steps: None, controls: Some(steered().split_off(4)) }];
    let [rates, position, turn, lens]: [&[u8]; 4] = [
        b"\xcb\x3f\xf0\0\0\0\0\0\0\xcb\xbf\xe0\0\0\0\0\0\0\xcb\0\0\0\0\0\0\0\0\xcb\x3f\xd0\0\0\0\0\0\0",
        b"\xcb\x3f\xf8\0\0\0\0\0\0\xcb\0\0\0\0\0\0\0\0\xcb\xc0\0\0\0\0\0\0\0",
        b"\xcb\x3f\xe0\0\0\0\0\0\0\xcb\x3f\xe0\0\0\0\0\0\0\xcb\xbf\xe0\0\0\0\0\0\0\xcb\x3f\xe0\0\0\0\0\0\0",
        b"\xcb\x40\x7f\x40\0\0\0\0\0\xcb\x40\x79\0\0\0\0\0\0\xcb\x40\x40\0\0\0\0\0\0\xcb\xc0\x38\0\0\0\0\0\0",
    ];
    let with = |version: u8| {
        [
            b"\x86\xb2causeway_recording".as_slice(),
            &[version],
            b"\xa6prompt\xa6a road\xa4size\x92\x40\x30\xa4seed\x07\xa4sink\x06\xa6window\x12",
            b"\x81\xa8controls\x91\x85\xa4held\xa2wl\xa5rates\x94",
            rates,
            b"\xa4pose\x97",
            position,
            turn,
            b"\xa4part\xcb\x3f\xe0\0\0\0\0\0\0\xaaintrinsics\x94",
            lens,
        ]
        .concat()
    };
    assert_eq!(encode(&init(), &chunks), with(VERSION as u8));
    assert_eq!(decode(&with(4)), Ok((init(), chunks.to_vec())));
    let Err(Invalid::Refused { field, .. }) = decode(&with(3)) else { panic!("version 3 has no rates") };
    assert_eq!(field, "rates");
}

/// As above, with what version 5 added.
#[test]
fn the_bytes_of_version_5_are_these() {
    let prompt = Some("dusk".to_owned());
    let chunks = [ChunkInput { prompt, recache: true, steps: Some(8), controls: Some(vec![held("w")]) }];
    let with = |version: u8| {
        [
            b"\x86\xb2causeway_recording".as_slice(),
            &[version],
            b"\xa6prompt\xa6a road\xa4size\x92\x40\x30\xa4seed\x07\xa4sink\x06\xa6window\x12",
            b"\x84\xa6prompt\xa4dusk\xa7recache\xc3\xa5steps\x08\xa8controls\x91\x81\xa4held\xa1w",
        ]
        .concat()
    };
    assert_eq!(encode(&init(), &chunks), with(5));
    assert_eq!(decode(&with(5)), Ok((init(), chunks.to_vec())));
    let Err(Invalid::Refused { field, .. }) = decode(&with(4)) else { panic!("version 4 has no steps") };
    assert_eq!(field, "steps");
}

#[test]
fn fields_in_another_order_and_longer_numbers_are_read_too() {
    let bytes = [
        b"\xde\x00\x06\xd9\x12causeway_recording\xcc\x01".as_slice(),
        b"\xa6window\xcd\x00\x12\xa4sink\xce\x00\x00\x00\x06",
        b"\xa4seed\xd3\x00\x00\x00\x00\x00\x00\x00\x07",
        b"\xa4size\xdc\x00\x02\xd1\x00\x40\xd0\x30\xa6prompt\xda\x00\x06a road",
        b"\x81\xa8controls\xdd\x00\x00\x00\x01\x81\xa4held\xa4lwlw",
    ]
    .concat();
    let chunk = ChunkInput { prompt: None, recache: false, steps: None, controls: Some(vec![held("wl")]) };
    assert_eq!(decode(&bytes), Ok((init(), vec![chunk])));
}

#[test]
fn a_recording_that_was_cut_off_is_whole_up_to_its_last_complete_map() {
    let (bytes, begins) = with_everything();
    assert_eq!(begins.last(), Some(&bytes.len()));
    let (init, chunks) = decode(&bytes).expect("a recording");
    for end in 0..bytes.len() {
        let at = *begins.iter().rfind(|&&begin| begin <= end).expect("the first begins at 0");
        let cut = Err(Invalid::Incomplete { at });
        match read(&bytes[..end]) {
            Err(error) => assert_eq!((Err::<(), _>(error), at), (cut, 0), "cut at {end}"),
            Ok((cut_init, cut_chunks)) => {
                assert_eq!(cut_init, init);
                let complete = begins.iter().filter(|&&begin| begin <= end).count() - 2;
                let mut expected: Vec<_> = chunks[..complete].iter().cloned().map(Ok).collect();
                expected.extend((at < end).then_some(Err(Invalid::Incomplete { at })));
                assert_eq!(cut_chunks.collect::<Vec<_>>(), expected, "cut at {end}");
            }
        }
    }
}

#[test]
fn a_changed_byte_gives_an_error_or_a_value_that_can_be_written() {
    let (mut bytes, _) = with_everything();
    let mut taken = 0;
    for at in 0..bytes.len() {
        for change in 1..=u8::MAX {
            bytes[at] ^= change;
            if let Ok((init, chunks)) = decode(&bytes) {
                check_round_trip(&init, &chunks);
                taken += 1;
            }
            bytes[at] ^= change;
        }
    }
    // Text, seed and pixels may be anything: if nothing were taken, this test would not have looked at them.
    assert!(taken > 5000, "{taken}");
}

#[test]
fn what_is_wrong_is_named() {
    let check = |bytes: &[&[u8]], field: &str, reason: &str| {
        let error = decode(&bytes.concat()).expect_err(reason);
        let Invalid::Refused { field: found, reason: why, .. } = &error else { panic!("{error}, not {field}") };
        assert!(found == field && why.contains(reason), "{error}");
    };
    const FIRST: &[u8] = b"\xb2causeway_recording";
    const REST: &[u8] = b"\xa6prompt\xa1p\xa4size\x92\x01\x01\xa4seed\x07\xa4sink\x00\xa6window\x03";
    assert!(decode(&[b"\x86", FIRST, b"\x01", REST].concat()).is_ok());

    // Not ours, or of another version.
    for foreign in [&b"\x89PNG\r\n\x1a\n"[..], b"GIF89a", b"\x80", b"\x81\xa6prompt\xa1p", b"\x86\x01\x01", b"\xc0"] {
        check(&[foreign], "causeway_recording", "no recording");
    }
    for (version, name) in [(&b"\x00"[..], "version 0"), (b"\x06", "version 6"), (b"\xcd\x01\x00", "version 256")] {
        check(&[b"\x87", FIRST, version, b"\xa5model\xa1m", REST], "causeway_recording", name);
    }
    check(&[b"\x86", FIRST, b"\xa11", REST], "causeway_recording", "must be an integer, not text");

    // A field that is unknown, doubled or missing.
    check(&[b"\x87", FIRST, b"\x01", REST, b"\xa5model\xa1m"], "model", "not a field of version 1");
    check(&[b"\x87", FIRST, b"\x01", REST, b"\xa4seed\x07"], "seed", "given twice");
    check(
        &[b"\x87", FIRST, b"\x01", REST, &[&b"\xd9\x41"[..], &[b'x'; 65]].concat()],
        "the name of a field",
        "at most 64",
    );
    check(&[b"\x81", FIRST, b"\x01"], "prompt", "is missing");
    check(&[b"\x82", FIRST, b"\x01\xa6prompt\xa1p"], "size", "is missing");
    check(&[b"\x86", FIRST, b"\x01\x07"], "the name of a field", "must be text, not an integer");

    // One value in place of a good one.
    let with = |name: &str, value: &[u8]| {
        let mut map = vec![(&b"\xa6prompt"[..], &b"\xa1p"[..])];
        map.extend([(&b"\xa4size"[..], &b"\x92\x01\x01"[..]), (b"\xa4seed", b"\x07"), (b"\xa4sink", b"\x00")]);
        map.push((b"\xa6window", b"\x03"));
        map.retain(|(field, _)| &field[1..] != name.as_bytes());
        let head = [0x82 + map.len() as u8];
        let name = [&[0xa0 + name.len() as u8][..], name.as_bytes()].concat();
        let rest = map.into_iter().flat_map(|(field, value)| [field, value].concat()).collect::<Vec<_>>();
        [&head, FIRST, b"\x01", &name, value, &rest].concat()
    };
    let check_init = |name: &str, value: &[u8], field: &str, reason: &str| check(&[&with(name, value)], field, reason);
    check_init("prompt", b"\xc0", "prompt", "must be text, not nil");
    check_init("prompt", b"\xa1\xff", "prompt", "UTF-8");
    check_init("prompt", b"\xda\x20\x01", "prompt", "8193 bytes; at most 8192");
    check_init("prompt", b"\xdb\xff\xff\xff\xff", "prompt", "at most 8192");
    check_init("size", b"\xa564x48", "size", "must be a list, not text");
    check_init("size", b"\x93\x01\x01\x01", "size", "3 items is not allowed: it must be 2");
    check_init("size", b"\x92\x00\x01", "size", "0 is not allowed: it must be 1 to 4294967295");
    check_init("size", b"\x92\xcf\x00\x00\x00\x01\x00\x00\x00\x00\x01", "size", "4294967296 is not allowed");
    check_init("seed", b"\xff", "seed", "a negative number is not allowed");
    check_init(
        "seed",
        b"\xcb\x40\x1c\x00\x00\x00\x00\x00\x00",
        "seed",
        "must be an integer, not a number with a fraction",
    );
    check_init("sink", b"\x03", "sink", "no room");
    check_init("sink", b"\xcd\x04\x00", "sink", "0 to 1023");
    check_init("window", b"\x00", "window", "1 to 1024");
    check_init("window", b"\xcd\x04\x01", "window", "1025 is not allowed");
    check_init("condition_frames", b"\xcd\x01\x02", "condition_frames", "0 to 257");
    check_init("first_chunk", b"\x01", "first_chunk", "not a field of version 1");
    check_init("first_frame", b"\xc4\x03\x00\x00\x00", "first_frame", "must be a map, not bytes");
    check_init("first_frame", b"\x81\xa3rgb\xc4\x03\x00\x00\x00", "first_frame.size", "is missing");
    check_init("first_frame", b"\x81\xa4size\x92\x01\x01", "first_frame.rgb", "is missing");
    check_init("first_frame", b"\x82\xa4size\x92\x01\x02\xa3rgb\xc4\x03\x00\x00\x00", "first_frame.rgb", "1x2 has 6");
    check_init(
        "first_frame",
        b"\x82\xa4size\x92\x01\x01\xa3rgb\xc6\xff\xff\xff\xff",
        "first_frame.rgb",
        "at most 120000000",
    );
    let huge = b"\x82\xa4size\x92\xcd\xff\xff\xcd\xff\xff\xa3rgb\xc4\x00";
    check_init("first_frame", huge, "first_frame.size", "65535x65535: at most 40000000 pixels");
    check_init("first_frame", b"\x81\xa5depth\x01", "depth", "not a field");

    // Chunks, after a good beginning.
    let good = [b"\x86", FIRST, b"\x01", REST].concat();
    let check_chunk = |chunk: &[u8], field: &str, reason: &str| check(&[&good, chunk], field, reason);
    check_chunk(b"\x93", "a chunk", "must be a map, not a list");
    check_chunk(b"\x81\xa4pose\x90", "pose", "not a field of version 1");
    check_chunk(b"\x81\xa7recache\xc3", "recache", "not a field of version 1");
    let good_2 = [b"\x86", FIRST, b"\x02", REST].concat();
    check(&[&good_2, b"\x81\xa7recache\xc3"], "recache", "for a chunk with a new prompt");
    check(&[&good_2, b"\x82\xa6prompt\xa1p\xa7recache\x01"], "recache", "must be a boolean, not an integer");
    check(&[b"\x87", FIRST, b"\x02", REST, b"\xabfirst_chunk\x04"], "first_chunk", "a window of 3");
    check_chunk(b"\x81\xa8controls\x90", "controls", "0 items is not allowed: it must be 1 to 1024");
    check_chunk(b"\x81\xa8controls\xdd\xff\xff\xff\xff", "controls", "1 to 1024");
    check_chunk(b"\x81\xa8controls\x91\xa1w", "controls", "must be a map, not text");
    check_chunk(b"\x81\xa8controls\x91\x81\xa4rate\x01", "rate", "not a field");
    check_chunk(b"\x81\xa8controls\x91\x81\xa4held\xa1x", "controls.held", "'x' is not one of the keys wasdijkl");
    check_chunk(b"\x81\xa8controls\x91\x81\xa4held\xa9wasdijklw", "controls.held", "at most 8");
    check_chunk(b"\x81\xa8controls\x91\x81\xa5rates\x90", "rates", "not a field of version 1");

    // What version 4 added.
    let steered = |name: &str, numbers: &[f64]| {
        let head = [0xa0 + name.len() as u8];
        let numbers = numbers.iter().flat_map(|number| [&[0xcb][..], &number.to_be_bytes()].concat());
        let numbers: Vec<u8> = numbers.collect();
        [&b"\x81\xa8controls\x91\x81"[..], &head, name.as_bytes(), &numbers].concat()
    };
    let good_4 = [b"\x86", FIRST, b"\x04", REST].concat();
    let check_list = |name: &str, numbers: &[f64], reason: &str| {
        let mut bytes = steered(name, numbers);
        bytes.insert(bytes.len() - 9 * numbers.len(), 0x90 + numbers.len() as u8);
        check(&[&good_4, &bytes], &format!("controls.{name}"), reason);
    };
    check_list("rates", &[0.0, 0.0, 1.5, 0.0], "yaw is 1.5");
    check_list("rates", &[0.0; 3], "3 items is not allowed: it must be 4");
    check_list("pose", &[0.0, f64::NAN, 0.0, 1.0, 0.0, 0.0, 0.0], "at most 1000000");
    check_list("pose", &[0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0], "it must be 1");
    check_list("intrinsics", &[500.0, 0.0, 0.0, 0.0], "fy is 0");
    check(&[&good_4, &steered("part", &[0.5])], "controls.part", "for a latent frame with a pose");
    check(
        &[&good_4, b"\x81\xa8controls\x91\x81\xa5rates\x94\x01"],
        "controls.rates",
        "with a fraction, not an integer",
    );
}

#[test]
fn nothing_follows_an_error() {
    let mut bytes = encode(&init(), &[]);
    bytes.extend(b"\x01\x80\x80");
    let (_, chunks) = read(&bytes).expect("a good beginning");
    assert_eq!(chunks.map(|chunk| chunk.is_ok()).collect::<Vec<_>>(), [false]);
}

#[test]
fn what_could_not_be_read_is_not_written() {
    let check = |init: Init, field: &str| {
        let Err(Invalid::Refused { field: found, .. }) = encode_init(&init, None) else {
            panic!("{field} was written")
        };
        assert_eq!(found, field);
    };
    check(Init { prompt: "p".repeat(PROMPT_BYTES_MAX + 1), ..init() }, "prompt");
    check(Init { size: Size { width: 0, height: 48 }, ..init() }, "size");
    check(Init { window: 1025, ..init() }, "window");
    check(Init { sink: 18, ..init() }, "sink");
    check(Init { sink: usize::MAX, ..init() }, "sink");
    check(Init { condition_frames: Some(258), ..init() }, "condition_frames");
    check(Init { first_chunk: Some(19), ..init() }, "first_chunk");
    let short = Picture { size: Size { width: 2, height: 2 }, rgb: vec![0; 11] };
    check(Init { first_frame: Some(short), ..init() }, "first_frame.rgb");

    let check = |input: ChunkInput, field: &str| {
        let Err(Invalid::Refused { field: found, .. }) = encode_chunk(&input) else { panic!("{field} was written") };
        assert_eq!(found, field);
    };
    check(
        ChunkInput { prompt: Some("p".repeat(PROMPT_BYTES_MAX + 1)), recache: false, steps: None, controls: None },
        "prompt",
    );
    for count in [0, 1025] {
        check(
            ChunkInput { prompt: None, recache: false, steps: None, controls: Some(vec![held("w"); count]) },
            "controls",
        );
    }
    check(ChunkInput { recache: true, ..ChunkInput::default() }, "recache");
    for steps in [0, 1001] {
        check(ChunkInput { steps: Some(steps), ..ChunkInput::default() }, "steps");
    }
}
