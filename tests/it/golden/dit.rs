//! The transformer: one forward with its intermediates, and whole rollouts whose cache rolls over.

use std::path::Path;
use std::slice::from_mut;

use kvcache::{PromptKvCache, RollingKvCache, Window};
use ops::collective::{Rank, Team};
use ops::{Device, Tensor};
use pipeline::lingbot::config::transformer::TransformerConfig;
use pipeline::lingbot::context::{PassContext, TeamContext};
use pipeline::lingbot::denoiser::Denoiser;
use pipeline::lingbot::dit::{ChunkConditions, Dit, TimeEmbedding};
use pipeline::lingbot::motion_window::MotionWindow;
use pipeline::lingbot::recipe::MotionWindowConfig;
use pipeline::lingbot::sampler::Sampler;
use pipeline::lingbot::schedule::{Level, Schedule};
use pipeline::lingbot::tensors;
use pipeline::load::weights::Checkpoint;
use pipeline::noise::Noise;
use pipeline::world::{Cancel, Controls, Held};
use serde_json::Value;

use super::{Golden, assert_close, largest_difference, relative_error};

/// f32 sums in another order; see the model's own cross-check, 1.3e-6 for one forward.
const TOLERANCE: f64 = 1e-4;

#[test]
fn one_forward_and_its_intermediates() {
    super::for_each_folder("lingbot", |dir| check_single_forward(dir, &Device::cpu()));
}

#[test]
fn rollouts_over_a_window_that_rolls() {
    super::for_each_folder("lingbot", |dir| {
        for name in ["dit_rollout_v2", "dit_rollout_v1sched", "dit_rollout_prompt_switch", "dit_rollout_interactive_kv"]
        {
            check_rollout(dir, "dit_tiny_weights", name, &Device::cpu());
        }
    });
}

#[test]
fn a_rollout_with_heads_of_128_past_its_window() {
    super::for_each_folder("lingbot", |dir| {
        if has_large_rollout(dir) {
            check_rollout(dir, "dit_rw_weights", "dit_rw_rollout", &Device::cpu());
        }
    });
}

#[test]
fn a_rollout_in_bfloat16_points_the_same_way() {
    super::for_each_folder("lingbot", |dir| {
        if has_large_rollout(dir) {
            check_bf16_rollout(dir);
        }
    });
}

/// The weights with heads of 128 are too large for this repository: see `tests/golden/README.md`.
fn has_large_rollout(dir: &Path) -> bool {
    let here = dir.join("dit_rw_weights.safetensors").exists();
    if !here {
        println!("{}: not recorded here", dir.display());
    }
    here
}

fn open(dir: &Path, weights: &str, device: &Device) -> (Dit, TransformerConfig) {
    let path = dir.join(format!("{weights}.safetensors"));
    let config: TransformerConfig = Golden::open(&path).json("config");
    let checkpoint = Checkpoint::from_bytes(&std::fs::read(&path).expect("weights")).expect("weights");
    let list = tensors::transformer(&config);
    let dit = Dit::load(&config, &checkpoint.weights(&list, device).expect("every tensor")).expect("weights");
    checkpoint.finish(&list).expect("nothing else");
    (dit, config)
}

