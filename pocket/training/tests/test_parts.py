"""That the fast ways agree with the obvious ones, at sizes a CPU does in a moment."""

import itertools
import math
import tempfile
import types
import unittest
import unittest.mock
from pathlib import Path

import torch

from training import __main__, camera, clips, dit, flow, measure, noise, sampler, synthetic, text, train_text, vae
from training.config import Config

from . import masks

CONFIGS = Path(__file__).parents[1] / "configs"
TINY = types.SimpleNamespace(base=8, channels=16, fold=2)
POLICY = Config.load(CONFIGS / "dry.toml").policy
SIZE = POLICY["size"]
GRID = camera.Grid(8, 2)


def setUpModule():
    torch.set_num_threads(1)


def random_dit(window=3):
    torch.manual_seed(0)
    sizes = types.SimpleNamespace(width=48, heads=2, layers=3, ffn=64, patch=2)
    model = dit.Dit(dit.config(sizes, 16, 24, {"window": window, "sink": 0}))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return model.eval().requires_grad_(False)


class Transformer(unittest.TestCase):
    def setUp(self):
        self.model, self.frames, self.window = random_dit(), 7, 3
        h, w = 4, 6
        self.clean, self.condition = torch.randn(2, 16, self.frames, h, w), torch.randn(2, 20, self.frames, h, w)
        self.camera = torch.randn(2, self.frames, h * w // 4, 1536) * 0.2
        self.contexts = torch.randn(2, 2, 8, 24)
        # The prompt changes at the fourth frame.
        self.prompts = (torch.arange(self.frames) >= 3).long().expand(2, -1)
        self.positions = torch.arange(self.frames)

    def stream(self):
        policy = POLICY | {"window": self.window}
        return sampler.Stream(self.model, policy, self.condition, None, None)

    def test_a_noisy_frame_is_told_what_it_will_be_told_when_streaming(self):
        levels = torch.rand(2, self.frames)
        noisy = torch.randn_like(self.clean)
        twice = {
            "condition": torch.cat([self.condition, self.condition], 2),
            "camera": torch.cat([self.camera, self.camera], 1),
            "prompts": torch.cat([self.prompts, self.prompts], 1),
        }
        mask = masks.teacher_mask(self.frames, 6, self.window)
        whole = self.model(
            torch.cat([self.clean, noisy], 2),
            twice["condition"],
            torch.cat([torch.zeros_like(levels), 1000 * levels], 1),
            twice["camera"],
            self.contexts,
            twice["prompts"],
            torch.cat([self.positions, self.positions]),
            masks.masked(mask),
        )[:, :, self.frames :]
        for row in range(2):
            stream = self.stream()
            stream.condition = self.condition[row : row + 1]
            for frame in range(self.frames):
                stream.context = self.contexts[row : row + 1, self.prompts[row, frame]]
                seen = self.camera[row : row + 1, frame]
                one = slice(frame, frame + 1)
                found = stream._flow(noisy[row : row + 1, :, one], float(1000 * levels[row, frame]), seen)
                torch.testing.assert_close(found, whole[row : row + 1, :, one], atol=2e-4, rtol=1e-4)
                stream.remember(self.clean[row : row + 1, :, one], seen)

    def test_a_frame_sees_its_window_and_nothing_else(self):
        mask = masks.causal_mask(self.frames, 6, self.window)

        def last(changed):
            clean = self.clean.clone()
            clean[:, :, changed] += 1
            return self.model(
                clean,
                self.condition,
                torch.zeros(2, self.frames),
                None,
                self.contexts,
                self.prompts,
                self.positions,
                masks.masked(mask),
            )

        base = last([])
        # Three layers of a window of three reach six frames back, and none forward.
        self.assertTrue(torch.equal(last([5])[:, :, :5], base[:, :, :5]))
        self.assertFalse(torch.equal(last([5])[:, :, 6], base[:, :, 6]))
        one_layer = masks.causal_mask(4, 1, 2).int().tolist()
        self.assertEqual(one_layer, [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]])

    def test_the_teachers_mask_shows_the_noisy_half_only_to_itself(self):
        mask = masks.teacher_mask(3, 1, 2).int().tolist()
        clean = [[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]]
        noisy = [[0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1]]
        self.assertEqual(mask, clean + noisy)


