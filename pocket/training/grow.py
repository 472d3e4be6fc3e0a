"""A trained autoencoder becomes the beginning of a larger one, which at first does exactly what the smaller did.

What can grow: channels of every level (`base`), channels of a latent (`channels`), and the pixels that are folded into
channels (`fold`). With pixels of 2x2 folded the larger one begins as the smaller on pictures of half the size: it is
shown the means of 2x2 pixels, and paints each of its own pixels as 2x2. So hours that were spent at 96x64 count at
192x128, and the first step is taken from what shipped.

Widening as in Chen et al., 2016 <https://arxiv.org/abs/1511.05641>, but with silent channels in place of copies: nothing
arrives in a new channel at first, and what would be made of it is random, so that gradients reach it at once.
"""

import json
import math
from pathlib import Path

import torch

from .checkpoint import WEIGHTS, weights

# Noise of a new channel of the latents, which nothing has been learned about: e^-6 of variance.
NEW_LOG_VARIANCE = -6.0


def begin_from(config, model):
    """`checkpoint.begin_from` for an autoencoder: what `config.start_from` names may be smaller than `model`."""
    if config.start_from:
        folder = Path(config.start_from) / "vae"
        fill(model, json.loads((folder / "config.json").read_text()), weights(folder / WEIGHTS))


@torch.no_grad()
def fill(model, smaller, old):
    """`smaller`: the vae/config.json of the weights `old`."""
    check(smaller, model.config)
    for name, new in model.named_parameters():
        if name.endswith("gamma"):
            # A norm's length is the root of its channels.
            grown = torch.ones_like(new)
            grown[: len(old[name])] = old[name]
            new.copy_(grown * math.sqrt(len(old[name]) / len(new)))
        else:
            new.copy_(widened(name, old[name].clone(), new.clone(), smaller["patch_size"], model.config["patch_size"]))


def check(smaller, larger):
    sizes = ("base_dim", "decoder_base_dim", "z_dim", "patch_size")
    same = ("dim_mult", "num_res_blocks", "temperal_downsample", "is_residual")
    wrong = [key for key in sizes if smaller[key] > larger[key]] + [key for key in same if smaller[key] != larger[key]]
    if larger["patch_size"] % smaller["patch_size"]:
        wrong.append("patch_size")
    if wrong:
        told = ", ".join(f"{key} {smaller[key]} cannot become {larger[key]}" for key in wrong)
        raise ValueError(f"the autoencoder to start from cannot grow to this one: {told}")


def widened(name, old, new, fold, finer):
    """A weight or bias. `new` comes as a network begins that was never trained, and leaves as the grown one."""
    if name.startswith("decoder.conv_out."):
        # Every finer pixel is painted as the one that it is a part of.
        covering = pixels(fold, finer)
        return torch.cat([old[covering], new[:, old.shape[1] :]], 1) if new.dim() > 1 else old[covering]
    if "to_qkv." in name:
        # Attention divides by the root of the width.
        old[: len(old) // 3] *= math.sqrt(len(new) / len(old))
    outputs = among(len(old), len(new), parts(name))
    beyond = torch.ones(len(new), dtype=torch.bool)
    beyond[outputs] = False
    spoken = beyond & (torch.arange(len(new)) >= len(new) // 2)
    if new.dim() == 1:
        new.zero_()
        new[outputs] = old
        if name == "quant_conv.bias":
            new[spoken] = NEW_LOG_VARIANCE
        return new
    passes = "time_conv" in name or "quant_conv" in name
    if name.startswith("encoder.") and new.dim() == 5:
        # The encoder may see one picture at a time, and must not begin to look back.
        new[:, :, :-1] = 0
    if passes:
        new.zero_()
        # New channels go through as they are.
        for copy in new[:, :, -1, 0, 0].split(new.shape[1]):
            copy.fill_diagonal_(1)
    elif name.startswith("encoder.conv_out."):
        new[spoken] = 0
    else:
        # Of what a query asks anew no key knows anything yet.
        asked = torch.arange(len(new)) < len(new) // 3 if "to_qkv." in name else torch.zeros_like(beyond)
        new[beyond & ~asked] = 0
    if name == "quant_conv.weight":
        new[spoken] = 0
    if name.startswith("encoder.conv_in."):
        # The mean of the finer pixels is what the smaller one saw.
        new[outputs] = old[:, pixels(fold, finer)] / (finer // fold) ** 2
        return new
    rows = new[outputs]
    if passes or name == "decoder.conv_in.weight":
        # Whatever a new channel of the latents says, old channels do not hear it yet.
        rows.zero_()
    rows[:, among(old.shape[1], new.shape[1], parts(name) if name == "quant_conv.weight" else 1)] = old
    new[outputs] = rows
    return new


def parts(name):
    """How many kinds of outputs lie one after another: queries, keys and values; means and log variances; even frames and
    odd ones."""
    if "to_qkv." in name:
        return 3
    return 2 if name.startswith(("encoder.conv_out.", "quant_conv.")) or name.startswith("decoder.") and "time_conv" in name else 1


def among(old, new, count):
    """Where the smaller one's channels are among the larger one's."""
    return torch.cat([torch.arange(old // count) + part * (new // count) for part in range(count)])


def pixels(fold, finer):
    """For each channel (colour, column, row) of the finer fold, the smaller one's that covers it."""
    colour, column, row = torch.meshgrid(torch.arange(3), torch.arange(finer), torch.arange(finer), indexing="ij")
    share = finer // fold
    return ((colour * fold + column // share) * fold + row // share).flatten()
