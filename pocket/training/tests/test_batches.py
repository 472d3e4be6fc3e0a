"""What a step is shown: clips that go on as others, single pictures."""

import types
import unittest

import torch

from training import text, train_dit
from training.batches import Batches
from training.camera import Grid
from training.latents import Latents


class Draws(unittest.TestCase):
    def setUp(self):
        """Clips whose every number says which clip it is."""
        count, frames = 6, 9
        number = torch.arange(1.0, count + 1)
        self.latents = Latents(
            clean=number.view(-1, 1, 1, 1, 1).expand(-1, 16, frames, 4, 6).clone(),
            condition=torch.zeros(count, 16, 6, 4, 6),
            steps=torch.eye(4).repeat(count, frames, 1, 1),
            lens=torch.tensor([40.0, 40.0, 24.0, 16.0]).expand(count, -1),
            ids=(10 * number.long()).view(-1, 1, 1).expand(-1, 2, 3).clone(),
            prompt_of_frame=torch.zeros(count, frames, dtype=torch.long),
            pictures=number.view(-1, 1, 1, 1, 1).expand(-1, 16, 1, 4, 6).clone(),
            picture_ids=(10 * number.long()).view(-1, 1, 1).expand(-1, 1, 3).clone(),
        )
        camera = {"fov_x_deg": 75.0, "rays": "delta", "ray_scale": 4.0, "translation": "fixed", "translation_scale": 2.0}
        settings = types.SimpleNamespace(
            frames=7,
            middle=0.3,
            text_only=0.3,
            text_dropout=0.2,
            unknown_words=0.0,
            short_prompts=0.0,
            camera_none=0.1,
            rope_offset=5,
            spliced=1.0,
        )
        self.config = types.SimpleNamespace(
            seed=1, device="cpu", dit=settings, policy={"size": [48, 32], "camera": camera, "sink": 0}, grid=Grid(8, 2)
        )
        self.batches = Batches(self.latents, self.config)

    def test_a_spliced_clip_goes_on_as_another_with_its_prompt(self):
        before = self.latents.clean.clone()
        for step in range(20):
            made = self.batches.draw(step, 4)
            clip = made.clean[:, 0, :, 0, 0]
            for row, prompts, ids in zip(clip, made.prompt_of_frame, made.ids):
                cut = prompts.tolist().index(2)
                self.assertEqual(prompts.tolist(), [0] * cut + [2] * (len(prompts) - cut))
                for frame, prompt in zip(row, prompts):
                    self.assertIn(ids[prompt].tolist(), ([int(10 * frame)] * 3, [text.PAD] * 3))
                self.assertEqual((len(row[:cut].unique()), len(row[cut:].unique())), (1, 1))
        self.assertTrue(torch.equal(self.latents.clean, before), "drawing must not change what is drawn from")

    def test_a_sinks_frames_stand_before_a_sessions_middle(self):
        self.latents.clean += 0.01 * torch.arange(9.0).view(1, 1, -1, 1, 1)
        self.config.policy["sink"] = 2
        made = self.batches.take([3, 1], 4, 100, 5, {1: (5, 3)})
        self.assertEqual((made.pinned, made.starts, made.positions.tolist()), (2, False, [0, 1, 104, 105, 106, 107, 108]))
        shown = made.clean[:, 0, :, 0, 0]
        torch.testing.assert_close(shown[0], 4 + 0.01 * torch.tensor([0.0, 1, 4, 5, 6, 7, 8]))
        torch.testing.assert_close(shown[1], torch.tensor([2.0] * 5 + [6.0] * 2) + 0.01 * torch.tensor([0.0, 1, 4, 5, 6, 7, 8]))
        self.assertEqual(made.prompt_of_frame[1].tolist(), [0] * 5 + [2] * 2)
        self.assertEqual(made.condition[:, :4].flatten(1).sum(1).tolist(), [4 * 24.0] * 2)
        settings = types.SimpleNamespace(switch_weight=3.0, frame0_weight=5.0)
        self.assertEqual(train_dit.weights_of(made, settings)[1].tolist(), [0, 0, 0, 1, 1, 3, 1])
        made = self.batches.take([3], 1, 0, 3)
        self.assertEqual((made.pinned, made.positions.tolist()), (1, [0, 1, 2, 3]))

    def test_a_single_picture_has_its_prompt_or_none_and_nothing_else(self):
        made = self.batches.pictures(0, 200)
        self.assertEqual((made.clean.shape, made.condition.abs().sum(), made.camera.abs().sum()), ((200, 16, 1, 4, 6), 0, 0))
        silent = (made.ids == text.PAD).all(-1)[:, 0]
        self.assertTrue((made.ids[~silent, 0, 0] == 10 * made.clean[~silent, 0, 0, 0, 0]).all())
        self.assertAlmostEqual(silent.float().mean().item(), 0.2, delta=0.08)


if __name__ == "__main__":
    unittest.main()
