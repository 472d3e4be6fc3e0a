//! A Cosmos3 model as a world: what holds of its clips whatever the weights are, what its directory may hold, and what is
//! refused.

use std::fmt::Display;

use ops::{Device, Tensor};
use pipeline::Compute;
use pipeline::cosmos3::Cosmos3;
use pipeline::cosmos3::clip::Cosmos3Clip;
use pipeline::inspect::inspect;
use pipeline::noise::Noise;
use pipeline::world::{Cancel, Clip, ClipAsk, Init, Picture, Size, Step, World, WorldError};
use serde_json::json;
use tests::cosmos3::{ModelFolder, ask, golden};

const SIZE: Size = Size { width: 48, height: 64 };

fn model() -> (ModelFolder, Cosmos3) {
    let folder = ModelFolder::of(&golden());
    let world = folder.load().expect("a whole model");
    (folder, world)
}

/// A short clip: two latent frames, few steps.
fn short(prompt: &str, seed: u64) -> ClipAsk {
    let mut ask = ask(prompt, SIZE, 5, seed);
    ask.settings.num_inference_steps = Some(3);
    ask
}

fn picture(size: Size) -> Picture {
    Picture { size, rgb: (0..size.frame_bytes()).map(|i| (i * 37 % 256) as u8).collect() }
}

/// All bytes of a clip, and how many pieces it took.
fn draw(mut clip: impl Clip) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    for piece in 1.. {
        let step = clip.step(&Cancel::default(), &mut |frames| bytes.extend(frames.rgb)).expect("a piece");
        assert_eq!(clip.progress().done, piece);
        if let Step::Done(_) = step {
            assert_eq!(clip.progress().of, piece);
            return (bytes, piece);
        }
    }
    unreachable!("the loop ends with the clip")
}

fn open(world: &Cosmos3, ask: ClipAsk) -> Cosmos3Clip {
    let noise = Noise::seeded(ask.init.seed, &Device::cpu());
    world.clip_with_noise(world.plan(ask).expect("it can be drawn"), noise)
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    let (_folder, world) = model();
    let bytes = |seed| draw(open(&world, short("a red boat", seed))).0;
    assert_eq!(bytes(7).len() as u64, 5 * SIZE.frame_bytes());
    assert_eq!(bytes(7), bytes(7));
    assert_ne!(bytes(7), bytes(8));
}

#[test]
fn a_clip_is_read_then_denoised_then_decoded_a_latent_frame_at_a_time() {
    let (_folder, world) = model();
    let pieces = |ask| draw(open(&world, ask)).1;
    assert_eq!(pieces(short("sea", 1)), 1 + 3 + 2);
    let mut from_picture = short("sea", 1);
    from_picture.init.first_frame = Some(picture(SIZE));
    assert_eq!(pieces(from_picture), 1 + 1 + 3 + 2);
    let mut one = ask("sea", SIZE, 1, 1);
    one.settings.num_inference_steps = Some(1);
    assert_eq!(pieces(one), 1 + 1 + 1);
}

#[test]
fn progress_follows_the_time_that_pieces_took_before() {
    let (_folder, world) = model();
    let shares = || {
        let mut clip = open(&world, short("sea", 1));
        let mut shares = vec![clip.share()];
        while let Step::More(_) = clip.step(&Cancel::default(), &mut |_| {}).expect("a piece") {
            shares.push(clip.share());
        }
        shares.push(clip.share());
        shares
    };
    let sixths: Vec<f64> = (0..=6).map(|done| f64::from(done) / 6.0).collect();
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
    assert!(near(&shares(), &sixths), "nothing is known of a new model");
    let second = shares();
    assert!(second.is_sorted() && second[0] == 0.0 && second[6] == 1.0, "{second:?}");
    assert!(!near(&second, &sixths), "{second:?}");
}

#[test]
fn two_clips_drawn_in_turn_give_what_each_gives_alone() {
    let (_folder, world) = model();
    let alone = ["a red boat", "hill"].map(|prompt| draw(open(&world, short(prompt, 3))).0);
    let mut clips = ["a red boat", "hill"].map(|prompt| (open(&world, short(prompt, 3)), Vec::new()));
    let mut over = 0;
    while over < 2 {
        over = 0;
        for (clip, bytes) in &mut clips {
            if clip.progress().done == clip.progress().of {
                over += 1;
                continue;
            }
            clip.step(&Cancel::default(), &mut |frames| bytes.extend(frames.rgb)).expect("a piece");
        }
    }
    assert_eq!(clips.map(|(_, bytes)| bytes), alone);
}

