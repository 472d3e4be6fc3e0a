"""What the transformer is trained on: its own guesses as its past, and how much each frame counts."""

import types
import unittest

import torch

from training import flow, train_dit


def batch(frames=4):
    return flow.Batch(
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

        def all_knowing(latents, _condition, times, *_):
            levels = (times[:, 4:] / 1000)[:, None, :, None, None]
            flow_of_noisy = (latents[:, :, 4:] - seen.clean) / levels
            return torch.cat([torch.zeros_like(seen.clean), flow_of_noisy], 2)

        policy = {"shift": 2.0, "window": 3}
        model = types.SimpleNamespace(policy=policy, text=lambda ids: torch.zeros(*ids.shape, 8), dit=all_knowing)
        guessed = flow.guesses(model, seen, 3, seen.clean)
        torch.testing.assert_close(guessed, seen.clean, atol=1e-5, rtol=1e-5)

    def test_frames_with_only_a_prompt_or_a_picture_to_go_by_count_more(self):
        settings = types.SimpleNamespace(switch_weight=3.0, frame0_weight=5.0)
        seen = batch()
        self.assertEqual(train_dit.weights_of(seen, settings).tolist(), [[5, 1, 3, 1], [5, 1, 1, 1]])
        seen.starts = False
        self.assertEqual(train_dit.weights_of(seen, settings).tolist(), [[0, 1, 3, 1], [0, 1, 1, 1]])
