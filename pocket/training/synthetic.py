"""A world of coloured tiles under a plain sky, for trying the recipe where the renderer is not built.

It stands in for the renderer in form only: clips, poses, prompts and labels are right, and a camera that moves sees what
it should. A model trained on it is of no use.
"""

import random

import torch

from .camera import Camera, directions, intrinsics

GROUND = {"meadow": (0.3, 0.6, 0.2), "desert": (0.8, 0.65, 0.35), "snow": (0.85, 0.9, 0.95), "volcano": (0.3, 0.15, 0.12)}
SKY = {"noon": (0.5, 0.7, 1.0), "sunset": (0.9, 0.5, 0.3), "night": (0.05, 0.06, 0.15)}
LIGHT = {"noon": 1.0, "sunset": 0.75, "night": 0.3}
TILE, EYE = 3.0, 1.6
KEYS = ("w", "w", "w", "s", "a", "d", "j", "l", "i", "k", "wl", "wj", "", "")


def clip(seed, frames, size, policy):
    """The arguments of `clips.write`."""
    draw = random.Random(seed)
    keys, held = [], ""
    for frame in range((frames - 1) // 4 + 1):
        if frame == 0 or draw.random() < 0.3:
            held = draw.choice(KEYS)
        keys.append(held)
    camera = policy["camera"]
    poses = walk(keys, camera)
    lens = intrinsics(size, camera["fov_x_deg"])
    world = (draw.choice(list(GROUND)), draw.choice(list(SKY)))
    video, prompts = picture(seed, world, poses, lens, size), [prompt(draw, world, 0)]
    if draw.random() < 0.2:
        after, at = (draw.choice(list(GROUND)), draw.choice(list(SKY))), 1 + 4 * draw.randrange(2, len(keys) - 1)
        video = torch.cat([video[:at], picture(seed, after, poses[at:], lens, size)])
        prompts.append(prompt(draw, after, at))
    return video, poses, lens, prompts, [list(held) for held in keys]


def walk(keys, policy):
    """A pose for each video frame: a latent frame's motion is spread over its four."""
    quarter = policy | {
        name: policy[name] / 4 for name in ("move_per_latent", "yaw_deg_per_latent", "pitch_deg_per_latent")
    }
    camera = Camera(quarter)
    poses = [camera.step("")]
    for held in keys[1:]:
        poses += [camera.step(held) for _ in range(4)]
    return torch.stack(poses)


def picture(seed, world, poses, lens, size):
    """u8 (T, H, W, 3)."""
    ground, time = world
    rays = torch.einsum("tij,yxj->tyxi", poses[:, :3, :3], directions(lens, size))
    down = rays[..., 1].clamp_min(1e-3)
    distance = (EYE - poses[:, None, None, 1, 3]) / down
    x, z = (poses[:, None, None, i, 3] + rays[..., i] * distance for i in (0, 2))
    tile = (torch.floor(x / TILE) * 7919 + torch.floor(z / TILE) * 104729 + seed * 31) * 0.618
    shade = 0.6 + 0.4 * (tile - torch.floor(tile))
    haze = torch.exp(-distance / 40).unsqueeze(-1)
    sky = torch.tensor(SKY[time], dtype=torch.float64) * (1 - 0.4 * rays[..., 1:2].clamp(-1, 0).abs())
    floor = torch.tensor(GROUND[ground], dtype=torch.float64) * LIGHT[time] * shade.unsqueeze(-1)
    seen = torch.where(rays[..., 1:2] > 1e-3, floor * haze + sky * (1 - haze), sky)
    return (seen.clamp(0, 1) * 255).to(torch.uint8)


def prompt(draw, world, frame):
    ground, time = world
    place = {"meadow": ("green meadow", "field of grass"), "desert": ("sandy desert", "dunes")}.get(ground, (ground,))
    said = draw.choice(("a {} at {}", "{}, {}", "the {} under the {} sky")).format(draw.choice(place), time)
    return {"frame": frame, "text": said, "biome": ground, "time": time, "weather": "clear"}
