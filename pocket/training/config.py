"""The one configuration file of a run. A preset is a whole recipe: it has every key of every stage that it runs, and no others."""

import dataclasses
import tomllib
import types
import typing
from dataclasses import dataclass
from pathlib import Path

from .camera import Grid


@dataclass
class Data:
    """Where clips come from: `synthetic`, or `renderer` and its command line.

    `switches`: share of clips whose world changes on the way, over `fade` latent frames. `samples`: rays a pixel.
    `pictures`: single ones of other worlds, a cheap way to see many of them.
    """

    source: str
    renderer: list[str]
    clips: int
    pictures: int
    held_out: int
    frames: int
    switches: float
    fade: int
    vary_fov: bool
    samples: int
    processes: int


@dataclass
class FirstFrame:
    """A picture of the gallery, in clear weather, and the prompt that goes with it."""

    biome: str
    time: str
    seed: int
    prompt: str


@dataclass
class Phase:
    """A part of the autoencoder's curriculum. `batch` goes with `frames`; the first `unscored` frames carry no loss."""

    share: float
    frames: list[int]
    batch: list[int]
    crop: list[int]
    unscored: int


@dataclass
class Vae:
    """`forget_time`: begin as an autoencoder of pictures: discard what `start_from` learned of video. `base`: channels of
    the widest level, `channels`: of a latent, `fold`: pixels, across and down, that become channels before anything else.
    """

    forget_time: bool
    base: int
    channels: int
    fold: int
    steps: int
    minutes: float
    learning_rate: float
    matrix_rate: float
    kl: float
    latent_noise: float
    phases: list[Phase]


@dataclass
class Decoder:
    """Clips for the autoencoder's second half alone: latents stay, so `dit` need not wait. As a `Phase` otherwise."""

    steps: int
    minutes: float
    learning_rate: float
    matrix_rate: float
    frames: list[int]
    batch: list[int]
    crop: list[int]


@dataclass
class Text:
    """`forget`: begin with an untrained encoder: discard that of `start_from`."""

    forget: bool
    width: int
    layers: int
    heads: int
    vocabulary: int
    steps: int
    minutes: float
    batch: int
    learning_rate: float
    matrix_rate: float


@dataclass
class Dit:
    """`forget`: begin with an untrained transformer: discard that of `start_from`. `patch`: latents, across and down, of a
    token. `batch` clips of `frames` latent frames and `pictures` single ones make a step. `spliced`: share of clips that go on
    as another. `shift` bends the levels of noise that are trained on; `policy.shift` those of drawing."""

    forget: bool
    patch: int
    width: int
    heads: int
    layers: int
    ffn: int
    steps: int
    minutes: float
    batch: int
    frames: int
    pictures: int
    spliced: float
    shift: float
    learning_rate: float
    matrix_rate: float
    frame0_weight: float
    switch_weight: float
    middle: float
    text_only: float
    text_dropout: float
    unknown_words: float
    short_prompts: float
    camera_none: float
    context_noise: float
    context_noise_share: float
    own_past: float
    worn_past: float
    rope_offset: int


@dataclass
class Refine:
    """`batch` clips and `pictures` single ones make a step of the critic; every `critic_steps` of those, one of the
    student. `anchor`: what the error of a frame that has a past counts, against a walk's straying; `worn_past`: share of
    clips whose past is; `kept`: how far from the teacher's weights to the student's those lie that are exported."""

    steps: int
    minutes: float
    batch: int
    pictures: int
    critic_steps: int
    anchor: float
    worn_past: float
    kept: float
    learning_rate: float
    matrix_rate: float


@dataclass
class Evaluate:
    """`rows`: of the table, in this order (`evaluation/__init__.py`). `clips` are held out for likeness; `worlds` are walked
    through, where a place is left and come back to from `seeds` of noise each. `pictures`, labelled, are what the classifier
    learns from. `prompts`: how many of those written down, 0 for all. `late_seconds`: the end of a walk whose last minute is
    looked at as well, or 0."""

    rows: list[str]
    clips: int
    worlds: int
    seeds: int
    pictures: int
    classifier_steps: int
    prompts: int
    walk_seconds: int
    late_seconds: int
    still_seconds: int


@dataclass
class Config:
    """`start_from`: a folder of weights to begin with, or empty to begin with nothing. They have the same sizes, but for the
    autoencoder, which may be smaller (`grow.py`). `bf16`: products in bf16, where the machine is fast in it; in f32 elsewhere.
    `compile`: what lies between products. On a CPU the autoencoder's steps then take 0.6 of the time, the transformer's 0.9,
    after some minutes of compiling.

    `presets`: prompts for the page to suggest. `gallery`: pictures to start from; where there are none, the renderer's choice.

    `decoder`, `refine`, `evaluate`: stages that a run can do without. A preset that has no such table does not run them.
    """

    start_from: str
    seed: int
    threads: int
    device: str
    bf16: bool
    compile: bool
    checkpoint_minutes: float
    policy: dict
    presets: list[str]
    gallery: list[FirstFrame]
    data: Data
    vae: Vae
    text: Text
    dit: Dit
    decoder: Decoder | None = None
    refine: Refine | None = None
    evaluate: Evaluate | None = None

    @classmethod
    def load(cls, path):
        config = parsed(cls, tomllib.loads(Path(path).read_text()), str(path))
        width, height = config.policy["size"]
        side = config.grid.pixels * config.grid.patch
        if width % side or height % side:
            raise ValueError(f"policy.size is {width}x{height}, but both must be multiples of {side}, the pixels of a token")
        if config.policy["chunk"] != 1:
            raise ValueError("policy.chunk must be 1: a clip is trained on frame by frame")
        if config.dit.pictures and not config.data.pictures:
            raise ValueError(f"dit.pictures is {config.dit.pictures}, but data.pictures is 0")
        for stage in ("vae", "decoder", "text", "dit", "refine"):
            settings = getattr(config, stage)
            if settings and settings.steps < 1:
                raise ValueError(f"{stage}.steps is {settings.steps}, but must be 1 or more")
        if config.refine and not (config.refine.pictures and config.data.pictures):
            raise ValueError("refine.pictures and data.pictures must be above 0: `refine` needs single pictures")
        if config.data.frames % 4 != 1:
            raise ValueError(f"data.frames is {config.data.frames}, but must be one more than a multiple of 4")
        return config

    @property
    def grid(self):
        return Grid(4 * self.vae.fold, self.dit.patch)

    @property
    def latent_frames(self):
        return (self.data.frames - 1) // 4 + 1


def parsed(kind, value, where):
    """A dataclass from nested tables, or an error that names the key."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be a table")
        hints = typing.get_type_hints(kind)
        required = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}
        for problem, keys in (("has an unknown key", value.keys() - hints), ("lacks", required - value.keys())):
            if keys:
                raise ValueError(f"{where} {problem}: {', '.join(sorted(keys))}")
        return kind(**{key: parsed(hints[key], value[key], f"{where}: {key}") for key in value})
    if isinstance(kind, types.UnionType):
        # A table that may be missing is, where it is there, like any other.
        return parsed(typing.get_args(kind)[0], value, where)
    if typing.get_origin(kind) is list:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list")
        return [parsed(typing.get_args(kind)[0], item, where) for item in value]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{where} must be of type {kind.__name__}, found {value!r}")
    return value
