"""The stage `views`: clips encoded by the autoencoder of `start_from`, and for each latent frame what might be remembered of its
view, several times over: of pictures before it and after it, from its own place or some way off, as they are or worn.

A session comes back to a place from pictures that it drew there. A clip has no such return, but it has pictures from near by,
and which of them were drawn first makes no difference to what they show.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from . import clips, memory
from .camera import motion
from .checkpoint import Checkpoint
from .latents import Latents, complete, prompts
from .sampler import condition_on, from_bytes

SHARD = 16
SETS = ("train", "held_out")


@torch.no_grad()
def run(config, folder):
    model = Checkpoint.load(config.start_from)
    for name in SETS:
        out = folder / "views" / name
        out.mkdir(parents=True, exist_ok=True)
        found = clips.folder(folder / "clips" / name)
        for start in tqdm(range(0, len(found), SHARD), desc=name):
            path = out / f"{start:08}.safetensors"
            if not path.exists():
                made = [of_clip(model.vae, clip, start + i, config) for i, clip in enumerate(found[start : start + SHARD])]
                save_file({key: torch.stack([one[key] for one in made]) for key in made[0]}, path.with_suffix(".part"))
                path.with_suffix(".part").rename(path)


def of_clip(vae, clip, number, config):
    """clean (z, F, h, w), condition (z, 6, h, w), views (N, F, z + 3, h, w) in f16."""
    draw, policy, frames = random.Random(config.seed * 1_000_003 + number), config.policy, clip.frames()
    clean = encoded(vae, from_bytes(frames[None, ::4])[0].transpose(0, 1))
    views = [remembered(frames, clip, latent, choice, draw, config) for choice in range(config.views.choices) for latent in range(len(clean))]
    latents = encoded(vae, torch.cat([memory.shown(view)[:, :, 0] for view in views]))
    views = memory.on_latents(latents, torch.stack([view.trust for view in views]))
    first = condition_on(vae, from_bytes(frames[None, :1])[:, :, 0], policy["condition_frames"])[0, 4:]
    made = {"clean": clean.transpose(0, 1), "condition": first, "views": views.unflatten(0, (config.views.choices, -1))}
    return {name: tensor.half().contiguous() for name, tensor in made.items()}


def encoded(vae, pictures):
    """(N, 3, H, W) in -1..1 -> normalised latents (N, z, h, w)."""
    parts = [vae.normalised(vae.sees(part.unsqueeze(2)).float())[:, :, 0] for part in pictures.split(64)]
    return torch.cat(parts)


def poses_of(clip):
    """(T, 4, 4): of every video frame, from the first, at one height."""
    poses = clip.poses.clone()
    poses[:, clips.UP, 3] = poses[0, clips.UP, 3]
    return torch.linalg.inv(poses[0]) @ poses


def remembered(frames, clip, latent, choice, draw, config):
    """The first choice is from as near as can be, the others from further off."""
    policy, poses = config.policy["memory"], poses_of(clip)
    pose, lens = poses[4 * latent], clip.intrinsics
    # A session keeps one picture a latent frame, and comes back between them.
    kept = list(range(draw.choice((0, 0, 1, 2, 3)), len(poses), 4))
    if draw.random() < 0.2:
        kept = [at for at in kept if (at > 4 * latent) == (draw.random() < 0.7)]
    least = 0.0 if choice == 0 else draw.random() ** 2 * config.views.farthest
    wide = 2 * torch.atan(lens[2] / lens[0]).rad2deg()

    def far_enough(at):
        metres, degrees = memory.apart(poses[at], pose)
        return metres / policy["reach_metres"] + degrees / wide >= least

    kept = [at for at in kept if far_enough(at)]
    best = [kept[i] for i in memory.nearest([poses[at] for at in kept], pose, policy, lens)]
    if not best:
        _, height, width, _ = frames.shape
        return memory.View(torch.zeros(1, height, width, 3), torch.zeros(memory.TRUST, height, width))
    pictures = worn(frames[best], draw, config.views.worn).unsqueeze(1)
    return memory.warped(pictures, poses[best], pose, lens, policy["eye_height"])


def worn(pictures, draw, share):
    """Pictures (K, H, W, 3) in u8, a share of them as a rollout's are: softer, paler or harsher, tinted."""
    if draw.random() >= share:
        return pictures
    x = pictures.permute(0, 3, 1, 2).float()
    soft = F.interpolate(F.avg_pool2d(x, 2), x.shape[-2:], mode="bilinear")
    x = x.lerp(soft, draw.random())
    even = x.mean((-1, -2), keepdim=True)
    x = even + 2 ** (draw.random() - 0.5) * (x - even)
    x = x + torch.tensor([12 * draw.gauss(0, 1) * draw.random() for _ in range(3)]).view(3, 1, 1)
    return x.clamp(0, 255).round().byte().permute(0, 2, 3, 1)


@dataclass
class Viewed(Latents):
    """views (N, choices, F, z + 3, h, w)."""

    views: torch.Tensor

    @classmethod
    def load(cls, config, folder, name, tokenizer):
        paths = sorted((folder / "views" / name).glob("*.safetensors"))
        if not paths:
            raise ValueError(f"{folder}/views/{name} is empty: run the stage `views` first")
        read = [load_file(path) for path in paths]
        clean, condition, views = (torch.cat([shard[key] for shard in read]) for key in ("clean", "condition", "views"))
        found = clips.folder(folder / "clips" / name)[: len(clean)]
        return cls(
            clean,
            condition,
            motion(torch.stack([clip.latent_poses for clip in found])),
            torch.stack([clip.intrinsics for clip in found]),
            prompts(found, tokenizer, config),
            torch.stack([clip.scene_of_latent for clip in found]),
            clean[:0, :, :1],
            torch.zeros(0, 1, config.policy["text_len"], dtype=torch.long),
            views,
        )