pub(super) fn check_single_forward(dir: &Path, device: &Device) {
    let (dit, config) = open(dir, "dit_tiny_weights", device);
    let golden = Golden::open(&dir.join("dit_single_forward.safetensors")).on(device);
    let x = golden.get("x");
    let channels = config.out_channels;
    let (noisy, fixed) = (
        x.narrow(0, 0, channels).expect("noisy"),
        x.narrow(0, channels, config.in_channels - channels).expect("fixed"),
    );
    let t: f64 = golden.raw("t").to_vec::<f32>().expect("t")[0].into();
    let cam = golden.get("cam");

    let time = dit.time_embedding(t).expect("time");
    assert_close("temb", &time.embedding.unsqueeze(0).expect("row"), &golden.raw("temb"), TOLERANCE);
    let projection = time.projection.reshape([1, time.projection.elements()]).expect("row");
    assert_close("timestep_proj", &projection, &golden.raw("timestep_proj"), TOLERANCE);
    assert_close(
        "text_emb",
        &dit.embed_text(&golden.get("context")).expect("text"),
        &golden.get("text_emb"),
        TOLERANCE,
    );
    assert_close("cam_patch", &dit.patch_camera(&cam).expect("camera"), &golden.get("cam_patch"), TOLERANCE);
    let camera_mlp = dit.embed_camera(&cam).and_then(|e| e - dit.patch_camera(&cam)?).expect("camera");
    assert_close("c2ws_mlp_out", &camera_mlp, &golden.get("c2ws_mlp_out"), TOLERANCE);

    let prompt = dit.read_prompt(&golden.get("context")).expect("prompt");
    for layer in 0..golden.count("ca", "_k") {
        assert_close(&format!("ca{layer}_k"), prompt.keys(layer), &rows(&golden, &format!("ca{layer}_k")), TOLERANCE);
        assert_close(&format!("ca{layer}_v"), prompt.values(layer), &rows(&golden, &format!("ca{layer}_v")), TOLERANCE);
    }

    let tokens = golden.raw("block0_out").dim(1).expect("tokens");
    let frames = x.dim(1).expect("frames");
    let history = || {
        let window = Window::new(config.sliding_window_num_frames, config.sink_size, frames).expect("possible");
        RollingKvCache::new(window, config.remembers(tokens / frames, &Device::cpu()))
    };
    let chunk = ChunkConditions { first_latent_frame: 0, fixed: &fixed, camera: Some(&cam), recent: None };
    let with_camera = dit.condition(chunk, &Rank::alone()).expect("condition");
    let embedded = dit.tokens(&noisy, &with_camera).expect("tokens");
    let expected = flat(&golden.get("patch_embedding_bcfhw")).permute(&[1, 0]).expect("tokens");
    assert_close("patch_embedding", &embedded, &expected, TOLERANCE);

    let mut cache = history();
    let mut context =
        PassContext { rank: &Rank::alone(), condition: &with_camera, prompt: &prompt, history: &mut cache };
    let mut h = embedded;
    for (i, block) in dit.blocks().iter().enumerate() {
        let modulation = block.modulate(&time.projection).expect("modulation");
        let heads = block.look_back(&h, &modulation, &mut context).expect("attention");
        assert_close(
            &format!("block{i}_selfattn_out_heads"),
            &heads,
            &rows(&golden, &format!("block{i}_selfattn_out_heads")),
            TOLERANCE,
        );
        h = block.forward(&h, &time.projection, &mut context).expect("block");
        assert_close(&format!("block{i}_out"), &h, &golden.get(&format!("block{i}_out")), TOLERANCE);
    }
    cache.commit();
    check_history(&golden, "", &cache);

    let mut cache = history();
    let mut context =
        PassContext { rank: &Rank::alone(), condition: &with_camera, prompt: &prompt, history: &mut cache };
    let y = dit.predict_flow(&noisy, &time, &mut context).expect("forward");
    assert_close("y", &y, &golden.get("y"), TOLERANCE);

    check_start_in_the_middle(&dit, &golden, &noisy, &fixed, &time, &prompt);
}

/// `y_nocam_startframe5`: without a camera, and as frame 5 of a video whose first frames were never made. The reference's buffer
/// then shows rows that nobody wrote: keys and values of zero, as many as frames are missing and the window has room for.
fn check_start_in_the_middle(
    dit: &Dit,
    golden: &Golden,
    noisy: &Tensor,
    fixed: &Tensor,
    time: &TimeEmbedding,
    prompt: &PromptKvCache,
) {
    const FIRST_FRAME: usize = 5;
    let config = dit.config();
    let (_, frames, height, width) = noisy.dims4().expect("a latent");
    let tokens = height * width / 4;
    let missing = FIRST_FRAME.min(config.sliding_window_num_frames - frames);
    let window = Window::new(missing + frames, 0, frames).expect("possible");
    let mut history = RollingKvCache::new(window, config.remembers(tokens, &Device::cpu()));
    let zeros = Tensor::zeros([frames * tokens, config.width()], &noisy.device()).expect("zeros");
    for _ in 0..missing.div_ceil(frames) {
        for layer in 0..config.num_layers {
            history.stage(layer, &zeros, &zeros, None).expect("zeros");
        }
        history.commit();
    }
    let chunk = ChunkConditions { first_latent_frame: FIRST_FRAME, fixed, camera: None, recent: None };
    let condition = dit.condition(chunk, &Rank::alone()).expect("condition");
    let mut context = PassContext { rank: &Rank::alone(), condition: &condition, prompt, history: &mut history };
    let y = dit.predict_flow(noisy, time, &mut context).expect("forward");
    assert_close("y_nocam_startframe5", &y, &golden.get("y_nocam_startframe5"), TOLERANCE);
}

