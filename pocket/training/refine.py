"""The stage `refine`: the model walks on from true frames by itself, and is told what it should have drawn instead.

Rollouts are made as in streaming, with no gradient. Then one forward as in `dit`, but with the rollout as its past, so
the answer to its own mistakes is what gets trained. How far the truth is determined by what was given falls with depth,
and so does the weight; anchored to the truth in this way it cannot collapse, at the price of a little blur.
"""

import torch

from . import flow
from .batches import Batches
from .latents import Latents
from .loop import Loop, load_average
from .sampler import Stream
from .train_text import tokenizer


class TorchNoise:
    """Training needs no noise that others can draw again."""

    def __init__(self, batch, device):
        self.batch, self.device = batch, device

    def draw(self, shape):
        return torch.randn(self.batch, *shape, device=self.device)


def run(config, folder):
    settings, words = config.refine, tokenizer(folder)
    if settings.steps == 0:
        return print("refine: not asked for")
    batches = Batches(Latents.load(config, folder, words), config)
    total = batches.latents.clean.shape[2]
    if settings.given + settings.depth > total:
        raise ValueError(
            f"refine.given + refine.depth is {settings.given + settings.depth}, but clips have {total} latent frames"
        )
    model = flow.Model(config, words.get_vocab_size()).to(config.device)
    load_average(folder / "dit.safetensors", model)
    loop = Loop(folder, "refine", model, settings, config)

    def losses():
        rows = torch.randint(len(batches.latents.clean), (settings.batch,)).tolist()
        given = int(torch.randint(settings.given + 1, ()))
        batch = batches.take(rows, 0, 0, given + settings.depth)
        past = rollout(model, batch, given, config.policy)
        levels = flow.noise_levels(config.policy, (settings.batch, batch.clean.shape[2]), config.device)
        error = flow.errors(model, batch, config.policy["window"], past, levels).mean(0)
        weight = torch.ones_like(error)
        weight[given:] = settings.decay ** torch.arange(settings.depth, device=error.device)
        with torch.no_grad():
            drift = (past[:, :, -1] - batch.clean[:, :, -1]).pow(2).mean()
        return {"loss": (error * weight).sum() / weight.sum(), "drift": drift}

    loop.run(losses, every=10)


@torch.no_grad()
def rollout(model, batch, given, policy):
    """`given` true frames, then the model's own, along the true camera path. The window is the streaming one."""
    contexts = model.text(batch.ids.flatten(0, 1)).unflatten(0, batch.ids.shape[:2])
    rows = torch.arange(len(contexts), device=contexts.device)
    noise = TorchNoise(len(contexts), contexts.device)
    # A clip is never longer than a session's first frames, so every frame has a condition of its own here.
    stream = Stream(model.dit, policy, batch.condition, None, noise)
    frames = []
    for frame in range(batch.clean.shape[2]):
        stream.context = contexts[rows, batch.prompt_of_frame[:, frame]]
        camera = None if batch.camera is None else batch.camera[:, frame]
        if frame < given:
            true = batch.clean[:, :, frame : frame + 1]
            stream.remember(true, camera)
            frames.append(true[:, :, 0])
        else:
            frames.append(stream.next(camera)[0])
    return torch.stack(frames, 2).float()
