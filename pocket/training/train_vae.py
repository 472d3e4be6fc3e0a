"""The stages `vae` and `decoder`: single pictures first, then short clips, then clips longer than the decoder's memory.

The last is what matters most to a viewer. The decoder's causal convolutions reach back over a hundred frames; trained
on short clips it has never met a full memory, and colours wander off after a second. So late frames alone count there.

The encoder sees one picture of four, in every phase: what lies between two latent frames is the decoder's to know.
"""

import random
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F
from torch import nn

from . import clips, grow, vae
from .config import Phase
from .loop import Loop, load_average
from .sampler import from_bytes


def run(config, folder):
    budget, found = config.vae, clips.folder(folder / "clips/train")
    single = clips.folder(folder / "clips/pictures") if config.data.pictures else []
    model = vae.Vae(vae.config(budget))
    grow.begin_from(config, model)
    if budget.forget_time:
        model.forget_time()
    elif model.looks_back():
        raise ValueError(f"vae.forget_time is false, but the encoder of {config.start_from or 'new weights'} looks back")
    model.to(config.device)
    loop = Loop(folder, "vae", model, budget, config)
    if config.compile:
        model.encode, model.decode = torch.compile(model.encode), torch.compile(model.decode)
    reconstruct(loop, found, single, model, lambda: phase_at(budget.phases, loop.progress), config)


def run_decoder(config, folder):
    model = load_average(folder / "vae.safetensors", vae.Vae(vae.config(config.vae)).to(config.device))
    settings = config.decoder
    loop = Loop(folder, "decoder", decoder_of(model), settings, config)
    phase = Phase(1.0, settings.frames, settings.batch, settings.crop, 0)
    model.encoder.requires_grad_(False)
    model.quant_conv.requires_grad_(False)
    reconstruct(loop, clips.folder(folder / "clips/train"), [], model, lambda: phase, config)


def decoder_of(model):
    """The parameters that turn latents into pictures, under their names in the whole autoencoder."""
    return nn.ModuleDict({"post_quant_conv": model.post_quant_conv, "decoder": model.decoder})


def reconstruct(loop, found, single, model, phase_now, config):
    def load(step):
        phase = phase_now()
        return phase, batch(found, single, phase, config.seed * 1_000_003 + step)

    # Reads the next batch while the current one trains.
    with ThreadPoolExecutor(1) as reader:
        ahead = [reader.submit(load, loop.step)]

        def losses():
            phase, video = ahead.pop().result()
            ahead.append(reader.submit(load, loop.step + 1))
            return reconstruction(model, video.to(config.device), phase.unscored, config.vae)

        loop.run(losses)


def phase_at(phases, progress):
    """Shares are of the whole and add up to one."""
    passed = 0.0
    for phase in phases:
        passed += phase.share
        if progress < passed:
            return phase
    return phases[-1]


def batch(found, single, phase, seed):
    """Random places in random clips: (B, 3, T, H, W). Where one frame is asked for, `single` pictures are clips too."""
    draw = random.Random(seed)
    total, height, width, _ = found[0].shape
    kind = draw.randrange(len(phase.frames))
    # Clips that are shorter than a phase asks for are taken whole.
    frames, (w, h) = min(phase.frames[kind], total), (min(phase.crop[0], width), min(phase.crop[1], height))
    # A clip shows one world, so a picture of another tells more than another frame of it.
    among = [found, single] if frames == 1 and single else [found]
    pictures = []
    for _ in range(phase.batch[kind]):
        clip = draw.choice(draw.choice(among))
        start, top, left = (draw.randrange(n + 1) for n in (clip.shape[0] - frames, height - h, width - w))
        pictures.append(clip.frames(start, start + frames, top, left, (w, h)))
    return from_bytes(torch.stack(pictures))


def reconstruction(model, video, unscored, budget):
    mean, log_variance = model.encode_pictures(video)
    mean, log_variance = mean.float(), log_variance.float().clamp(-12, 4)
    latents = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
    # The transformer's latents contain errors: the decoder is trained to tolerate them.
    amount = torch.rand(len(mean), 1, 1, 1, 1, device=mean.device) * budget.latent_noise
    latents = latents + amount * mean.detach().std((0, 2, 3, 4), keepdim=True) * torch.randn_like(mean)

    made = model.decode(latents).float()
    late = min(unscored, video.shape[2] - 1)
    made, true = made[:, :, late:], video[:, :, late:]
    pixel = (made - true).abs().mean()
    edges = sum((made.diff(dim=d) - true.diff(dim=d)).abs().mean() for d in (-1, -2))
    coarse = (F.avg_pool3d(made, (1, 4, 4)) - F.avg_pool3d(true, (1, 4, 4))).abs().mean()
    # The final loss is in decibels for each picture, since small errors in a dark picture are as visible.
    error = ((made - true) / 2).pow(2).mean((1, 3, 4)).clamp_min(1e-9)
    kl = 0.5 * (mean.pow(2) + log_variance.exp() - 1 - log_variance).mean()
    loss = pixel + 0.5 * edges + 0.5 * coarse + 0.05 * error.log().mean() + budget.kl * kl
    shares = [(made.diff(dim=d).abs().mean() / true.diff(dim=d).abs().mean().clamp_min(1e-6)).detach() for d in (-1, -2)]
    return {"loss": loss, "psnr": -10 * error.log10().mean(), "kl": kl, "gradient": sum(shares) / 2}
