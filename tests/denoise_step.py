"""A denoising step of a mid-size Cosmos3 transformer, ours against PyTorch eager: both f32, same cores, in turn.

    cargo build --release -p tests --bin denoise_step
    python tests/denoise_step.py target/release/denoise_step --threads 2 --rounds 11

Prints the milliseconds of every round, both medians, and their ratio. Both sides make the same weights; that the flows agree
is checked first. PyTorch is used as its users would: fused attention, SwiGLU in two products, no compilation.
"""

import argparse
import statistics
import subprocess
import time

import numpy as np
import torch
import torch.nn.functional as F

WIDTH, LAYERS, HEADS, KEY_HEADS, DIM, INNER, VOCABULARY, CHANNELS = 1024, 8, 8, 2, 128, 3072, 256, 48
FRAMES, HEIGHT, WIDTH_LATENT, PROMPT = 4, 30, 52, 128
EPS, THETA, MARGIN, SECTION = 1e-6, 5e6, 15000, (24, 20, 20)


def wave(name: str, count: int, size: float) -> torch.Tensor:
    seed = 0
    for byte in name.encode():
        seed = (seed * 31 + byte) & 0xFFFFFFFF
    mixed = (np.arange(count, dtype=np.uint32) + np.uint32(seed)) * np.uint32(2654435761)
    mixed = ((mixed ^ (mixed >> np.uint32(15))) * np.uint32(2246822519)) >> np.uint32(9)
    return torch.from_numpy(((mixed.astype(np.float64) / (1 << 22) - 1.0) * 1.7 * size).astype(np.float32))


def matrix(name: str, outputs: int, inputs: int) -> torch.Tensor:
    return wave(name, outputs * inputs, inputs**-0.5).view(outputs, inputs)


class Layer:
    def __init__(self, index: int, names: list[str], suffix: str) -> None:
        at = f"layers.{index}."
        q, k, v, out = names
        self.q = matrix(f"{at}self_attn.{q}.weight", HEADS * DIM, WIDTH)
        self.k = matrix(f"{at}self_attn.{k}.weight", KEY_HEADS * DIM, WIDTH)
        self.v = matrix(f"{at}self_attn.{v}.weight", KEY_HEADS * DIM, WIDTH)
        self.out = matrix(f"{at}self_attn.{out}.weight", WIDTH, HEADS * DIM)
        self.gate = matrix(f"{at}mlp{suffix}.gate_proj.weight", INNER, WIDTH)
        self.up = matrix(f"{at}mlp{suffix}.up_proj.weight", INNER, WIDTH)
        self.down = matrix(f"{at}mlp{suffix}.down_proj.weight", WIDTH, INNER)
        self.norm, self.post_norm = torch.ones(WIDTH), torch.ones(WIDTH)
        self.norm_q, self.norm_k = torch.ones(DIM), torch.ones(DIM)

    def attention_inputs(self, h, cos, sin):
        x = F.rms_norm(h, (WIDTH,), self.norm, EPS)
        heads = lambda weight, count: F.linear(x, weight).view(-1, count, DIM).transpose(0, 1)
        q, k, v = heads(self.q, HEADS), heads(self.k, KEY_HEADS), heads(self.v, KEY_HEADS)
        q, k = F.rms_norm(q, (DIM,), self.norm_q, EPS), F.rms_norm(k, (DIM,), self.norm_k, EPS)
        return turn(q, cos, sin), turn(k, cos, sin), v

    def rest(self, h, attended):
        h = h + F.linear(attended.transpose(0, 1).reshape(-1, HEADS * DIM), self.out)
        x = F.rms_norm(h, (WIDTH,), self.post_norm, EPS)
        return h + F.linear(F.silu(F.linear(x, self.gate)) * F.linear(x, self.up), self.down)


def turn(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-b, a], dim=-1) * sin


def attend(q, k, v, causal):
    return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=causal, enable_gqa=True)[0]


def rotary(positions):
    frequencies = 1.0 / THETA ** (torch.arange(0, DIM, 2, dtype=torch.float32) / DIM)
    time, rows, columns = (axis[:, None] * frequencies for axis in positions)
    angles = time.clone()
    for pair in range(1, 3 * SECTION[1], 3):
        angles[:, pair] = rows[:, pair]
    for pair in range(2, 3 * SECTION[2], 3):
        angles[:, pair] = columns[:, pair]
    angles = torch.cat([angles, angles], dim=-1).double()
    return angles.cos().float(), angles.sin().float()


