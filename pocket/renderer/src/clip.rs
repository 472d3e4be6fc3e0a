//! A clip: frames with everything that made them, and the file it is kept in.
//!
//! The file is plain safetensors, so Python reads it without our code; README.md lists its tensors.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

use crate::camera::{Intrinsics, Pose};
use crate::frame::Renderer;
use crate::landmark::Landmark;
use crate::look::{Biome, Look, Time};
use crate::prompt::prompt;
use crate::random::Draws;
use crate::region::Region;
use crate::walk::{FRAMES_PER_LATENT, Motion, Step, begin, cleared, poses, stretches};
use crate::world::World;

/// The settings of a set of clips.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    pub lens: Intrinsics,
    pub samples: usize,
    pub latents: usize,
    pub step: Step,
    /// Share of clips whose prompt, and world, changes on the way.
    pub switches: f32,
    /// Latent frames over which a switch fades; 0 cuts.
    pub fade: usize,
    /// Horizontal field of view of each clip, in degrees; one value is every clip's.
    pub fov_deg: [f32; 2],
}

/// A world that clips show, from which latent frame on, and the sentence for it.
#[derive(Clone, Debug)]
pub struct Scene {
    pub look: Look,
    pub prompt: String,
    pub from_latent: usize,
}

pub struct Clip {
    pub seed: u64,
    pub lens: Intrinsics,
    pub frames: Vec<Vec<u8>>,
    pub poses: Vec<Pose>,
    pub motions: Vec<Motion>,
    /// One, or two for a switch.
    pub scenes: Vec<Scene>,
}

impl Clip {
    /// The walk of one world.
    pub fn walk(world: &World, lens: Intrinsics, samples: usize, motions: Vec<Motion>, tries: usize) -> Clip {
        let mut draws = Draws::new(world.seed, 200);
        let (_, poses) = begin(world, &mut draws, &motions, tries);
        let (mut scenes, mut frames) = (Vec::new(), Vec::new());
        for stretch in stretches(&poses) {
            let region = cleared(world, stretch, &poses);
            if scenes.is_empty() {
                scenes.push(scene(world, &region, &poses[0], 0, &mut draws));
            }
            frames.extend(Renderer::new(world, &region, lens, samples).draw_all(stretch));
        }
        Clip { seed: world.seed, lens, frames, poses, motions, scenes }
    }

    /// The training clip of this seed, which also draws its look.
    pub fn random(recipe: &Recipe, seed: u64) -> Result<Clip> {
        let mut draws = Draws::new(seed, 201);
        let look = Look::random(&mut draws);
        let world = World::new(seed, look);
        let motions = recipe.step.random(&mut draws, recipe.latents);
        let fov = draws.between(recipe.fov_deg[0], recipe.fov_deg[1]);
        let lens = Intrinsics::from_fov(recipe.lens.width, recipe.lens.height, f64::from(fov))?;
        let (start, mut path) = begin(&world, &mut draws, &motions, 3);
        let region = cleared(&world, &path, &path);
        let mut scenes = vec![scene(&world, &region, &path[0], 0, &mut draws)];
        let mut frames = Renderer::new(&world, &region, lens, recipe.samples).draw_all(&path);
        if draws.chance(recipe.switches) && recipe.latents >= 4 {
            let at = 2 + draws.below(recipe.latents - 3);
            let next = World::new(seed, switched(look, &mut draws));
            let mut there = poses(&next, start, &motions);
            let region = cleared(&next, &there, &there);
            let first = 1 + FRAMES_PER_LATENT * (at - 1);
            scenes.push(scene(&next, &region, &there[first], at, &mut draws));
            let drawn = Renderer::new(&next, &region, lens, recipe.samples).draw_all(&there[first..]);
            let fade = (recipe.fade * FRAMES_PER_LATENT) as f32;
            for (n, (old, new)) in frames[first..].iter_mut().zip(&drawn).enumerate() {
                let k = ((n as f32 + 1.0) / (fade + 1.0)).min(1.0);
                for (old, new) in old.iter_mut().zip(new) {
                    *old = (f32::from(*old) + (f32::from(*new) - f32::from(*old)) * k + 0.5) as u8;
                }
            }
            // The new ground is at another height; the path goes on without a jump.
            let lift = path[first].position()[2] - there[first].position()[2];
            there.iter_mut().for_each(|pose| *pose = pose.raised(lift));
            path.splice(first.., there.drain(first..));
        }
        Ok(Clip { seed, lens, frames, poses: path, motions, scenes })
    }

