"""What a step of `dit` is shown: clips, or parts of them, and single pictures.

Clips begin as sessions do, mostly; some are a session's middle, some go on as another clip, some have only a prompt to
begin with, or only a picture.
"""

import random
from dataclasses import dataclass

import torch

from . import text
from .camera import intrinsics, rays

GREY = 5


@dataclass
class Batch:
    """Clips, or the later part of clips, on the training device. camera (B, n, S, rays) or None. `pinned`: where it is the
    later part, how many frames of the session's beginning stand before it: those that a sink holds."""

    clean: torch.Tensor
    condition: torch.Tensor
    camera: torch.Tensor | None
    ids: torch.Tensor
    prompt_of_frame: torch.Tensor
    positions: torch.Tensor
    starts: bool
    pinned: int = 0


class Batches:
    """Draws from the clips. A session's beginning mostly; now and then its middle, where no picture is given."""

    def __init__(self, latents, config):
        self.latents, self.config = latents, config

    def draw(self, step, count):
        settings, draw = self.config.dit, random.Random(self.config.seed * 1_000_003 + step)
        total, clips = self.latents.clean.shape[2], len(self.latents.clean)
        starts = draw.random() >= settings.middle
        frames = min(settings.frames, total)
        start = 0 if starts else draw.randrange(1, max(2, total - frames + 1))
        offset = 0 if starts else draw.randrange(settings.rope_offset + 1)
        rows, frames = [draw.randrange(clips) for _ in range(count)], min(frames, total - start)
        # The latents of a picture do not depend on earlier pictures, so any clip can continue as any other.
        splices = {
            row: (draw.randrange(clips), draw.randrange(1, frames)) for row in range(count) if draw.random() < settings.spliced
        }
        made = self.take(rows, start, offset, frames, splices)
        begins = starts or made.pinned > 0
        if draw.random() < settings.camera_none:
            made.camera = None
        for row in range(count):
            if begins and draw.random() < settings.text_only:
                made.condition[row] = 0
            elif draw.random() < settings.text_dropout:
                made.ids[row] = text.PAD
        made.ids = text.as_people_write(made.ids, settings)
        return made

    def pictures(self, step, count):
        """Sessions of one frame that begin with a prompt alone."""
        of, device, policy = self.latents, self.config.device, self.config.policy
        draw = random.Random(self.config.seed * 1_000_033 + step)
        rows = [draw.randrange(len(of.pictures)) for _ in range(count)]
        clean, ids = of.pictures[rows].to(device).float(), of.picture_ids[rows].to(device)
        ids[[row for row in range(count) if draw.random() < self.config.dit.text_dropout]] = text.PAD
        # Clips may differ in their lenses; single pictures have the server's.
        lens = intrinsics(policy["size"], policy["camera"]["fov_x_deg"]).expand(count, -1)
        still = torch.eye(4).expand(count, 1, 4, 4)
        none = torch.zeros(count, 1, dtype=torch.long, device=device)
        condition = clean.new_zeros(count, 4 + clean.shape[1], *clean.shape[2:])
        ids = text.as_people_write(ids, self.config.dit)
        return Batch(clean, condition, self._rays(still, lens), ids, none, none[0], True)

    def take(self, rows, start, offset, frames, splices=None):
        """Frames `start..` of these clips, as if `offset` frames further into the session. `splices`: for a place in the
        batch, the clip it goes on as and the frame from which on."""
        of, device = self.latents, self.config.device
        stop = start + frames
        # A sink holds the session's first frames: a clip's later part comes after them.
        pinned = min(self.config.policy["sink"], start)
        at = torch.cat([torch.arange(pinned), torch.arange(start, stop)])
        clean, steps, prompts = of.clean[rows][:, :, at], of.steps[rows][:, at], of.prompt_of_frame[rows][:, at]
        ids, kinds = of.ids[rows], of.ids.shape[1]
        if splices:
            ids = torch.cat([ids, ids], 1)
        for row, (other, cut) in (splices or {}).items():
            since = at[pinned + cut :]
            clean[row, :, pinned + cut :] = of.clean[other][:, since]
            steps[row, pinned + cut :] = of.steps[other, since]
            prompts[row, pinned + cut :] = kinds + of.prompt_of_frame[other, since]
            ids[row, kinds:] = of.ids[other]
        clean = clean.to(device).float()
        positions = torch.where(at < pinned, at, at + offset).to(device)
        condition = clean.new_zeros(len(rows), 4 + clean.shape[1], *clean.shape[2:])
        condition[:, 4:] = of.condition[rows].to(device).float()[:, :, positions.clamp(max=GREY)]
        if start == 0 or pinned:
            condition[:, :4, 0] = 1
        camera = self._rays(steps, of.lens[rows])
        return Batch(clean, condition, camera, ids.to(device), prompts.to(device), positions, start == 0, pinned)

    def _rays(self, steps, lens):
        device, policy = self.config.device, self.config.policy
        with torch.autocast(device, enabled=False):
            return rays(steps.to(device), lens.to(device), policy["size"], policy["camera"], self.config.grid)