class Model:
    def __init__(self) -> None:
        self.embed = matrix("embed_tokens.weight", VOCABULARY, WIDTH)
        self.reading = [Layer(i, ["to_q", "to_k", "to_v", "to_out"], "") for i in range(LAYERS)]
        added = ["add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"]
        self.drawing = [Layer(i, added, "_moe_gen") for i in range(LAYERS)]
        self.proj_in = matrix("proj_in.weight", WIDTH, 4 * CHANNELS)
        self.proj_out = matrix("proj_out.weight", 4 * CHANNELS, WIDTH)
        self.time = [matrix(f"time_embedder.linear_{i}.weight", WIDTH, 256 if i == 1 else WIDTH) for i in (1, 2)]
        self.norm = torch.ones(WIDTH)
        text = torch.arange(PROMPT, dtype=torch.float32)
        cos, sin = rotary([text, text, text])
        h, self.prefix = self.embed[:PROMPT], []
        for layer in self.reading:
            q, k, v = layer.attention_inputs(h, cos, sin)
            self.prefix.append((k, v))
            h = layer.rest(h, attend(q, k, v, True))
        rows, columns = HEIGHT // 2, WIDTH_LATENT // 2
        grid = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in (FRAMES, rows, columns)), indexing="ij")
        time, down, across = (axis.reshape(-1) for axis in grid)
        self.cos, self.sin = rotary([time + PROMPT + MARGIN, down, across])
        self.latent = wave("latent", CHANNELS * FRAMES * HEIGHT * WIDTH_LATENT, 1.0).view(CHANNELS, FRAMES, HEIGHT, WIDTH_LATENT)

    @torch.inference_mode()
    def flow(self):
        rows, columns = HEIGHT // 2, WIDTH_LATENT // 2
        patches = self.latent.view(CHANNELS, FRAMES, rows, 2, columns, 2).permute(1, 2, 4, 3, 5, 0)
        angles = 0.5 * torch.exp(-np.log(10000.0) * torch.arange(128, dtype=torch.float32) / 128)
        waves = torch.cat([angles.cos(), angles.sin()])[None]
        time = F.linear(F.silu(F.linear(waves, self.time[0])), self.time[1])
        h = F.linear(patches.reshape(-1, 4 * CHANNELS), self.proj_in) + time
        for layer, (keys, values) in zip(self.drawing, self.prefix):
            q, k, v = layer.attention_inputs(h, self.cos, self.sin)
            h = layer.rest(h, attend(q, torch.cat([keys, k], dim=1), torch.cat([values, v], dim=1), False))
        out = F.linear(F.rms_norm(h, (WIDTH,), self.norm, EPS), self.proj_out)
        out = out.view(FRAMES, rows, columns, 2, 2, CHANNELS).permute(5, 0, 1, 3, 2, 4)
        return out.reshape(CHANNELS, FRAMES, HEIGHT, WIDTH_LATENT)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=11)
    asked = arguments.parse_args()
    torch.set_num_threads(asked.threads)
    model = Model()
    pipe = subprocess.PIPE
    ours = subprocess.Popen([asked.binary, str(asked.threads)], stdin=pipe, stdout=pipe, text=True)

    def our_step() -> tuple[float, float]:
        ours.stdin.write("\n")
        ours.stdin.flush()
        took, checksum, _ = ours.stdout.readline().split()
        return float(took), float(checksum)

    def their_step() -> tuple[float, torch.Tensor]:
        began = time.perf_counter()
        flow = model.flow()
        return (time.perf_counter() - began) * 1e3, flow

    flow = their_step()[1].reshape(-1).double()
    weights = torch.arange(flow.numel()) % 7 - 3.0
    expected, found = float((flow * weights).sum()), our_step()[1]
    scale = float((flow.abs() * weights.abs()).sum())
    print(f"checksums {found:.4f} and {expected:.4f}, of terms that sum to {scale:.0f}")
    assert abs(found - expected) < 1e-4 * scale, "the two compute different flows"
    times = [(our_step()[0], their_step()[0]) for _ in range(asked.rounds)]
    for mine, theirs in times:
        print(f"{mine:9.1f} ms {theirs:9.1f} ms  {mine / theirs:.3f}")
    mine, theirs = (statistics.median(side) for side in zip(*times))
    ratio = statistics.median(a / b for a, b in times)
    print(f"median {mine:.1f} ms, PyTorch {theirs:.1f} ms; ratio {mine / theirs:.3f}, median of ratios {ratio:.3f}")
    ours.stdin.close()
    ours.wait()


if __name__ == "__main__":
    main()
