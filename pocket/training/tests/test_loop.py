"""Stopping, going on, and gradients that are not finite."""

import json
import tempfile
import types
import unittest
from pathlib import Path

import torch
from torch import nn

from training.loop import Loop, load_average

CONFIG = types.SimpleNamespace(seed=1, device="cpu", bf16=False, checkpoint_minutes=0.0, threads=1)
BUDGET = types.SimpleNamespace(steps=20, minutes=0.0, learning_rate=0.1, matrix_rate=0.1)


class Stopped(Exception):
    pass


class Loops(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        torch.manual_seed(0)
        self.model = nn.Linear(1, 1)
        self.steps = []

    def run_until(self, stop, spoil=()):
        """Learn to give 3, until `stop` or the end; the loss of steps in `spoil` is not a number."""
        loop = Loop(self.folder, "line", self.model, BUDGET, CONFIG)

        def losses():
            if loop.step == stop:
                raise Stopped
            self.steps.append(loop.step)
            wrong = (self.model(torch.ones(4, 1)) - 3).pow(2).mean()
            values = {"loss": wrong * float("nan") if loop.step in spoil else wrong}
            return values | ({"seldom": wrong.detach() * 0 + 7} if loop.step == 11 else {})

        loop.run(losses, every=5)
        return loop

    def test_a_stopped_stage_goes_on_and_a_finished_one_does_nothing(self):
        with self.assertRaises(Stopped):
            self.run_until(8)
        weight = self.model.weight.item()
        nn.init.zeros_(self.model.weight)
        self.run_until(None)
        self.assertEqual(self.steps, list(range(20)))
        self.assertGreater(weight, 0)
        found = self.run_until(None)
        self.assertTrue(found.done and len(self.steps) == 20)
        rows = [json.loads(line) for line in (self.folder / "line.jsonl").read_text().splitlines()]
        self.assertEqual([row["step"] for row in rows], [5, 10, 15, 20])
        self.assertLess(rows[-1]["loss"], rows[0]["loss"])
        self.assertEqual([row.get("seldom") for row in rows], [None, None, 7.0, None])
        self.assertTrue((self.folder / "line.png").exists())
        machines = [json.loads(line) for line in (self.folder / "machines.jsonl").read_text().splitlines()]
        self.assertEqual([(row["stage"], row["from_step"]) for row in machines], [("line", 0), ("line", 8)])
        self.assertRegex(machines[0]["machine"], "1 threads of [0-9]+ cores, .*products in float32")

    def test_a_loss_that_is_no_number_is_skipped_and_counted(self):
        loop = self.run_until(None, spoil=(3, 4))
        self.assertEqual(loop.skipped, 2)
        self.assertTrue(torch.isfinite(self.model.weight).all())
        averaged = load_average(self.folder / "line.safetensors", nn.Linear(1, 1))
        self.assertTrue(torch.isfinite(averaged.weight).all())

    def test_a_run_without_any_finite_gradient_ends(self):
        loop = Loop(self.folder, "line", self.model, types.SimpleNamespace(**vars(BUDGET) | {"steps": 99}), CONFIG)
        with self.assertRaisesRegex(RuntimeError, "finite"):
            loop.run(lambda: {"loss": self.model.weight.sum() * float("inf")})

    def test_a_missing_stage_is_named(self):
        with self.assertRaisesRegex(ValueError, "stage `vae`"):
            load_average(self.folder / "vae.safetensors", self.model)


if __name__ == "__main__":
    unittest.main()