#[test]
fn the_frame_that_is_given_stays_as_it_is_after_every_step_bit_for_bit() {
    let (_folder, world) = model();
    let mut ask = short("a red boat", 5);
    ask.init.first_frame = Some(picture(SIZE));
    let mut clip = open(&world, ask);
    let mut first: Option<Vec<f32>> = None;
    loop {
        let step = clip.step(&Cancel::default(), &mut |_| {}).expect("a piece");
        if let Some(latent) = clip.latent() {
            let given = numbers(&latent.narrow(1, 0, 1).expect("a frame"));
            assert_eq!(*first.get_or_insert(given.clone()), given);
        }
        if let Step::Done(_) = step {
            break;
        }
    }
    assert!(first.is_some(), "there was a latent");
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.copy().and_then(|tensor| tensor.to_vec()).expect("f32")
}

#[test]
fn a_cancel_is_seen_in_the_piece_it_comes_in() {
    let (_folder, world) = model();
    let cancel = Cancel::default();
    let mut clip = open(&world, short("sea", 1));
    clip.step(&cancel, &mut |_| {}).expect("the prompts");
    clip.step(&cancel, &mut |_| {}).expect("a step");
    cancel.cancel();
    assert!(matches!(clip.step(&cancel, &mut |_| panic!("no frame comes")), Err(WorldError::Cancelled)));
}

#[test]
fn a_clip_never_holds_more_than_it_was_admitted_with() {
    let (_folder, world) = model();
    let bytes = world.clip_bytes();
    for (frames, prompt, start) in [(1, "sea", false), (5, "", true), (13, "a red boat on the sea by a hill", false)] {
        let mut ask = ask(prompt, SIZE, frames, 1);
        ask.settings.num_inference_steps = Some(4);
        ask.init.first_frame = start.then(|| picture(SIZE));
        let admitted = bytes(&ask);
        let mut clip = open(&world, ask);
        loop {
            assert!(clip.bytes() <= admitted, "{} bytes are held, {admitted} were admitted", clip.bytes());
            if let Step::Done(_) = clip.step(&Cancel::default(), &mut |_| {}).expect("a piece") {
                break;
            }
        }
        assert_eq!(clip.bytes(), 0);
    }
}

#[test]
fn a_session_is_refused_with_the_way_to_a_clip() {
    let (_folder, world) = model();
    let init: Init = ask("sea", SIZE, 5, 1).init;
    let error = world.open(init).err().expect("no session").to_string();
    assert!(error.contains("clips and no sessions") && error.contains("/v1/videos"), "{error}");
    assert!(!world.card().clips.realtime);
}

#[test]
fn what_cannot_be_drawn_is_refused_by_field() {
    let (_folder, world) = model();
    let check = |change: &dyn Fn(&mut ClipAsk), field: &str, said: &str| {
        let mut ask = short("sea", 1);
        change(&mut ask);
        let Err(WorldError::Refused(refusal)) = world.plan(ask).map(|_| ()) else { panic!("{field} is not refused") };
        assert!(refusal.field == field && refusal.reason.contains(said), "{refusal}");
    };
    check(&|ask| ask.frames = 3, "num_frames", "5 the shortest clip");
    check(&|ask| ask.frames = 6, "num_frames", "5");
    check(&|ask| ask.frames = 301, "num_frames", "301");
    check(&|ask| ask.init.size = Size { width: 40, height: 64 }, "size", "multiples of 16");
    check(&|ask| ask.init.size = Size { width: 4096, height: 4096 }, "size", "up to");
    check(&|ask| ask.settings.num_inference_steps = Some(0), "num_inference_steps", "1 to 200");
    check(&|ask| ask.settings.flow_shift = Some(f64::NAN), "flow_shift", "0.1 to 100");
    check(&|ask| ask.settings.guidance_scale = Some(21.0), "guidance_scale", "0 to 20");
    check(&|ask| ask.settings.guidance_interval = Some([0.0, 1001.0]), "guidance_interval", "0 to 1000");
    check(&|ask| ask.settings.fps = Some(0.0), "fps", "1 to 240");
    check(&|ask| ask.settings.max_sequence_length = Some(1), "max_sequence_length", "8 to 8192");
    let picture_from_picture = |ask: &mut ClipAsk| {
        ask.frames = 1;
        ask.init.first_frame = Some(picture(SIZE));
    };
    check(&picture_from_picture, "first_frame", "from text alone");
}

