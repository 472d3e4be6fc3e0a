"""Few steps that draw as many do: whom the student follows, and on what past."""

import tempfile
import types
import unittest
from pathlib import Path

import torch
from safetensors.torch import save_file

from training import flow, refine
from training.config import Config

from .test_flow import batch

CONFIGS = Path(__file__).parents[1] / "configs"


def leading_to(target):
    """A model that takes every noisy frame for this one."""

    def whole(_past, noisy, _condition, levels, *_):
        return (noisy - target) / levels[:, None, :, None, None]

    return types.SimpleNamespace(
        policy={"shift": 2.0, "window": 3, "steps": [1000, 750, 500, 250]}, text=lambda ids: torch.zeros(*ids.shape, 8), whole=whole
    )


class Matching(unittest.TestCase):
    def test_a_student_goes_from_what_the_critic_expects_to_what_the_teacher_does(self):
        torch.manual_seed(0)
        seen = batch()
        made = torch.randn_like(seen.clean).requires_grad_()
        expected, wanted = torch.full_like(made, -0.5), torch.full_like(made, 0.25)
        critic, student, gap = refine.match(leading_to(expected), leading_to(wanted), seen, seen.clean, made, 1)
        student.backward()
        self.assertTrue((made.grad[:, :, 0] == 0).all(), "before `since` nothing is asked")
        self.assertTrue((made.grad[:, :, 1:] < 0).all(), "descending leads from -0.5 to 0.25")
        self.assertGreater(critic.item(), 0)
        self.assertGreater(gap.item(), 0)

    def test_where_both_agree_nothing_moves(self):
        torch.manual_seed(0)
        seen = batch()
        made = torch.randn_like(seen.clean).requires_grad_()
        critic, student, gap = refine.match(leading_to(made.detach()), leading_to(made.detach()), seen, None, made, 0)
        student.backward()
        self.assertLess(made.grad.abs().max().item() + gap.item() + critic.item(), 1e-3)

    def test_a_drawn_frame_is_where_the_student_leads(self):
        torch.manual_seed(0)
        seen = batch()
        target = torch.randn_like(seen.clean)
        torch.testing.assert_close(refine.drawn(leading_to(target), seen, seen.clean), target, atol=1e-4, rtol=1e-4)


class Walks(unittest.TestCase):
    def test_what_is_given_stays_and_the_rest_is_the_models_own(self):
        torch.manual_seed(0)
        config = Config.load(CONFIGS / "dry.toml")
        model = flow.Model(config, 10).eval()
        seen = batch()
        walked = refine.rollout(model, seen, 2)
        self.assertTrue(torch.equal(walked[:, :, :2], seen.clean[:, :, :2]))
        self.assertFalse(walked.isnan().any() or (walked[:, :, 2:] == seen.clean[:, :, 2:]).any())


class Kept(unittest.TestCase):
    def test_what_is_exported_lies_on_the_line_from_teacher_to_student(self):
        config, words = Config.load(CONFIGS / "dry.toml"), types.SimpleNamespace(get_vocab_size=lambda: 10)
        config.refine.kept = 0.25
        teacher, student = (flow.Model(config, 10) for _ in range(2))
        with tempfile.TemporaryDirectory() as folder:
            for stage, name, model in (("dit", "", teacher), ("refine", "student.", student)):
                save_file(
                    {f"average.{name}{of}": p.detach().clone() for of, p in model.named_parameters()},
                    Path(folder) / f"{stage}.safetensors",
                )
            made = refine.trained(config, words, Path(folder))
        for found, at_first, at_last in zip(made.parameters(), teacher.parameters(), student.parameters()):
            torch.testing.assert_close(found, 0.75 * at_first + 0.25 * at_last)


if __name__ == "__main__":
    unittest.main()
