"""A world of coloured tiles under a plain sky, for trying the recipe where the renderer is not built.

It stands in for the renderer in form only: clips, poses, prompts and labels are right, and a camera that moves sees
what it should. A model trained on it is of no use.
"""

import random

import torch

from .camera import Camera, directions, intrinsics

GROUND = {
    "meadow": (0.3, 0.6, 0.2),
    "desert": (0.8, 0.65, 0.35),
    "snow": (0.85, 0.9, 0.95),
    "volcano": (0.3, 0.15, 0.12),
}
SKY = {"noon": (0.5, 0.7, 1.0), "sunset": (0.9, 0.5, 0.3), "night": (0.05, 0.06, 0.15)}
LIGHT = {"noon": 1.0, "sunset": 0.75, "night": 0.3}
TILE, EYE = 3.0, 1.6
# Clips have z up; here, y is down.
UPRIGHT = torch.tensor([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=torch.float64)
KEYS = ("w", "w", "w", "s", "a", "d", "j", "l", "i", "k", "wl", "wj", "", "")


def clip(seed, latents, size, policy, switches, hold=None):
    """The arguments of `clips.write` after the path. `hold`: these keys, one set a latent frame, rather than random ones."""
    draw = random.Random(seed)
    keys, held = [], ""
    for latent in range(latents):
        if latent == 0 or draw.random() < 0.3:
            held = draw.choice(KEYS)
        keys.append(held if hold is None else hold[latent])
    poses, lens = walk(keys, policy), intrinsics(size, policy["fov_x_deg"])
    world = (draw.choice(list(GROUND)), draw.choice(list(SKY)))
    video, scenes = picture(seed, world, poses, lens, size), [scene(draw, world, 0)]
    if draw.random() < switches:
        after, at = (draw.choice(list(GROUND)), draw.choice(list(SKY))), draw.randrange(2, latents)
        first = 4 * at - 3
        video = torch.cat([video[:first], picture(seed, after, poses[first:], lens, size)])
        scenes.append(scene(draw, after, at))
    return seed, video, UPRIGHT @ poses, lens, keys, scenes


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
    tile = torch.sin(torch.floor(x / TILE) * 12.9898 + torch.floor(z / TILE) * 78.233 + seed) * 43758.5453
    shade = 0.5 + 0.5 * (tile - torch.floor(tile))
    haze = torch.exp(-distance / 40).unsqueeze(-1)
    # Distant hills on all sides that never come nearer: they make a turn visible.
    azimuth = torch.atan2(rays[..., 0], rays[..., 2])
    ridge = 0.12 + 0.05 * torch.sin(5 * azimuth + seed) + 0.06 * torch.sin(11 * azimuth + 2 * seed)
    hill = (-rays[..., 1] < ridge).unsqueeze(-1)
    ground, sky = (torch.tensor(colour, dtype=torch.float64) for colour in (GROUND[ground], SKY[time]))
    above = torch.where(
        hill, 0.4 * ground * LIGHT[time] + 0.2 * sky, sky * (1 - 0.4 * rays[..., 1:2].clamp(-1, 0).abs())
    )
    floor = ground * LIGHT[time] * shade.unsqueeze(-1)
    seen = torch.where(rays[..., 1:2] > 1e-3, floor * haze + above * (1 - haze), above)
    return (seen.clamp(0, 1) * 255).to(torch.uint8)


def scene(draw, world, latent):
    ground, time = world
    place = {"meadow": ("green meadow", "field of grass"), "desert": ("sandy desert", "dunes")}.get(ground, (ground,))
    said = draw.choice(("a {} at {}", "{}, {}", "the {} under the {} sky")).format(draw.choice(place), time)
    return {"prompt": said, "biome": ground, "time": time, "weather": "clear", "from_latent": latent}
