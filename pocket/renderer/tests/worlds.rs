//! What must be true of every world: the same bytes always, a camera that obeys, ground below and no thing in the way.

use std::collections::HashSet;

use renderer::{
    BODY_M, Biome, Clip, Draws, Intrinsics, Look, Motion, Pose, Recipe, Renderer, Start, Step, Time, Weather, World,
    begin, cleared, make_clips, poses, prompt, stretches,
};

const SNOW: Look = Look { biome: Biome::Snow, time: Time::Sunset, weather: Weather::Clear };

fn lens(width: usize, height: usize) -> Intrinsics {
    Intrinsics::from_fov(width, height, 75.0).expect("a lens")
}

fn first_frame(look: Look, seed: u64) -> Vec<u8> {
    Clip::walk(&World::new(seed, look), lens(48, 32), 1, vec![Motion::default()], 8).frames.remove(0)
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_threads() {
    let recipe = Recipe {
        lens: lens(24, 16),
        samples: 1,
        latents: 5,
        step: Step::default(),
        switches: 0.5,
        fade: 1,
        fov_deg: [60.0, 90.0],
    };
    let made_by = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let mut clips = Vec::new();
        pool.install(|| {
            make_clips(&recipe, 40, 6, |clip| {
                clips.push(clip.to_bytes()?);
                Ok(())
            })
        })
        .expect("clips");
        clips
    };
    assert!(made_by(1) == made_by(3), "one thread and three made different clips");
}

#[test]
fn a_known_frame_keeps_its_hash() {
    // Pictures may be changed on purpose: then this changes with them, and weights trained on them are of an older world.
    assert_eq!(hash(&first_frame(SNOW, 7)), 1_032_792_879_758_421_367, "the first frame of snow at sunset, seed 7");
}

#[test]
fn every_look_can_be_told_from_every_other() {
    let frames: HashSet<Vec<u8>> = Look::all().map(|look| first_frame(look, 3)).collect();
    assert_eq!(frames.len(), 64);
    for frame in frames {
        let (least, most) = frame.iter().fold((255, 0), |(a, b), &v| (v.min(a), v.max(b)));
        // Not a number would be recorded as 0 everywhere.
        assert!(most > least + 20, "a frame from {least} to {most} shows nothing");
    }
}

#[test]
fn a_known_point_projects_where_it_should() {
    let lens = lens(96, 64);
    let pose = Pose::looking([10.0, 20.0, 5.0], std::f64::consts::FRAC_PI_2, 0.0);
    // Facing north, east is right; up is less y.
    let pixel = |point| lens.project(pose.camera_from_world(point));
    let near = |a: Option<[f64; 2]>, b: [f64; 2]| {
        let a = a.expect("in front");
        assert!((a[0] - b[0]).abs() < 1e-9 && (a[1] - b[1]).abs() < 1e-9, "{a:?} is not {b:?}");
    };
    near(pixel([10.0, 30.0, 5.0]), [48.0, 32.0]);
    near(pixel([11.0, 30.0, 5.0]), [48.0 + lens.fx / 10.0, 32.0]);
    near(pixel([10.0, 30.0, 7.0]), [48.0, 32.0 - lens.fy / 5.0]);
    assert_eq!(pixel([10.0, 10.0, 5.0]), None, "behind the camera");
}

#[test]
fn a_pixel_shows_what_projects_to_it() {
    let world = World::new(1, Look { biome: Biome::City, time: Time::Noon, weather: Weather::Clear });
    // Straight above a crossing, looking down: the ground is where the height says.
    let pose = Pose::looking([0.5, 0.5, 30.0], 0.0, -std::f64::consts::FRAC_PI_2);
    let region = world.region(&[pose]);
    let lens = lens(96, 64);
    let renderer = Renderer::new(&world, &region, lens, 1);
    assert!((renderer.distance(&pose, [lens.cx, lens.cy]) - 30.0).abs() < 1e-3);
}

#[test]
fn a_key_moves_by_its_step_and_turns_by_its_angle() {
    let world = World::new(2, SNOW);
    let start = Start { x: 3.0, y: 4.0, yaw: 0.3, eye_m: 2.0 };
    let walk = |path| poses(&world, start, &Step::default().parse(path).expect("a path"));
    let last = |path| walk(path).pop().expect("a pose");
    let flat = |pose: Pose| [pose.position()[0] - 3.0, pose.position()[1] - 4.0];
    let close = |a: [f64; 2], b: [f64; 2]| assert!((a[0] - b[0]).hypot(a[1] - b[1]) < 1e-9, "{a:?} is not {b:?}");
    let (s, c) = 0.3f64.sin_cos();
    close(flat(last("w")), [c, s]);
    close(flat(last("s*2")), [-2.0 * c, -2.0 * s]);
    close(flat(last("d")), [s, -c]);
    let turned = (0.3 - 10f64.to_radians()).sin_cos();
    close([last("l").forward()[0], last("l").forward()[1]], [turned.1, turned.0]);
    assert!((last("i").forward()[2] - 4f64.to_radians().sin()).abs() < 1e-9, "i looks up by 4 degrees");
    assert_eq!(walk("w*3,,l").len(), 1 + 4 * 5);
    assert!(last("w*4,l*3,j*3,s*4").position()[2] == walk("")[0].position()[2], "who returns is as high as before");
}