    /// Safetensors bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let frames = self.frames.concat();
        let poses: Vec<u8> = self.poses.iter().flat_map(|pose| pose.0).flatten().flat_map(f64::to_le_bytes).collect();
        let intrinsics: Vec<u8> = self.lens.to_array().into_iter().flat_map(f64::to_le_bytes).collect();
        let keys: Vec<u8> = self.motions.iter().flat_map(|motion| motion.keys).map(u8::from).collect();
        let motions: Vec<u8> =
            self.motions.iter().flat_map(|m| [m.forward, m.right, m.yaw, m.pitch]).flat_map(f64::to_le_bytes).collect();
        let latents = self.motions.len();
        let scene: Vec<u8> = (0..latents)
            .map(|latent| self.scenes.iter().filter(|scene| scene.from_latent <= latent).count() as u8 - 1)
            .collect();
        let (height, width) = (self.lens.height, self.lens.width);
        let tensors = [
            ("frames", Dtype::U8, vec![self.frames.len(), height, width, 3], &frames),
            ("poses", Dtype::F64, vec![self.poses.len(), 4, 4], &poses),
            ("intrinsics", Dtype::F64, vec![4], &intrinsics),
            ("keys", Dtype::U8, vec![latents, 8], &keys),
            ("motions", Dtype::F64, vec![latents, 4], &motions),
            ("scene", Dtype::U8, vec![latents], &scene),
        ];
        let views = tensors
            .into_iter()
            .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(dtype, shape, bytes)?)))
            .collect::<Result<Vec<_>>>()?;
        let scenes: Vec<_> = self
            .scenes
            .iter()
            .map(|scene| {
                json!({"prompt": scene.prompt, "biome": scene.look.biome.name(), "time": scene.look.time.name(),
                       "weather": scene.look.weather.name(), "from_latent": scene.from_latent})
            })
            .collect();
        let metadata =
            HashMap::from([("clip".to_owned(), json!({"seed": self.seed, "fps": 16, "scenes": scenes}).to_string())]);
        safetensors::serialize(views, Some(metadata)).context("writing a clip")
    }
}

/// `count` clips of consecutive seeds, made in parallel, handed over in order; `each` may stop the run with an error.
pub fn make_clips(
    recipe: &Recipe,
    first_seed: u64,
    count: u64,
    mut each: impl FnMut(Clip) -> Result<()>,
) -> Result<()> {
    ensure!(recipe.latents >= 1, "a clip has at least one latent frame");
    // As many at once as keep the threads busy and still fit in memory.
    let batch = 4 * rayon::current_num_threads() as u64;
    for from in (0..count).step_by(batch as usize) {
        let seeds = first_seed + from..first_seed + (from + batch).min(count);
        let clips: Vec<_> = seeds.into_par_iter().map(|seed| Clip::random(recipe, seed)).collect();
        for clip in clips {
            each(clip?)?;
        }
    }
    Ok(())
}

/// Another look for the same seed: another place, another time, or both.
fn switched(look: Look, draws: &mut Draws) -> Look {
    let mut next = look;
    while next.biome == look.biome && next.time == look.time {
        if draws.chance(0.7) {
            next.biome = Biome::ALL[draws.below(Biome::ALL.len())];
        }
        if draws.chance(0.5) {
            next.time = Time::ALL[draws.below(Time::ALL.len())];
        }
    }
    next
}

fn scene(world: &World, region: &Region, pose: &Pose, from_latent: usize, draws: &mut Draws) -> Scene {
    let seen: Vec<Landmark> = region.in_view(pose, 90.0).map(|sight| sight.landmark).collect();
    Scene { look: world.look, prompt: prompt(world.look, &seen, draws), from_latent }
}
