"""The transformer over whole clips at once, as training runs it: the weights and mathematics of `dit.py`, in the order that a
processor likes. A test holds the two to the same numbers and gradients.

What is different:

* Tokens lie as (B, n, R, S, D), a frame's clean and noisy half side by side (R = 2), and `attention.py` takes a frame's past as
  a slice.
* The camera belongs to a frame, not to its halves, and is computed once.
* Of the clean half the last block computes keys and values alone: nothing reads the rest.
* Queries, keys and values are one product. The rows of the queries' and keys' weights are put in another order, so that
  rotated pairs are the halves of a head: dot products do not notice, and vector units can load them.
* What lies between attentions can be compiled: one graph for all blocks, since their weights are arguments.
"""

import torch
import torch.nn.functional as F

from .attention import attend
from .dit import rotations, sinusoid

# One graph for each shape of a step: with a camera or none, of clips or pictures, with gradients or none, the last block.
GRAPHS = 64


def paired(weight, heads):
    """Rows of every head from (a0 b0 a1 b1 ..) to (a0 a1 .. b0 b1 ..)."""
    return weight.view(heads, -1, 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def rms(x, weight):
    return F.rms_norm(x.float(), x.shape[-1:], weight, 1e-6)


def norm(x):
    return F.layer_norm(x.float(), x.shape[-1:], eps=1e-6)


def before(x, levels, modulation, own, cos, sin, heads: int, asking: int):
    """x (B, n, R, S, D) -> q (B, H, n, Q, S, d) of the last `asking` halves; k, v (B, H, R, n·S, d)."""
    weight, bias, gain_q, gain_k = own
    shift, scale = (levels[..., :2, :] + modulation[:, :2]).unsqueeze(4).unbind(3)
    q, k, v = F.linear((norm(x) * (1 + scale) + shift).to(weight.dtype), weight, bias).chunk(3, -1)
    halves = x.shape[2]

    def turned(t, gain):
        a, b = rms(t, gain).unflatten(-1, (heads, 2, -1)).unbind(-2)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(weight.dtype)

    q = turned(q[:, :, halves - asking :], gain_q).permute(0, 4, 1, 2, 3, 5)
    k, v = (t.permute(0, 4, 2, 1, 3, 5).flatten(3, 4) for t in (turned(k, gain_k), v.unflatten(-1, (heads, -1))))
    return q, k, v


def after(x, mixed, levels, modulation, out, camera, steer, cross, keys, values, ffn, heads: int):
    """The rest of a block. mixed (B, H, n, R, S, d); camera (B, n, S, D) or None; keys, values (B, n, H, L, d)."""
    dtype = mixed.dtype
    gate_a, shift, scale, gate_f = (levels[..., 2:, :] + modulation[:, 2:]).unsqueeze(4).unbind(3)
    x = x + F.linear(mixed.permute(0, 2, 3, 4, 1, 5).flatten(-2), *out) * gate_a
    if camera is not None:
        inner, inner_bias, outer, outer_bias, weight, bias = steer
        hidden = F.linear(F.silu(F.linear(camera, inner, inner_bias)), outer, outer_bias) + camera
        gain, push = F.linear(hidden, weight, bias).unsqueeze(2).chunk(2, -1)
        x = (1 + gain.float()) * x + push

    norm_weight, norm_bias, weight, bias, gain, weight_out, bias_out = cross
    q = F.linear((norm(x) * norm_weight + norm_bias).to(dtype), weight, bias)
    # All queries of a frame, of both halves, read the same few words.
    q = rms(q, gain).to(dtype).unflatten(-1, (heads, -1)).flatten(2, 3).transpose(2, 3)
    q = q * q.shape[-1] ** -0.5
    shares = (q @ keys.mT).float().softmax(-1).to(dtype)
    read = (shares @ values).transpose(2, 3).flatten(-2).view(x.shape)
    x = x + F.linear(read, weight_out, bias_out)

    inner, inner_bias, outer, outer_bias = ffn
    y = F.linear((norm(x) * (1 + scale) + shift).to(dtype), inner, inner_bias)
    return x + F.linear(F.gelu(y, approximate="tanh"), outer, outer_bias) * gate_f


class Whole:
    """`dtype`: of products; everything else is f32."""

    def __init__(self, dit, window, sink, dtype, compiled):
        self.dit, self.window, self.sink, self.dtype = dit, window, sink, dtype
        self.before, self.after = before, after
        if compiled:
            torch._dynamo.config.recompile_limit = GRAPHS
            self.before, self.after = (torch.compile(part, dynamic=False) for part in (before, after))

    def __call__(self, past, noisy, condition, levels, camera, context, prompt_of_frame, positions):
        """Flow of the noisy frames (B, z, n, h, w). past (B, z, n, h, w): the clean half; without one (None) every frame stands
        alone. levels (B, n) in 0..1; the rest as in `dit.Dit.forward`."""
        with torch.autocast(noisy.device.type, enabled=False):
            return self._flow(past, noisy, condition, levels, camera, context.float(), prompt_of_frame, positions)

    def _flow(self, past, noisy, condition, levels, camera, context, prompt_of_frame, positions):
        dit = self.dit
        x = torch.stack([self._patches(half, condition) for half in (past, noisy) if half is not None], 2).float()
        halves, (_, _, _, height, width) = x.shape[2], noisy.shape
        rows, columns = height // dit.patch, width // dit.patch
        times = 1000 * levels.unsqueeze(2)
        if halves == 2:
            times = torch.cat([torch.zeros_like(times), times], 2)
        level = dit.time_embedding(sinusoid(times, dit.freq_dim))
        levels = dit.time_projection(level).unflatten(-1, (6, -1))
        if camera is not None:
            camera = self._linear(camera, dit.patch_embedding_wancamctrl)
            hidden = F.silu(self._linear(camera, dit.c2ws_hidden_states_layer1))
            camera = camera + self._linear(hidden, dit.c2ws_hidden_states_layer2)
        text = dit.text_embedding(context)
        # Rows by a product with ones and zeros: on a processor the gradient of an index is slow.
        chosen = F.one_hot(prompt_of_frame, text.shape[1]).to(self.dtype)
        cos, sin = (t.unsqueeze(1)[None] for t in rotations(positions, rows, columns, dit.head_dim))

        for block in dit.blocks:
            x = self._block(block, x, 1 if block is dit.blocks[-1] else halves, levels, camera, text, chosen, cos, sin)

        shift, scale = (dit.head.modulation + level[:, :, -1:].unsqueeze(3)).unsqueeze(4).unbind(3)
        x = self._linear(norm(x) * (1 + scale) + shift, dit.head.head).float()
        return dit.pictures(x.squeeze(2), rows, columns)

    def _block(self, block, x, asking, levels, camera, text, chosen, cos, sin):
        own, cross, heads, first = block.self_attn, block.cross_attn, block.self_attn.heads, x.shape[2] - asking
        q, k, v = self.before(
            x,
            levels,
            block.modulation,
            (
                self._cast(paired(own.q.weight, heads), paired(own.k.weight, heads), own.v.weight),
                self._cast(paired(own.q.bias, heads), paired(own.k.bias, heads), own.v.bias),
                paired(own.norm_q.weight, heads),
                paired(own.norm_k.weight, heads),
            ),
            cos,
            sin,
            heads,
            asking,
        )
        mixed = attend(q, k, v, self.window, self.sink)
        keys, values = rms(self._linear(text, cross.k), cross.norm_k.weight), self._linear(text, cross.v)
        keys, values = (
            torch.bmm(chosen, t.to(self.dtype).flatten(2)).unflatten(2, t.shape[2:]).unflatten(-1, (heads, -1)).transpose(2, 3)
            for t in (keys, values)
        )
        scale, shift = block.cam_scale_layer, block.cam_shift_layer
        steer = (
            *self._of(block.cam_injector_layer1),
            *self._of(block.cam_injector_layer2),
            self._cast(scale.weight, shift.weight),
            self._cast(scale.bias, shift.bias),
        )
        reads = (block.norm3.weight, block.norm3.bias, *self._of(cross.q), cross.norm_q.weight, *self._of(cross.o))
        ffn = (*self._of(block.ffn[0]), *self._of(block.ffn[2]))
        return self.after(
            x[:, :, first:],
            mixed,
            levels[:, :, first:],
            block.modulation,
            self._of(own.o),
            camera,
            None if camera is None else steer,
            reads,
            keys,
            values,
            ffn,
            heads,
        )

    def _patches(self, half, condition):
        """(B, n, S, D). A patch's channels come first within it, as a convolution's weights have them."""
        embedding, patch = self.dit.patch_embedding, self.dit.patch
        x = torch.cat([half, condition], 1).to(self.dtype).unflatten(4, (-1, patch)).unflatten(3, (-1, patch))
        x = x.permute(0, 2, 3, 5, 1, 4, 6).flatten(4).flatten(2, 3)
        return F.linear(x, self._cast(embedding.weight.flatten(1)), self._cast(embedding.bias))

    def _linear(self, x, layer):
        return F.linear(x.to(self.dtype), *self._of(layer))

    def _of(self, layer):
        return self._cast(layer.weight), self._cast(layer.bias)

    def _cast(self, *parts):
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).to(self.dtype)
