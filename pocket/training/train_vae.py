"""The stage `vae`: single pictures first, then short clips, then clips longer than the decoder's memory.

The last is what matters most to a viewer. The decoder's causal convolutions reach back over a hundred frames; trained
on short clips it has never met a full memory, and colours wander off after a second. So late frames alone count there.
"""

import random
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F

from . import clips, vae
from .loop import Loop
from .sampler import from_bytes


def run(config, folder):
    budget, found = config.vae, clips.folder(folder / "clips/train")
    model = vae.Vae(vae.config(budget.base)).to(config.device)
    loop = Loop(folder, "vae", model, budget, config)

    def load(step):
        phase = phase_at(budget.phases, loop.progress)
        return phase, batch(found, phase, config.seed * 1_000_003 + step)

    # The next batch is read while this one is learned from.
    with ThreadPoolExecutor(1) as reader:
        ahead = [reader.submit(load, loop.step)]

        def losses():
            phase, video = ahead.pop().result()
            ahead.append(reader.submit(load, loop.step + 1))
            return reconstruction(model, video.to(config.device), phase.unscored, budget)

        loop.run(losses)


def phase_at(phases, progress):
    """Shares are of the whole and add up to one."""
    passed = 0.0
    for phase in phases:
        passed += phase.share
        if progress < passed:
            return phase
    return phases[-1]


def batch(found, phase, seed):
    """Random places in random clips: (B, 3, T, H, W)."""
    draw = random.Random(seed)
    total, height, width, _ = found[0].shape
    kind = draw.randrange(len(phase.frames))
    # Clips that are shorter than a phase asks for are taken whole.
    frames, (w, h) = min(phase.frames[kind], total), (min(phase.crop[0], width), min(phase.crop[1], height))
    pictures = []
    for _ in range(phase.batch[kind]):
        start, top, left = (draw.randrange(n + 1) for n in (total - frames, height - h, width - w))
        pictures.append(draw.choice(found).frames(start, start + frames, top, left, (w, h)))
    return from_bytes(torch.stack(pictures))


def reconstruction(model, video, unscored, budget):
    mean, log_variance = model.encode(video)
    mean, log_variance = mean.float(), log_variance.float().clamp(-12, 4)
    latents = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
    # The transformer's latents are never quite right: the decoder learns to bear that.
    amount = torch.rand(len(mean), 1, 1, 1, 1, device=mean.device) * budget.latent_noise
    latents = latents + amount * mean.detach().std() * torch.randn_like(mean)

    made = model.decode(latents).float()
    late = min(unscored, video.shape[2] - 1)
    made, true = made[:, :, late:], video[:, :, late:]
    pixel = (made - true).abs().mean()
    edges = sum((made.diff(dim=d) - true.diff(dim=d)).abs().mean() for d in (-1, -2))
    coarse = (F.avg_pool3d(made, (1, 4, 4)) - F.avg_pool3d(true, (1, 4, 4))).abs().mean()
    kl = 0.5 * (mean.pow(2) + log_variance.exp() - 1 - log_variance).mean()
    with torch.no_grad():
        psnr = -10 * ((made.clamp(-1, 1) - true) / 2).pow(2).mean().clamp_min(1e-9).log10()
    return {"loss": pixel + 0.5 * edges + 0.5 * coarse + budget.kl * kl, "psnr": psnr, "kl": kl}
