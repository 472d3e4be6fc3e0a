"""Camera poses and held keys become the rays that steer the transformer, as in the server's camera.

Only motion since the latent frame before is ever seen, so the first frame of a session has none. Rays are the
*difference* a rotation makes to a pixel's direction: as plain directions a turn hides, because a turned ray looks like
the unturned ray of a neighbouring pixel and the transformer has no absolute position to tell them apart by.
"""

import math
from dataclasses import dataclass

import torch

CELL = 8
PITCH_MAX_DEG = 85.0


@dataclass
class Grid:
    """`pixels`: across and down a latent; `patch`: latents across and down a token."""

    pixels: int
    patch: int

    @classmethod
    def of(cls, vae, dit):
        """From vae/config.json and transformer/config.json."""
        return cls(vae["scale_factor_spatial"], dit["patch_size"][1])

    def rays(self, size, lens):
        """The picture's size and lens in rays. There are 8x8 of them a latent, as in LingBot World, however many pixels a
        latent has: neighbours say nearly the same."""
        width, height = size
        return (width * CELL // self.pixels, height * CELL // self.pixels), lens * (CELL / self.pixels)


class Camera:
    """Held keys to poses. Axes are OpenCV's: x right, y down, z forward."""

    def __init__(self, policy):
        self.policy = policy
        self.rotation, self.position, self.pitch = (
            torch.eye(3, dtype=torch.float64),
            torch.zeros(3, dtype=torch.float64),
            0.0,
        )

    def step(self, keys):
        """Hold `keys` for one latent frame -> the pose after it, (4, 4) f64."""
        policy = self.policy

        def balance(plus, minus):
            return (plus in keys) - (minus in keys)

        pitch = policy["pitch_deg_per_latent"] * balance("i", "k")
        if abs(self.pitch + pitch) > PITCH_MAX_DEG:
            pitch = 0.0
        self.pitch += pitch
        turn = about_y(policy["yaw_deg_per_latent"] * balance("l", "j"))
        self.rotation = turn @ self.rotation @ about_x(pitch)
        forward, right = level(self.rotation[:, 2]), level(self.rotation[:, 0])
        self.position = self.position + policy["move_per_latent"] * (
            forward * balance("w", "s") + right * balance("d", "a")
        )
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3], pose[:3, 3] = self.rotation, self.position
        return pose


def about_x(degrees):
    """Positive looks up."""
    sin, cos = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return torch.tensor([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], dtype=torch.float64)


def about_y(degrees):
    """Positive turns right."""
    sin, cos = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return torch.tensor([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], dtype=torch.float64)


def level(direction):
    flat = direction * torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    return flat / (flat.norm() + 1e-6)


def poses_of(policy, keys):
    """One set of keys a latent frame -> (F, 4, 4)."""
    camera = Camera(policy)
    return torch.stack([camera.step(held) for held in keys])


def motion(poses):
    """Poses (..., F, 4, 4) -> each seen from the one before; the first has none before it."""
    steps = torch.linalg.inv(poses[..., :-1, :, :]) @ poses[..., 1:, :, :]
    # A camera at rest must be exactly so: zero rays are what idle means.
    still = torch.eye(4, dtype=poses.dtype, device=poses.device)
    steps = torch.where((steps - still).abs().amax((-1, -2), keepdim=True) < 1e-9, still, steps)
    return torch.cat([still.expand_as(poses[..., :1, :, :]), steps], -3)


def mirrored(steps):
    """Motions (..., 4, 4) as they look in a mirror: left is right."""
    swap = torch.diag(torch.tensor([-1, 1, 1, 1], dtype=steps.dtype, device=steps.device))
    return swap @ steps @ swap


def intrinsics(size, fov_x_deg):
    """fx, fy, cx, cy of a centred lens with square pixels."""
    width, height = size
    focal = width / 2 / math.tan(math.radians(fov_x_deg) / 2)
    return torch.tensor([focal, focal, width / 2, height / 2], dtype=torch.float64)


def rays(steps, lens, size, policy, grid):
    """Motions (..., F, 4, 4) and lenses (..., 4) for pictures of `size` -> patches (..., F, S, 384 patch²) in f32.

    Six components a ray (where the camera went, how the ray's direction turned), folded by 8x8 into the channels of a
    latent and by the patch into those of a token. The differences are f64, the sums after them f32.
    """
    size, lens = grid.rays(size, lens)
    width, height = size
    origin = (steps[..., :3, 3] / policy["translation_scale"]).float()
    matrix = steps[..., :3, :3]
    if policy["rays"] == "delta":
        matrix = (matrix - torch.eye(3, dtype=matrix.dtype, device=matrix.device)) * policy["ray_scale"]
    direction = torch.einsum("...fij,...yxj->...ifyx", matrix.float(), directions(lens, size).float())
    origin = origin.movedim(-1, -2)[..., None, None].expand(*direction.shape)
    every = torch.cat([origin, direction], -4)
    h, w = height // CELL // grid.patch, width // CELL // grid.patch
    # (.., c, F, row of patches, row of latents, row of rays, the same for columns)
    every = every.reshape(*every.shape[:-2], h, grid.patch, CELL, w, grid.patch, CELL)
    n = every.dim()
    c, f, py, y, sy, px, x, sx = range(n - 8, n)
    every = every.permute(*range(n - 8), f, py, px, c, sy, sx, y, x)
    return every.flatten(-5).flatten(-3, -2)


def directions(lens, size):
    """Unit vectors from lenses (..., 4) through the middle of every pixel: (..., H, W, 3)."""
    width, height = size
    fx, fy, cx, cy = lens[..., None, None, :].unbind(-1)
    x = torch.arange(width, dtype=lens.dtype, device=lens.device) + 0.5
    y = (torch.arange(height, dtype=lens.dtype, device=lens.device) + 0.5).unsqueeze(-1)
    u, v = torch.broadcast_tensors((x - cx) / fx, (y - cy) / fy)
    through = torch.stack([u, v, torch.ones_like(u)], -1)
    return through / through.norm(dim=-1, keepdim=True)


def unfold(patches, size, grid):
    """Patches (F, S, 384 patch²) -> the server's layout (384, F, h, w)."""
    w, h = (side // grid.pixels for side in size)
    cells = patches.view(len(patches), h // grid.patch, w // grid.patch, 384, grid.patch, grid.patch)
    return cells.permute(3, 0, 1, 4, 2, 5).reshape(384, len(patches), h, w)
