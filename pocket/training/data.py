"""The stage `data`: clips to train on, and clips of other seeds that training never sees.

A clip's seed is its number, so a set that was cut short is completed, and a larger one begins with the smaller.
"""

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
        # What is measured against the truth has one world, and the field of view that the server has.
        training = first != HELD_OUT
        if config.data.source == "synthetic":
            invent(config, made, first, count, training)
        elif config.data.source == "renderer":
            render(config, made, first, count, training)
        else:
            raise ValueError(f"data.source is {config.data.source!r}, but must be `synthetic` or `renderer`")
        found = clips.folder(made)
        print(f"{made}: {len(found)} clips of {found[0].shape}")


def invent(config, made, first, count, training):
    switches = config.data.switches if training else 0.0
    wanted = [seed for seed in range(first, first + count) if not (made / clips.name(seed)).exists()]
    tasks = [(made, seed, config.latent_frames, config.policy["size"], config.policy["camera"], switches) for seed in wanted]
    with ProcessPoolExecutor(config.data.processes) as pool:
        list(tqdm(pool.map(invent_one, tasks), total=len(tasks), desc=made.name))


def invent_one(task):
    made, seed, *recipe = task
    torch.set_num_threads(1)
    clips.write(made / clips.name(seed), *synthetic.clip(seed, *recipe))


def render(config, made, first, count, training):
    """The renderer has threads, a progress bar and a memory of what is finished, all its own."""
    settings = config.data
    options = ["--out", str(made), "--seed", str(first), "--count", str(count), "--latents", str(config.latent_frames)]
    options += ["--switches", str(settings.switches if training else 0), "--fade", str(settings.fade)]
    options += ["--vary-fov"] if training and settings.vary_fov else []
    call(config, "clips", *options, *steps(config))


def gallery(config, out):
    """First frames with prompts: good views of every landscape."""
    call(config, "gallery", "--out", str(out), "--count", "1", "--seed", str(HELD_OUT))


def steps(config):
    camera = config.policy["camera"]
    named = {"move-m": "move_per_latent", "yaw-deg": "yaw_deg_per_latent", "pitch-deg": "pitch_deg_per_latent"}
    return [f"--{option}={camera[name]}" for option, name in named.items()]


def call(config, command, *options):
    width, height = config.policy["size"]
    picture = [f"--size={width}x{height}", f"--fov={config.policy['camera']['fov_x_deg']}", f"--spp={config.data.samples}"]
    subprocess.run([*config.data.renderer, command, *options, *picture], check=True)
