//! The strip can be read back at every size.

use super::*;
use crate::world::{Controls, Intrinsics, Picture, Pose, Rates, Way};

fn open(width: u32, height: u32, prompt: &str) -> Box<dyn Rollout> {
    let init = Init {
        prompt: prompt.into(),
        first_frame: None,
        size: Size { width, height },
        seed: 42,
        sink: 9,
        window: 18,
        first_chunk: None,
        condition_frames: None,
    };
    Testcard::new(Duration::ZERO).open(init).expect("the test card opens any size")
}

fn pictures(rollout: &mut dyn Rollout, input: &ChunkInput) -> Vec<Picture> {
    let mut pictures = Vec::new();
    let mut sink = |frames: Frames| {
        let frame_bytes = frames.size.frame_bytes() as usize;
        assert_eq!(frames.rgb.len(), frames.count * frame_bytes);
        pictures.extend(frames.rgb.chunks(frame_bytes).map(|rgb| Picture { size: frames.size, rgb: rgb.into() }));
    };
    rollout.generate(input, &Cancel::default(), &mut sink).expect("nothing here can fail");
    pictures
}

#[test]
fn what_was_drawn_can_be_read_from_the_pixels() {
    for (width, height) in [(32, 24), (64, 48), (101, 51), (128, 96), (333, 250), (832, 480)] {
        let mut rollout = open(width, height, "a road");
        let mut frame = 0;
        for (chunk, held) in [None, Some(["w", "w", "l"]), Some(["", "k", "s"]), None].into_iter().enumerate() {
            let controls = held.map(|held| held.map(|key| Held::from_tokens([key]).into()).to_vec());
            let prompt = (chunk == 2).then(|| "eine Straße, 道".to_owned());
            let plan = rollout.plan();
            let pictures = pictures(
                rollout.as_mut(),
                &ChunkInput { prompt, recache: false, steps: None, controls: controls.clone() },
            );
            assert_eq!(pictures.len(), plan.pixel_frames);
            for picture in pictures {
                let latent_frame = if frame == 0 { 0 } else { 1 + (frame - 1) / 4 };
                let expected = Reading {
                    chunk,
                    latent_frame,
                    frame,
                    held: controls.as_ref().map(|controls| controls[latent_frame - plan.first_latent_frame].held()),
                    prompt_hash: prompt_hash(if chunk < 2 { "a road" } else { "eine Straße, 道" }),
                };
                assert_eq!(read(&picture), Some(expected), "{width}x{height}");
                frame += 1;
            }
        }
    }
}

#[test]
fn what_steered_it_besides_keys_can_be_read_from_the_pixels() {
    let rates = Rates::new([1.0, -64.0 / 127.0, 0.0, 12.0 / 127.0]).expect("rates");
    let lens = Intrinsics::new(500.125, 400.0, 64.0, -3.5).expect("a lens");
    let pose = Pose::new([2.0, -4.0, 8.0], [0.5, 0.5, -0.5, 0.5]).expect("a pose");
    let controls = [
        Controls::from(Held::from_tokens(["w"])),
        Controls::default().with_rates(rates),
        Controls::default().with_way(Way::part_of(pose, 0.5).ok()).with_intrinsics(Some(lens)),
    ];
    let mut rollout = open(128, 96, "p");
    let input = ChunkInput { prompt: None, recache: false, steps: None, controls: Some(controls.to_vec()) };
    let pictures = pictures(rollout.as_mut(), &input);
    let read = [0, 1, 5].map(|first| read_steered(&pictures[first]));
    assert_eq!(read[0], None, "keys alone");
    assert_eq!(read[1], Some(Steered { rates, pose: None, intrinsics: None }));
    let halfway = read[2].expect("steered");
    assert_eq!((halfway.rates, halfway.intrinsics), (Rates::default(), Some(lens)));
    let found = halfway.pose.expect("a pose");
    assert_eq!(found.position(), [1.0, -2.0, 4.0]);
    let expected = Pose::START.toward(&pose, 0.5).quaternion();
    assert!(found.quaternion().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?}");
    // The strip for keys is where it was.
    assert!(pictures.iter().all(|picture| super::read(picture).is_some()));
}

