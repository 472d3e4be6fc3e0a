"""Gaussian noise, the same values from a seed as the server's: Philox4x32-10 and Box-Muller.

Value `i` of draw `n` follows from (seed, n, i) alone, so a stream recorded here can be made again by the server from
nothing but its seed. numpy's sine may differ from the server's in the last bit; nothing here depends on that.
"""

import numpy as np
import torch

WORD = np.uint64(0xFFFFFFFF)


class Noise:
    """Draws of one session, numbered from 0."""

    def __init__(self, seed):
        self.seed, self.draws = seed, 0

    def draw(self, shape):
        values = normals(self.seed, self.draws, int(np.prod(shape)))
        self.draws += 1
        return torch.from_numpy(values).view(*shape)


def normals(seed, draw, count):
    blocks = np.arange(-(-count // 4), dtype=np.uint64)
    draw, seed = np.uint64(draw), np.uint64(seed)
    counter = [low(blocks), high(blocks), np.full_like(blocks, low(draw)), np.full_like(blocks, high(draw))]
    uniform = [(word.astype(np.float64) + 0.5) / 2.0**32 for word in philox(counter, [low(seed), high(seed)])]
    values = np.empty((len(blocks), 4))
    for pair in (0, 2):
        radius, turn = np.sqrt(-2.0 * np.log(uniform[pair])), 2.0 * np.pi * uniform[pair + 1]
        values[:, pair], values[:, pair + 1] = radius * np.cos(turn), radius * np.sin(turn)
    return values.reshape(-1)[:count].astype(np.float32)


def philox(counter, key):
    """Words are kept in u64: a product of two of them fits."""
    for _ in range(10):
        even, odd = counter[0] * np.uint64(0xD2511F53), counter[2] * np.uint64(0xCD9E8D57)
        counter = [high(odd) ^ counter[1] ^ key[0], low(odd), high(even) ^ counter[3] ^ key[1], low(even)]
        key = [low(key[0] + np.uint64(0x9E3779B9)), low(key[1] + np.uint64(0xBB67AE85))]
    return counter


def low(x):
    return x & WORD


def high(x):
    return x >> np.uint64(32)
