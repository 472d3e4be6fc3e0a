"""How a frame is drawn out of noise: samplers on flows whose answer is known, schedules, and what training keeps apart."""

import argparse
import math
import unittest
from pathlib import Path

import torch

from training import flow, sampler, walks
from training.config import Config
from training.evaluation import drawn

CONFIGS = Path(__file__).parents[1] / "configs"


def setUpModule():
    torch.set_num_threads(1)


def levels(steps, shift=1.0):
    return sampler.schedule({"shift": shift, "steps": steps})


class Samplers(unittest.TestCase):
    def run_on(self, name, at, predict):
        """Where `name` takes 1 under d(x)/d(sigma) = predict(x), how many passes it takes and how often it draws noise: 1."""
        counts = {"passes": 0, "draws": 0}

        def count(kind, value):
            counts[kind] += 1
            return value

        x = torch.ones(1, dtype=torch.float64)
        end = sampler.sample(name, at, x, lambda x, t: count("passes", predict(x)), lambda: count("draws", x))
        return float(end), counts["passes"], counts["draws"]

    def test_a_straight_flow_leads_every_sampler_to_its_end(self):
        for name in sampler.SAMPLERS:
            for at in (levels(1), levels(2), levels(7), levels([1000, 750, 500, 250], 5.0)):
                end, *_ = self.run_on(name, at, lambda x: torch.full_like(x, 3.0))
                self.assertAlmostEqual(end, -2.0, places=6, msg=f"{name}, {len(at)} steps")

    def test_a_sampler_takes_so_many_passes_and_draws_noise_so_often(self):
        for name, expected in (("renoise", (4, 3)), ("euler", (4, 0)), ("heun", (7, 0)), ("euler_renoise", (4, 1))):
            self.assertEqual(self.run_on(name, levels(4), lambda x: x)[1:], expected, name)

    def test_half_the_step_halves_eulers_error_and_quarters_heuns(self):
        for name, order in (("euler", 1), ("heun", 2)):
            far, near = (self.run_on(name, levels(steps), lambda x: x)[0] - math.exp(-1) for steps in (20, 40))
            # Terms of the next order are worth a twentieth at 20 steps.
            self.assertAlmostEqual(far / near, 2**order, delta=0.1 * order)

    def test_an_unknown_sampler_is_refused_by_name(self):
        with self.assertRaisesRegex(ValueError, "sampler is 'dpm'; it must be one of renoise, euler, heun, euler_renoise"):
            self.run_on("dpm", levels(2), lambda x: x)


class Schedules(unittest.TestCase):
    def test_a_number_of_steps_means_evenly_spaced_ones_rounded_as_the_server_does(self):
        self.assertEqual(sampler.nominal_steps(12), [1000, 917, 833, 750, 667, 583, 500, 417, 333, 250, 167, 83])
        self.assertEqual(sampler.nominal_steps(16)[13:], [188, 125, 63])
        self.assertEqual(sampler.nominal_steps(4), [1000, 750, 500, 250])
        self.assertEqual(sampler.nominal_steps([1000, 821]), [1000, 821])

    def test_without_a_shift_a_level_is_its_nominal_step(self):
        self.assertEqual([round(sigma, 3) for _, sigma in levels(5)], [1.0, 0.8, 0.6, 0.4, 0.2])
        self.assertEqual([round(sigma, 3) for _, sigma in levels(2, 3.0)], [1.0, 0.75])

    def test_what_is_trained_on_does_not_change_with_what_draws(self):
        config = Config.load(CONFIGS / "dry.toml")
        config.policy |= {"sampler": "euler", "steps": 12, "shift": 1.0}
        trained = flow.trained_policy(config)
        self.assertEqual([trained[key] for key in ("sampler", "steps", "shift")], ["renoise", flow.VISITED, 2.0])

    def test_an_evaluation_says_how_its_pictures_were_drawn(self):
        self.assertEqual(drawn({"size": [96, 64], "sampler": "euler", "steps": 12, "shift": 1.0}), "96×64, euler, 12 steps, shift 1")
        self.assertEqual(drawn({"size": [96, 64], "steps": [1000], "shift": 2.5}), "96×64, renoise, 1 step, shift 2.5")


class Walks(unittest.TestCase):
    def test_a_gradient_is_the_mean_step_across_and_down(self):
        # Columns 0, 10, 20, …: every neighbour across differs by 10, none down.
        ramp = torch.arange(0, 80, 10, dtype=torch.uint8)[None, :, None].expand(6, 8, 3).numpy()
        self.assertAlmostEqual(walks.mean_gradient(ramp), 10.0)
        self.assertAlmostEqual(walks.mean_gradient(walks.halved(ramp)), 20.0)
        self.assertAlmostEqual(walks.share(ramp, [ramp, ramp // 2]), 0.75)

    def test_a_setting_that_is_no_object_is_refused(self):
        self.assertEqual(walks.setting('{"sampler": "euler", "steps": 12}'), {"sampler": "euler", "steps": 12})
        for text in ("steps=12", "[12]"):
            with self.assertRaisesRegex(argparse.ArgumentTypeError, "must be a JSON object"):
                walks.setting(text)


if __name__ == "__main__":
    unittest.main()