/// `(1, rows, heads, d)` as `(rows, D)`.
fn rows(golden: &Golden, name: &str) -> Tensor {
    flat(&golden.get(name))
}

/// All sides but the first as one.
fn flat(tensor: &Tensor) -> Tensor {
    let rows = tensor.dim(0).expect("rows");
    tensor.reshape([rows, tensor.elements() / rows]).expect("as many numbers")
}

/// Compare what every layer holds: the reference keeps rows oldest first, and zeros behind them.
fn check_history(golden: &Golden, prefix: &str, cache: &RollingKvCache) {
    for layer in (0..).take_while(|layer| golden.has(&format!("{prefix}kv{layer}_k"))) {
        let (keys, values) = cache.held(layer).blocks().expect("numbers");
        for (kind, ours) in [("k", keys), ("v", values)] {
            let name = format!("{prefix}kv{layer}_{kind}");
            let ours = Tensor::cat(&ours, 0).expect("rows");
            let theirs = rows(golden, &name);
            let filled = theirs.narrow(0, 0, ours.dim(0).expect("rows")).expect("as many rows");
            assert_close(&name, &ours, &filled, TOLERANCE);
        }
    }
}

/// A rollout's recorded conditions.
struct Rollout {
    golden: Golden,
    denoiser: Denoiser,
    config: TransformerConfig,
    /// `(C, F, h, w)`
    shape: [usize; 4],
    chunks: usize,
    window: Window,
    device: Device,
}

/// What a recording leaves out.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Choices {
    /// First chunk of the second prompt.
    switch: usize,
    motion: Option<MotionWindowConfig>,
}

impl Rollout {
    fn open(dir: &Path, weights: &str, name: &str, device: &Device) -> Rollout {
        let (dit, config) = open(dir, weights, device);
        let golden = Golden::open(&dir.join(format!("{name}.safetensors"))).on(device);
        let shape = golden.get("c0.init_noise").dims4().map(|(c, f, h, w)| [c, f, h, w]).expect("a latent");
        // Where the recording names its cache, that; else what its weights' configuration says.
        let (mut total, mut sink) = (config.sliding_window_num_frames, config.sink_size);
        if golden.metadata.contains_key("indices") {
            let tokens = golden.json::<Value>("tokens_per_frame").as_u64().expect("tokens") as usize;
            let row = &golden.json::<Value>("indices")[0];
            let frames = |key: &str| row[key].as_u64().expect("rows") as usize / tokens;
            (total, sink) = (frames("cache_size"), frames("sink"));
        }
        let window = Window::new(total, sink, shape[1]).expect("possible");
        let timesteps: Vec<f32> = golden.raw("timesteps").to_vec().expect("timesteps");
        let levels = timesteps.into_iter().map(|t| Level { t, sigma: t / 1000.0 }).collect();
        let denoiser =
            Denoiser::new(dit, Team::alone(), Sampler::Renoise, &Schedule { levels }).expect("time embeddings");
        Rollout { chunks: golden.count("c", ".x0"), golden, denoiser, config, shape, window, device: device.clone() }
    }