class Autoencoder(unittest.TestCase):
    def test_a_stream_decodes_as_the_whole_does(self):
        torch.manual_seed(0)
        model = vae.Vae(vae.config(TINY)).eval().requires_grad_(False)
        latents = torch.randn(2, 16, 6, 4, 6)
        whole, memory = model.decode(latents), vae.Memory()
        parts = [model.decode(latents[:, :, i : i + 1], memory) for i in range(6)]
        self.assertEqual([part.shape[2] for part in parts], [1, 4, 4, 4, 4, 4])
        torch.testing.assert_close(torch.cat(parts, 2), whole, atol=1e-5, rtol=1e-4)

    def test_what_follows_does_not_change_what_came_before(self):
        model = vae.Vae(vae.config(TINY)).eval().requires_grad_(False)
        video = torch.rand(1, 3, 9, 32, 48) * 2 - 1
        short, _ = model.encode(video[:, :, :5])
        long, _ = model.encode(video)
        torch.testing.assert_close(long[:, :, :2], short, atol=1e-5, rtol=1e-4)
        picture, _ = model.encode(video[:, :, :1])
        torch.testing.assert_close(long[:, :, :1], picture, atol=1e-5, rtol=1e-4)


class Cameras(unittest.TestCase):
    def rays_of(self, keys):
        steps = camera.motion(camera.poses_of(POLICY["camera"], keys))
        lens = camera.intrinsics(SIZE, POLICY["camera"]["fov_x_deg"])
        return camera.rays(steps, lens, SIZE, POLICY["camera"], GRID)

    def test_at_rest_rays_are_exactly_zero(self):
        rays = self.rays_of(["wil", "l", "", "ws", "i"])
        self.assertEqual([bool((frame == 0).all()) for frame in rays], [True, False, True, True, False])

    def test_a_key_step_is_the_policys(self):
        origins = camera.unfold(self.rays_of(["", "w", "a"]), SIZE, GRID).view(6, 64, 3, *(side // 8 for side in SIZE[::-1]))[
            :3
        ]
        step = POLICY["camera"]["move_per_latent"] / POLICY["camera"]["translation_scale"]
        for frame, expected in ((1, (0, 0, step)), (2, (-step, 0, 0))):
            torch.testing.assert_close(
                origins[:, 0, frame, 0, 0], torch.tensor(expected, dtype=torch.float32), atol=1e-5, rtol=0
            )

    def test_in_a_mirror_the_opposite_keys_were_held(self):
        swapped = str.maketrans("adjl", "dalj")
        held = ["", "wl", "aj", "di", "", "sk"]
        steps, others = (
            camera.motion(camera.poses_of(POLICY["camera"], keys))
            for keys in (held, [keys.translate(swapped) for keys in held])
        )
        torch.testing.assert_close(camera.mirrored(steps), others, atol=1e-12, rtol=0)

    def test_every_ray_is_where_the_server_looks_for_it(self):
        lens = camera.intrinsics(SIZE, 75.0)
        turn = torch.eye(4, dtype=torch.float64)
        turn[:3, :3] = camera.about_y(10.0)
        rays = camera.unfold(camera.rays(turn[None], lens, SIZE, POLICY["camera"], GRID), SIZE, GRID)
        x, y = 37, 21
        d = torch.tensor(
            [(x + 0.5 - SIZE[0] / 2) / lens[0], (y + 0.5 - SIZE[1] / 2) / lens[1], 1.0], dtype=torch.float64
        )
        d = d / d.norm()
        expected = 4 * (turn[:3, :3] @ d - d)
        for axis in range(3):
            found = rays[64 * (3 + axis) + 8 * (y % 8) + x % 8, 0, y // 8, x // 8]
            self.assertAlmostEqual(float(found), float(expected[axis]), places=6)


    def test_larger_latents_have_the_rays_of_the_smaller_picture(self):
        steps = camera.motion(camera.poses_of(POLICY["camera"], ["", "wl", "i"]))
        smaller, larger = (
            camera.rays(steps, camera.intrinsics(size, 75.0), size, POLICY["camera"], grid)
            for size, grid in (((96, 64), GRID), ((192, 128), camera.Grid(16, 2)))
        )
        self.assertEqual(smaller.shape, (3, 24, 1536))
        torch.testing.assert_close(larger, smaller, atol=1e-6, rtol=0)


class Clips(unittest.TestCase):
    def test_a_clip_comes_back_as_it_was_written(self):
        seed = next(s for s in range(99) if len(synthetic.clip(s, 6, SIZE, POLICY["camera"], 1.0)[-1]) == 2)
        made = synthetic.clip(seed, 6, SIZE, POLICY["camera"], 1.0)
        _, video, poses, lens, keys, scenes = made
        with tempfile.TemporaryDirectory() as folder:
            clips.write(Path(folder) / clips.name(seed), *made)
            (clip,) = clips.folder(folder)
            self.assertTrue(torch.equal(clip.frames(), video))
            self.assertTrue(torch.equal(clip.frames(3, 5, 8, 16, (24, 16)), video[3:5, 8:24, 16:40]))
            self.assertTrue(torch.equal(clip.poses, poses) and torch.equal(clip.intrinsics, lens))
            self.assertEqual(
                ["".join(k for k, on in zip(clips.KEYS, row) if on) for row in clip.keys],
                ["".join(sorted(held, key=clips.KEYS.index)) for held in keys],
            )
            at = scenes[1]["from_latent"]
            self.assertEqual(clip.scene_of_latent.tolist(), [0] * at + [1] * (6 - at))
            self.assertEqual(clip.scene_at(4 * at - 4), scenes[0])
            self.assertEqual(clip.scene_at(4 * at - 3), scenes[1])

    def test_the_model_is_told_of_keys_but_not_of_the_grounds_height(self):
        made = list(synthetic.clip(3, 6, SIZE, POLICY["camera"], 0.0))
        made[2] = made[2].clone()
        made[2][:, 2, 3] += torch.linspace(0, 5, len(made[2]), dtype=torch.float64)
        with tempfile.TemporaryDirectory() as folder:
            clips.write(Path(folder) / clips.name(3), *made)
            (clip,) = clips.folder(folder)
        told, held = camera.motion(clip.latent_poses), camera.motion(camera.poses_of(POLICY["camera"], made[4]))
        torch.testing.assert_close(told[:, :3, :3], held[:, :3, :3], atol=1e-9, rtol=0)
        straight = [i for i, keys in enumerate(made[4]) if i == 0 or not set(keys) & set("jl")]
        # While it turns, a clip moves on an arc and the server on its chord's far end.
        torch.testing.assert_close(told[straight, :3, 3], held[straight, :3, 3], atol=1e-5, rtol=0)

    def test_turns_are_measured_in_pictures(self):
        lens = camera.intrinsics(SIZE, 75.0)
        for key, axis, degrees in (("l", "yaw", 10), ("j", "yaw", -10), ("i", "pitch", 4), ("k", "pitch", -4)):
            video = synthetic.picture(5, ("meadow", "noon"), synthetic.walk(["", key], POLICY["camera"]), lens, SIZE)
            found = measure.turn(video[0], video[4], lens, axis, 2.5 * abs(degrees))
            self.assertAlmostEqual(found, degrees, delta=1.0, msg=key)


class Words(unittest.TestCase):
    def test_unknown_words_are_one_token_and_an_empty_prompt_is_silence(self):
        words = text.tokenizer(["a snowy pass", "a city"], 10)
        ids = text.token_ids(words, ["A  Snowy, zebra!", ""], 5)
        self.assertEqual(ids[0].tolist()[2:], [text.UNKNOWN, 0, 0])
        model = text.TextEncoder(text.config(words.get_vocab_size(), 16, 2, 2))
        found = model(ids)
        self.assertTrue(torch.isfinite(found).all())
        self.assertTrue((found[1] == 0).all() and (found[0, 3:] == 0).all() and (found[0, :3] != 0).any())
        self.assertTrue(torch.equal(text.forgetful(ids, 0.0), ids))
        self.assertEqual(text.forgetful(ids, 1.0).tolist(), [[text.UNKNOWN] * 3 + [0, 0], [0] * 5])

    def test_words_that_are_left_out_leave_no_gap(self):
        torch.manual_seed(0)
        ids = torch.tensor([[[7, 8, 9, 0, 0], [5, 0, 0, 0, 0]]]).expand(300, -1, -1)
        self.assertTrue(torch.equal(text.shortened(ids, 0.0), ids))
        some = text.shortened(ids, 0.5)
        self.assertEqual(some.shape, ids.shape)
        kept = [words for count in range(4) for words in itertools.combinations((7, 8, 9), count)]
        expected = {(*words, *[0] * (5 - len(words))) for words in kept}
        self.assertEqual({tuple(row) for row in some[:, 0].tolist()}, expected)
        self.assertGreater((some[:, 0] == ids[:, 0]).all(-1).float().mean().item(), 0.5)

    def test_a_reader_comes_to_know_what_a_prompt_is_about(self):
        torch.manual_seed(0)
        config = Config.load(CONFIGS / "dry.toml")
        prompts = [f"{a} {b}" for a in ("sandy dunes", "snowy peaks") for b in ("at noon", "by night", "today")]
        words = text.tokenizer(prompts, 50)
        ids, labels = text.token_ids(words, prompts, 6), {"biome": torch.tensor([0, 0, 0, 1, 1, 1])}
        reader = train_text.Reader(config, words.get_vocab_size(), {"biome": ["desert", "snow"]})
        optimizer = torch.optim.Adam(reader.parameters(), 3e-3)
        for _ in range(150):
            values = reader.losses(ids, labels)
            optimizer.zero_grad()
            values["loss"].backward()
            optimizer.step()
        # Of every word, "noon" and "night" too.
        self.assertEqual(float(values["right"]), 1.0)


class Numbers(unittest.TestCase):
    def test_noise_is_the_servers(self):
        draws = noise.Noise(42)
        expected = ([0xBF785E5C, 0x3E46ACE8, 0xBF9E28D2, 0x3FF6433B], [0x40082C17, 0x400A53F3, 0xBED108E0, 0xBFD472CA])
        for bits in expected:
            torch.testing.assert_close(
                draws.draw((4,)), torch.tensor(bits, dtype=torch.int64).to(torch.uint32).view(torch.float32)
            )

    def test_the_schedule_is_the_published_one(self):
        found = sampler.schedule({"shift": 5.0, "steps": [1000, 750, 500, 250]})
        self.assertEqual([round(t, 3) for t, _ in found], [1000.0, 937.5, 833.333, 625.0])

    def test_half_of_the_noise_levels_are_those_a_sampler_visits(self):
        torch.manual_seed(0)
        levels = flow.noise_levels({"shift": 2.0}, (1000, 8), "cpu")
        visited = torch.isin(
            levels, torch.tensor([s for _, s in sampler.schedule({"shift": 2.0}, [1000, 750, 500, 250])])
        )
        self.assertAlmostEqual(visited.float().mean().item(), 0.5, delta=0.03)
        self.assertTrue((levels > 0).all() and (levels <= 1).all())

    def test_likeness_is_in_decibels(self):
        black = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
        self.assertAlmostEqual(float(measure.psnr(black, black + 51)[0]), -20 * math.log10(0.2), places=4)


class Recipes(unittest.TestCase):
    def test_every_preset_is_whole(self):
        for path in CONFIGS.glob("*.toml"):
            config = Config.load(path)
            self.assertAlmostEqual(sum(phase.share for phase in config.vae.phases), 1.0, msg=path)

    def test_a_preset_says_nothing_of_stages_that_it_does_not_run(self):
        recipe = (CONFIGS / "dry.toml").read_text()
        for stage in ("decoder", "refine", "evaluate"):
            table = recipe[recipe.index(f"[{stage}]") :].split("\n\n")[0]
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
                file.write(recipe.replace(table, ""))
                file.flush()
                self.assertIsNone(getattr(Config.load(file.name), stage))
                command = ["training", stage, "--config", file.name, "--out", "/nonexistent/never made"]
                with unittest.mock.patch("sys.argv", command), unittest.mock.patch("pathlib.Path.mkdir"):
                    with self.assertRaisesRegex(SystemExit, rf"no table \[{stage}\]"):
                        __main__.main()

    def test_the_larger_world_has_as_many_tokens_as_the_smaller_either_way(self):
        config = Config.load(CONFIGS / "wide.toml")
        for fold, patch in ((4, 2), (2, 4)):
            config.vae.fold, config.dit.patch = fold, patch
            side = config.grid.pixels * config.grid.patch
            self.assertEqual([of // side for of in config.policy["size"]], [6, 4])

    def test_an_error_names_the_key(self):
        recipe = (CONFIGS / "dry.toml").read_text()
        for old, new, message in (
            ("seed = 1", "sede = 1", "sede"),
            ("threads = 1", "", "threads"),
            ("size = [64, 48]", "size = [60, 48]", "60x48"),
            ("bf16 = false", 'bf16 = "no"', "bf16"),
            ("[refine]\nsteps = 4", "[refine]\nsteps = 0", "refine.steps is 0"),
            ("[refine]\nsteps = 4", "[refine]", "refine lacks: steps"),
        ):
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
                file.write(recipe.replace(old, new, 1))
                file.flush()
                with self.assertRaisesRegex(ValueError, message):
                    Config.load(file.name)


if __name__ == "__main__":
    unittest.main()
