"""`python -m training.walks`: how sharp long walks stay, for settings of the sampler side by side.

Each setting walks the same 40 s from every first frame of a folder of weights, drawn by `causeway generate`. The measure is
the mean gradient from 15 s on, as a share of the given picture's. Noise and stripes have gradients too: so the same is
measured at half the size, where noise is mostly gone, and a sheet of pictures is written for each setting. Look at it.

    cargo build --release --bin causeway && cd pocket
    ../target/training/bin/python -m training.walks --out ../target/walks --setting '{"sampler": "euler", "steps": 12}' --setting '{}'
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

# 160 latent frames: ahead with turns to both sides, a stand of a second, and a turn on the spot.
SCRIPT = "w*24,wl*6,w*24,wj*6,w*20,-*4,l*9,w*24,wj*6,w*20,j*9,w*8"
SECONDS, SINCE, SHOWN = 40, 15, (0, 2, 5, 10, 15, 20, 25, 30, 35, 39)
SEED = 42


def mean_gradient(picture):
    """u8 (H, W, 3) -> mean |difference| of grey levels (0 to 255, Rec. 601) of neighbours, across and down, added."""
    grey = picture.astype(np.float64) @ (0.299, 0.587, 0.114)
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())


def halved(picture):
    """Every 2x2 pixels become their mean. Sides are even: sizes are multiples of 16."""
    height, width, _ = picture.shape
    return picture.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))


def share(given, frames, of=lambda picture: picture):
    """The frames' mean gradient in units of the given picture's."""
    return statistics.fmean(mean_gradient(of(frame)) for frame in frames) / mean_gradient(of(given))


def setting(text):
    """The keys of causeway.json that a setting changes, from a JSON object."""
    try:
        keys = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} must be a JSON object: {error}") from None
    if not isinstance(keys, dict):
        raise argparse.ArgumentTypeError(f"{text!r} must be a JSON object")
    return keys


def changed_model(weights, keys, folder):
    """A folder of the same weights with other words in its causeway.json."""
    folder.mkdir(parents=True)
    for part in weights.resolve().iterdir():
        (folder / part.name).symlink_to(part)
    recipe = json.loads((weights / "causeway.json").read_text()) | keys
    # For persons who wait; nobody does here, and it must be less than `steps`.
    recipe.pop("quick_steps", None)
    (folder / "causeway.json").unlink()
    (folder / "causeway.json").write_text(json.dumps(recipe))
    return recipe


def generate(binary, model, picture, prompts, script, seed, threads, out):
    """Run `causeway generate`; an error shows what it said. -> what it said."""
    command = [binary, "generate", "--model", model, f"--actions={script}", "--seed", seed, "--threads", threads]
    command += ["--out", out, *(["--image", picture] if picture else [])]
    command = list(map(str, command)) + [part for prompt in prompts for part in ("--prompt", prompt)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def times(said):
    """Milliseconds of transformer a chunk, and of transformer, autoencoder and text together."""
    parts = {name: float(re.search(rf"^\s*{name}\s+([0-9.]+) ms", said, re.M)[1]) for name in ("DiT", "VAE", "text")}
    return parts["DiT"], sum(parts.values())


def measured(binary, weights, keys, worlds, sheet, threads):
    """One setting -> for each world its two shares, and the times of a chunk."""
    about = json.loads((weights / "first_frames/prompts.json").read_text())
    found, rows = {}, []
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "model"
        fps = changed_model(weights, keys, model)["fps"]
        for name, scene in about.items():
            world = Path(name).stem
            if worlds and world not in worlds:
                continue
            frames = Path(scratch) / world
            picture = weights / "first_frames" / name
            dit, chunk = times(generate(binary, model, picture, [scene["prompt"]], SCRIPT, SEED, threads, frames))
            given = np.asarray(Image.open(picture).convert("RGB"))
            video = [np.asarray(Image.open(path)) for path in sorted(frames.glob("*.png"))]
            shutil.rmtree(frames)
            late = video[SINCE * fps :]
            found[world] = {"full": share(given, late), "half": share(given, late, halved), "dit": dit, "chunk": chunk}
            rows.append(np.concatenate([given, *(video[min(at * fps, len(video) - 1)] for at in SHOWN)], 1))
    shown = Image.fromarray(np.concatenate(rows))
    shown.resize((2 * shown.width, 2 * shown.height), Image.NEAREST).save(sheet)
    return found


def row(name, found):
    """One line of the table: median, worst and each of the full shares, then the medians of the rest."""
    full = {world: values["full"] for world, values in found.items()}
    worst = min(full, key=full.get)
    cells = [name, f"{statistics.median(full.values()):.2f}", f"{full[worst]:.2f} ({worst})"]
    cells += [f"{statistics.median(values['half'] for values in found.values()):.2f}"]
    cells += [f"{statistics.median(values[kind] for values in found.values()):.1f}" for kind in ("dit", "chunk")]
    return "| " + " | ".join([*cells, ", ".join(f"{world} {value:.2f}" for world, value in full.items())]) + " |"


def main():
    arguments = argparse.ArgumentParser(prog="training.walks", description=__doc__.split("\n")[0])
    arguments.add_argument("--causeway", type=Path, default="../target/release/causeway", help="the server's binary")
    arguments.add_argument("--weights", type=Path, default="weights", help="a folder of weights with first frames")
    arguments.add_argument("--out", type=Path, required=True, help="a folder for table and sheets")
    arguments.add_argument(
        "--setting",
        action="append",
        default=[],
        type=setting,
        help='keys of causeway.json to change, \'{"steps": 12}\', and again for the next row; by default none',
    )
    arguments.add_argument("--worlds", default="", help="names of first frames, with commas; by default all")
    arguments.add_argument("--threads", type=int, default=2)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    head = ["setting", "median", "worst", "at half size", "transformer, ms", "a chunk, ms", f"share at {SINCE}-{SECONDS} s"]
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|", flush=True)
    for keys in given.setting or [{}]:
        name = ", ".join(f"{key} {value}" for key, value in keys.items()) or "as it is"
        sheet = given.out / f"{re.sub('[^a-z0-9]+', '-', name)}.png"
        worlds = list(filter(None, given.worlds.split(",")))
        found = measured(given.causeway, given.weights, keys, worlds, sheet, given.threads)
        line = row(name, found)
        print(line, flush=True)
        with (given.out / "walks.md").open("a") as table:
            table.write(line + "\n")


if __name__ == "__main__":
    main()