#[test]
fn a_bad_path_says_what_is_wrong() {
    for (path, word) in [("w*x", "count"), ("wq", "`q`"), ("w*999999", "latent frames")] {
        let error = format!("{:#}", Step::default().parse(path).expect_err(path));
        assert!(error.contains(word), "{path}: {error}");
    }
}

#[test]
fn walks_stay_above_the_ground_and_outside_things() {
    for (n, &biome) in Biome::ALL.iter().enumerate() {
        for seed in 0..6 {
            let world = World::new(100 * n as u64 + seed, Look { biome, time: Time::Noon, weather: Weather::Clear });
            let mut draws = Draws::new(seed, 1);
            let motions = Step::default().random(&mut draws, 24);
            let (_, path) = begin(&world, &mut draws, &motions, 2);
            let region = cleared(&world, &path, &path);
            for pose in &path {
                let [x, y, z] = pose.position();
                assert!(z > world.surface(x, y) + 1.0, "{biome:?} {seed}: {z} over {}", world.surface(x, y));
            }
            let places: Vec<_> = path.iter().map(Pose::position).collect();
            assert!(region.obstacles(&places, BODY_M).is_empty(), "{biome:?} {seed}: something is in the way");
        }
    }
}

#[test]
fn a_place_looks_the_same_from_two_regions() {
    let world = World::new(5, Look { biome: Biome::Autumn, time: Time::Noon, weather: Weather::Clear });
    let here = Pose::looking([40.0, -70.0, world.footing(40.0, -70.0) + 6.0], 1.0, 0.0);
    let draw = |seen_from: &[Pose]| Renderer::new(&world, &world.region(seen_from), lens(48, 32), 1).draw(&here);
    let far = Pose::looking([140.0, 60.0, 9.0], 0.0, 0.0);
    let (one, two) = (draw(&[here]), draw(&[here, far]));
    // Coordinates are f32 from another corner: an edge may fall on the other side of a pixel's middle.
    let off = one.iter().zip(&two).filter(|(a, b)| a.abs_diff(**b) > 3).count();
    assert!(off < one.len() / 100, "{off} of {} bytes differ", one.len());
}

#[test]
fn a_walk_of_kilometres_is_drawn_to_its_end() {
    let world = World::new(6, Look { biome: Biome::Desert, time: Time::Noon, weather: Weather::Clear });
    let start = Start { x: 0.0, y: 0.0, yaw: 0.0, eye_m: 2.0 };
    let stride = Step { move_m: 600.0, ..Step::default() };
    let path = poses(&world, start, &stride.parse("w*10").expect("a path"));
    let pieces: Vec<&[Pose]> = stretches(&path).collect();
    assert!(pieces.len() > 3 && pieces.concat().len() == path.len());
    let last = path.last().expect("a pose");
    let region = cleared(&world, pieces.last().expect("a piece"), &path);
    let below = Pose::looking(last.position(), 0.0, -1.2);
    // At six kilometres there is ground underfoot, not sky.
    assert!(Renderer::new(&world, &region, lens(8, 8), 1).distance(&below, [4.0, 4.0]) < 10.0);
}

#[test]
fn a_clip_file_holds_what_the_readme_lists() {
    let world = World::new(9, SNOW);
    let clip = Clip::walk(&world, lens(24, 16), 1, Step::default().parse("w*2,l").expect("a path"), 1);
    let bytes = clip.to_bytes().expect("bytes");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let shape = |name| file.tensor(name).expect(name).shape().to_vec();
    assert_eq!(shape("frames"), [13, 16, 24, 3]);
    assert_eq!(shape("poses"), [13, 4, 4]);
    assert_eq!(shape("intrinsics"), [4]);
    assert_eq!(shape("keys"), [4, 8]);
    assert_eq!(shape("motions"), [4, 4]);
    assert_eq!(shape("scene"), [4]);
    assert_eq!(file.tensor("keys").expect("keys").data()[8..16], [1, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn prompts_are_sentences_of_hundreds_of_words() {
    let mut draws = Draws::new(1, 1);
    let mut words = HashSet::new();
    for look in Look::all() {
        for _ in 0..100 {
            let sentence = prompt(look, &[], &mut draws);
            assert!((3..=40).contains(&sentence.split(' ').count()), "{sentence}");
            assert!(!sentence.contains("  ") && !sentence.contains(",,"), "{sentence}");
            words.extend(sentence.to_lowercase().split(|c: char| !c.is_alphabetic()).map(str::to_owned));
        }
    }
    assert!(words.len() > 300, "{} words", words.len());
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "tests"] {
        for entry in std::fs::read_dir(root.join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("text");
            assert!(text.starts_with("//!"), "{} does not open with what it is", path.display());
            assert!(text.lines().count() <= 500, "{} is too long", path.display());
        }
    }
}
