"""The stage `data`: clips to train on, and clips of other seeds that training never sees.

A clip's seed is its number, so a set that was cut short is completed, and a larger one begins with the smaller.
"""

import shutil
import subprocess
from concurrent.futures import ProcessPoolExecutor

import torch
from tqdm import tqdm

from . import clips, synthetic

# Held-out worlds are counted from here: no training set is as large.
HELD_OUT = 1_000_000_000


def run(config, folder):
    for name, first, count in (("train", 0, config.data.clips), ("held_out", HELD_OUT, config.data.held_out)):
        made = folder / "clips" / name
        made.mkdir(parents=True, exist_ok=True)
        seeds = range(first, first + count)
        wanted = [seed for seed in seeds if not (made / f"{seed:010}.safetensors").exists()]
        if config.data.source == "synthetic":
            invent(config, made, wanted)
        elif config.data.source == "renderer":
            render(config, made, wanted)
        else:
            raise ValueError(f"data.source is {config.data.source!r}, but must be `synthetic` or `renderer`")
        found = clips.folder(made)
        print(f"{made}: {len(found)} clips of {found[0].shape}, {free_space(folder)} GB left")


def invent(config, made, seeds):
    tasks = [(made / f"{seed:010}.safetensors", seed, config.data.frames, config.policy) for seed in seeds]
    with ProcessPoolExecutor(config.data.processes) as pool:
        list(tqdm(pool.map(invent_one, tasks), total=len(tasks), desc=made.name))


def invent_one(task):
    path, seed, frames, policy = task
    torch.set_num_threads(1)
    clips.write(path, *synthetic.clip(seed, frames, policy["size"], policy))


def render(config, made, seeds):
    """The renderer has threads of its own and numbers its files by seed: one call a contiguous piece."""
    camera, (width, height) = config.policy["camera"], config.policy["size"]
    for piece in tqdm(list(pieces(seeds)), desc=made.name):
        options = {
            "out": made,
            "seed": piece.start,
            "count": len(piece),
            "frames": config.data.frames,
            "size": f"{width}x{height}",
            "fov": camera["fov_x_deg"],
            "move": camera["move_per_latent"],
            "yaw": camera["yaw_deg_per_latent"],
            "pitch": camera["pitch_deg_per_latent"],
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        subprocess.run([*config.data.renderer, "clips", *arguments], check=True)


def pieces(seeds, most=256):
    """Runs of consecutive numbers, as ranges."""
    start = 0
    for i in range(1, len(seeds) + 1):
        if i == len(seeds) or seeds[i] != seeds[i - 1] + 1 or i - start == most:
            yield range(seeds[start], seeds[i - 1] + 1)
            start = i


def free_space(folder):
    return shutil.disk_usage(folder).free // 10**9
