"""A small autoencoder as the beginning of a large one."""

import types
import unittest

import torch
import torch.nn.functional as F

from training import grow, vae


def made(base, channels, fold):
    return vae.Vae(vae.config(types.SimpleNamespace(base=base, channels=channels, fold=fold))).requires_grad_(False)


def trained(base=8, channels=16, fold=2):
    """One that has learned something of everything but of the encoder's past."""
    torch.manual_seed(0)
    model = made(base, channels, fold)
    model.forget_time()
    for name, parameter in model.named_parameters():
        noise = 0.1 * torch.randn_like(parameter)
        if name.startswith("encoder") and parameter.dim() == 5:
            noise[:, :, :-1] = 0
        if name.startswith("encoder") and "time_conv" in name:
            noise.zero_()
        parameter += noise
    return model


class Growing(unittest.TestCase):
    def test_a_wider_one_draws_what_the_smaller_drew_twice_as_large(self):
        small, large = trained(), made(12, 24, 4)
        grow.fill(large, small.config, dict(small.named_parameters()))
        self.assertFalse(small.looks_back() or large.looks_back())
        video = torch.rand(1, 3, 9, 32, 48) * 2 - 1

        def enlarged(frames):
            return frames.repeat_interleave(2, -1).repeat_interleave(2, -2)

        said = small.encode(video)
        heard = large.encode(enlarged(video))
        for of_small, of_large in zip(said, heard):
            torch.testing.assert_close(of_large[:, :16], of_small, atol=1e-4, rtol=1e-4)
        drawn = large.decode(heard[0])
        torch.testing.assert_close(drawn, enlarged(small.decode(said[0])), atol=1e-4, rtol=1e-4)
        # What it is shown between the pixels of the smaller one is their mean.
        fine = torch.rand(1, 3, 1, 64, 96) * 2 - 1
        seen = small.encode(F.avg_pool3d(fine, (1, 2, 2)))[0]
        torch.testing.assert_close(large.encode(fine)[0][:, :16], seen, atol=1e-4, rtol=1e-4)

    def test_new_channels_say_something_and_every_weight_can_learn(self):
        small, large = trained(), made(12, 24, 4)
        grow.fill(large, small.config, dict(small.named_parameters()))
        large.requires_grad_()
        mean, log_variance = large.encode(torch.rand(2, 3, 5, 32, 64) * 2 - 1)
        self.assertTrue((mean[:, 16:].std((0, 2, 3, 4)) > 1e-3).all())
        self.assertTrue((log_variance[:, 16:] == grow.NEW_LOG_VARIANCE).all())
        for _ in range(2):
            # A silent channel hears of it in the second step, when what is made of it has a gradient.
            mean, _ = large.encode(torch.rand(2, 3, 5, 32, 64) * 2 - 1)
            (large.decode(mean) - 0.3).pow(2).mean().backward()
            with torch.no_grad():
                for name, parameter in large.named_parameters():
                    self.assertTrue(parameter.grad is None or torch.isfinite(parameter.grad).all(), name)
                    if parameter.grad is not None:
                        parameter -= 0.1 * parameter.grad
        still = [
            name
            for name, parameter in large.named_parameters()
            if name.startswith("decoder") and name.endswith("weight") and (parameter.grad.flatten(1).abs().amax(1) == 0).any()
        ]
        self.assertEqual(still, [])

    def test_what_cannot_grow_is_told(self):
        small = trained()
        for sizes, message in (((4, 16, 2), "base_dim 8 cannot become 4"), ((8, 8, 2), "z_dim"), ((8, 16, 3), "patch_size")):
            with self.assertRaisesRegex(ValueError, message):
                grow.fill(made(*sizes), small.config, dict(small.named_parameters()))


if __name__ == "__main__":
    unittest.main()
