"""The world that ships, ours against PyTorch on the same weights, noise and threads, in turns.

    cargo build --release -p tests --bin compare
    python tests/compare/pocket.py target/release/compare --threads 2 --rounds 15

`make compare-pocket` does both, with a PyTorch of its own. Four things: a pass of the transformer with a full window, one
latent frame decoded, a chunk (all passes, and decoding), and a session of sixteen chunks from its picture and prompt on. Sides:
ours in f32, bf16 and int8, PyTorch in f32 and bf16, each as it is and compiled. That all draw the same is checked first.
"""

import argparse

from lean import ROOT, Lean
from turns import Ours, in_turns, machine, milliseconds, ratios

import numpy as np
import torch
from PIL import Image
from training.camera import intrinsics, motion, poses_of, rays
from training.checkpoint import Checkpoint
from training.noise import Noise
from training.sampler import condition_on, from_bytes, sample, schedule, to_bytes
from training.vae import Memory

PROMPT, SEED, SESSION = "a green meadow", 7, 16
# Ours ÷ theirs: what we aim at.
MARKS = {"eager": 0.3, "compiled": 0.6}


class Theirs:
    def __init__(self, model, dtype, compiled):
        self.model, self.dtype, self.policy = model, dtype, model.policy
        self.lean = Lean(model.dit, dtype, self.policy["window"], compiled)
        self.vae = model.vae.to(dtype)
        self.decode = torch.compile(self._decode, dynamic=False) if compiled else self._decode
        self.levels = schedule(self.policy)
        self.times = {t: self.lean.time(t) for t in [t for t, _ in self.levels] + [0.0]}
        self.walk = None

    def _decode(self, latents, keys, held):
        """One latent frame; what is carried goes in and comes out as a list, so that it can be compiled."""
        memory = Memory(zip(keys, held))
        video = self.vae.decode(latents, memory)
        return to_bytes(video), memory

    def begin(self, picture):
        self.walk = Walk(self, picture)


class Walk:
    """A session. Nothing of it is compiled before its window is full: the shapes change until then."""

    def __init__(self, of, picture):
        self.of, model = of, of.model
        policy = of.policy
        self.noise, self.frame = Noise(SEED), 0
        self.condition = condition_on(model.vae, picture.to(of.dtype), policy["condition_frames"])[0].float()
        self.prompt = of.lean.prompt(model.context([PROMPT])[0])
        width, height = policy["size"]
        lens = intrinsics((width, height), policy["camera"]["fov_x_deg"])
        # Every step is as long as the one before, but for the first.
        steps = motion(poses_of(policy["camera"], [{"w"}] * 2))
        self.rays = rays(steps, lens, (width, height), policy["camera"], model.grid)
        self.tokens = self.rays.shape[1]
        self.cache = of.lean.cache(self.tokens)
        self.memory = Memory()

    def condition_chunk(self):
        at = min(self.frame, self.condition.shape[1] - 1)
        return self.of.lean.chunk(self.condition[:, at : at + 1], self.rays[min(self.frame, 1)][None], self.frame)

    def flow(self, x, t, chunk):
        window = self.of.policy["window"]
        is_full = self.frame + 1 >= window
        # Attention asks for no order, so a frame is written where the one that it replaces was.
        place = torch.arange(self.tokens) + self.frame % window * self.tokens
        length = min(self.frame + 1, window) * self.tokens
        lean = self.of.lean
        return (lean.flow if is_full else lean._flow)(x, self.of.times[t], chunk, self.prompt, self.cache, place, length)

    def latents(self):
        of, chunk = self.of, self.condition_chunk()
        first = self.noise.draw((of.model.dit.outputs, 1, *self.condition.shape[-2:]))
        clean = sample(of.policy["sampler"], of.levels, first, lambda x, t: self.flow(x, t, chunk), None)
        self.flow(clean, 0.0, chunk)
        self.frame += 1
        return clean

    def decode(self, clean):
        latents = self.of.model.vae.denormalised(clean[None]).to(self.of.dtype)
        decode = self.of.decode if self.frame > 3 else self.of._decode
        pixels, self.memory = decode(latents, list(self.memory), list(self.memory.values()))
        return pixels[0].numpy()

    def draw(self):
        return self.decode(self.latents())


