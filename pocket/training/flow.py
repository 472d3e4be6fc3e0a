"""Flow matching with a teacher's past: one forward trains every frame of a clip the way it will be streamed.

The sequence is [clean frames | noisy frames]. A noisy frame sees the clean frames of its window, which is what a cache
holds while streaming, and itself. The clean half may be noisier than it says: its level is announced as zero whatever
was added, so that the model learns not to trust its own past to the last digit. Prompts belong to frames, not to clips.
"""

import random
from dataclasses import dataclass

import torch
from torch import nn

from . import dit, text
from .camera import rays
from .sampler import schedule

GREY = 5
# Steps of the longest schedule anybody samples with.
VISITED = [1000, 750, 500, 250]


class Model(nn.Module):
    """What is trained together: the transformer and its text encoder."""

    def __init__(self, config, vocabulary):
        super().__init__()
        settings, policy = config.dit, config.policy
        self.policy = policy
        self.text = text.TextEncoder(text.config(vocabulary, config.text.width, config.text.layers, config.text.heads))
        self.dit = dit.Dit(
            dit.config(
                settings.width,
                settings.heads,
                settings.layers,
                settings.ffn,
                config.text.width,
                policy["window"],
                policy["sink"],
            )
        )


@dataclass
class Batch:
    """Clips, or the later part of clips, on the training device. camera (B, n, S, 1536) or None."""

    clean: torch.Tensor
    condition: torch.Tensor
    camera: torch.Tensor | None
    ids: torch.Tensor
    prompt_of_frame: torch.Tensor
    positions: torch.Tensor
    starts: bool


class Batches:
    """Draws from the clips. A session's beginning mostly; now and then its middle, where no picture is given."""

    def __init__(self, latents, config):
        self.latents, self.config = latents, config

    def draw(self, step, count):
        settings, draw = self.config.dit, random.Random(self.config.seed * 1_000_003 + step)
        total = self.latents.clean.shape[2]
        starts = draw.random() >= settings.middle
        frames = min(settings.frames, total)
        start = 0 if starts else draw.randrange(1, max(2, total - frames + 1))
        offset = 0 if starts else draw.randrange(settings.rope_offset + 1)
        rows = [draw.randrange(len(self.latents.clean)) for _ in range(count)]
        made = self.take(rows, start, offset, min(frames, total - start))
        if draw.random() < settings.camera_none:
            made.camera = None
        for row in range(count):
            if starts and draw.random() < settings.text_only:
                made.condition[row] = 0
            elif draw.random() < settings.text_dropout:
                made.ids[row] = text.PAD
        # Every word of a prompt is in the vocabulary: without this, what an unknown one does would be left to chance.
        lost = (torch.rand(made.ids.shape) < settings.unknown_words).to(made.ids.device) & (made.ids != text.PAD)
        made.ids = made.ids.masked_fill(lost, text.UNKNOWN)
        return made

    def take(self, rows, start, offset, frames):
        """Frames `start..` of these clips, as if `offset` frames further into the session."""
        of, device, config = self.latents, self.config.device, self.config
        stop = start + frames
        clean = of.clean[rows, :, start:stop].to(device).float()
        positions = torch.arange(start + offset, stop + offset, device=device)
        condition = clean.new_zeros(len(rows), 20, *clean.shape[2:])
        condition[:, 4:] = of.condition[rows].to(device).float()[:, :, positions.clamp(max=GREY)]
        if start == 0:
            condition[:, :4, 0] = 1
        with torch.autocast(config.device, enabled=False):
            steps, lens = of.steps[rows, start:stop].to(device), of.lens[rows].to(device)
            camera = rays(steps, lens, config.policy["size"], config.policy["camera"])
        prompts = of.prompt_of_frame[rows, start:stop].to(device)
        return Batch(clean, condition, camera, of.ids[rows].to(device), prompts, positions, start == 0)


def noise_levels(policy, shape, device):
    """Half of them are those that samplers visit, in 4 steps or fewer; the rest are spread about."""
    spread = torch.sigmoid(torch.randn(shape, device=device))
    spread = policy["shift"] * spread / (1 + (policy["shift"] - 1) * spread)
    chosen = visited_levels(policy, shape, device)
    return torch.where(torch.rand(shape, device=device) < 0.5, chosen, spread)


def visited_levels(policy, shape, device):
    visited = torch.tensor([sigma for _, sigma in schedule(policy, VISITED)], device=device)
    return visited[torch.randint(len(visited), shape, device=device)]


def context_noise(clean, most, share):
    amount = torch.rand(len(clean), 1, 1, 1, 1, device=clean.device) * most
    amount = amount * (torch.rand_like(amount) < share)
    return clean + amount * torch.randn_like(clean)


def errors(model, batch, window, past, levels):
    """Squared error of the flow, (B, n). `past`: what the clean half holds; `levels` (B, n): the noisy half's sigma."""
    noise = torch.randn_like(batch.clean)
    _, flow = told(model, batch, window, past, levels, noise)
    return (flow - (noise - batch.clean)).pow(2).mean((1, 3, 4))


@torch.no_grad()
def guesses(model, batch, window, past):
    """What one step of a sampler makes of every frame, from each of the levels that samplers visit: vaguer than the
    truth in the way a rollout is, and yet of the same place."""
    levels = visited_levels(model.policy, (len(past), past.shape[2]), past.device)
    noisy, flow = told(model, batch, window, past, levels, torch.randn_like(past))
    return noisy - levels[:, None, :, None, None] * flow


def told(model, batch, window, past, levels, noise):
    """The noisy frames and their flow, both (B, 16, n, h, w)."""
    sigma = levels[:, None, :, None, None]
    noisy = (1 - sigma) * batch.clean + sigma * noise

    def twice(tensor, dim):
        return torch.cat([tensor, tensor], dim)

    prompts = model.text(batch.ids.flatten(0, 1)).unflatten(0, batch.ids.shape[:2])
    flow = model.dit(
        torch.cat([past, noisy], 2),
        twice(batch.condition, 2),
        torch.cat([torch.zeros_like(levels), 1000 * levels], 1),
        None if batch.camera is None else twice(batch.camera, 1),
        prompts,
        twice(batch.prompt_of_frame, 1),
        twice(batch.positions, 0),
        dit.windowed(window),
    )
    return noisy, flow[:, :, batch.clean.shape[2] :]
