"""What the transformer is asked, and what of the past it is told."""

import types
import unittest

import torch

from training import flow, train_dit
from training.batches import Batch


def batch(frames=4):
    return Batch(
        clean=torch.randn(2, 16, frames, 4, 6),
        condition=torch.zeros(2, 20, frames, 4, 6),
        camera=None,
        ids=torch.zeros(2, 2, 3, dtype=torch.long),
        prompt_of_frame=torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0]]),
        positions=torch.arange(frames),
        starts=True,
    )


class Flows(unittest.TestCase):
    def test_one_who_knows_everything_guesses_right_from_every_level(self):
        torch.manual_seed(0)
        seen = batch()

        def all_knowing(_past, noisy, _condition, levels, *_):
            return (noisy - seen.clean) / levels[:, None, :, None, None]

        policy = {"shift": 2.0, "window": 3}
        model = types.SimpleNamespace(policy=policy, text=lambda ids: torch.zeros(*ids.shape, 8), whole=all_knowing)
        guessed = flow.guesses(model, seen, seen.clean, flow.visited_levels(policy, (2, 4), "cpu"))
        torch.testing.assert_close(guessed, seen.clean, atol=1e-5, rtol=1e-5)

    def test_frames_with_only_a_prompt_or_a_picture_to_go_by_count_more(self):
        settings = types.SimpleNamespace(switch_weight=3.0, frame0_weight=5.0)
        seen = batch()
        self.assertEqual(train_dit.weights_of(seen, settings).tolist(), [[5, 1, 3, 1], [5, 1, 1, 1]])
        seen.starts = False
        self.assertEqual(train_dit.weights_of(seen, settings).tolist(), [[0, 1, 3, 1], [0, 1, 1, 1]])

    def test_a_worn_past_is_smeared_pale_or_harsh_and_of_other_colours_and_others_are_as_they_were(self):
        torch.manual_seed(0)
        past = torch.randn(400, 16, 2, 4, 6)
        self.assertTrue(torch.equal(flow.worn(past, 0.0), past))
        half = (flow.worn(past, 0.5) != past).flatten(1).any(1).float().mean().item()
        self.assertAlmostEqual(half, 0.5, delta=0.12)
        worn = flow.worn(past, 1.0)
        # Smearing takes away more along the horizon than across it.
        along, across = ((worn.diff(dim=d).pow(2).mean() / past.diff(dim=d).pow(2).mean()).item() for d in (-1, -2))
        self.assertLess(along, 0.95 * across)
        contrast = (worn.std((1, 2, 3, 4)) / past.std((1, 2, 3, 4))).tolist()
        self.assertTrue(min(contrast) < 0.6 and max(contrast) > 1.3, (min(contrast), max(contrast)))
        colour = (worn - past).mean((3, 4))
        # One way for a whole clip.
        torch.testing.assert_close(colour[:, :, 0], colour[:, :, 1], atol=1e-5, rtol=0)
        self.assertGreater(colour.abs().mean().item(), 0.05)

    def test_a_picture_has_no_past(self):
        torch.manual_seed(0)
        seen = batch(1)
        seen.prompt_of_frame, levels = torch.zeros(2, 1, dtype=torch.long), torch.tensor([[0.5], [0.9]])

        def whole(past, noisy, condition, levels, _camera, contexts, prompts, positions):
            self.assertIsNone(past)
            self.assertEqual((noisy.shape[2], condition.shape[2], positions.tolist()), (1, 1, [0]))
            self.assertEqual((contexts.shape[:2], prompts.shape), ((2, 2), (2, 1)))
            # One who knows the first picture, and of the second only what is seen of it.
            truth = (noisy - seen.clean) / levels[:, None, :, None, None]
            return torch.stack([truth[0], torch.zeros_like(truth[1])])

        model = types.SimpleNamespace(text=lambda ids: torch.zeros(*ids.shape, 8), whole=whole)
        known, unknown = flow.errors(model, seen, None, levels)[:, 0].tolist()
        self.assertLess(known, 1e-9)
        self.assertAlmostEqual(unknown, 2.0, delta=0.5)


if __name__ == "__main__":
    unittest.main()
