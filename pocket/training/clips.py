"""Clips on disk: one safetensors file each, as the renderer writes them.

Tensors: `frames` u8 (T, H, W, 3), `poses` f64 (T, 4, 4) world from camera, `intrinsics` f64 (4,) fx fy cx cy in pixels.
The header's `clip` is JSON: `prompts`, a list of `{"frame": first frame it holds for, "text": ...}`, `keys`, what was held
in each latent frame, and the labels `biome`, `time`, `weather` of each prompt. Only the frames asked for are read.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

LABELS = ("biome", "time", "weather")


@dataclass
class Clip:
    path: Path
    poses: torch.Tensor
    intrinsics: torch.Tensor
    shape: tuple
    prompts: list
    keys: list

    @classmethod
    def open(cls, path):
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["clip"])
            shape = tuple(file.get_slice("frames").get_shape())
            poses, lens = file.get_tensor("poses"), file.get_tensor("intrinsics")
        if poses.shape != (shape[0], 4, 4) or lens.shape != (4,):
            raise ValueError(f"{path}: {shape[0]} frames, but poses {tuple(poses.shape)}, intrinsics {tuple(lens.shape)}")
        if not about["prompts"] or about["prompts"][0]["frame"] != 0:
            raise ValueError(f"{path}: the first prompt must hold from frame 0")
        return cls(path, poses, lens, shape, about["prompts"], about["keys"])

    def frames(self, start=0, stop=None, top=0, left=0, size=None):
        """u8 (T, H, W, 3), or a window of `size` (width, height) of it."""
        width, height = size or (self.shape[2], self.shape[1])
        with safe_open(self.path, "pt") as file:
            return file.get_slice("frames")[start:stop, top : top + height, left : left + width]

    @property
    def latent_poses(self):
        """(F, 4, 4): where the camera is at the last video frame of each latent frame."""
        return self.poses[::4]

    def prompt_of_latent(self):
        """(F,): which of the prompts holds. One changes between two latent frames, never within."""
        starts = torch.tensor([prompt["frame"] for prompt in self.prompts])
        last = torch.arange(0, self.shape[0], 4)
        return torch.searchsorted(starts, last, right=True) - 1


def write(path, frames, poses, intrinsics, prompts, keys):
    """Whole or not at all: a run that was stopped leaves no half clip behind."""
    path = Path(path)
    unfinished = path.with_suffix(".part")
    save_file(
        {"frames": frames.contiguous(), "poses": poses.contiguous(), "intrinsics": intrinsics},
        unfinished,
        metadata={"clip": json.dumps({"prompts": prompts, "keys": keys})},
    )
    unfinished.rename(path)


def folder(path):
    """Every clip of a folder, in order."""
    found = [Clip.open(file) for file in sorted(Path(path).glob("*.safetensors"))]
    if not found:
        raise ValueError(f"{path} has no clips: run the stage `data` first")
    sizes = {clip.shape for clip in found}
    if len(sizes) > 1:
        raise ValueError(f"{path}: clips of different shapes: {sorted(sizes)}")
    return found