#[test]
fn chunks_are_nine_video_frames_and_then_twelve() {
    let mut rollout = open(2, 2, "tiny");
    for (index, expected) in [9, 12, 12].into_iter().enumerate() {
        let plan = rollout.plan();
        assert_eq!((plan.index, plan.first_latent_frame, plan.pixel_frames), (index, 3 * index, expected));
        let pictures = pictures(rollout.as_mut(), &ChunkInput::default());
        assert_eq!(pictures.len(), expected);
        assert_eq!(read(&pictures[0]), None, "four pixels say nothing");
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes_and_each_frame_differs() {
    let draw = || pictures(open(128, 96, "same").as_mut(), &ChunkInput::default());
    let frames = draw();
    assert_eq!(frames, draw());
    for pair in frames.windows(2) {
        assert_ne!(pair[0], pair[1]);
    }
}

#[test]
fn a_picture_of_something_else_reads_as_nothing() {
    let size = Size { width: 128, height: 96 };
    for value in [0, 100, 255] {
        assert_eq!(read(&Picture { size, rgb: vec![value; size.frame_bytes() as usize] }), None);
    }
    let mut drawn = pictures(open(128, 96, "p").as_mut(), &ChunkInput::default()).remove(0);
    let last_cell = drawn.rgb.len() - 3 * 128 * 4;
    drawn.rgb[last_cell..].fill(0);
    assert_eq!(read(&drawn), None, "the checksum is gone");
}

#[test]
fn a_prompt_is_broken_between_words() {
    assert_eq!(lines(" a long  road ahead", 6), ["a long", "road", "ahead"]);
    assert_eq!(lines("", 6), [""]);
    assert_eq!(lines("overlong word", 3), ["overlong", "word"]);
}

#[test]
fn controls_for_another_number_of_latent_frames_are_an_error() {
    for count in [0, 1, 2, 4] {
        let controls = Some(vec![Controls::default(); count]);
        let ended = open(32, 24, "p").generate(
            &ChunkInput { prompt: None, recache: false, steps: None, controls },
            &Cancel::default(),
            &mut |_| panic!("drew with {count} controls"),
        );
        let Err(WorldError::Failed(reason)) = ended else { panic!("{count}: {ended:?}") };
        assert_eq!(reason, format!("controls for {count} latent frames, in a chunk of 3"));
    }
}

#[test]
fn a_chunk_takes_the_time_it_was_told_and_a_cancelled_one_does_not() {
    let init = Init {
        prompt: String::new(),
        first_frame: None,
        size: Size { width: 32, height: 24 },
        seed: 0,
        sink: 9,
        window: 18,
        first_chunk: None,
        condition_frames: None,
    };
    let told = Duration::from_millis(30);
    let mut rollout = Testcard::new(told).open(init.clone()).expect("opens");
    let start = Instant::now();
    let timings = rollout.generate(&ChunkInput::default(), &Cancel::default(), &mut |_| ()).expect("nothing can fail");
    assert!(start.elapsed() >= told && timings.total() >= told);

    let mut rollout = Testcard::new(Duration::from_secs(3600)).open(init).expect("opens");
    let cancel = Cancel::default();
    cancel.cancel();
    let ended = rollout.generate(&ChunkInput::default(), &cancel, &mut |_| panic!("drew after a cancel"));
    assert!(matches!(ended, Err(WorldError::Cancelled)));
}

#[test]
fn a_video_goes_on_where_its_bytes_stand() {
    let init = Init {
        prompt: "a road ".repeat(200),
        first_frame: None,
        size: Size { width: 64, height: 48 },
        seed: 3,
        sink: 9,
        window: 18,
        first_chunk: Some(1),
        condition_frames: None,
    };
    let world = Testcard::new(Duration::ZERO);
    let mut whole = world.open(init.clone()).expect("opens");
    let pose = Pose::new([1.0, 2.0, 3.0], [1.0, 0.0, 0.0, 0.0]).expect("a pose");
    let led = |frames| Some(vec![Controls::default().with_way(Some(Way::to(pose))); frames]);
    pictures(whole.as_mut(), &ChunkInput { controls: led(1), ..ChunkInput::default() });
    pictures(whole.as_mut(), &ChunkInput { prompt: Some("night".into()), ..ChunkInput::default() });
    let bytes = whole.pack().expect("bytes");
    let mut second = Testcard::new(Duration::ZERO).open_at(init.clone(), &bytes).expect("goes on");
    let halfway = Way::part_of(Pose::START, 0.5).expect("half");
    let input =
        ChunkInput { controls: Some(vec![Controls::default().with_way(Some(halfway)); 3]), ..ChunkInput::default() };
    assert_eq!(second.plan(), whole.plan());
    assert_eq!(pictures(second.as_mut(), &input), pictures(whole.as_mut(), &input));
    let Err(error) = world.open_at(Init { window: 17, ..init }, &bytes) else { panic!("of another video") };
    assert!(error.to_string().starts_with("state: is of a video of"), "{error}");
}
