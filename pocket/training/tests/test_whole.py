"""A step over whole clips against the modules that stream: the same numbers, and the same gradients."""

import types
import unittest
import unittest.mock

import torch

from training import attention, dit, machine, muon, whole

from . import masks

FRAMES, WINDOW = 7, 4


def model(patch=2, channels=16, layers=3):
    torch.manual_seed(0)
    sizes = types.SimpleNamespace(width=48, heads=2, layers=layers, ffn=64, patch=patch)
    made = dit.Dit(dit.config(sizes, channels, 24, {"window": WINDOW, "sink": 0}))
    for parameter in made.parameters():
        # Nothing may stay as it begins, where much of it is no effect at all.
        parameter.data += 0.1 * torch.randn_like(parameter)
    return made


def question(of, prompts=2, camera=True, frames=FRAMES):
    """(past, noisy, condition, levels, camera, context, prompt_of_frame, positions) of two clips."""
    torch.manual_seed(1)
    h, w = 2 * of.patch, 3 * of.patch
    clean, noisy = (torch.randn(2, of.outputs, frames, h, w) for _ in range(2))
    condition, levels = torch.randn(2, 4 + of.outputs, frames, h, w), torch.rand(2, frames)
    rays = 0.3 * torch.randn(2, frames, 6, 384 * of.patch**2) if camera else None
    which = torch.randint(prompts, (2, frames))
    return clean, noisy, condition, levels, rays, torch.randn(2, prompts, 5, 24), which, 3 + torch.arange(frames)


def by_modules(of, sink, past, noisy, condition, levels, rays, context, which, positions):
    def twice(tensor, dim):
        return torch.cat([tensor, tensor], dim)

    if past is None:
        alone = masks.masked(torch.eye(noisy.shape[2], dtype=torch.bool).repeat_interleave(6, 0).repeat_interleave(6, 1))
        return of(noisy, condition, 1000 * levels, rays, context, which, positions, alone)
    frames = noisy.shape[2]
    flow = of(
        torch.cat([past, noisy], 2),
        twice(condition, 2),
        torch.cat([torch.zeros_like(levels), 1000 * levels], 1),
        None if rays is None else twice(rays, 1),
        context,
        twice(which, 1),
        twice(positions, 0),
        masks.masked(masks.teacher_mask(frames, 6, WINDOW, sink)),
    )
    return flow[:, :, frames:]


def gradients(of, flow):
    of.zero_grad(set_to_none=True)
    torch.manual_seed(2)
    (flow * torch.randn_like(flow)).mean().backward()
    return {name: p.grad for name, p in of.named_parameters() if p.grad is not None}


class Steps(unittest.TestCase):
    def agree(self, of, asked, sink=0, compiled=False):
        slow = by_modules(of, sink, *asked)
        wanted = gradients(of, slow)
        fast = whole.Whole(of, WINDOW, sink, torch.float32, compiled)(*asked)
        torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-4)
        found = gradients(of, fast)
        self.assertEqual(found.keys(), wanted.keys())
        largest = max(g.abs().max().item() for g in wanted.values())
        for name, gradient in wanted.items():
            torch.testing.assert_close(found[name], gradient, atol=2e-5 * largest, rtol=1e-3, msg=lambda why: f"{name}: {why}")

    def test_a_clip_is_told_what_the_modules_tell_it_and_learns_the_same(self):
        of = model()
        for prompts, camera in ((2, True), (1, False)):
            with self.subTest(prompts=prompts, camera=camera):
                self.agree(of, question(of, prompts, camera))

    def test_pinned_frames_are_seen_from_everywhere(self):
        of = model()
        for sink in (1, 2):
            with self.subTest(sink=sink):
                self.agree(of, question(of), sink)

    def test_single_pictures_stand_alone(self):
        of = model()
        for frames in (1, 3):
            self.agree(of, (None, *question(of, frames=frames)[1:]))

    def test_larger_patches_and_other_latents_are_the_same_sums(self):
        of = model(patch=4, channels=8)
        self.agree(of, question(of))

    def test_compiled_it_is_the_same(self):
        # Of more than one block it would be one graph more: a compiler takes seconds for each.
        of = model(layers=1)
        self.agree(of, question(of), 1, compiled=True)

    def test_in_bf16_it_is_nearly_the_same(self):
        of = model()
        asked = question(of)
        exact, found = (whole.Whole(of, WINDOW, 0, dtype, False)(*asked) for dtype in (torch.float32, torch.bfloat16))
        off = (found - exact).norm() / exact.norm()
        self.assertTrue(1e-4 < off < 0.05, off)


class Attention(unittest.TestCase):
    def test_the_way_back_is_the_derivative(self):
        torch.manual_seed(0)
        for asking, halves, window, sink in ((2, 2, 3, 1), (1, 2, 2, 0), (1, 1, 3, 0)):
            q = torch.randn(1, 2, 4, asking, 2, 3, dtype=torch.float64, requires_grad=True)
            k, v = (torch.randn(1, 2, halves, 8, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
            self.assertTrue(torch.autograd.gradcheck(lambda *qkv: attention.attend(*qkv, window, sink), (q, k, v)))


class Machine(unittest.TestCase):
    def test_bf16_is_used_only_where_it_is_asked_for_and_fast(self):
        for flags, asked, expected in (
            (["avx2"], True, torch.float32),
            (["avx2", "avx512f", "avx512_bf16"], True, torch.bfloat16),
            (["avx2", "avx512f", "avx512_bf16"], False, torch.float32),
        ):
            with unittest.mock.patch.object(machine, "flags", lambda found=flags: found):
                self.assertEqual(machine.products(types.SimpleNamespace(bf16=asked, device="cpu")), expected)

    def test_matrices_of_a_shape_step_together_as_each_would_alone(self):
        torch.manual_seed(0)
        shapes = [(6, 9), (9, 6), (6, 9), (6, 3, 3), (6, 9)]
        start, gradients = ([torch.randn(shape) for shape in shapes] for _ in range(2))

        def stepped(split):
            moved = [p.clone().requires_grad_() for p in start]
            optimizers = [muon.Muon(group, 0.1) for group in ([[p] for p in moved] if split else [moved])]
            for step in range(2):
                for p, gradient in zip(moved, gradients):
                    p.grad = gradient * (step + 1)
                # Without a gradient a matrix stays where it is.
                moved[2].grad = None if step else moved[2].grad
                for optimizer in optimizers:
                    optimizer.step()
            return moved

        for together, alone, before in zip(stepped(False), stepped(True), start):
            torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
            self.assertGreater((together - before).abs().max().item(), 0.01)


if __name__ == "__main__":
    unittest.main()
