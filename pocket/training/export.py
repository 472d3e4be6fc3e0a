"""The stages `export` and `record`: a folder that Causeway serves with its first frames, and walks to hold the server to.

Recordings are made from the f16 files as they were written, with the server's own random numbers. Every tensor on the
way is in them, so where the two disagree can be seen, not only that they do.
"""

import json
import shutil
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from . import clips, data, memory, refine, train_memory
from .camera import intrinsics, motion, poses_of, rays, unfold
from .checkpoint import Checkpoint, write_json
from .latents import trained_vae
from .sampler import Decoder, SeededNoise, Stream, condition_on, from_bytes, schedule
from .text import token_ids
from .train_text import tokenizer

ACTIONS = ["w", "w", "w", "l", "l", "wl", "", "d", "d", "wj", "s", "i"]
SWITCH = 8
SEED = 42
TEXT, TEXT_ACTIONS = "a desert at sunset", ["", "w", "wl"]
# Left and back, past the window: the last four frames remember, one of them a picture that is partly out of view, one after a step.
AWAY_ACTIONS = ["", *["l"] * 4, *["j"] * 5, "l", "w", "wl"]
PRECISION = "f32, weights read from the f16 files"


def run(config, folder):
    out = folder / "weights"
    if config.memory:
        train_memory.trained(config, folder).save(out)
        # What goes with the weights that were begun with goes with these.
        for name in ("first_frames", "presets.json", "tokenizer/words.json"):
            if (found := Path(config.start_from) / name).is_dir():
                shutil.copytree(found, out / name, dirs_exist_ok=True)
            elif found.exists():
                shutil.copy(found, out / name)
    else:
        export(config, folder, out)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(f"{out}: {size / 1e6:.1f} MB")


def export(config, folder, out):
    words = tokenizer(folder)
    model = refine.trained(config, words, folder)
    Checkpoint(config.policy, model.dit, trained_vae(config, folder), model.text, words).save(out)
    if config.presets:
        write_json(out / "presets.json", config.presets)
    if config.data.source == "renderer":
        data.Renderer(config).gallery(out / "first_frames")
    else:
        first_frames(clips.folder(folder / "clips/held_out"), out / "first_frames")


def run_record(config, folder):
    """From `weights/` alone, so that it can be done over when only the policy has changed."""
    model = Checkpoint.load(folder / "weights")
    record_walk(model, folder / "weights/first_frames", folder / "stream.safetensors")
    record_text_start(model, folder / "text_start.safetensors")
    if "memory" in model.policy:
        record_memory(model, folder / "weights/first_frames", folder / "memory.safetensors")


def first_frames(found, out):
    """One picture of each landscape, from worlds that were not trained on."""
    out.mkdir(exist_ok=True)
    about = {}
    for clip in found:
        scene = clip.scenes[0]
        name = f"{scene['biome']}.png"
        if name not in about:
            Image.fromarray(clip.frames(0, 1)[0].numpy()).save(out / name)
            about[name] = {key: scene[key] for key in ("prompt", *clips.LABELS)}
    write_json(out / "prompts.json", about)


