"""Parts shared by all training stages: the step, the average of weights, the log, the plot, resuming.

A checkpoint holds weights and their average but no optimiser state, to stay small: after a restart the learning rate
warms up again. What a step draws at random depends on the seed and the step's number only, so a restart draws the same.
"""

import json
import math
import time
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from tqdm import tqdm

from .machine import description
from .muon import optimizers

WARM_UP = 40
# Averages over about 200 steps, so early weights are forgotten before the learning rate has decayed.
EMA = 0.995


class Loop:
    """One stage. `budget` has learning_rate, steps, minutes; the first limit reached ends the stage (0 minutes: steps alone)."""

    def __init__(self, folder, stage, model, budget, config):
        self.folder, self.stage, self.model, self.budget, self.config = Path(folder), stage, model, budget, config
        self.parameters = dict(model.named_parameters())
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.step, self.seconds, self.skipped, self.done = 0, 0.0, 0, False
        self._restore()
        self.warm_from = self.step
        self.optimizers = optimizers(self.parameters, budget)

    @property
    def progress(self):
        """0 to 1."""
        spent = self.step / self.budget.steps
        if self.budget.minutes:
            spent = max(spent, self.seconds / 60 / self.budget.minutes)
        return min(1.0, spent)

    def run(self, losses, every=10):
        """`losses()` gives named values for one step, of which `loss` is minimised."""
        if self.done:
            print(f"{self.stage}: done already, {self.step} steps")
            return
        self._note_machine()
        bar = tqdm(total=self.budget.steps, initial=self.step, desc=self.stage)
        saved, clock, recent = time.monotonic(), time.monotonic(), []
        while self.progress < 1:
            seeded(self.config.seed, self.stage, self.step)
            with torch.autocast(self.config.device, torch.bfloat16, self.config.bf16):
                values = losses()
            norm = self._descend(values["loss"])
            now = time.monotonic()
            self.seconds, clock, self.step = self.seconds + now - clock, now, self.step + 1
            recent.append({name: value.detach().item() for name, value in values.items()} | {"norm": norm})
            bar.update()
            if self.step % every == 0 or self.progress == 1:
                self._log(recent)
                bar.set_postfix(loss=f"{recent[-1]['loss']:.4f}", skipped=self.skipped)
                recent = []
            if now - saved > 60 * self.config.checkpoint_minutes:
                self._save()
                saved = now
        bar.close()
        self.done = True
        self._save()
        plot(self.folder / f"{self.stage}.jsonl")

    def _descend(self, loss):
        warm = min(1, (self.step - self.warm_from + 1) / WARM_UP)
        # Held for the first half, then a cosine to a fiftieth.
        late = max(0.0, 2 * self.progress - 1)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * warm * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * late)))
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(list(self.parameters.values()), 1.0)
        # A run once died of a single infinite gradient.
        if torch.isfinite(norm) and torch.isfinite(loss):
            for optimizer in self.optimizers:
                optimizer.step()
        else:
            self.skipped += 1
            if self.skipped > 20 + self.step // 10:
                raise RuntimeError(f"{self.stage}: {self.skipped} of {self.step} steps had no finite gradient")
        keep = min(EMA, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                self.average[name].lerp_(parameter, 1 - keep)
        return float(norm)

    def use_average(self):
        """Give the model its averaged weights, for good."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.average[name])

    def _log(self, recent):
        # Some values are not computed at every step: average over the steps that have them.
        mean = {}
        for name in {name: None for row in recent for name in row}:
            values = [row[name] for row in recent if name in row]
            mean[name] = sum(values) / len(values)
        row = {"step": self.step, "seconds": round(self.seconds, 2), "skipped": self.skipped} | mean
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / f"{self.stage}.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")

    def _note_machine(self):
        """A run may go on elsewhere: which machine did which steps tells what an hour of it bought."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "machines.jsonl", "a") as file:
            row = {"stage": self.stage, "from_step": self.step, "seconds": round(self.seconds, 2)}
            file.write(json.dumps(row | {"machine": description(self.config)}) + "\n")

    @property
    def _path(self):
        return self.folder / f"{self.stage}.safetensors"

    def _save(self):
        tensors = {
            f"{kind}.{name}": tensor.detach().cpu().contiguous()
            for kind, of in (("live", self.parameters), ("average", self.average))
            for name, tensor in of.items()
        }
        state = {"step": self.step, "seconds": self.seconds, "skipped": self.skipped, "done": self.done}
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(".part")
        save_file(tensors, unfinished, metadata={"state": json.dumps(state)})
        unfinished.rename(self._path)

    @torch.no_grad()
    def _restore(self):
        if not self._path.exists():
            return
        with safe_open(self._path, "pt") as file:
            for name, parameter in self.parameters.items():
                parameter.copy_(file.get_tensor(f"live.{name}"))
                self.average[name].copy_(file.get_tensor(f"average.{name}"))
            vars(self).update(json.loads(file.metadata()["state"]))


@torch.no_grad()
def load_average(path, model):
    """The averaged weights of a finished stage into `model`."""
    if not Path(path).exists():
        raise ValueError(f"{path} is missing: run the stage `{Path(path).stem}` first")
    with safe_open(path, "pt") as file:
        for name, parameter in model.named_parameters():
            parameter.copy_(file.get_tensor(f"average.{name}"))
    return model


def seeded(seed, stage, step):
    torch.manual_seed(seed * 1_000_003 + step * 31 + sum(stage.encode()))


def plot(log):
    """Every value of a log over its steps, in a picture beside it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [json.loads(line) for line in log.read_text().splitlines()]
    names = list({name: None for row in rows for name in row if name not in ("step", "seconds", "skipped")})
    figure, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 3), squeeze=False)
    for axis, name in zip(axes[0], names):
        points = [(row["step"], row[name]) for row in rows if name in row]
        axis.plot(*zip(*points), linewidth=1)
        axis.set_title(name)
        if all(value > 0 for _, value in points):
            axis.set_yscale("log")
    figure.tight_layout()
    figure.savefig(log.with_suffix(".png"))
    plt.close(figure)
