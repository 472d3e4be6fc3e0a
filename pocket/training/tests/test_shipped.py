"""The shipped weights, through these modules, give the stream that the server's tests hold it to."""

import json
import os
import unittest
from pathlib import Path

import torch
from safetensors import safe_open

from training import memory
from training.camera import intrinsics, motion, poses_of, rays, unfold
from training.checkpoint import Checkpoint
from training.sampler import Decoder, Stream, condition_on, from_bytes
from training.text import token_ids

ROOT = Path(__file__).parents[3]
GOLDEN = Path(os.environ.get("CAUSEWAY_GOLDEN_DIR", ROOT / "tests/golden")) / "pocket/stream.safetensors"


class Recorded:
    def __init__(self, tensors):
        self.tensors = iter(tensors)

    def draw(self, shape):
        tensor = next(self.tensors)
        assert tensor.shape[1:] == tuple(shape), (tensor.shape, shape)
        return tensor


def setUpModule():
    torch.set_num_threads(1)


class Shipped(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = Checkpoint.load(ROOT / "pocket/weights")
        with safe_open(GOLDEN, "pt") as file:
            cls.golden = {name: file.get_tensor(name) for name in file.keys()}
            cls.meta = json.loads(file.metadata()["meta"])

    def close(self, found, expected, tolerance):
        self.assertEqual(found.shape, expected.shape)
        self.assertLess((found - expected).abs().max().item(), tolerance)

    def test_prompts_become_the_recorded_contexts(self):
        golden, meta, model = self.golden, self.meta, self.model
        for prompt, after in ((meta["prompt"], ""), (meta["switch"]["prompt"], "_after_switch")):
            ids = token_ids(model.tokenizer, [prompt], model.policy["text_len"])
            self.assertEqual(ids.tolist(), golden[f"token_ids{after}"].tolist())
            self.close(model.context([prompt]), golden[f"context{after}"], 1e-5)

    def test_a_walk_with_a_change_of_prompt_is_the_recorded_one(self):
        golden, meta, model = self.golden, self.meta, self.model
        policy, size = model.policy, model.policy["size"]
        condition = condition_on(
            model.vae, from_bytes(golden["image"][None, None])[:, :, 0], policy["condition_frames"]
        )
        self.close(condition, golden["condition"], 1e-4)

        chunks = len(meta["actions"])
        lens = intrinsics(size, policy["camera"]["fov_x_deg"])
        steps = motion(poses_of(policy["camera"], meta["actions"]))
        camera = rays(steps, lens, size, policy["camera"], model.grid)
        noise = [n for i in range(chunks) for n in (golden[f"{i:02}.noise"], *golden[f"{i:02}.step_noise"])]
        stream = Stream(model.dit, policy, condition, model.context([meta["prompt"]]), Recorded(noise))
        decoder, places = Decoder(model.vae), memory.places(policy, lens)
        poses = poses_of(policy["camera"], meta["actions"])
        worst = 0.0
        for i in range(chunks):
            if f"{i:02}.cam" in golden:
                self.close(unfold(camera[i : i + 1], size, model.grid)[None], golden[f"{i:02}.cam"], 1e-6)
            if i == meta["switch"]["frame"]:
                stream.context = model.context([meta["switch"]["prompt"]])
                places.forget()
            view = places.view(i, poses[i])
            self.assertEqual(view is not None, f"{i:02}.memory" in golden)
            remembered = memory.encoded(model.vae, view) if view else None
            latents, _ = stream.next(camera[i : i + 1], remembered)
            expected = golden[f"{i:02}.x0"][:, :, 0]
            worst = max(worst, (latents - expected).abs().max().item())
            # Processors differ in the order of their sums: with AVX-512 the largest difference is 1.4e-4.
            self.close(latents, expected, 5e-4)
            frames, recorded = decoder.next(latents)[0], golden[f"{i:02}.frames"].int()
            places.keep(i, poses[i], frames[None, -1])
            off = (frames.int() - recorded).abs()
            self.assertLessEqual(off.max().item(), 1)
            self.assertLessEqual((off > 0).float().mean().item(), 1e-3)
        print(f"\nlargest difference of a latent over {chunks} chunks: {worst:.1e}")


if __name__ == "__main__":
    unittest.main()
