"""`python -m training STAGE --config FILE --out RUN`: one stage, or `all` of them in order."""

import argparse
import importlib
import time
from pathlib import Path

import torch

from .config import Config

# Imported when run: looking at clips should not need what drawing plots does.
STAGES = {
    "data": ("data", "run"),
    "vae": ("train_vae", "run"),
    "decoder": ("train_vae", "run_decoder"),
    "latents": ("latents", "run"),
    "text": ("train_text", "run"),
    "dit": ("train_dit", "run"),
    "refine": ("refine", "run"),
    "export": ("export", "run"),
    "record": ("export", "run_record"),
    "evaluate": ("evaluation", "run"),
}


def main():
    arguments = argparse.ArgumentParser(prog="training", description=__doc__)
    arguments.add_argument("stage", choices=[*STAGES, "all"])
    arguments.add_argument("--config", required=True, type=Path, help="a preset of configs/, or a recipe of your own")
    arguments.add_argument("--out", required=True, type=Path, help="the run's folder: everything it makes is there")
    given = arguments.parse_args()
    config = Config.load(given.config)
    torch.set_num_threads(config.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    for stage in STAGES if given.stage == "all" else [given.stage]:
        # The stages that a preset may do without have a table of their name.
        if getattr(config, stage, True) is None:
            if given.stage == "all":
                continue
            raise SystemExit(f"{given.config} has no table [{stage}]: it does not run this stage")
        module, function = STAGES[stage]
        torch.manual_seed(config.seed)
        began = time.monotonic()
        getattr(importlib.import_module(f".{module}", __package__), function)(config, given.out)
        print(f"{stage}: {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
