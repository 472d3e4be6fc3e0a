"""Walks through the world that is evaluated: drawn by the streaming sampler from the f16 files, any number side by side."""

import copy

import torch

from .. import memory
from ..camera import Camera, intrinsics, motion, rays
from ..sampler import Decoder, SeededNoise, Stream, condition_on, from_bytes
from ..vae import Memory

FIRST = torch.eye(4, dtype=torch.float64)


class Subject:
    def __init__(self, model, device):
        self.model, self.policy, self.device = model, model.policy, device
        self.lens = intrinsics(self.policy["size"], self.policy["camera"]["fov_x_deg"])

    @torch.no_grad()
    def begin(self, pictures, prompts, seeds):
        """One session a picture (u8, B, H, W, 3), or a prompt where there are none."""
        if pictures is None:
            width, height = (side // self.model.grid.pixels for side in self.policy["size"])
            condition = torch.zeros(len(prompts), 4 + self.model.dit.outputs, 1, height, width, device=self.device)
        else:
            shown = from_bytes(pictures[:, None].to(self.device))[:, :, 0]
            condition = condition_on(self.model.vae, shown, self.policy["condition_frames"])
        return Walk(self, condition, prompts, seeds)

    @torch.no_grad()
    def through_autoencoder(self, clip):
        """u8 (T, H, W, 3), T = 1 + 4n, as the autoencoder gives it back."""
        latents = self.model.vae.normalised(self.model.vae.sees(from_bytes(clip[None].to(self.device))))
        decoder = Decoder(self.model.vae)
        return torch.cat([decoder.next(latents[:, :, i]) for i in range(latents.shape[2])], 1)[0].cpu()


class Walk:
    """Sessions that hold the same keys."""

    def __init__(self, subject, condition, prompts, seeds):
        self.subject, self.camera, self.pose = subject, Camera(subject.policy["camera"]), FIRST
        self.stream = Stream(subject.model.dit, subject.policy, condition, None, SeededNoise(seeds))
        self.decoder, self.places = Decoder(subject.model.vae), memory.places(subject.policy, subject.lens)
        self.say(prompts)

    def say(self, prompts):
        """From here on. Of the world before nothing is remembered."""
        self.stream.context = self.subject.model.context(prompts)
        self.places.forget()

    def step(self, keys):
        """Hold `keys` for a latent frame -> u8 (B, 1 or 4, H, W, 3)."""
        of = self.subject
        # Keys that are held in the first frame move nothing: it has no frame before it.
        pose = self.camera.step(keys) if self.stream.frame else FIRST
        seen = motion(torch.stack([self.pose, pose]))[1:]
        self.pose = pose
        camera = rays(seen, of.lens, of.policy["size"], of.policy["camera"], of.model.grid)
        return self.shown(camera.expand(len(self.stream.context), -1, -1), pose)

    def shown(self, camera, pose=None):
        """The next latent frame under these rays (B, S, rays), keys or no keys -> u8 (B, 1 or 4, H, W, 3). `pose`: the camera's;
        without it nothing is remembered."""
        of, frame, remembered = self.subject, self.stream.frame, None
        if pose is not None and (view := self.places.view(frame, pose)):
            remembered = memory.encoded(of.model.vae, view)
        latents, _ = self.stream.next(camera.to(of.device), remembered)
        frames = self.decoder.next(latents).cpu()
        if pose is not None:
            self.places.keep(frame, pose, frames[:, -1])
        return frames

    def go(self, keys):
        """One set of keys a latent frame -> u8 (B, T, H, W, 3)."""
        return torch.cat([self.step(held) for held in keys], 1)

    def fork(self):
        """Another walk that goes on from here."""
        other = copy.copy(self)
        other.camera, other.stream, other.decoder = copy.deepcopy(self.camera), copy.copy(self.stream), copy.copy(self.decoder)
        other.stream.noise = copy.deepcopy(self.stream.noise)
        other.stream.window = copy.copy(self.stream.window)
        other.stream.window.past = [list(frames) for frames in self.stream.window.past]
        other.decoder.memory = Memory(self.decoder.memory)
        other.places = copy.copy(self.places)
        other.places.kept = list(self.places.kept)
        return other


def script(text):
    """`w*12,wl*3,*4` -> one set of keys a latent frame."""
    held = []
    for part in text.split(","):
        keys, _, count = part.partition("*")
        held += [keys] * int(count or 1)
    return held


def script_of(seconds):
    """A walk that mostly goes ahead, turns a little, and stands still for a moment."""
    keys = script("w*24,wl*6,w*24,wj*6,w*20,*4,l*9,w*24,wj*6,w*20,j*9,w*8")
    latents = 4 * seconds
    return [""] + (keys * (latents // len(keys) + 1))[:latents]
