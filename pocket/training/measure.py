"""Measures used by the evaluation: likeness, turns seen in pictures, a classifier of places and times, statistics.

A turn is measured without the renderer: two frames are compared under every rotation of a lens, and the best one wins.
That sees far things only and reads a little low on pictures of near ones, so the same is measured on true clips too.
"""

import random

import torch
import torch.nn.functional as F
from torch import nn

from .camera import about_x, about_y, directions


def psnr(found, true):
    """u8 (..., H, W, 3) each -> dB (...)."""
    error = ((found.float() - true.float()) / 255).pow(2).mean((-1, -2, -3))
    return -10 * error.clamp_min(1e-6).log10()


def turn(before, after, lens, axis, most_deg):
    """Degrees by which the camera turned right (`yaw`) or up (`pitch`) between two u8 pictures (H, W, 3)."""
    height, width, _ = before.shape
    angles = torch.linspace(-most_deg, most_deg, 81)
    about = {"yaw": about_y, "pitch": about_x}[axis]
    matrices = torch.stack([about(float(angle)) for angle in angles])
    rays = torch.einsum("aij,yxj->ayxi", matrices, directions(lens, (width, height)))
    fx, fy, cx, cy = lens
    x = (rays[..., 0] / rays[..., 2].clamp_min(0.1) * fx + cx) / width * 2 - 1
    y = (rays[..., 1] / rays[..., 2].clamp_min(0.1) * fy + cy) / height * 2 - 1
    grid = torch.stack([x, y], -1).float()
    picture, expected = (p.permute(2, 0, 1).float() for p in (before, after))
    seen = F.grid_sample(picture.expand(len(angles), -1, -1, -1), grid, align_corners=False)
    inside = ((grid.abs() < 1).all(-1) & (rays[..., 2] > 0.1)).unsqueeze(1)
    error = ((seen - expected).abs() * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp_min(1) / 3
    return float(angles[error.argmin()])


class Classifier(nn.Module):
    """Names the landscape, the time of day, the weather of a picture. Trained on rendered ones, used on generated ones."""

    def __init__(self, names):
        super().__init__()
        self.names = names
        widths = (3, 32, 64, 96, 128)
        layers = []
        for inputs, outputs in zip(widths, widths[1:]):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.GroupNorm(8, outputs), nn.SiLU()]
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({kind: nn.Linear(widths[-1], len(found)) for kind, found in names.items()})

    def forward(self, frames):
        """u8 (B, H, W, 3)."""
        x = self.body(frames.permute(0, 3, 1, 2).float() / 127.5 - 1).mean((2, 3))
        return {kind: head(x) for kind, head in self.heads.items()}


def trained_classifier(found, kinds, steps, device, seed):
    """On single frames of clips, with a little blur and noise: generated pictures are softer than rendered ones."""
    torch.manual_seed(seed)
    draw = random.Random(seed)
    names = {kind: sorted({scene[kind] for clip in found for scene in clip.scenes}) for kind in kinds}
    model = Classifier(names).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(steps):
        frames, scenes = sample(found, 32, draw)
        frames = frames.to(device)
        if draw.random() < 0.5:
            soft = F.avg_pool2d(frames.permute(0, 3, 1, 2).float(), 3, 1, 1).permute(0, 2, 3, 1)
            frames = (soft + 4 * torch.randn_like(soft)).clamp(0, 255)
        scores = model(frames)
        loss = sum(
            F.cross_entropy(
                scores[kind], torch.tensor([names[kind].index(scene[kind]) for scene in scenes], device=device)
            )
            for kind in names
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


def sample(found, count, draw):
    """Random frames of clips, and the scenes they show."""
    frames, scenes = [], []
    for _ in range(count):
        clip = draw.choice(found)
        at = draw.randrange(clip.shape[0])
        frames.append(clip.frames(at, at + 1)[0])
        scenes.append(clip.scene_at(at))
    return torch.stack(frames), scenes
