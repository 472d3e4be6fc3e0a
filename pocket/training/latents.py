"""The stage `latents`: every clip encoded once, for the transformer to train on; and those clips in memory.

Each clip is there twice, once in a mirror: that is a world as good as its own, and drawing one costs more than encoding.

Latents are kept as the autoencoder gives them. Their mean and deviation go to the file `statistics.json`, from there
into vae/config.json, and are applied on loading.
"""

import json
from dataclasses import dataclass

import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from . import clips, text, train_vae, vae
from .camera import mirrored, motion
from .checkpoint import write_json
from .loop import load_average
from .sampler import from_bytes

SHARD = 64


@torch.no_grad()
def run(config, folder):
    model = vae.Vae(vae.config(config.vae)).to(config.device).eval()
    load_average(folder / "vae.safetensors", model)
    found = clips.folder(folder / "clips/train")
    out = folder / "latents"
    out.mkdir(exist_ok=True)
    for start in tqdm(range(0, len(found), SHARD), desc="latents"):
        path = out / f"{start:08}.safetensors"
        if path.exists():
            continue
        clean, condition = zip(*(encode(model, clip, config) for clip in found[start : start + SHARD]))
        write(path, {"clean": torch.cat(clean).half(), "condition": torch.cat(condition).half()})
    pictures = folder / "pictures.safetensors"
    if config.data.pictures and not pictures.exists():
        single, made = clips.folder(folder / "clips/pictures"), []
        for start in tqdm(range(0, len(single), SHARD), desc="pictures"):
            video = from_bytes(torch.stack([clip.frames() for clip in single[start : start + SHARD]]))
            made.append(seen(model, video, config))
        write(pictures, {"clean": torch.cat(made).half()})

    every = torch.cat([load_file(path)["clean"].float().transpose(0, 1).flatten(1) for path in shards(folder)], 1)
    deviation = every.std(1)
    if (deviation < 1e-3).any():
        raise RuntimeError(f"latent channels have collapsed: deviations {deviation.tolist()}")
    # A nearly constant channel must not be scaled up to the size of an informative one.
    deviation = deviation.clamp_min(0.25 * float(deviation.median()))
    write_json(folder / "statistics.json", {"mean": every.mean(1).tolist(), "std": deviation.tolist()})


def encode(model, clip, config):
    """Latents of the clip and its mirror image, and of their first pictures followed by grey; both (2, z, F, h, w)."""
    video = from_bytes(clip.frames()[None])
    grey = video.new_zeros(1, 3, config.policy["condition_frames"] - 1, *video.shape[-2:])
    return seen(model, video, config), seen(model, torch.cat([video[:, :, :1], grey], 2), config)


def seen(model, video, config):
    """(B, 3, T, H, W) -> (2B, z, F, h, w): each followed by its mirror image."""
    video = torch.stack([video, video.flip(-1)], 1).flatten(0, 1).to(config.device)
    with torch.autocast(config.device, torch.bfloat16, config.bf16):
        return model.sees(video).cpu()


def write(path, tensors):
    save_file(tensors, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)


def shards(folder):
    found = sorted((folder / "latents").glob("*.safetensors"))
    if not found:
        raise ValueError(f"{folder}/latents is empty: run the stage `latents` first")
    return found


def statistics(folder):
    return json.loads((folder / "statistics.json").read_text())


def trained_vae(config, folder):
    """The autoencoder as it will be exported."""
    found = statistics(folder)
    settings = vae.config(config.vae) | {"latents_mean": found["mean"], "latents_std": found["std"]}
    model = load_average(folder / "vae.safetensors", vae.Vae(settings)).eval()
    later = folder / "decoder.safetensors"
    if later.exists():
        load_average(later, train_vae.decoder_of(model))
    return model


@dataclass
class Latents:
    """All clips and, after each, its mirror image, normalised. clean (N, z, F, h, w), condition (N, z, 6, h, w),
    steps (N, F, 4, 4), lens (N, 4),
    ids (N, P, L): tokens of each clip's prompts, prompt_of_frame (N, F). Single pictures (M, z, 1, h, w) and their
    prompts (M, 1, L)."""

    clean: torch.Tensor
    condition: torch.Tensor
    steps: torch.Tensor
    lens: torch.Tensor
    ids: torch.Tensor
    prompt_of_frame: torch.Tensor
    pictures: torch.Tensor
    picture_ids: torch.Tensor

    @classmethod
    def load(cls, config, folder, tokenizer):
        found, read = clips.folder(folder / "clips/train"), [load_file(path) for path in shards(folder)]
        scale = statistics(folder)
        mean, std = (torch.tensor(scale[name]).view(1, -1, 1, 1, 1) for name in ("mean", "std"))

        def normalised(latents):
            return ((latents.float() - mean) / std).half()

        clean, condition = (normalised(torch.cat([shard[name] for shard in read])) for name in ("clean", "condition"))
        complete(clean, found, folder / "latents")
        pictures, picture_ids = clean[:0, :, :1], torch.zeros(0, 1, config.policy["text_len"], dtype=torch.long)
        if config.data.pictures:
            single = clips.folder(folder / "clips/pictures")
            pictures = normalised(load_file(folder / "pictures.safetensors")["clean"])
            complete(pictures, single, folder / "pictures.safetensors")
            picture_ids = prompts(single, tokenizer, config).repeat_interleave(2, 0)
        steps = motion(torch.stack([clip.latent_poses for clip in found]))
        return cls(
            clean,
            condition,
            torch.stack([steps, mirrored(steps)], 1).flatten(0, 1),
            # A lens is centred, so it is its own mirror image.
            *(
                of_both.repeat_interleave(2, 0)
                for of_both in (
                    torch.stack([clip.intrinsics for clip in found]),
                    prompts(found, tokenizer, config),
                    torch.stack([clip.scene_of_latent for clip in found]),
                )
            ),
            pictures,
            picture_ids,
        )


def complete(latents, found, path):
    if len(latents) != 2 * len(found):
        raise ValueError(f"{len(found)} clips, but latents of {len(latents) // 2}: remove {path} and run it again")


def prompts(found, tokenizer, config):
    """(N, P, L): tokens of the prompts of every clip."""
    ids = torch.zeros(len(found), max(len(clip.scenes) for clip in found), config.policy["text_len"], dtype=torch.long)
    for row, clip in zip(ids, found):
        said = [scene["prompt"] for scene in clip.scenes]
        row[: len(said)] = text.token_ids(tokenizer, said, config.policy["text_len"])
    return ids
