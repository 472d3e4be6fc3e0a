"""Flow matching with a teacher's past: one forward trains every frame of a clip the way it will be streamed.

A clip is there twice, clean and noisy (`whole.py`). A noisy frame sees the clean frames of its window, which is what a cache
holds while streaming, and itself. The clean half may be noisier than it says: its level is announced as zero whatever
was added, so that the model learns not to trust its own past to the last digit. Prompts belong to frames, not to clips.
"""

import torch
import torch.nn.functional as F
from torch import nn

from . import dit, train_text
from .machine import products
from .sampler import schedule, shifted
from .whole import Whole

# Half of the levels that are trained on are these: a model drawn in few steps visits no others.
VISITED = [1000, 750, 500, 250]


class Model(nn.Module):
    """The modules that are trained together: the transformer and its text encoder."""

    def __init__(self, config, vocabulary):
        super().__init__()
        policy = self.policy = trained_policy(config)
        self.text = train_text.encoder(config, vocabulary)
        self.dit = dit.Dit(dit.config(config.dit, config.vae.channels, config.text.width, policy))
        self.whole = Whole(self.dit, policy["window"], policy["sink"], products(config), config.compile)


def trained_policy(config):
    """The policy with the sampler that training is for: few steps, fresh noise after each. What ships may be drawn with
    another sampler, more steps and another shift; the levels that are trained on do not change with it."""
    return config.policy | {"sampler": "renoise", "steps": VISITED, "shift": config.dit.shift}


def noise_levels(policy, shape, device):
    """Half of them are those that samplers visit, in 4 steps or fewer; the rest are spread about."""
    spread = shifted(policy, torch.sigmoid(torch.randn(shape, device=device)))
    chosen = visited_levels(policy, shape, device)
    return torch.where(torch.rand(shape, device=device) < 0.5, chosen, spread)


def visited_levels(policy, shape, device):
    visited = torch.tensor([sigma for _, sigma in schedule(policy, VISITED)], device=device)
    return visited[torch.randint(len(visited), shape, device=device)]


def context_noise(clean, most, share):
    amount = torch.rand(len(clean), 1, 1, 1, 1, device=clean.device) * most
    amount = amount * (torch.rand_like(amount) < share)
    return clean + amount * torch.randn_like(clean)


def worn(past, share):
    """The past of a share of clips as a long walk leaves it: smeared along the horizon or all over, too pale or too harsh,
    its colours gone astray. What to draw is then the prompt's to say, or a walk that has once gone wrong would stay so."""
    count = len(past)
    amount, off, along, chosen, gain = torch.rand(5, count, 1, 1, 1, 1, device=past.device)
    coarse = F.interpolate(F.avg_pool2d(past.transpose(1, 2).flatten(0, 1), 2), past.shape[-2:], mode="bilinear")
    coarse = coarse.unflatten(0, (count, -1)).transpose(1, 2)
    smeared = past.lerp(torch.where(along < 0.5, past.mean(-1, keepdim=True), coarse), amount)
    even = past.mean((-1, -2), keepdim=True)
    smeared = even + 4 ** (gain - 0.5) * (smeared - even)
    astray = 0.3 * off * torch.randn(count, past.shape[1], 1, 1, 1, device=past.device)
    return torch.where(chosen < share, smeared + astray, past)


def errors(model, batch, past, levels):
    """Squared error of the flow, (B, n), at these levels of noise (B, n); `past` as `flow_at` has it."""
    noise = torch.randn_like(batch.clean)
    flow = flow_at(model, batch, past, blend(batch.clean, levels, noise), levels)
    return (flow - (noise - batch.clean)).pow(2).mean((1, 3, 4))


@torch.no_grad()
def guesses(model, batch, past, levels):
    """What one step of a sampler makes of every frame, from these levels: vaguer than the truth in the way a rollout is,
    and yet of the same place."""
    noisy = blend(batch.clean, levels, torch.randn_like(batch.clean))
    return finished(noisy, levels, flow_at(model, batch, past, noisy, levels))


def blend(clean, levels, noise):
    sigma = levels[:, None, :, None, None]
    return (1 - sigma) * clean + sigma * noise


def finished(noisy, levels, flow):
    """The clean latents that the flow points to."""
    return noisy - levels[:, None, :, None, None] * flow


def flow_at(model, batch, past, noisy, levels):
    """The flow of noisy frames, (B, z, n, h, w). `past`: the clean half; without one (None) every frame stands alone."""
    prompts = model.text(batch.ids.flatten(0, 1)).unflatten(0, batch.ids.shape[:2])
    of = batch.condition, levels, batch.camera, prompts, batch.prompt_of_frame, batch.positions
    return model.whole(past, noisy, *of)
