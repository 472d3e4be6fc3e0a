"""The stages `export` and `record`: a folder that Causeway serves with its first frames, and walks to hold the server to.

Recordings are made from the f16 files as they were written, with the server's own random numbers. Every tensor on the
way is in them, so where the two disagree can be seen, not only that they do.
"""

import json

import torch
from PIL import Image
from safetensors.torch import save_file

from . import clips, data, memory, refine
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
# To the right and back, a little past the beginning, on and back again: whole views of the window, and a part of one that is older.
AWAY_ACTIONS = ["", *["l"] * 5, *["j"] * 6, "w", "s", ""]
PRECISION = "f32, weights read from the f16 files"


def run(config, folder):
    words = tokenizer(folder)
    model = refine.trained(config, words, folder)
    out = folder / "weights"
    Checkpoint(config.policy, model.dit, trained_vae(config, folder), model.text, words).save(out)
    if config.presets:
        write_json(out / "presets.json", config.presets)
    if config.data.source == "renderer":
        data.Renderer(config).gallery(out / "first_frames")
    else:
        first_frames(clips.folder(folder / "clips/held_out"), out / "first_frames")
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(f"{out}: {size / 1e6:.1f} MB")


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
    """A walk that comes back to where it began: of every latent frame the last picture, which is what is kept."""
    (name, said), *_ = json.loads((pictures / "prompts.json").read_text()).items()
    picture = picture_of(pictures / name, model.policy["size"])
    walk = Recorder(model, picture, AWAY_ACTIONS, model.context([said["prompt"]]))
    tensors = {"image": picture, "poses": walk.poses}
    for i in range(len(AWAY_ACTIONS)):
        made = walk.next(i)
        tensors |= made | {f"{i:02}.frames": made[f"{i:02}.frames"][-1:]}
    meta = {"policy": model.policy, "prompt": said["prompt"], "actions": [list(keys) for keys in AWAY_ACTIONS], "seed": SEED}
    about = {"description": "streaming with memory by place", "meta": json.dumps(meta | {"precision": PRECISION})}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=about)


class Recorder:
    """A walk from a picture, frame by frame with all that it is drawn from."""

    def __init__(self, model, picture, actions, context):
        self.model, policy, size = model, model.policy, model.policy["size"]
        lens = intrinsics(size, policy["camera"]["fov_x_deg"])
        self.condition = condition_on(model.vae, from_bytes(picture[None, None])[:, :, 0], policy["condition_frames"])
        self.poses = poses_of(policy["camera"], actions)
        self.camera = rays(motion(self.poses), lens, size, policy["camera"], model.grid)
        self.stream = Stream(model.dit, policy, self.condition, context, SeededNoise([SEED]))
        self.decoder, self.places = Decoder(model.vae), memory.places(policy, lens)

    def say(self, context):
        self.stream.context = context
        self.places.forget()

    def next(self, i):
        """Where something is remembered, `NN.remembered` (H, W, 3) is that as a picture, `NN.known` (H, W) its mask, and `NN.memory`
        (z + 1, h, w) latents and mask as the transformer is told."""
        view, remembered, made = self.places.view(i, self.poses[i]), None, {}
        if view:
            remembered = memory.encoded(self.model.vae, view)
            made = {"remembered": view.picture[0], "known": view.known.byte(), "memory": remembered[0]}
        latents, (noise, again) = self.stream.next(self.camera[i : i + 1], remembered)
        made |= {"noise": noise, "step_noise": torch.stack(again) if again else torch.zeros(0), "x0": latents.unsqueeze(2)}
        made["frames"] = self.decoder.next(latents)[0]
        self.places.keep(i, self.poses[i], made["frames"][None, -1])
        return {f"{i:02}.{name}": tensor for name, tensor in made.items()}


def picture_of(path, size):
    """u8 (H, W, 3)."""
    picture = torch.frombuffer(bytearray(Image.open(path).convert("RGB").tobytes()), dtype=torch.uint8)
    return picture.view(size[1], size[0], 3)


def record_walk(model, pictures, path):
    about = json.loads((pictures / "prompts.json").read_text())
    (name, first), (_, second) = list(about.items())[0], list(about.items())[-1]
    policy, size = model.policy, model.policy["size"]
    picture = picture_of(pictures / name, size)
    contexts = [model.context([about["prompt"]]) for about in (first, second)]
    walk = Recorder(model, picture, ACTIONS, contexts[0])
    tensors = {"image": picture, "condition": walk.condition}
    for after, context, said in (("", contexts[0], first), ("_after_switch", contexts[1], second)):
        tensors[f"context{after}"] = context
        tensors[f"token_ids{after}"] = token_ids(model.tokenizer, [said["prompt"]], policy["text_len"]).int()
    for i in range(len(ACTIONS)):
        if i == SWITCH:
            walk.say(contexts[1])
        tensors |= walk.next(i)
        # Half the size of the file. It follows from the keys; it is recorded so that a wrong camera shows.
        if i in (0, 5):
            tensors[f"{i:02}.cam"] = unfold(walk.camera[i : i + 1], size, model.grid)[None]
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