#[test]
fn a_distilled_model_draws_in_its_own_steps_whatever_is_asked() {
    let folder = ModelFolder::distilled(&golden(), &[1.0, 0.9, 0.5]);
    let world = folder.load().expect("a whole model");
    let mut ask = ask("sea", SIZE, 5, 1);
    (ask.settings.num_inference_steps, ask.settings.guidance_scale) = (Some(9), Some(7.0));
    ask.settings.flow_shift = Some(10.0);
    assert_eq!(draw(open(&world, ask)).1, 1 + 3 + 2);
}

#[test]
fn one_shard_and_two_with_an_index_are_the_same_model() {
    let (folder, world) = model();
    let whole = draw(open(&world, short("a red boat", 7))).0;
    folder.split_in_two();
    assert_eq!(draw(open(&folder.load().expect("two shards"), short("a red boat", 7))).0, whole);
}

/// That the directory does not load, that inspecting it says so too, and what both say.
fn check_broken(folder: &ModelFolder, said: &str) {
    let holds = |text: &dyn Display| assert!(text.to_string().contains(said), "{text} does not say {said:?}");
    holds(&folder.load().err().expect("it does not load"));
    let report = inspect(&folder.open(), Compute::F32, None, None).expect("a report");
    assert!(!report.is_complete(), "{report}");
    holds(&report);
}

#[test]
fn a_directory_with_something_wrong_says_what_in_one_sentence() {
    const UP: &str = "layers.1.mlp_moe_gen.up_proj.weight";
    let keep = |name: &str, shape: Vec<usize>| Some((name.to_owned(), shape));
    let broken = |change: &dyn Fn(&ModelFolder), said: &str| {
        let folder = ModelFolder::of(&golden());
        change(&folder);
        check_broken(&folder, said);
    };
    broken(&|f| f.change_transformer(|name, shape| keep(name, shape).filter(|_| name != UP), &[]), UP);
    broken(&|f| f.change_transformer(keep, &[("layers.0.extra.weight", &[2, 2])]), "layers.0.extra.weight");
    let reshape = |name: &str, shape: Vec<usize>| keep(name, if name == UP { vec![3, 5] } else { shape });
    broken(&|f| f.change_transformer(reshape, &[]), "[3, 5]");
    broken(
        &|f| f.change_transformer(keep, &[("layers.0.mlp.up_proj.weight_scale", &[1])]),
        "FP8 checkpoints are not read",
    );
    let config = "transformer/config.json";
    let set = |folder: &ModelFolder, path: &str, key: &str, value: serde_json::Value| {
        let mut json = folder.json(path);
        json[key] = value;
        folder.write_json(path, &json);
    };
    broken(&|f| set(f, config, "quantization_config", json!({"quant_algo": "FP8"})), "quantised (FP8) checkpoints");
    broken(&|f| set(f, config, "head_dim", json!(23)), "head_dim is 23; it must be even");
    broken(&|f| set(f, "vae/config.json", "z_dim", json!(5)), "vae/config.json");
    broken(&|f| set(f, "scheduler/scheduler_config.json", "_class_name", json!("DDIM")), "_class_name is \"DDIM\"");
    broken(&|f| f.write("text_tokenizer/tokenizer.json", b"{}"), "text_tokenizer/tokenizer.json");
    broken(&|f| f.write("text_tokenizer/chat_template.jinja", b"[INST]"), "a chat of another kind");
}

#[test]
fn sound_and_actions_are_skipped_and_named() {
    let folder = ModelFolder::of(&golden());
    let plain = inspect(&folder.open(), Compute::F32, None, None).expect("a report").to_string();
    assert!(plain.contains("not published, visual only; FlowUniPC"), "{plain}");
    let more: [(&str, &[usize]); 4] = [
        ("audio_proj_in.weight", &[56, 64]),
        ("audio_modality_embed", &[56]),
        ("action_proj_in.fc.weight", &[32, 64]),
        ("lm_head.weight", &[173, 56]),
    ];
    let unused = ["lm_head.weight", "norm.weight"];
    folder.change_transformer(|name, shape| (!unused.contains(&name)).then(|| (name.to_owned(), shape)), &more);
    folder.load().expect("it draws without them");
    let report = inspect(&folder.open(), Compute::F32, None, None).expect("a report");
    assert!(report.is_complete(), "{report}");
    let text = report.to_string();
    assert!(!text.contains("visual only"), "{text}");
    for part in
        ["2 tensors of sound, which is not built", "1 tensors of actions", "a clip of 93 frames at 1280x720", "to load"]
    {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
}
