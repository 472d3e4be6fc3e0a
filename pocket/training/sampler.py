"""Streaming: one latent frame at a time from noise, as the server does it, for a batch of sessions.

Keys are stored after their rotation by the absolute frame number, so forgetting the oldest frame needs no further work.
What is stored comes from one more pass over the finished frame, at noise level zero; the passes before leave no trace.
"""

import torch
import torch.nn.functional as F

from . import memory
from .noise import Noise
from .vae import Memory


# How a frame goes from one level of noise to the next; `pipeline/src/sampler.rs` says what each does.
SAMPLERS = ("renoise", "euler", "heun", "euler_renoise")


def nominal_steps(steps):
    """Nominal steps of 1000: as listed, or so many evenly spaced ones, each rounded to a whole one (halves up)."""
    if isinstance(steps, int):
        return [(1000 * (steps - i) + steps // 2) // steps for i in range(steps)]
    return steps


def schedule(policy, steps=None):
    """(t, sigma) of each step. In f32, as published."""
    sigma = shifted(policy, torch.linspace(1, 0, 1001))
    steps = nominal_steps(steps or policy["steps"])
    return [(float(1000 * sigma[1000 - n]), float(sigma[1000 - n])) for n in steps]


def sample(sampler, levels, x, flow, fresh):
    """From noise `x` through `levels` of (t, sigma) to the clean frame.

    `flow(x, t)` predicts noise less clean; `fresh()` draws noise of the shape of x, each time it is mixed in.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler is {sampler!r}; it must be one of {', '.join(SAMPLERS)}")
    for i, (t, sigma) in enumerate(levels):
        here = flow(x, t)
        if i + 1 == len(levels):
            return x - sigma * here
        next_t, lower = levels[i + 1]
        if sampler == "renoise" or sampler == "euler_renoise" and i + 2 == len(levels):
            x = (1 - lower) * (x - sigma * here) + lower * fresh()
        elif sampler == "heun":
            there = flow(x + (lower - sigma) * here, next_t)
            x = x + (lower - sigma) * (here + there) / 2
        else:
            x = x + (lower - sigma) * here
    raise ValueError("a schedule has at least one level")


def shifted(policy, share):
    """Levels of noise at these shares of the way, 0 to 1: `shift` spends more of it in the noise."""
    return policy["shift"] * share / (1 + (policy["shift"] - 1) * share)


class SeededNoise:
    """One seed for each session of a batch."""

    def __init__(self, seeds):
        self.sessions = [Noise(seed) for seed in seeds]

    def draw(self, shape):
        return torch.cat([session.draw((1, *shape)) for session in self.sessions])


class Window:
    """Keys and values of the frames that are still seen, for every layer."""

    def __init__(self, layers, window, sink):
        self.past = [[] for _ in range(layers)]
        self.window, self.sink = window, sink
        self.stores = False

    def attend(self, layer, q, k, v):
        past = self.past[layer]
        keys, values = (torch.cat([*(frame[i] for frame in past), new], 1) for i, new in enumerate((k, v)))
        q, keys, values = (t.flatten(1, 2).transpose(1, 2) for t in (q, keys, values))
        mixed = F.scaled_dot_product_attention(q, keys, values).transpose(1, 2).unsqueeze(1)
        if self.stores:
            past.append((k, v))
            if len(past) >= self.window:
                past.pop(self.sink)
        return mixed


class Stream:
    """A batch of sessions. `condition` (B, 4 + z, 6, h, w); contexts (B, L, text_dim)."""

    def __init__(self, dit, policy, condition, context, noise):
        self.dit, self.condition, self.context, self.noise = dit, condition, context, noise
        # LingBot World's sampler where the policy names none.
        self.sampler, self.levels, self.frame = policy.get("sampler", "renoise"), schedule(policy), 0
        self.window = Window(len(dit.blocks), policy["window"], policy["sink"])

    @torch.no_grad()
    def next(self, camera, remembered=None):
        """camera (B, S, rays) or None, remembered (B, z + 1, h, w) or None (`memory.encoded`) -> latents (B, z, h, w), and the noise
        they came from: first and mixed in."""
        shape = (self.dit.outputs, 1, *self.condition.shape[-2:])
        device = self.condition.device
        first, again = self.noise.draw(shape).to(device), []

        def fresh():
            # Frame-major, as in the published pipeline: (1, z, h, w) rather than (z, 1, h, w).
            again.append(self.noise.draw((1, shape[0], *shape[2:])).to(device))
            return again[-1].transpose(1, 2)

        clean = sample(self.sampler, self.levels, first, lambda x, t: self._flow(x, t, camera, remembered), fresh)
        self.remember(clean, camera, remembered)
        return clean[:, :, 0], (first, again)

    @torch.no_grad()
    def remember(self, clean, camera, remembered=None):
        """Store keys and values of a finished frame (B, z, 1, h, w) and go on to the next."""
        self.window.stores = True
        self._flow(clean, 0.0, camera, remembered)
        self.window.stores = False
        self.frame += 1

    def _flow(self, x, t, camera, remembered=None):
        batch, device = len(x), x.device
        at = min(self.frame, self.condition.shape[2] - 1)
        condition = self.condition[:, :, at : at + 1]
        if remembered is not None:
            condition = memory.told(condition[:, :, 0], remembered, self.dit.patch).unsqueeze(2)
        return self.dit(
            x,
            condition,
            torch.full((batch, 1), t, device=device),
            None if camera is None else camera.unsqueeze(1),
            self.context.unsqueeze(1),
            torch.zeros(batch, 1, dtype=torch.long, device=device),
            torch.tensor([self.frame], device=device),
            self.window.attend,
        )


def condition_on(vae, pictures, frames):
    """First frames (B, 3, H, W) in -1..1 -> (B, 4 + z, 6, h, w): mask, then latents of the picture and grey after it."""
    grey = pictures.new_zeros(len(pictures), 3, frames - 1, *pictures.shape[-2:])
    mean, _ = vae.encode(torch.cat([pictures.unsqueeze(2), grey], 2))
    latents = vae.normalised(mean.float())
    mask = torch.zeros_like(latents[:, :4])
    mask[:, :, 0] = 1
    return torch.cat([mask, latents], 1)


class Decoder:
    """Decodes latent frames into video frames, for a video of any length."""

    def __init__(self, vae):
        self.vae, self.memory = vae, Memory()

    @torch.no_grad()
    def next(self, latents):
        """(B, z, h, w) -> u8 (B, 1 or 4, H, W, 3)."""
        return to_bytes(self.vae.decode(self.vae.denormalised(latents.unsqueeze(2)), self.memory))


def to_bytes(video):
    """(B, 3, T, H, W) in -1..1 -> u8 (B, T, H, W, 3). Cut, not rounded, as published."""
    video = video.float().clamp(-1, 1) / 2 + 0.5
    return (video * 255).to(torch.uint8).permute(0, 2, 3, 4, 1)


def from_bytes(video):
    """u8 (B, T, H, W, 3) -> (B, 3, T, H, W) in -1..1."""
    return video.permute(0, 4, 1, 2, 3).float() / 127.5 - 1
