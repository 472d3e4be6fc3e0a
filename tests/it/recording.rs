//! A recording gives the video again to the byte, and reading one costs no more memory than it has itself.

use std::path::Path;

use pipeline::first_frame;
use pipeline::lingbot::LingBot;
use pipeline::load::model_dir::ModelDir;
use pipeline::recording::{self, Invalid, encode_chunk, encode_init};
use pipeline::world::{Cancel, ChunkInput, Frames, Held, Init, Picture, Size, World};
use stats_alloc::Region;

use crate::memory::COUNTED;

const CHUNKS: usize = 4;

fn init(world: &LingBot) -> Init {
    let card = world.card();
    let (width, height) = (card.default_size.width + 37, card.default_size.height + 11);
    let size = Size { width, height };
    Init {
        prompt: "a road through a green meadow".into(),
        first_frame: Some(Picture { size, rgb: (0..size.frame_bytes()).map(|i| (i * i / 97) as u8).collect() }),
        size: card.default_size,
        seed: 0xfeed_face_cafe_f00d,
        sink: card.sink,
        window: card.window,
        first_chunk: None,
        condition_frames: None,
    }
}

/// Frames before a control is used, with one held, with a new prompt, at rest.
fn inputs(world: &LingBot) -> Vec<ChunkInput> {
    let steered = |keys: &str| {
        let held = keys.chars().fold(Held::default(), Held::with);
        Some(vec![held.into(); world.card().chunk])
    };
    vec![
        ChunkInput { prompt: None, recache: false, steps: None, controls: None },
        ChunkInput { prompt: None, recache: false, steps: None, controls: steered("wl") },
        ChunkInput {
            prompt: Some("a snowy road at night".into()),
            recache: false,
            steps: None,
            controls: steered("d"),
        },
        ChunkInput { prompt: None, recache: false, steps: None, controls: steered("") },
    ]
}

fn draw(world: &LingBot, init: Init, inputs: impl IntoIterator<Item = ChunkInput>) -> Vec<Frames> {
    let mut video = world.open(init).expect("a video");
    let mut frames = Vec::new();
    for input in inputs {
        video.generate(&input, &Cancel::default(), &mut |drawn| frames.push(drawn)).expect("a chunk");
    }
    frames
}

fn record(init: &Init, inputs: &[ChunkInput]) -> Vec<u8> {
    let mut bytes = encode_init(init, None).expect("within the bounds");
    bytes.extend(inputs.iter().flat_map(|input| encode_chunk(input).expect("within the bounds")));
    bytes
}

#[test]
fn a_recording_draws_the_same_bytes_again_and_so_does_one_whose_picture_was_fitted() {
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pocket/weights");
    let world = LingBot::load(&ModelDir::open(weights).expect("weights"), &pipeline::Device::cpu()).expect("weights");
    let (init, inputs) = (init(&world), inputs(&world));
    assert_eq!(inputs.len(), CHUNKS);
    let drawn = draw(&world, init.clone(), inputs.clone());

    let replay = |bytes: &[u8]| {
        let (init, chunks) = recording::read(bytes).expect("a recording");
        draw(&world, init, chunks.map(|chunk| chunk.expect("a chunk")))
    };
    let whole = record(&init, &inputs);
    assert!(replay(&whole) == drawn, "the recording draws other bytes");

    let fitted = init.first_frame.clone().map(|picture| first_frame::fit(picture, init.size));
    let fitted = record(&Init { first_frame: fitted, ..init.clone() }, &inputs);
    assert!(fitted.len() < whole.len());
    assert!(replay(&fitted) == drawn, "a picture that was fitted before draws other bytes");

    // The test would prove nothing if the inputs had no effect.
    let other = Init { seed: init.seed + 1, ..init.clone() };
    assert!(draw(&world, other, inputs.clone()) != drawn);
    assert!(draw(&world, init, vec![ChunkInput::default(); CHUNKS]) != drawn);
}

/// Bytes that the allocator gave out while this recording was read, whether or not it is one.
fn allocated_by_reading(bytes: &[u8]) -> usize {
    let region = Region::new(COUNTED);
    if let Ok((_, chunks)) = recording::read(bytes) {
        for chunk in chunks {
            let _ = std::hint::black_box(chunk);
        }
    }
    region.change().bytes_allocated
}

/// Text and pixels are copied once. A latent frame's controls may take a byte each, and a list grows by doubling. An
/// error has a few hundred bytes of text.
fn allocated_at_most(bytes: &[u8]) -> usize {
    bytes.len() * (1 + 4 * size_of::<pipeline::world::Controls>()) + 1024
}

#[test]
fn a_length_that_is_not_true_allocates_nothing() {
    let size = Size { width: 2, height: 3 };
    let init = Init {
        prompt: "a road".into(),
        first_frame: Some(Picture { size, rgb: vec![100; size.frame_bytes() as usize] }),
        size,
        seed: 7,
        sink: 6,
        window: 18,
        first_chunk: None,
        condition_frames: Some(45),
    };
    let held = Held::default().with('w').with('l');
    let inputs =
        [ChunkInput { prompt: Some("dusk".into()), recache: false, steps: None, controls: Some(vec![held.into(); 3]) }];
    let bytes = record(&init, &inputs);
    let check = |bytes: &[u8]| {
        let (allocated, most) = (allocated_by_reading(bytes), allocated_at_most(bytes));
        assert!(allocated <= most, "{allocated} bytes, at most {most}, for {bytes:02x?}");
    };
    check(&bytes);
    // In place of each byte, the head of each kind of value with the longest length.
    for at in 0..bytes.len() {
        for claim in [0xc6_u8, 0xc9, 0xdb, 0xdd, 0xdf] {
            for length in [[0xff; 4], [0x00, 0x00, 0x20, 0x00], [0x07, 0x27, 0x0e, 0x00], [0x00, 0x00, 0x04, 0x00]] {
                let claimed = [&bytes[..at], &[claim], &length, &bytes[at + 1..]].concat();
                check(&claimed);
                check(&claimed[..at + 5]);
            }
        }
        check(&bytes[..at]);
    }
    assert!(matches!(recording::read(&bytes[..10]), Err(Invalid::Incomplete { at: 0 })));
}