def sides_of(theirs, picture):
    """Times of the four things."""
    walk = Walk(theirs, picture)
    while walk.frame < theirs.policy["window"] + 1:
        clean = walk.latents()
        walk.decode(clean)
    chunk, t = walk.condition_chunk(), theirs.levels[0][0]

    def session():
        fresh = Walk(theirs, picture)
        for _ in range(SESSION):
            fresh.draw()

    work = {
        "pass": lambda: walk.flow(clean, t, chunk),
        "decode": lambda: walk.decode(clean),
        "chunk": walk.draw,
        "session": session,
    }
    return {name: lambda run=run: milliseconds(run) for name, run in work.items()}


@torch.inference_mode()
def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--only", nargs="*", default=["eager f32", "eager bf16", "compiled f32", "compiled bf16"])
    arguments.add_argument("--ours", nargs="*", default=["f32", "bf16", "int8"])
    asked = arguments.parse_args()
    torch.set_num_threads(asked.threads)
    print(f"{machine()}, PyTorch {torch.__version__}, {asked.threads} threads, {asked.rounds} rounds", flush=True)
    ours = {kind: Ours(asked.binary, "pocket", asked.threads, kind) for kind in asked.ours}
    picture = np.array(Image.open(ROOT / "pocket/weights/first_frames/meadow.png").convert("RGB"))
    picture = from_bytes(torch.from_numpy(picture)[None, None])[:, :, 0]

    sides, mean = {}, None
    for kind, one in ours.items():
        things = ("pass", "decode", "chunk", "session")
        sides[f"ours {kind}"] = {name: lambda name=name, one=one: one.do(name)[0] for name in things}
        drawn = one.do("session")[1]
        print(f"ours {kind}: the mean byte of a session is {drawn:.3f}", flush=True)
        mean = drawn if mean is None else mean
        if abs(drawn - mean) > 1.0:
            raise SystemExit(f"ours in {kind} draws something else")
    for name in asked.only:
        how, kind = name.split()
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[kind]
        theirs = Theirs(Checkpoint.load(ROOT / "pocket/weights"), dtype, how == "compiled")
        walk = Walk(theirs, picture)
        drawn = np.concatenate([walk.draw() for _ in range(SESSION)])
        print(f"{name}: the mean byte of a session is {drawn.mean():.3f}, ours {mean:.3f}", flush=True)
        # Of 255 steps: f32 differs in single bytes, bf16 in many, and neither in what it draws.
        if abs(drawn.mean() - mean) > (0.01 if kind == "f32" else 1.0):
            raise SystemExit(f"{name} draws something else")
        sides[name] = sides_of(theirs, picture)

    print(f"\n{'':16}" + "".join(f"{name:>16}" for name in sides))
    for what in ("pass", "decode", "chunk", "session"):
        rounds = max(3, asked.rounds // 5) if what == "session" else asked.rounds
        times = in_turns({name: side[what] for name, side in sides.items()}, rounds)
        for number, kind in enumerate(ours):
            found = ratios(times, f"ours {kind}")
            if number == 0:
                print(f"{what + ', ms':16}" + "".join(f"{ms:16.2f}" for ms, _ in found.values()), flush=True)
            print(f"  ours {kind} ÷{'':{6 - len(kind)}}" + "".join(f"{of:16.3f}" for _, of in found.values()), flush=True)
        if what == "chunk":
            for how, mark in MARKS.items():
                # Of each side its best type: ours over theirs.
                theirs = [name for name in sides if name.startswith(how)]
                of_kind = {kind: max((ratios(times, f"ours {kind}")[name][1] for name in theirs), default=None) for kind in ours}
                if theirs:
                    kind = min(of_kind, key=of_kind.get)
                    print(f"{'':16}ours in {kind} ÷ the best {how}: {of_kind[kind]:.3f}, mark {mark}", flush=True)
    for one in ours.values():
        one.close()


if __name__ == "__main__":
    main()
