"""Memory by place: pictures that were drawn are kept with their cameras, and shown again where the camera comes back to.

A kept picture is warped into the new view: what is above the horizon is taken to be at infinity, what is below it to lie on level
ground. So a turn on the spot is exact, and after a step only what stands up is out of place. What comes of it stands in the
condition of the frame that is drawn, where a session's first picture stands: a transformer that begins with a picture copies it,
and needs no training to remember.

The server computes the same, so every rule that could end in a tie is in whole numbers.

Poses are camera to world, (4, 4) in f64, and axes OpenCV's: x right, y down, z forward.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

# A score is compared in millionths.
SCORES = 1e6


@dataclass
class Kept:
    """A picture (B, H, W, 3) in u8 of latent frame `frame`, and its camera."""

    frame: int
    pose: torch.Tensor
    picture: torch.Tensor


@dataclass
class View:
    """What kept pictures show of a view. picture (B, H, W, 3): f32, 0 to 255, and 0 where nothing is known; known (H, W)."""

    picture: torch.Tensor
    known: torch.Tensor


def places(policy, lens):
    """For causeway.json as a whole. Without a table `memory` nothing is ever kept."""
    return Places(policy.get("memory"), lens, policy["window"])


class Places:
    """The pictures that a session keeps. `policy` is the table `memory` of causeway.json, or None."""

    def __init__(self, policy, lens, window):
        self.policy, self.lens, self.window = policy, lens, window
        self.kept = []

    def forget(self):
        """The world is another."""
        self.kept = []

    def keep(self, frame, pose, picture):
        """Unless one is kept of nearly the same view: what was drawn first stays, so that a place does not drift when it is seen
        again. Where there is no room, the picture farthest away goes."""
        if self.policy is None:
            return
        near = (apart(kept.pose, pose) for kept in self.kept)
        if any(d < self.policy["apart_metres"] and a < self.policy["apart_degrees"] for d, a in near):
            return
        self.kept.append(Kept(frame, pose, picture))
        if len(self.kept) > self.policy["frames"]:
            # The oldest of those that are equally far.
            far = max(range(len(self.kept)), key=lambda i: (round(SCORES * apart(self.kept[i].pose, pose)[0]), -i))
            self.kept.pop(far)

    def view(self, frame, pose):
        """What is known of the view that latent frame `frame` will have, or None. Pictures that are still in the window are shown
        only where those near by show all of it: of a view that is partly new the window knows as much, and draws it better."""
        view = self._of(self.kept, pose)
        if view is None or view.known.all():
            return view
        return self._of([kept for kept in self.kept if kept.frame <= frame - self.window], pose)

    def _of(self, kept, pose):
        best = nearest([one.pose for one in kept], pose, self.policy, self.lens) if kept else []
        if not best:
            return None
        pictures, poses = torch.stack([kept[i].picture for i in best]), torch.stack([kept[i].pose for i in best])
        view = warped(pictures, poses, pose, self.lens, self.policy["eye_height"])
        return view if view.known.any() else None


def apart(one, other):
    """Metres between two cameras, and degrees between their axes."""
    metres = float((one[:3, 3] - other[:3, 3]).norm())
    cosine = float(one[:3, 2] @ other[:3, 2])
    return metres, math.degrees(math.acos(min(1.0, max(-1.0, cosine))))


def nearest(poses, pose, policy, lens):
    """Which of these cameras see part of what `pose` sees: the nearest `seen`, nearest first, and the older of two alike. A turn
    is exact, a step is not: an angle as wide as a picture counts as an eighth of `reach_metres`."""
    wide = math.degrees(2 * math.atan(float(lens[2] / lens[0])))
    found = []
    for i, other in enumerate(poses):
        metres, degrees = apart(other, pose)
        if metres <= policy["reach_metres"] and degrees < wide:
            found.append((round(SCORES * (metres / policy["reach_metres"] + degrees / wide / 8)), i))
    return [i for _, i in sorted(found)[: policy["seen"]]]


def warped(pictures, poses, pose, lens, eye_height):
    """pictures (K, B, H, W, 3) in u8 from cameras `poses` (K, 4, 4), as the camera `pose` (4, 4) would see them. Of the
    pictures that show a pixel the first is taken."""
    _, batch, height, width, _ = pictures.shape
    picture, known = torch.zeros(batch, height, width, 3), torch.zeros(height, width, dtype=torch.bool)
    for shown, other in zip(pictures, poses):
        u, v, inside = seen_from(other, pose, lens, (width, height), eye_height)
        picture = torch.where((inside & ~known).unsqueeze(-1), bilinear(shown, u, v), picture)
        known |= inside
    return View(picture, known)


def seen_from(other, pose, lens, size, eye_height):
    """Where each pixel of `pose` is in the picture of `other`: u and v (H, W) in f64, in pixels with the first one's middle
    at 0, and whether that is inside the picture."""
    width, height = size
    fx, fy, cx, cy = lens.tolist()
    x, y = (torch.arange(0.5, side, dtype=torch.float64) for side in size)
    across, down = torch.meshgrid((x - cx) / fx, (y - cy) / fy, indexing="xy")
    through = torch.stack([across, down, torch.ones_like(across)], -1)
    ray = through @ pose[:3, :3].T
    # A ray meets the ground after eye_height / ray.y of its length, and what is seen through it is there. Divided by that
    # length it is a direction for every ray: one that meets no ground only turns.
    ground = ray[..., 1:2].clamp_min(0) / eye_height
    q = (ray + (pose[:3, 3] - other[:3, 3]) * ground) @ other[:3, :3]
    ahead = q[..., 2] > 1e-6
    z = torch.where(ahead, q[..., 2], torch.ones_like(q[..., 2]))
    u, v = q[..., 0] / z * fx + cx - 0.5, q[..., 1] / z * fy + cy - 0.5
    inside = ahead & (u >= -0.5) & (u <= width - 0.5) & (v >= -0.5) & (v <= height - 0.5)
    return u, v, inside


def bilinear(picture, u, v):
    """u8 (B, H, W, 3) at these places (H, W) -> f32. Beyond the middle of an edge's pixel it is that pixel."""
    height, width = picture.shape[1:3]
    u, v = u.clamp(0, width - 1), v.clamp(0, height - 1)
    left, top = u.floor().long(), v.floor().long()
    right, bottom = (left + 1).clamp_max(width - 1), (top + 1).clamp_max(height - 1)
    x, y = ((at - whole).float().unsqueeze(-1) for at, whole in ((u, left), (v, top)))
    a, b, c, d = (picture[:, row, column].float() for row in (top, bottom) for column in (left, right))
    upper, lower = a + (b - a) * x, c + (d - c) * x
    return upper + (lower - upper) * y


