//! Cosmos3's transformer: one forward of every case, for the prompt and the negative one, and its intermediates.

use std::collections::BTreeMap;
use std::path::Path;

use ops::collective::{Rank, Team};
use ops::{Device, Tensor};
use pipeline::cosmos3::config::transformer::TransformerConfig;
use pipeline::cosmos3::mrope::Grid;
use pipeline::cosmos3::tensors;
use pipeline::cosmos3::transformer::Transformer;
use pipeline::load::weights::Checkpoint;
use pipeline::world::{Cancel, FRAMES_PER_LATENT, Spans, WorldError};
use serde::Deserialize;

use super::{Golden, assert_close, for_each_folder, relative_error};

/// Sums of f32 in another order; the references differ by 6e-6 (nano) and 1.4e-5 (edge) among themselves.
const TOLERANCE: f64 = 1e-4;
/// At position 15 000 an angle in f32 is known to a thousandth: one unit in the last place of a frequency moves it as far.
const FAR_ANGLES: f64 = 2e-3;
const NEAR_ANGLES: f64 = 2e-6;

/// One case of `meta.json`.
#[derive(Deserialize)]
struct Case {
    latent_shape: [usize; 3],
    fps: Option<f64>,
    cond_frames: Vec<usize>,
    timestep: f64,
    cond_ids: Vec<u32>,
    uncond_ids: Vec<u32>,
}

#[test]
fn nano_has_the_velocities_of_the_reference_and_every_intermediate() {
    for_each_folder("cosmos3", |dir| check(&dir.join("dit_nano"), &Device::cpu()));
}

#[test]
fn edge_has_the_velocities_of_the_reference_and_every_intermediate() {
    for_each_folder("cosmos3", |dir| check(&dir.join("dit_edge"), &Device::cpu()));
}

/// Six heads of queries share three of keys, as in Cosmos3 Nano thirty-two share eight.
#[test]
fn nano_over_three_ranks_predicts_the_same_bits() {
    for_each_folder("cosmos3", |dir| {
        let dir = dir.join("dit_nano");
        let ((alone, _), (team, _)) = (load(&dir, &Device::cpu()), load(&dir, &Device::cpu()));
        check_team(&dir, &Device::cpu(), &alone, &team.over(Team::of_threads(3).expect("threads")));
    });
}

/// The same bits from `team` as from one rank, whose inputs lie on `device`.
pub(super) fn check_team(dir: &Path, device: &Device, alone: &Transformer, team: &Transformer) {
    let golden = Golden::open(&dir.join("fixtures.safetensors")).on(device);
    for (name, case) in &cases(dir) {
        let [frames, height, width] = case.latent_shape;
        let grid = Grid { frames, height, width, fps: case.fps, temporal_factor: FRAMES_PER_LATENT };
        let latent = golden.get(&format!("{name}.latent"));
        let flow = |transformer: &Transformer, cancel: &Cancel| {
            let branch = transformer.read(&case.cond_ids, &grid, &Cancel::default()).expect("a prompt");
            let time = transformer.generation().time_embedding(case.timestep).expect("a time");
            let given = case.cond_frames.len();
            transformer.predict_flow(&latent, given, &time, &branch, cancel, &Spans::default())
        };
        let numbers =
            |transformer| -> Vec<f32> { flow(transformer, &Cancel::default()).expect("a flow").to_vec().expect("f32") };
        assert_eq!(numbers(team), numbers(alone), "{name}");
        let cancelled = Cancel::default();
        cancelled.cancel();
        assert!(matches!(flow(team, &cancelled), Err(WorldError::Cancelled)));
    }
}

/// The network of a folder of weights, and its configuration.
pub(super) fn load(dir: &Path, device: &Device) -> (Transformer, TransformerConfig) {
    load_on(dir, std::slice::from_ref(device))
}

/// As [`load`]; the stack that draws on all of these devices.
pub(super) fn load_on(dir: &Path, devices: &[Device]) -> (Transformer, TransformerConfig) {
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap_or_else(|e| panic!("{}/{name}: {e}", dir.display()));
    let config: TransformerConfig = serde_json::from_slice(&read("config.json")).expect("a configuration");
    let checkpoint = Checkpoint::from_bytes(&read("model.safetensors")).expect("a checkpoint");
    let checkpoint = checkpoint.without(|name| tensors::unused(name).is_some());
    let list = tensors::transformer(&config);
    let weights = |device| checkpoint.weights(&list, device);
    let transformer = Transformer::load(&config, &weights(&devices[0]).expect("every tensor")).expect("a transformer");
    let transformer = transformer.and_on(&config, devices[1..].iter().map(weights)).expect("further devices");
    checkpoint.finish(&list).expect("no other tensor");
    (transformer, config)
}

fn cases(dir: &Path) -> BTreeMap<String, Case> {
    let meta = std::fs::read(dir.join("meta.json")).expect("meta.json");
    let cases: BTreeMap<String, Case> = serde_json::from_slice(&meta).expect("cases");
    assert!(!cases.is_empty(), "meta.json names no case");
    cases
}

/// How far the velocities on `device` are from the reference's, as shares of their size.
pub(super) fn velocity_errors(dir: &Path, device: &Device) -> Vec<f64> {
    let (transformer, _) = load(dir, device);
    let golden = Golden::open(&dir.join("fixtures.safetensors"));
    let error = |(name, case): (&String, &Case)| {
        let [frames, height, width] = case.latent_shape;
        let grid = Grid { frames, height, width, fps: case.fps, temporal_factor: FRAMES_PER_LATENT };
        let (given, cancel) = (case.cond_frames.len(), Cancel::default());
        let latent = golden.get(&format!("{name}.latent"));
        let time = transformer.generation().time_embedding(case.timestep).expect("a time");
        let read = transformer.read(&case.cond_ids, &grid, &cancel).expect("a prompt");
        let flow = transformer.predict_flow(&latent, given, &time, &read, &cancel, &Spans::default());
        let noisy = |x: &Tensor| x.narrow(1, given, frames - given).expect("the noisy frames");
        relative_error(&noisy(&flow.expect("a flow")), &noisy(&golden.get(&format!("{name}.cond.velocity"))))
    };
    cases(dir).iter().map(error).collect()
}