    /// Make the chunks as recorded; look at each one's latent and the history behind it.
    fn run(&self, choices: Choices, mut look: impl FnMut(usize, &Tensor, &RollingKvCache)) {
        let denoiser = &self.denoiser;
        let [_, frames, height, width] = self.shape;
        let prompt = |name: &str| denoiser.read_prompt(&self.golden.get(name)).expect("prompt");
        let prompts =
            if self.golden.has("prompt") { vec![prompt("prompt")] } else { vec![prompt("prompt0"), prompt("prompt1")] };
        let condition = self.golden.get("condition");
        let pieces = condition.dim(1).expect("frames") / frames;
        let mut motion = choices.motion.map(MotionWindow::new);
        let mut history =
            RollingKvCache::new(self.window.clone(), self.config.remembers(height * width / 4, &self.device));
        for chunk in 0..self.chunks {
            let get = |name: &str| self.golden.get(&format!("c{chunk}.{name}"));
            let steps = self.golden.count(&format!("c{chunk}.step_noise"), "_btchw");
            let mut noise = vec![get("init_noise")];
            noise.extend((0..steps).map(|i| get(&format!("step_noise{i}_btchw"))));
            let fixed = condition.narrow(1, chunk.min(pieces - 1) * frames, frames).expect("a piece");
            let conditions = denoiser.conditions(ChunkConditions {
                first_latent_frame: history.window().current().start,
                fixed: &fixed,
                camera: Some(&get("cam")),
                recent: motion.as_mut().and_then(|motion| motion.recent(Some(&self.controls(chunk)))),
            });
            let conditions = conditions.expect("conditions");
            let prompts = &prompts[usize::from(chunk >= choices.switch).min(prompts.len() - 1)];
            let mut context = TeamContext { conditions: &conditions, prompts, histories: from_mut(&mut history) };
            let x0 = denoiser
                .sample((self.shape, None), &mut Noise::recorded(noise), &mut context, &Cancel::default())
                .expect("a chunk");
            look(chunk, &x0, &history);
        }
    }

    fn controls(&self, chunk: usize) -> Vec<Controls> {
        let recorded = &self.golden.json::<Value>("indices")[chunk]["actions"];
        let items = recorded.as_array().expect("one item a latent frame").iter();
        items
            .map(|item| item.as_array().expect("tokens").iter().filter_map(|key| key.as_str()))
            .map(|tokens| Held::from_tokens(tokens).into())
            .collect()
    }

    fn x0(&self, chunk: usize) -> Tensor {
        self.golden.get(&format!("c{chunk}.x0"))
    }
}

/// A recording's choices: f32 on a processor finds them out.
fn choices_of(rollout: &Rollout, name: &str) -> Choices {
    // A recording does not say when its prompt changed, nor with which numbers its memory was shortened. Of all that could
    // have been, at least one must give every latent; which one is printed.
    let never = rollout.chunks;
    let mut candidates = vec![Choices { switch: never, motion: None }];
    if name.ends_with("prompt_switch") {
        candidates = (1..never).map(|switch| Choices { switch, motion: None }).collect();
    }
    if name.ends_with("interactive_kv") {
        let frames = rollout.window.total();
        let configs = (0..=frames).flat_map(|moving| (0..=moving).map(move |still| (moving, still)));
        let configs = configs.flat_map(|(moving, still)| {
            (1..=3).map(move |still_chunks| MotionWindowConfig { moving, still, still_chunks })
        });
        candidates = configs.map(|motion| Choices { switch: never, motion: Some(motion) }).collect();
    }
    let fits = |choices: &Choices| {
        let mut worst: f64 = 0.0;
        rollout.run(*choices, |chunk, x0, _| {
            worst = worst.max(largest_difference(name, x0, &rollout.x0(chunk)).0);
        });
        worst <= TOLERANCE
    };
    let all: Vec<_> = candidates.iter().copied().filter(|c| candidates.len() == 1 || fits(c)).collect();
    println!("{name}: {all:?}");
    *all.first().expect("some switch, some window reproduces the recording")
}

pub(super) fn check_rollout(dir: &Path, weights: &str, name: &str, device: &Device) {
    let rollout = Rollout::open(dir, weights, name, device);
    let choices = choices_of(&rollout, name);
    rollout.run(choices, |chunk, x0, history| {
        assert_close(&format!("{name} c{chunk}.x0"), x0, &rollout.x0(chunk), TOLERANCE);
        check_history(&rollout.golden, &format!("c{chunk}."), history);
        if chunk + 1 == rollout.chunks {
            check_final_history(&rollout.golden, history);
        }
    });
}

