"""The diffusion transformer: LingBot World's blocks under their published names.

How attention finds its keys is left to the caller: streaming gives a cache, a test a mask over a whole clip. The layers
cannot tell which. Each latent frame has a noise level and a prompt of its own. Training runs the same weights in another
order: `whole.py`.

Inside, tokens are (B, F, S, D): S patches of F latent frames.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class RmsNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x.float(), x.shape[-1:], self.weight, 1e-6).to(x.dtype)


class Projections(nn.Module):
    """Queries, keys, values and the way out, of self- or cross-attention."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.norm_q, self.norm_k = RmsNorm(width), RmsNorm(width)

    def queries(self, x):
        return self.norm_q(self.q(x)).unflatten(-1, (self.heads, -1))

    def keys_values(self, x):
        return self.norm_k(self.k(x)).unflatten(-1, (self.heads, -1)), self.v(x).unflatten(-1, (self.heads, -1))


class Block(nn.Module):
    def __init__(self, width, ffn, heads):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, 1e-6, elementwise_affine=False) for _ in range(2))
        self.norm3 = nn.LayerNorm(width, 1e-6)
        self.self_attn, self.cross_attn = Projections(width, heads), Projections(width, heads)
        self.ffn = nn.Sequential(nn.Linear(width, ffn), nn.GELU("tanh"), nn.Linear(ffn, width))
        self.modulation = nn.Parameter(torch.randn(1, 6, width) / math.sqrt(width))
        self.cam_injector_layer1, self.cam_injector_layer2 = nn.Linear(width, width), nn.Linear(width, width)
        self.cam_scale_layer, self.cam_shift_layer = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x, levels, rotation, text, camera, attend):
        """levels: (B, F, 6, D). text: (B, P, L, D) and the prompt of every frame. attend(q, k, v): self-attention."""
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = (self.modulation + levels).unsqueeze(3).unbind(2)

        y = (self.norm1(x) * (1 + scale_a) + shift_a).to(x.dtype)
        keys, values = self.self_attn.keys_values(y)
        mixed = attend(rotate(self.self_attn.queries(y), rotation), rotate(keys, rotation), values)
        x = x + self.self_attn.o(mixed.flatten(-2)) * gate_a

        if camera is not None:
            hidden = self.cam_injector_layer2(F.silu(self.cam_injector_layer1(camera))) + camera
            x = (1 + self.cam_scale_layer(hidden)) * x + self.cam_shift_layer(hidden)

        x = x + self._read(self.norm3(x), *text)
        y = (self.norm2(x) * (1 + scale_f) + shift_f).to(x.dtype)
        return x + self.ffn(y) * gate_f

    def _read(self, x, context, prompt_of_frame):
        keys, values = self.cross_attn.keys_values(context)
        batch = torch.arange(len(context), device=x.device).unsqueeze(1)
        # (B, F, tokens, heads, d): SDPA wants heads before tokens.
        q, k, v = (
            t.transpose(2, 3)
            for t in (self.cross_attn.queries(x), keys[batch, prompt_of_frame], values[batch, prompt_of_frame])
        )
        return self.cross_attn.o(F.scaled_dot_product_attention(q, k, v).transpose(2, 3).flatten(-2))


class Head(nn.Module):
    def __init__(self, width, outputs):
        super().__init__()
        self.norm = nn.LayerNorm(width, 1e-6, elementwise_affine=False)
        self.head = nn.Linear(width, outputs)
        self.modulation = nn.Parameter(torch.randn(1, 2, width) / math.sqrt(width))

    def forward(self, x, level):
        shift, scale = (self.modulation + level.unsqueeze(2)).unsqueeze(3).unbind(2)
        return self.head((self.norm(x) * (1 + scale) + shift).to(x.dtype))


