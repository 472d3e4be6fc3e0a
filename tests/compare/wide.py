"""A block of LingBot's 1.3 B shape at 480x832, ours in three types against PyTorch, in turns, and a whole chunk by multiplication.

    cargo build --release -p tests --bin compare
    python tests/compare/wide.py target/release/compare --threads 2 --rounds 3

`make compare-wide` does both, with a PyTorch of its own. The transformer is 1536 wide with 12 heads; one of its 30 blocks is
made, of random weights that are the same on both sides, and a pass over a chunk of three latent frames with a full window of
eighteen is timed: 4680 tokens look at 28 080. The blocks are alike, so a chunk of five passes is 150 times as long.
"""

import argparse
import statistics

from lean import Lean
from turns import Ours, in_turns, machine, milliseconds, ratios

import torch
from denoise_step import wave
from training.dit import Dit, config

LAYERS, PASSES, CHUNK, WINDOW, TEXT, TEXT_DIM = 30, 5, 3, 18, 512, 4096
SIZES = {
    "whole": {"width": 1536, "heads": 12, "ffn": 8960, "height": 60, "across": 104},
    "small": {"width": 24, "heads": 2, "ffn": 40, "height": 4, "across": 6},
}


def filled(sizes):
    """One block, with the weights that our side makes."""

    class Settings:
        width, heads, ffn, layers, patch = sizes["width"], sizes["heads"], sizes["ffn"], 1, 2

    dit = Dit(config(Settings, 16, TEXT_DIM, {"sink": 3, "window": WINDOW}))
    state = {}
    for name, tensor in dit.state_dict().items():
        shape = list(tensor.shape)
        if "norm" in name and name.endswith(".weight"):
            state[name] = torch.ones(shape)
        elif len(shape) == 1:
            state[name] = torch.zeros(shape)
        else:
            inputs = tensor.numel() // shape[0]
            state[name] = wave(name, tensor.numel(), inputs**-0.5).view(shape)
    dit.load_state_dict(state)
    return dit.eval().requires_grad_(False)


def pass_of(sizes, dtype, compiled):
    """A function that runs the pass, with all that it needs made before."""
    lean = Lean(filled(sizes), dtype, WINDOW, compiled)
    height, across = sizes["height"], sizes["across"]
    tokens = height // 2 * (across // 2)

    def made(name, channels):
        return wave(name, channels * CHUNK * height * across, 1.0).view(channels, CHUNK, height, across)

    latents, fixed, rays = made("latents", 16), made("fixed", 20), made("rays", 384)
    # (384, F, h, w) -> patches, channels first within a patch.
    rays = rays.view(384, CHUNK, height // 2, 2, across // 2, 2).permute(1, 2, 4, 0, 3, 5).reshape(CHUNK, tokens, -1)
    prompt = lean.prompt(wave("text", TEXT * TEXT_DIM, 1.0).view(TEXT, TEXT_DIM))
    cache = lean.cache(tokens)
    time = lean.time(500.0)
    rows, length = CHUNK * tokens, WINDOW * tokens
    for first in range(0, WINDOW, CHUNK):
        chunk = lean.chunk(fixed, rays, first)
        lean.remember_in_one_block(latents, time, chunk, cache, first * tokens + torch.arange(rows))
    chunk = lean.chunk(fixed, rays, WINDOW)
    # The oldest chunk behind the sink, of three frames, makes room.
    return lambda: lean.flow(latents, time, chunk, prompt, cache, rows + torch.arange(rows), length)


@torch.inference_mode()
def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--small", action="store_true", help="a little shape: whether both sides agree")
    arguments.add_argument("--only", nargs="*", default=["eager f32", "compiled f32", "eager bf16", "compiled bf16"])
    arguments.add_argument("--ours", nargs="*", default=["f32", "bf16", "int8"])
    asked = arguments.parse_args()
    torch.set_num_threads(asked.threads)
    sizes = SIZES["small" if asked.small else "whole"]
    print(f"{machine()}, PyTorch {torch.__version__}, {asked.threads} threads, {asked.rounds} rounds", flush=True)
    ours, sides, sums = {}, {}, {}
    # What a type may differ by, as a share of the sum of sizes that the checksum is made of.
    bounds = {"f32": 1e-4, "bf16": 3e-2, "int8": 6e-2}
    for kind in asked.ours:
        ours[kind] = Ours(asked.binary, "wide", asked.threads, kind, *(["small"] if asked.small else []))
        took, sums[kind] = ours[kind].do("block")
        print(f"ours {kind}: {took:.0f} ms the first time", flush=True)
        sides[f"ours {kind}"] = lambda one=ours[kind]: one.do("block")[0]
    for name in asked.only:
        how, kind = name.split()
        run = pass_of(sizes, {"f32": torch.float32, "bf16": torch.bfloat16}[kind], how == "compiled")
        flow = run().reshape(-1).double()
        weights = torch.arange(flow.numel()) % 7 - 3.0
        found, scale = float((flow * weights).sum()), float((flow.abs() * weights.abs()).sum())
        told = ", ".join(f"ours {other} {own:.4f}" for other, own in sums.items())
        print(f"{name}: checksum {found:.4f}, {told}, of terms that sum to {scale:.0f}", flush=True)
        for other, own in sums.items():
            if abs(found - own) > max(bounds[kind], bounds[other]) * scale:
                raise SystemExit(f"{name} and ours {other} compute different things")
        sides[name] = lambda run=run: milliseconds(run)
    times = in_turns(sides, asked.rounds)
    first = next(iter(ours))
    for name, (ms, of) in ratios(times, f"ours {first}").items():
        whole = ms * LAYERS * PASSES / 1e3
        told = f"a block {ms:10.1f} ms   a chunk, 30 blocks x 5 passes, by multiplication {whole:8.1f} s"
        print(f"{name:16} {told}   ours {first} ÷ {of:.3f}")
    median = {name: statistics.median(found) for name, found in times.items()}
    theirs = min((name for name in sides if not name.startswith("ours")), key=median.get, default=None)
    best = min(ours, key=lambda kind: median[f"ours {kind}"])
    if theirs:
        of = ratios(times, f"ours {best}")[theirs][1]
        print(f"ours in {best} ÷ the best of PyTorch ({theirs}): {of:.3f}, mark 0.9")
    for one in ours.values():
        one.close()


if __name__ == "__main__":
    main()
