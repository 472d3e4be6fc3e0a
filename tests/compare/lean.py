"""The transformer of `pocket/training/dit.py` as a PyTorch server would run it: all that does not change from pass to pass is
computed once, keys and values lie in one block of memory, queries, keys and values are one product.

A baseline must not be slow: the modules alone compute the time, the prompt and the camera anew in every pass.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "pocket"), str(ROOT / "tests")]

from training.dit import rotations, sinusoid  # noqa: E402
from training.whole import norm, paired, rms  # noqa: E402


class Lean:
    """`dtype`: of weights, tokens, keys and values; norms are f32. `seen`: latent frames of the window."""

    def __init__(self, dit, dtype, seen, compiled):
        self.dit, self.dtype, self.seen = dit.to(dtype), dtype, seen
        self.noisy = dit.patch_embedding.weight[:, : dit.outputs].flatten(1).contiguous()
        self.fixed = dit.patch_embedding.weight[:, dit.outputs :].flatten(1).contiguous()
        self.blocks = [self._of_block(block) for block in dit.blocks]
        self.flow = torch.compile(self._flow, dynamic=False, fullgraph=True) if compiled else self._flow

    def _of_block(self, block):
        own, cross, heads = block.self_attn, block.cross_attn, block.self_attn.heads
        return {
            "modulation": block.modulation[0],
            "qkv": torch.cat([paired(own.q.weight, heads), paired(own.k.weight, heads), own.v.weight]),
            "qkv_bias": torch.cat([paired(own.q.bias, heads), paired(own.k.bias, heads), own.v.bias]),
            "gains": (paired(own.norm_q.weight, heads).float(), paired(own.norm_k.weight, heads).float()),
            "out": (own.o.weight, own.o.bias),
            "norm": (block.norm3.weight.float(), block.norm3.bias.float()),
            "read": (cross.q.weight, cross.q.bias, cross.norm_q.weight.float(), cross.o.weight, cross.o.bias),
            "ffn": (block.ffn[0].weight, block.ffn[0].bias, block.ffn[2].weight, block.ffn[2].bias),
        }

    def time(self, t):
        """Once a process and noise level: (level (D), modulations (6, D))."""
        level = self.dit.time_embedding(sinusoid(torch.tensor([t]), self.dit.freq_dim).to(self.dtype))
        return level[0], self.dit.time_projection(level).view(6, -1)

    def prompt(self, context):
        """Once a prompt: keys and values of every block, (1, H, L, d). context (L, text_dim)."""
        text = self.dit.text_embedding(context.to(self.dtype))
        made = [block.cross_attn.keys_values(text) for block in self.dit.blocks]
        return [tuple(t.transpose(0, 1)[None].contiguous() for t in pair) for pair in made]

    def chunk(self, fixed, rays, first):
        """Once a chunk. fixed (C, F, h, w); rays (F, S, 384 patch²); `first`: the number of its first latent frame."""
        dit, patch = self.dit, self.dit.patch
        tokens = F.linear(self._patches(fixed.to(self.dtype)), self.fixed, dit.patch_embedding.bias)
        camera = dit.patch_embedding_wancamctrl(rays.to(self.dtype).flatten(0, 1))
        camera = camera + dit.c2ws_hidden_states_layer2(F.silu(dit.c2ws_hidden_states_layer1(camera)))
        steer = []
        for block in dit.blocks:
            hidden = block.cam_injector_layer2(F.silu(block.cam_injector_layer1(camera))) + camera
            steer.append((1 + block.cam_scale_layer(hidden), block.cam_shift_layer(hidden)))
        frames, height, width = fixed.shape[1:]
        positions = torch.arange(first, first + frames)
        cos, sin = (t.flatten(0, 1) for t in rotations(positions, height // patch, width // patch, dit.head_dim))
        return tokens, cos, sin, steer

    def cache(self, tokens):
        """Room for keys and values: two of (layers, H, tokens of the window, d)."""
        heads = self.dit.blocks[0].self_attn.heads
        shape = (len(self.blocks), heads, self.seen * tokens, self.dit.head_dim)
        return torch.zeros(shape, dtype=self.dtype), torch.zeros(shape, dtype=self.dtype)

    def _patches(self, x):
        """(C, F, h, w) -> (tokens, C·patch²): channels first within a patch."""
        channels, frames, height, width = x.shape
        p = self.dit.patch
        x = x.view(channels, frames, height // p, p, width // p, p).permute(1, 2, 4, 0, 3, 5)
        return x.reshape(-1, channels * p * p)

    def _flow(self, x, time, chunk, prompt, cache, place, length):
        """The flow of x (z, F, h, w). Its keys and values go to `place`, numbers of tokens; `length` of the cache are seen.
        `place` is a tensor: a number would be compiled into the graph, and a new graph be made for every frame."""
        level, levels = time
        fixed, cos, sin, steer = chunk
        _, frames, height, width = x.shape
        h = F.linear(self._patches(x.to(self.dtype)), self.noisy) + fixed
        for layer, block in enumerate(self.blocks):
            past = (cache[0][layer], cache[1][layer])
            h = self._block(block, h, levels, cos, sin, steer[layer], prompt[layer], past, place, length)
        shift, scale = (self.dit.head.modulation[0] + level).float().unbind(0)
        out = self.dit.head.head((norm(h) * (1 + scale) + shift).to(self.dtype)).float()
        p, z = self.dit.patch, self.dit.outputs
        out = out.view(frames, height // p, width // p, p, p, z).permute(5, 0, 1, 3, 2, 4)
        return out.reshape(z, frames, height, width)

    def _block(self, block, h, levels, cos, sin, steer, prompt, past, place, length):
        heads, rows = past[0].shape[0], len(h)
        _, _, gate_a, shift_f, scale_f, gate_f = (block["modulation"] + levels).float().unbind(0)
        queries = self._stage(block, h, levels, cos, sin, past, place)
        seen = (queries[None], past[0][None, :, :length], past[1][None, :, :length])
        mixed = F.scaled_dot_product_attention(*seen)[0].transpose(0, 1).reshape(rows, -1)
        h = h + F.linear(mixed, *block["out"]) * gate_a.to(self.dtype)
        h = steer[0] * h + steer[1]

        weight, bias, gain, weight_out, bias_out = block["read"]
        q = F.linear((norm(h) * block["norm"][0] + block["norm"][1]).to(self.dtype), weight, bias)
        q = rms(q, gain).to(self.dtype).view(rows, heads, -1).transpose(0, 1)[None]
        read = F.scaled_dot_product_attention(q, *prompt)[0].transpose(0, 1).reshape(rows, -1)
        h = h + F.linear(read, weight_out, bias_out)

        inner, inner_bias, outer, outer_bias = block["ffn"]
        y = F.linear((norm(h) * (1 + scale_f) + shift_f).to(self.dtype), inner, inner_bias)
        return h + F.linear(F.gelu(y, approximate="tanh"), outer, outer_bias) * gate_f.to(self.dtype)

    def _stage(self, block, h, levels, cos, sin, past, place):
        """Keys and values go to `place`; the queries, (H, tokens, d)."""
        heads, rows = past[0].shape[0], len(h)
        shift, scale = (block["modulation"] + levels).float()[:2]
        y = (norm(h) * (1 + scale) + shift).to(self.dtype)
        q, k, v = F.linear(y, block["qkv"], block["qkv_bias"]).chunk(3, -1)

        def turned(t, gain):
            a, b = rms(t, gain).view(rows, heads, 2, -1).unbind(-2)
            return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(self.dtype).transpose(0, 1)

        past[0].index_copy_(1, place, turned(k, block["gains"][1]))
        past[1].index_copy_(1, place, v.view(rows, heads, -1).transpose(0, 1))
        return turned(q, block["gains"][0])

    def remember_in_one_block(self, x, time, chunk, cache, place):
        """What a pass that remembers does where there is one block: it ends with keys and values."""
        fixed, cos, sin, _ = chunk
        h = F.linear(self._patches(x.to(self.dtype)), self.noisy) + fixed
        self._stage(self.blocks[0], h, time[1], cos, sin, (cache[0][0], cache[1][0]), place)
