"""Clips on disk: one safetensors file each, as the renderer writes them.

A clip's camera follows the ground, and a player's does not: nobody tells the server how high the ground is. So heights
are left out of the poses that the model is told of, and it has to see for itself where the path leads up.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

KEYS = "wasdijkl"
LABELS = ("biome", "time", "weather")
UP = 2


@dataclass
class Clip:
    """`scenes`: for each prompt its `prompt`, `from_latent` and labels. scene_of_latent (F,): which of them holds."""

    path: Path
    shape: tuple
    poses: torch.Tensor
    intrinsics: torch.Tensor
    keys: torch.Tensor
    scene_of_latent: torch.Tensor
    scenes: list

    @classmethod
    def open(cls, path):
        with safe_open(path, "pt") as file:
            scenes = json.loads(file.metadata()["clip"])["scenes"]
            shape = tuple(file.get_slice("frames").get_shape())
            named = {name: file.get_tensor(name) for name in ("poses", "intrinsics", "keys", "scene")}
        latents = (shape[0] - 1) // 4 + 1
        expected = {"poses": (shape[0], 4, 4), "intrinsics": (4,), "keys": (latents, len(KEYS)), "scene": (latents,)}
        for name, tensor in named.items():
            if tuple(tensor.shape) != expected[name]:
                raise ValueError(f"{path}: {name} is {tuple(tensor.shape)}, expected {expected[name]}")
        scene = named["scene"].long()
        if scene.max() >= len(scenes):
            raise ValueError(f"{path}: a latent frame is of scene {scene.max()}, but there are {len(scenes)}")
        return cls(path, shape, named["poses"], named["intrinsics"], named["keys"], scene, scenes)

    def frames(self, start=0, stop=None, top=0, left=0, size=None):
        """u8 (T, H, W, 3), or a window of `size` (width, height) of it. Reads only these frames."""
        width, height = size or (self.shape[2], self.shape[1])
        with safe_open(self.path, "pt") as file:
            return file.get_slice("frames")[start:stop, top : top + height, left : left + width]

    def scene_at(self, frame):
        return self.scenes[int(self.scene_of_latent[(frame + 3) // 4])]

    @property
    def latent_poses(self):
        """(F, 4, 4): the camera at the last video frame of each latent frame, at one height throughout."""
        poses = self.poses[::4].clone()
        poses[:, UP, 3] = poses[0, UP, 3]
        return poses


def write(path, seed, frames, poses, intrinsics, keys, scenes):
    """`keys`: a string for each latent frame. The file appears when it is complete: a stopped run leaves no half clip."""
    path = Path(path)
    starts = [scene["from_latent"] for scene in scenes]
    tensors = {
        "frames": frames.contiguous(),
        "poses": poses.contiguous(),
        "intrinsics": intrinsics,
        "keys": torch.tensor([[key in held for key in KEYS] for held in keys], dtype=torch.uint8),
        "scene": torch.tensor(
            [sum(start <= latent for start in starts) - 1 for latent in range(len(keys))], dtype=torch.uint8
        ),
    }
    unfinished = path.with_suffix(".part")
    save_file(tensors, unfinished, metadata={"clip": json.dumps({"seed": seed, "fps": 16, "scenes": scenes})})
    unfinished.rename(path)


def name(seed):
    return f"clip-{seed:08}.safetensors"


def folder(path):
    """Every clip of a folder, in order."""
    found = [Clip.open(file) for file in sorted(Path(path).glob("clip-*.safetensors"))]
    if not found:
        raise ValueError(f"{path} has no clips: run the stage `data` first")
    sizes = {clip.shape for clip in found}
    if len(sizes) > 1:
        raise ValueError(f"{path}: clips of different shapes: {sorted(sizes)}")
    return found