/// How far the latents of a rollout on `device` are from the recorded ones, as shares of their size, chunk by chunk.
pub(super) fn rollout_errors(dir: &Path, name: &str, device: &Device) -> Vec<f64> {
    let open = |device: &Device| Rollout::open(dir, "dit_tiny_weights", name, device);
    let choices = choices_of(&open(&Device::cpu()), name);
    let (rollout, mut errors) = (open(device), Vec::new());
    rollout.run(choices, |chunk, x0, _| errors.push(relative_error(x0, &rollout.x0(chunk))));
    errors
}

/// How far the flow of one forward on `device` is from the reference's, as a share of its size.
pub(super) fn forward_error(dir: &Path, device: &Device) -> f64 {
    let (dit, config) = open(dir, "dit_tiny_weights", device);
    let golden = Golden::open(&dir.join("dit_single_forward.safetensors"));
    let (x, cam, channels) = (golden.get("x"), golden.get("cam"), config.out_channels);
    let noisy = x.narrow(0, 0, channels).expect("noisy");
    let fixed = x.narrow(0, channels, config.in_channels - channels).expect("fixed");
    let t: f64 = golden.raw("t").to_vec::<f32>().expect("t")[0].into();
    let (time, prompt) =
        (dit.time_embedding(t).expect("time"), dit.read_prompt(&golden.get("context")).expect("prompt"));
    let (tokens, frames) = (golden.raw("block0_out").dim(1).expect("tokens"), x.dim(1).expect("frames"));
    let window = Window::new(config.sliding_window_num_frames, config.sink_size, frames).expect("possible");
    let mut history = RollingKvCache::new(window, config.remembers(tokens / frames, device));
    let chunk = ChunkConditions { first_latent_frame: 0, fixed: &fixed, camera: Some(&cam), recent: None };
    let rank = Rank::alone();
    let condition = dit.condition(chunk, &rank).expect("condition");
    let mut context = PassContext { rank: &rank, condition: &condition, prompt: &prompt, history: &mut history };
    relative_error(&dit.predict_flow(&noisy, &time, &mut context).expect("forward"), &golden.get("y"))
}

/// The head-128 rollout records one layer at its end only.
fn check_final_history(golden: &Golden, history: &RollingKvCache) {
    for name in golden.tensors.keys().filter(|name| name.starts_with("final.kv")) {
        let (layer, kind) = name["final.kv".len()..].split_once('_').expect("final.kvN_k");
        let (keys, values) = history.held(layer.parse().expect("a layer")).blocks().expect("numbers");
        let ours = Tensor::cat(&if kind == "k" { keys } else { values }, 0).expect("rows");
        assert_close(name, &ours, &rows(golden, name), TOLERANCE);
    }
}

/// The reference ran this one in bfloat16, we run f32 on its inputs: the first chunk must point the same way, and the later
/// ones, which are built on it, still nearly.
fn check_bf16_rollout(dir: &Path) {
    let mut rollout = Rollout::open(dir, "dit_rw_weights", "dit_rw_rollout_bf16", &Device::cpu());
    let prompt = Golden::open(&dir.join("dit_rw_rollout.safetensors")).raw("prompt");
    rollout.golden.tensors.entry("prompt".into()).or_insert(prompt);
    let choices = Choices { switch: rollout.chunks, motion: None };
    rollout.run(choices, |chunk, x0, _| {
        let dot = |a: &Tensor, b: &Tensor| {
            (a * b).and_then(|products| products.to_vec::<f32>()).expect("products").into_iter().sum::<f32>()
        };
        let theirs = rollout.x0(chunk);
        let cosine = dot(x0, &theirs) / (dot(x0, x0) * dot(&theirs, &theirs)).sqrt();
        println!("bf16 c{chunk}.x0: cosine {cosine:.6}");
        assert!(cosine >= if chunk == 0 { 0.999 } else { 0.99 }, "chunk {chunk}: cosine {cosine}");
    });
}
