"""The stage `data`: clips to train on, and clips of other seeds that training never sees.

A clip's seed is its number, so a set that was cut short is completed, and a larger one begins with the smaller.
"""

import dataclasses
import subprocess
from concurrent.futures import ProcessPoolExecutor

import torch
from tqdm import tqdm

from . import clips, synthetic
from .checkpoint import write_json

# Worlds of single pictures, and those held out, are counted from here: no set before them is as large.
PICTURES, HELD_OUT = 500_000_000, 1_000_000_000
# And those of the pictures that the evaluation's own networks learn from, and are tested on.
LABELLED, TESTED = 700_000_000, 800_000_000


# One key at a time, and none, for this many latent frames: what the keys are measured on.
KEYS = ("w", "s", "a", "d", "j", "l", "i", "k", "none")
HELD = 8
TIMES, WEATHER = ("dawn", "noon", "sunset", "night"), "clear"
BIOMES = ("meadow", "snow", "desert", "islands", "city", "volcano", "crystal", "autumn")


@dataclasses.dataclass
class Start:
    """A world to walk through in the evaluation. `prompt` is the renderer's where it is None."""

    seed: int
    biome: str
    time: str
    prompt: str | None


def source(config):
    make = {"synthetic": Synthetic, "renderer": Renderer}.get(config.data.source)
    if make is None:
        raise ValueError(f"data.source is {config.data.source!r}, but must be `synthetic` or `renderer`")
    return make(config)


def run(config, folder):
    made = source(config)
    for name, first, count in (("train", 0, config.data.clips), ("held_out", HELD_OUT, config.data.held_out)):
        # Clips that are compared with the truth show one world, with the server's field of view.
        made.clips(prepared(folder / "clips" / name), first, count, training=name == "train")
        found = clips.folder(folder / "clips" / name)
        print(f"{name}: {len(found)} clips of {found[0].shape}")
    made.pictures(prepared(folder / "clips/pictures"), PICTURES, config.data.pictures)


def prepared(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Synthetic:
    def __init__(self, config):
        self.config = config

    def clips(self, made, first, count, training):
        switches = self.config.data.switches if training else 0.0
        self._make(made, range(first, first + count), self.config.latent_frames, switches, None)

    def pictures(self, made, first, count):
        self._make(made, range(first, first + count), 1, 0.0, None)

    def held(self, made, keys, count):
        self._make(made, range(HELD_OUT, HELD_OUT + count), HELD + 1, 0.0, [""] + [keys] * HELD)

    def starts(self, count):
        return [Start(HELD_OUT + i, "", "", None) for i in range(count)]

    def walk(self, out, start, keys):
        self._make(out.parent, [start.seed], len(keys), 0.0, keys)

    def _make(self, made, seeds, latents, switches, hold):
        size, camera = self.config.policy["size"], self.config.policy["camera"]
        wanted = [seed for seed in seeds if not (made / clips.name(seed)).exists()]
        tasks = [(made, seed, latents, size, camera, switches, hold) for seed in wanted]
        with ProcessPoolExecutor(self.config.data.processes) as pool:
            list(tqdm(pool.map(invent_one, tasks), total=len(tasks), desc=made.name))


def invent_one(task):
    made, seed, *recipe = task
    torch.set_num_threads(1)
    clips.write(made / clips.name(seed), *synthetic.clip(seed, *recipe))


class Renderer:
    """The renderer's command line. It has its own threads and progress bar, and skips clips that are finished."""

    def __init__(self, config):
        self.config = config
        camera, (width, height) = config.policy["camera"], config.policy["size"]
        self.picture = [f"--size={width}x{height}", f"--fov={camera['fov_x_deg']}", f"--spp={config.data.samples}"]
        named = {"move-m": "move_per_latent", "yaw-deg": "yaw_deg_per_latent", "pitch-deg": "pitch_deg_per_latent"}
        self.step = [f"--{option}={camera[name]}" for option, name in named.items()]

    def clips(self, made, first, count, training):
        settings = self.config.data
        options = [f"--switches={settings.switches if training else 0}", f"--fade={settings.fade}"]
        options += ["--vary-fov"] if training and settings.vary_fov else []
        self._clips(made, first, count, self.config.latent_frames, *options)

    def pictures(self, made, first, count):
        if count:
            self._clips(made, first, count, 1, "--switches=0")

    def _clips(self, made, first, count, latents, *options):
        which = [f"--out={made}", f"--seed={first}", f"--count={count}", f"--latents={latents}"]
        self._call("clips", *which, *options, *self.step, *self.picture)

    def held(self, made, keys, count):
        for i in range(count):
            out = made / clips.name(HELD_OUT + i)
            if not out.exists():
                start = Start(HELD_OUT + i, BIOMES[i % 8], TIMES[(i + i // 8) % 4], None)
                self.walk(out, start, [""] + [keys] * HELD)

    def starts(self, count):
        """The gallery's worlds, and others where there are not as many."""
        given = [Start(shown.seed, shown.biome, shown.time, shown.prompt) for shown in self.config.gallery]
        more = [Start(HELD_OUT + i, BIOMES[i % 8], TIMES[(i + i // 8) % 4], None) for i in range(len(given), count)]
        return (given + more)[:count]

    def walk(self, out, start, keys):
        """These keys, one set a latent frame, from a good view of this world. The first moves nothing."""
        look = [f"--biome={start.biome}", f"--time={start.time}", f"--weather={WEATHER}", f"--seed={start.seed}"]
        # Written under another name until it is complete.
        part = out.with_name(f"part-{out.name}")
        self._call(*look, f"--path={path_of(keys[1:])}", f"--out={part}", *self.step, *self.picture)
        part.rename(out)

    def gallery(self, out):
        """First frames with prompts."""
        if not self.config.gallery:
            return self._call("gallery", f"--out={out}", "--count=1", f"--seed={HELD_OUT}", *self.picture)
        about = {}
        for shown in self.config.gallery:
            name = f"{shown.biome}.png"
            look = [f"--biome={shown.biome}", f"--time={shown.time}", f"--weather={WEATHER}", f"--seed={shown.seed}"]
            self._call(*look, f"--out={prepared(out) / name}", *self.picture)
            about[name] = dataclasses.asdict(shown) | {"weather": WEATHER}
        write_json(out / "prompts.json", about)

    def _call(self, *options):
        subprocess.run([*self.config.data.renderer, *options], check=True)


def path_of(keys):
    """As the renderer's `--path` has it: `w*12,wl*3,*4`."""
    parts = []
    for held in keys:
        if parts and parts[-1][0] == held:
            parts[-1][1] += 1
        else:
            parts.append([held, 1])
    return ",".join(f"{held}*{count}" for held, count in parts)