pub(super) fn check(dir: &Path, device: &Device) {
    let (transformer, config) = load(dir, device);
    let golden = Golden::open(&dir.join("fixtures.safetensors")).on(device);
    for (name, case) in &cases(dir) {
        check_case(&transformer, &config, &golden, name, case);
    }
}

fn check_case(transformer: &Transformer, config: &TransformerConfig, golden: &Golden, name: &str, case: &Case) {
    let [frames, height, width] = case.latent_shape;
    let grid = Grid { frames, height, width, fps: case.fps, temporal_factor: FRAMES_PER_LATENT };
    let given = case.cond_frames.len();
    assert!(case.cond_frames.iter().copied().eq(0..given), "{name}: the clean frames are the first ones");
    let key = |part: &str| format!("{name}.{part}");
    let latent = golden.get(&key("latent"));
    let cancel = Cancel::default();
    let (understanding, generation) = (transformer.understanding(), transformer.generation());
    let time = generation.time_embedding(case.timestep).expect("a time");

    for (branch, ids) in [("cond", &case.cond_ids), ("uncond", &case.uncond_ids)] {
        let mrope = transformer.mrope();
        let (text, video) = (mrope.text(ids.len()), mrope.video(ids.len(), &grid));
        let joined: Vec<f32> =
            text.axes.iter().zip(&video.axes).flat_map(|(a, b)| a.iter().chain(b)).copied().collect();
        let positions = Tensor::from_vec(joined, [3, ids.len() + grid.tokens()], &Device::cpu()).expect("three axes");
        assert_close(
            &key(&format!("{branch}.position_ids")),
            &positions,
            &golden[&key(&format!("{branch}.position_ids"))],
            0.0,
        );

        let read = transformer.read(ids, &grid, &cancel).expect("a prompt");
        // No token sees one behind it: padding would change nothing.
        let padded = transformer.read(&[ids, &[0, 1, 2][..]].concat(), &grid, &cancel).expect("a longer prompt");
        for layer in 0..config.layers {
            let first = |rows: &Tensor| rows.narrow(0, 0, ids.len()).expect("the prompt's own");
            assert_close("padding", &first(padded.prefix().keys(layer)), read.prefix().keys(layer), 1e-6);
            assert_close("padding", &first(padded.prefix().values(layer)), read.prefix().values(layer), 1e-6);
        }
        let flow = transformer.predict_flow(&latent, given, &time, &read, &cancel, &Spans::default());
        let flow = flow.expect("a flow");
        // What is predicted for a clean frame means nothing; in the files it is zero.
        let expected = golden.get(&key(&format!("{branch}.velocity")));
        let noisy = |x: &Tensor| x.narrow(1, given, frames - given).expect("the noisy frames");
        assert_close(&key(&format!("{branch}.velocity")), &noisy(&flow), &noisy(&expected), TOLERANCE);
        if branch == "uncond" {
            continue;
        }

        let text = mrope.rotary(&text, transformer.device()).expect("angles");
        for (table, part) in [("cos", 0), ("sin", 1)] {
            let expected = golden.get(&key(table)).narrow(1, 0, config.head_dim / 2).expect("the first half");
            let of = |tables: (&Tensor, &Tensor)| if part == 0 { tables.0.clone() } else { tables.1.clone() };
            let rows = |from, count| expected.narrow(0, from, count).expect("rows");
            assert_close(&key(&format!("{table}, text")), &of(text.tables()), &rows(0, ids.len()), NEAR_ANGLES);
            let far = rows(ids.len(), grid.tokens());
            assert_close(&key(&format!("{table}, video")), &of(read.rotary().tables()), &far, FAR_ANGLES);
        }

        let mut h = understanding.embed(ids).expect("tokens");
        for (i, layer) in understanding.layers().iter().enumerate() {
            h = layer.forward(&h, &text).expect("a layer");
            if i == 0 {
                assert_close(&key("layer0_und"), &h, &golden[&key("layer0_und")], TOLERANCE);
            }
        }
        assert_close(&key("last_und"), &h, &golden[&key("last_und")], TOLERANCE);

        assert_close(&key("proj_in"), &generation.embed(&latent).expect("tokens"), &golden[&key("proj_in")], TOLERANCE);
        let expected = golden[&key("time_embed")].get(0).expect("a noisy token");
        assert_close(&key("time_embed"), &time, &expected, TOLERANCE);
        let first = given * grid.tokens_a_frame();
        let mut h = generation.begin(&latent, first, &time, &Rank::alone()).expect("tokens");
        for layer in 0..generation.layers() {
            h = generation.layer(layer, &h, read.prefix(), read.rotary(), &Rank::alone()).expect("a layer");
            if layer == 0 {
                assert_close(&key("layer0_gen"), &h, &golden[&key("layer0_gen")], TOLERANCE);
            }
        }
        assert_close(&key("last_gen"), &h, &golden[&key("last_gen")], TOLERANCE);
        assert_close(&key("norm_out"), &generation.norm(&h).expect("a norm"), &golden[&key("norm_out")], TOLERANCE);
    }
}