def shown(view):
    """The picture for the autoencoder, (B, 3, 1, H, W) in -1..1, and grey where nothing is known."""
    picture = (view.picture / 127.5 - 1) * view.known.unsqueeze(-1)
    return picture.permute(0, 3, 1, 2).unsqueeze(2)


@torch.no_grad()
def encoded(vae, view):
    """(B, z + 1, h, w): latents as far as their pixels are known, and what share of them is."""
    picture = shown(view).to(next(vae.parameters()).device)
    latents = vae.normalised(vae.sees(picture).float())[:, :, 0]
    known = F.avg_pool2d(view.known.float()[None, None].to(picture.device), picture.shape[-1] // latents.shape[-1])
    return torch.cat([latents * known, known.expand(len(latents), -1, -1, -1)], 1)


def told(condition, remembered, patch):
    """A frame's condition (B, 4 + z, h, w), a mask four times and a picture's latents, with what is remembered of its view
    (B, z + 1, h, w) in the tokens all of whose pixels are known."""
    latents, known = remembered[:, :-1], remembered[:, -1:]
    unsure = F.interpolate(F.max_pool2d((known < 1).float(), patch), scale_factor=patch)
    sure = 1 - unsure
    return torch.cat([torch.maximum(condition[:, :4], sure), sure * latents + unsure * condition[:, 4:]], 1)
