"""Where training begins: an autoencoder without time, no earlier weights, steps of the same length."""

import tempfile
import types
import unittest
from pathlib import Path

import torch

from training import muon, text, train_text, vae
from training.checkpoint import begin_from

TINY = types.SimpleNamespace(base=8, channels=16, fold=2)


class Beginnings(unittest.TestCase):
    def test_without_time_a_video_is_every_fourth_picture(self):
        torch.manual_seed(0)
        model = vae.Vae(vae.config(TINY)).eval().requires_grad_(False)
        model.forget_time()
        video = torch.rand(1, 3, 9, 32, 48) * 2 - 1
        latents, _ = model.encode(video)
        pictures = [model.encode(video[:, :, at : at + 1])[0] for at in (0, 4, 8)]
        torch.testing.assert_close(latents, torch.cat(pictures, 2), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(model.sees(video), latents, atol=1e-5, rtol=1e-4)
        drawn = [model.decode(picture) for picture in pictures]
        expected = torch.cat([drawn[0], drawn[1].expand(-1, -1, 4, -1, -1), drawn[2].expand(-1, -1, 4, -1, -1)], 2)
        torch.testing.assert_close(model.decode(latents), expected, atol=1e-5, rtol=1e-4)

    def test_nothing_to_start_from_is_nothing_changed(self):
        model = torch.nn.Linear(2, 2)
        weight = model.weight.clone()
        begin_from(types.SimpleNamespace(start_from=""), "vae", model)
        self.assertTrue(torch.equal(model.weight, weight))

    def test_an_encoder_goes_on_only_with_the_words_it_has_read(self):
        read, others = (text.tokenizer([prompt], 10) for prompt in ("a snowy pass", "a sandy pass"))
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "tokenizer").mkdir()
            read.save(f"{folder}/tokenizer/tokenizer.json")
            train_text.same_words(folder, read)
            with self.assertRaisesRegex(ValueError, "text.forget is false"):
                train_text.same_words(folder, others)

    def test_matrices_step_by_the_same_length_in_every_direction(self):
        torch.manual_seed(0)
        for shape in ((48, 48), (16, 96), (96, 16)):
            # From a gradient whose directions differ a hundredfold.
            u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
            step = muon.orthogonal((u @ torch.diag(torch.logspace(0, 2, min(shape))) @ v)[None])[0]
            lengths = torch.linalg.svdvals(step)
            self.assertTrue(0.4 < lengths.min() and lengths.max() < 1.4, lengths)

    def test_tables_and_single_rows_are_no_matrices(self):
        for name, shape, expected in (
            ("blocks.0.ffn.0.weight", (8, 4), True),
            ("conv.weight", (8, 4, 3, 3, 3), True),
            ("shared.weight", (90, 8), False),
            ("blocks.0.modulation", (1, 6, 8), False),
            ("norm.gamma", (8, 1, 1), False),
            ("bias", (8,), False),
        ):
            self.assertEqual(muon.is_matrix(name, torch.zeros(shape)), expected, name)


if __name__ == "__main__":
    unittest.main()
