"""Self-attention of whole clips in training: every frame to the clean frames of its window, and to itself.

Keys lie frame after frame, so what a frame sees of the past is a slice of the clean ones: nothing is gathered, and nothing
is computed that a mask would throw away. Only where there is a sink are its frames and the window's put side by side.
"""

import torch


def attend(q, k, v, window, sink):
    """q (B, H, n, Q, S, d): of the noisy half (Q = 1), or of the clean one and the noisy one (Q = 2); k, v (B, H, R, n·S, d):
    of both halves (R = 2), or of the noisy one alone (R = 1), where every frame stands alone. `window` frames are seen in
    all, with itself and the first `sink` ones. The result has the shape of q."""
    return Attention.apply(q, k, v, window, sink)


class Attention(torch.autograd.Function):
    """Probabilities are kept for the way back: a clip's are smaller than what its blocks keep besides."""

    @staticmethod
    def forward(ctx, q, k, v, window, sink):
        asked = Asked(q, k, window, sink)
        queries, keys, values = asked.flat(q, k, v)
        out, kept = torch.empty_like(queries), []
        for frame, half in asked.each():
            places = asked.seen(frame, half)
            scores = torch.bmm(queries[:, frame, half] * asked.scale, gather(keys, places).mT)
            kept.append(scores.softmax(-1))
            out[:, frame, half] = torch.bmm(kept[-1], gather(values, places))
        ctx.asked = asked
        ctx.save_for_backward(queries, keys, values, *kept)
        return out.view(q.shape)

    @staticmethod
    def backward(ctx, grad):
        asked = ctx.asked
        queries, keys, values, *kept = ctx.saved_tensors
        grad = grad.reshape(queries.shape)
        of_queries, of_keys, of_values = torch.empty_like(queries), torch.zeros_like(keys), torch.zeros_like(values)
        for (frame, half), shares in zip(asked.each(), kept):
            places, given = asked.seen(frame, half), grad[:, frame, half]
            scatter(of_values, places, torch.bmm(shares.mT, given))
            of_shares = torch.bmm(given, gather(values, places).mT)
            of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype).mul_(asked.scale)
            of_queries[:, frame, half] = torch.bmm(of_scores, gather(keys, places))
            scatter(of_keys, places, torch.bmm(of_scores.mT, queries[:, frame, half]))
        return (*asked.shaped(of_queries, of_keys, of_values), None, None)


class Asked:
    """Sizes, and which keys each frame sees."""

    def __init__(self, q, k, window, sink):
        self.batch, self.frames, self.asking, self.patches = q.shape[:2], q.shape[2], q.shape[3], q.shape[4]
        self.halves, self.window, self.sink, self.scale = k.shape[2], window, sink, q.shape[-1] ** -0.5

    def flat(self, *tensors):
        """Clips and heads as one dimension."""
        return [tensor.reshape(-1, *tensor.shape[2:]) for tensor in tensors]

    def shaped(self, *tensors):
        return [tensor.unflatten(0, self.batch) for tensor in tensors]

    def each(self):
        return [(frame, half) for frame in range(self.frames) for half in range(self.asking)]

    def seen(self, frame, half):
        """Slices of the keys: (half, first, past the last), in tokens."""
        half += self.halves - self.asking
        own = (half, frame, frame + 1)
        found = []
        if self.halves == 2:
            pinned = min(self.sink, frame)
            oldest = max(pinned, frame - (self.window - 1 - self.sink))
            if oldest == pinned:
                oldest, pinned = 0, 0
            found = [(0, 0, pinned), (0, oldest, frame)]
            if half == 0:
                # A clean frame's own keys follow those of its past.
                found[-1] = (0, oldest, frame + 1)
        if half or self.halves == 1:
            found.append(own)
        return [(of, first * self.patches, last * self.patches) for of, first, last in found if first < last]


def gather(tensor, places):
    """tensor (N, R, n·S, d) -> (N, seen, d), without a copy where it is one slice."""
    slices = [tensor[:, half, first:last] for half, first, last in places]
    return slices[0] if len(slices) == 1 else torch.cat(slices, 1)


def scatter(tensor, places, parts):
    """Adds what `gather` would have taken."""
    for (half, first, last), part in zip(places, parts.split([last - first for _, first, last in places], 1)):
        tensor[:, half, first:last] += part