class Dit(nn.Module):
    """`config` is transformer/config.json."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        heads, self.head_dim = config["num_attention_heads"], config["attention_head_dim"]
        width, self.freq_dim, self.outputs = heads * self.head_dim, config["freq_dim"], config["out_channels"]
        gelu = nn.GELU("tanh")
        self.patch = config["patch_size"][1]
        sides = (1, self.patch, self.patch)
        self.patch_embedding = nn.Conv3d(config["in_channels"], width, sides, sides)
        # Six ray components of each latent's 8x8 rays.
        self.patch_embedding_wancamctrl = nn.Linear(6 * 64 * self.patch**2, width)
        self.c2ws_hidden_states_layer1, self.c2ws_hidden_states_layer2 = (
            nn.Linear(width, width),
            nn.Linear(width, width),
        )
        self.text_embedding = nn.Sequential(nn.Linear(config["text_dim"], width), gelu, nn.Linear(width, width))
        self.time_embedding = nn.Sequential(nn.Linear(self.freq_dim, width), nn.SiLU(), nn.Linear(width, width))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.blocks = nn.ModuleList(Block(width, config["ffn_dim"], heads) for _ in range(config["num_layers"]))
        self.head = Head(width, self.patch**2 * self.outputs)
        self._begin()

    def _begin(self):
        """Weights to start training from: camera and output start at zero effect, or nearly."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for block in self.blocks:
            nn.init.zeros_(block.cam_scale_layer.weight)
            nn.init.normal_(block.cam_shift_layer.weight, std=0.02)
        nn.init.zeros_(self.head.head.weight)

    def forward(self, latents, condition, times, camera, context, prompt_of_frame, positions, attend):
        """Flow of every frame.

        latents (B, z, F, h, w); condition (B, 4 + z, F, h, w); times (B, F) in 0..1000; camera (B, F, S, rays) or None;
        context (B, P, L, text_dim); prompt_of_frame (B, F); positions (F,): frame numbers in the session.
        attend(layer, q, k, v), each (B, F, S, heads, d).
        """
        h, w = latents.shape[-2] // self.patch, latents.shape[-1] // self.patch
        x = self.patch_embedding(torch.cat([latents, condition], 1)).flatten(3).permute(0, 2, 3, 1)
        level = self.time_embedding(sinusoid(times, self.freq_dim))
        levels = self.time_projection(level).unflatten(-1, (6, -1))
        if camera is not None:
            camera = self.patch_embedding_wancamctrl(camera)
            hidden = F.silu(self.c2ws_hidden_states_layer1(camera))
            camera = camera + self.c2ws_hidden_states_layer2(hidden)
        text = (self.text_embedding(context), prompt_of_frame)
        rotation = rotations(positions, h, w, self.head_dim)
        for layer, block in enumerate(self.blocks):
            x = block(x, levels, rotation, text, camera, lambda q, k, v, layer=layer: attend(layer, q, k, v))
        return self.pictures(self.head(x, level).float(), h, w)

    def pictures(self, x, h, w):
        """Patches (B, F, S, out) -> latents. Channels come last within a patch of the output, first within one of the input."""
        x = x.view(*x.shape[:2], h, w, self.patch, self.patch, self.outputs).permute(0, 6, 1, 2, 4, 3, 5)
        return x.reshape(x.shape[0], self.outputs, -1, self.patch * h, self.patch * w)


def sinusoid(times, width):
    """Cosines first."""
    half = width // 2
    rates = torch.exp(torch.arange(half, device=times.device, dtype=torch.float64) * (-math.log(10000) / half))
    angles = times.double().unsqueeze(-1) * rates
    return torch.cat([angles.cos(), angles.sin()], -1).float()


def rotations(positions, h, w, head_dim):
    """cos and sin of every pair of a head: (F, S, 1, head_dim / 2). Time gets the pairs that height and width do not use."""
    pairs = head_dim // 2
    sides = pairs // 3
    device = positions.device

    def angles(at, count):
        rates = 10000.0 ** (-torch.arange(count, device=device, dtype=torch.float64) / count)
        return at.double().unsqueeze(-1) * rates

    frames = len(positions)
    t = angles(positions, pairs - 2 * sides).view(frames, 1, 1, -1).expand(-1, h, w, -1)
    y = angles(torch.arange(h, device=device), sides).view(1, h, 1, -1).expand(frames, -1, w, -1)
    x = angles(torch.arange(w, device=device), sides).view(1, 1, w, -1).expand(frames, h, -1, -1)
    every = torch.cat([t, y, x], -1).reshape(frames, h * w, 1, -1)
    return every.cos().float(), every.sin().float()


def rotate(x, rotation):
    cos, sin = rotation
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2).to(x.dtype)


def config(settings, channels, text_dim, policy):
    """transformer/config.json of a new transformer from a preset's table `[dit]`, for latents of so many channels."""
    return {
        "_class_name": "CausalLingBotWorldTransformer3DModel",
        "added_kv_proj_dim": None,
        "attention_head_dim": settings.width // settings.heads,
        "cross_attn_norm": True,
        "eps": 1e-6,
        "ffn_dim": settings.ffn,
        "freq_dim": 256,
        "image_dim": None,
        "in_channels": 4 + 2 * channels,
        "num_attention_heads": settings.heads,
        "num_layers": settings.layers,
        "out_channels": channels,
        "patch_size": [1, settings.patch, settings.patch],
        "pos_embed_seq_len": None,
        "qk_norm": "rms_norm_across_heads",
        "rope_max_seq_len": 1024,
        "text_dim": text_dim,
        "local_attn_size": -1,
        "sink_size": policy["sink"],
        "num_frames_per_block": 1,
        "sliding_window_num_frames": policy["window"],
    }
