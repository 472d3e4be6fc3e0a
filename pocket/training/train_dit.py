"""The stage `dit`: the transformer, and the text encoder with it.

The first frame of a session is a copy of the picture it was given, and slow to learn: it gets a weight of its own. The
gap to the loss under another clip's camera is logged beside the loss: it, not the loss, says whether keys will work.
"""

import torch

from . import flow, train_text
from .batches import Batches
from .checkpoint import begin_from
from .latents import Latents
from .loop import Loop


def run(config, folder):
    settings, words = config.dit, train_text.tokenizer(folder)
    batches = Batches(Latents.load(config, folder, words), config)
    model = flow.Model(config, words.get_vocab_size())
    if not settings.forget:
        begin_from(config, "transformer", model.dit)
    model.text.load_state_dict(train_text.trained(config, folder, words).state_dict())
    model.to(config.device)
    count = sum(p.numel() for p in model.dit.parameters())
    print(
        f"transformer {count / 1e6:.2f} M, text encoder {sum(p.numel() for p in model.text.parameters()) / 1e6:.2f} M"
    )
    loop = Loop(folder, "dit", model, settings, config)

    def losses():
        batch = batches.draw(loop.step, settings.batch)
        levels = flow.noise_levels(model.policy, (settings.batch, batch.clean.shape[2]), config.device)
        past = flow.context_noise(batch.clean, settings.context_noise, settings.context_noise_share)
        # Rare at first: guesses of an untrained model teach nothing.
        if torch.rand(()) < settings.own_past * min(1, 2 * loop.progress):
            past = flow.guesses(model, batch, past, flow.visited_levels(model.policy, levels.shape, levels.device))
        past = flow.worn(past, settings.worn_past)
        error, weight = flow.errors(model, batch, past, levels), weights_of(batch, settings)
        values = {"loss": (error * weight).sum() / weight.sum()}
        if settings.pictures:
            values["pictures"] = picture_loss()
            values["loss"] = values["loss"] + values["pictures"]
        if loop.step % 50 == 49 and batch.camera is not None:
            values["camera_gap"] = camera_gap(model, batch, levels)
        return values

    def picture_loss():
        batch = batches.pictures(loop.step, settings.pictures)
        levels = flow.noise_levels(model.policy, batch.prompt_of_frame.shape, config.device)
        return flow.errors(model, batch, None, levels).mean()

    loop.run(losses, every=50)


def weights_of(batch, settings):
    """What each frame (B, n) counts: more where there is only a prompt, or only a picture, to tell it from."""
    prompts = batch.prompt_of_frame
    weight = torch.ones(prompts.shape, device=prompts.device)
    weight[:, 1:][prompts[:, 1:] != prompts[:, :-1]] = settings.switch_weight
    if batch.starts:
        weight[:, 0] = settings.frame0_weight
    else:
        # In the middle of a session the first frame has no past to be told from: it is context only, as what is pinned is.
        weight[:, : batch.pinned + 1] = 0
    return weight


@torch.no_grad()
def camera_gap(model, batch, levels):
    """How much worse another clip's camera is, as a share of the loss."""

    def later():
        torch.manual_seed(0)
        return flow.errors(model, batch, batch.clean, levels)[:, 1:].mean()

    right, camera = later(), batch.camera
    batch.camera = camera.roll(1, 0)
    wrong = later()
    batch.camera = camera
    return wrong / right - 1
