"""`python -m training.showcase`: the sheet of pocket's README, drawn by `causeway generate` from the weights that ship.

Above, walks from every first frame; below, from every suggested prompt alone.

    cargo build --release --bin causeway && cd pocket
    ../target/training/bin/python -m training.showcase --out ../docs/pocket.webp
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from .walks import SEED, generate

SCRIPT, FPS, SHOWN = "w*24,wl*6,w*24,wj*6,w*21", 16, (0, 2, 5, 10, 20)
GAP, COLUMNS = 8, 2


def strip(binary, weights, picture, prompt):
    """Some pictures of a walk, side by side."""
    with tempfile.TemporaryDirectory() as frames:
        generate(binary, weights, picture, [prompt], SCRIPT, SEED, 2, frames)
        video = sorted(Path(frames).glob("*.png"))
        return np.concatenate([np.asarray(Image.open(video[at * FPS])) for at in SHOWN], 1)


def block(strips):
    """Strips in two columns."""
    rows = []
    for left, right in zip(strips[::COLUMNS], strips[1::COLUMNS]):
        gap = np.full((left.shape[0], GAP, 3), 255, np.uint8)
        rows.append(np.concatenate([left, gap, right], 1))
    return np.concatenate(rows)


def main():
    arguments = argparse.ArgumentParser(prog="training.showcase", description=__doc__.split("\n")[0])
    arguments.add_argument("--causeway", type=Path, default="../target/release/causeway", help="the server's binary")
    arguments.add_argument("--weights", type=Path, default="weights", help="a folder of weights with first frames")
    arguments.add_argument("--out", type=Path, required=True, help="the picture, as WebP")
    given = arguments.parse_args()
    first_frames = given.weights / "first_frames"
    about = json.loads((first_frames / "prompts.json").read_text())
    presets = json.loads((given.weights / "presets.json").read_text())
    seen = [strip(given.causeway, given.weights, first_frames / name, scene["prompt"]) for name, scene in about.items()]
    told = [strip(given.causeway, given.weights, None, prompt) for prompt in presets]
    above, below = block(seen), block(told)
    gap = np.full((GAP, above.shape[1], 3), 255, np.uint8)
    Image.fromarray(np.concatenate([above, gap, below])).save(given.out, quality=85, method=6)


if __name__ == "__main__":
    main()
