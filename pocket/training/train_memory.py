"""The stage `memory`: a finished transformer learns to read remembered pictures (`memory.py`).

What reads them is new, and begins without effect. The transformer itself stays as it is unless `memory.base_rate` is above 0; as
long as it does, a session that remembers nothing is drawn exactly as before. Loss with memory and without is measured on
held-out clips.
"""

import dataclasses
import time

import torch
from torch import nn

from . import flow
from .batches import Batches
from .checkpoint import Checkpoint
from .dit import Dit
from .loop import Loop, load_average
from .machine import products
from .muon import optimizers
from .train_dit import weights_of
from .views import Viewed
from .whole import Whole

# Levels of noise that held-out clips are looked at with.
LEVELS = (0.9, 0.6, 0.3)


class Model(nn.Module):
    """The transformer of `start_from` with what reads memory, and its text encoder, for `flow`."""

    def __init__(self, config):
        super().__init__()
        before = Checkpoint.load(config.start_from)
        self.policy, self.text, self.tokenizer = flow.trained_policy(config), before.text, before.tokenizer
        self.dit = Dit(before.dit.config, config.memory.inner)
        missing, unexpected = self.dit.load_state_dict(before.dit.state_dict(), strict=False)
        if unexpected or any("memory" not in name for name in missing):
            raise ValueError(f"{config.start_from} has weights of other sizes: {[*missing, *unexpected]}")
        self.whole = Whole(self.dit, self.policy["window"], self.policy["sink"], products(config), config.compile)

    def learns(self, base):
        """What is trained: with `base` the whole transformer."""
        for name, parameter in self.dit.named_parameters():
            parameter.requires_grad_(base or "memory" in name)
        return Learning({name.replace(".", "/"): p for name, p in self.dit.named_parameters() if p.requires_grad})


class Learning(nn.Module):
    """Some parameters of another module, under its names."""

    def __init__(self, parameters):
        super().__init__()
        self.of = nn.ParameterDict(parameters)

    def named_parameters(self, *_, **__):
        return iter((name.replace("/", "."), p) for name, p in self.of.items())


def run(config, folder):
    settings, model = config.memory, Model(config)
    model.to(config.device)
    learned, held = (Viewed.load(config, folder, name, model.tokenizer) for name in ("train", "held_out"))
    batches, shown = Batches(learned, config), Batches(held, config)
    learning = model.learns(settings.base_rate > 0)
    loop = Loop(folder, "memory", learning, settings, config)
    if settings.base_rate > 0:
        loop.optimizers = at_two_rates(loop.parameters, settings)
    looked = [time.monotonic() - 60 * settings.look_minutes]

    def losses():
        batch = batches.draw(loop.step, settings.batch)
        levels = flow.noise_levels(model.policy, (settings.batch, batch.clean.shape[2]), config.device)
        past = flow.context_noise(batch.clean, config.dit.context_noise, config.dit.context_noise_share)
        guessed = None
        if torch.rand(()) < config.dit.own_past:
            past = guessed = flow.guesses(model, batch, past, flow.visited_levels(model.policy, levels.shape, levels.device))
        past = flow.worn(past, config.dit.worn_past)
        batch.memory = partly(batch.memory, guessed, batch.clean, settings)
        error, weight = flow.errors(model, batch, past, levels), weights_of(batch, config.dit)
        values = {"loss": (error * weight).sum() / weight.sum()}
        if time.monotonic() - looked[0] > 60 * settings.look_minutes:
            looked[0] = time.monotonic()
            values |= look(model, shown, settings)
        return values

    loop.run(losses, every=20)


def at_two_rates(parameters, settings):
    """The transformer has been trained, so it moves by `base_rate` of what is new."""
    slower = dataclasses.replace(
        settings, learning_rate=settings.learning_rate * settings.base_rate, matrix_rate=settings.matrix_rate * settings.base_rate
    )
    new, old = ({name: p for name, p in parameters.items() if ("memory" in name) == wanted} for wanted in (True, False))
    return optimizers(new, settings) + optimizers(old, slower)


def partly(memory, guessed, clean, settings):
    """Memory (B, n, z + 3, h, w) as a session has it: of some clips none, of others from some frame on, here and there a frame
    without, and some with a side missing. Where the past is guessed, what is remembered is part of the time as far off."""
    batch, frames, channels, _, width = memory.shape
    z, device = clean.shape[1], memory.device
    begins = torch.randint(-frames, frames, (batch, 1), device=device)
    there = torch.arange(frames, device=device) >= begins
    there &= torch.rand(batch, 1, device=device) >= settings.never
    there &= torch.rand(batch, frames, device=device) >= settings.gaps
    column, edge = torch.arange(width, device=device), torch.randint(width, (batch, frames, 1), device=device)
    cut = torch.where(torch.rand(batch, frames, 1, device=device) < 0.5, column < edge, column >= edge)
    whole = torch.rand(batch, frames, 1, device=device) >= settings.cut
    memory = memory * (there.unsqueeze(-1) & (cut | whole))[:, :, None, None]
    mask = memory[:, :, z : z + 1]
    amount = torch.rand(batch, 1, 1, 1, 1, device=device)
    if guessed is not None:
        off = (guessed - clean).transpose(1, 2) * amount * (torch.rand_like(amount) < 0.7)
    else:
        off = 0.3 * amount * (torch.rand_like(amount) < 0.3) * torch.randn_like(memory[:, :, :z])
    return torch.cat([memory[:, :, :z] + mask * off, memory[:, :, z:]], 2)


@torch.no_grad()
def look(model, batches, settings):
    """Losses on held-out clips: without memory, and with what is near and what is further off."""
    kept = torch.get_rng_state()
    values, rows = {}, list(range(min(settings.look_clips, len(batches.latents.clean))))
    for name, choice in (("none", None), ("near", [0] * len(rows)), ("far", [1] * len(rows))):
        batch = batches.take(rows, 0, 0, batches.config.dit.frames, choice=choice)
        found = []
        for level in LEVELS:
            torch.manual_seed(0)
            levels = torch.full((len(rows), batch.clean.shape[2]), level, device=batch.clean.device)
            found.append(flow.errors(model, batch, batch.clean, levels)[:, 1:].mean())
        values[f"held_{name}"] = torch.stack(found).mean()
        values |= {f"held_{name}_{level}": loss for level, loss in zip(LEVELS, found)}
    torch.set_rng_state(kept)
    return values


def trained(config, folder):
    """Everything that is exported, with what this stage has left."""
    model, before = Model(config), Checkpoint.load(config.start_from)
    load_average(folder / "memory.safetensors", model.learns(config.memory.base_rate > 0))
    return Checkpoint(config.policy, model.dit, before.vae, before.text, before.tokenizer)
