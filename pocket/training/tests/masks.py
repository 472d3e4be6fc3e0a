"""Attention over a whole clip at once, by masks: the obvious way, which the fast one is held to."""

import torch
import torch.nn.functional as F


def masked(mask):
    """For `dit.Dit`. mask: (F·S, F·S), true where a query (row) sees a key."""

    def attend(_, q, k, v):
        of_heads = (t.flatten(1, 2).transpose(1, 2) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(*of_heads, attn_mask=mask).transpose(1, 2)
        return mixed.unflatten(1, q.shape[1:3])

    return attend


def causal_mask(frames, patches, window):
    """A frame sees itself and the `window - 1` before it."""
    frame = torch.arange(frames * patches) // patches
    behind = frame.unsqueeze(1) - frame
    return (behind >= 0) & (behind < window)


def teacher_mask(frames, patches, window, sink=0):
    """For [clean frames | noisy frames]: all see the clean of their window, and the noisy only themselves besides. Of the
    window the first `sink` frames are those of the session."""
    token = torch.arange(2 * frames * patches) // patches
    clean, frame = token < frames, token % frames
    behind = frame.unsqueeze(1) - frame
    near = behind < window - sink
    past = clean & (behind > 0) & (near | (frame < sink))
    itself = (behind == 0) & (clean.unsqueeze(1) == clean)
    return past | itself