def record_text_start(model, path):
    """A short walk from a prompt alone."""
    size, camera = model.policy["size"], model.policy["camera"]
    condition = torch.zeros(1, 4 + model.dit.outputs, 1, *(side // model.grid.pixels for side in size[::-1]))
    steps = motion(poses_of(camera, TEXT_ACTIONS))
    seen = rays(steps, intrinsics(size, camera["fov_x_deg"]), size, camera, model.grid)
    stream = Stream(model.dit, model.policy, condition, model.context([TEXT]), SeededNoise([SEED]))
    tensors = {}
    for i in range(len(TEXT_ACTIONS)):
        latents, (noise, again) = stream.next(seen[i : i + 1])
        tensors |= {f"{i:02}.noise": noise, f"{i:02}.x0": latents.unsqueeze(2)}
        tensors[f"{i:02}.step_noise"] = torch.stack(again) if again else torch.zeros(0)
    meta = {"prompt": TEXT, "actions": [list(keys) for keys in TEXT_ACTIONS], "precision": PRECISION}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, path, metadata={"description": "streaming from text alone", "meta": json.dumps(meta)})


def record_memory(model, pictures, path):
    """A walk that comes back to where it began. `NN.picture` is the last of its frames, which is what is kept; where something is
    remembered, `NN.remembered` is that as a picture, `NN.trust` its mask, distance and angle, and `NN.memory` what the transformer
    reads."""
    (name, said), *_ = json.loads((pictures / "prompts.json").read_text()).items()
    policy, size = model.policy, model.policy["size"]
    picture, lens = picture_of(pictures / name, size), intrinsics(size, policy["camera"]["fov_x_deg"])
    condition = condition_on(model.vae, from_bytes(picture[None, None])[:, :, 0], policy["condition_frames"])
    poses = poses_of(policy["camera"], AWAY_ACTIONS)
    camera = rays(motion(poses), lens, size, policy["camera"], model.grid)
    stream = Stream(model.dit, policy, condition, model.context([said["prompt"]]), SeededNoise([SEED]))
    decoder, places = Decoder(model.vae), memory.Places(policy["memory"], lens, policy["window"])
    tensors = {"image": picture, "poses": poses, "lens": lens}
    for i, pose in enumerate(poses):
        view, remembered = places.view(i, pose), None
        if view:
            remembered = memory.encoded(model.vae, view)
            tensors |= {f"{i:02}.remembered": view.picture[0], f"{i:02}.trust": view.trust, f"{i:02}.memory": remembered[0]}
        latents, (noise, again) = stream.next(camera[i : i + 1], remembered)
        tensors |= {f"{i:02}.noise": noise, f"{i:02}.x0": latents.unsqueeze(2)}
        tensors[f"{i:02}.step_noise"] = torch.stack(again) if again else torch.zeros(0)
        tensors[f"{i:02}.picture"] = decoder.next(latents)[0, -1]
        places.keep(i, pose, tensors[f"{i:02}.picture"][None])
    meta = {"policy": policy, "prompt": said["prompt"], "actions": [list(keys) for keys in AWAY_ACTIONS], "seed": SEED}
    about = {"description": "streaming with memory by place", "meta": json.dumps(meta | {"precision": PRECISION})}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=about)


def picture_of(path, size):
    """u8 (H, W, 3)."""
    picture = torch.frombuffer(bytearray(Image.open(path).convert("RGB").tobytes()), dtype=torch.uint8)
    return picture.view(size[1], size[0], 3)


def record_walk(model, pictures, path):
    about = json.loads((pictures / "prompts.json").read_text())
    (name, first), (_, second) = list(about.items())[0], list(about.items())[-1]
    policy, size = model.policy, model.policy["size"]
    picture = picture_of(pictures / name, size)
    condition = condition_on(model.vae, from_bytes(picture[None, None])[:, :, 0], policy["condition_frames"])
    contexts = [model.context([about["prompt"]]) for about in (first, second)]
    tensors = {"image": picture, "condition": condition}
    for after, context, said in (("", contexts[0], first), ("_after_switch", contexts[1], second)):
        tensors[f"context{after}"] = context
        tensors[f"token_ids{after}"] = token_ids(model.tokenizer, [said["prompt"]], policy["text_len"]).int()

    steps = motion(poses_of(policy["camera"], ACTIONS))
    camera = rays(steps, intrinsics(size, policy["camera"]["fov_x_deg"]), size, policy["camera"], model.grid)
    stream, decoder = Stream(model.dit, policy, condition, contexts[0], SeededNoise([SEED])), Decoder(model.vae)
    for i in range(len(ACTIONS)):
        if i == SWITCH:
            stream.context = contexts[1]
        latents, (noise, again) = stream.next(camera[i : i + 1])
        tensors[f"{i:02}.noise"] = noise
        tensors[f"{i:02}.step_noise"] = torch.stack(again) if again else torch.zeros(0)
        tensors[f"{i:02}.x0"] = latents.unsqueeze(2)
        tensors[f"{i:02}.frames"] = decoder.next(latents)[0]
        # Half the size of the file. It follows from the keys; it is recorded so that a wrong camera shows.
        if i in (0, 5):
            tensors[f"{i:02}.cam"] = unfold(camera[i : i + 1], size, model.grid)[None]
    meta = {
        "policy": policy,
        "prompt": first["prompt"],
        "actions": [list(keys) for keys in ACTIONS],
        "seed": SEED,
        "schedule": [{"t": t, "sigma": sigma} for t, sigma in schedule(policy)],
        "switch": {"frame": SWITCH, "prompt": second["prompt"]},
        "precision": PRECISION,
    }
    about = "streaming rollout, one latent frame per chunk (NN = chunk)"
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, path, metadata={"description": about, "meta": json.dumps(meta)})
