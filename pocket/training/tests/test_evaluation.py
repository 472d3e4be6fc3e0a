"""Measures on pictures whose answer is known, and walks that fork."""

import itertools
import types
import unittest

import torch

from training import data, synthetic
from training.checkpoint import Checkpoint
from training.config import Config
from training.evaluation import places, table, texture, walks, words
from training.evaluation.subject import Subject, script, script_of

from .test_parts import CONFIGS, POLICY, random_dit
from .test_grow import made

SIZE = POLICY["size"]


def rendered(count=60):
    """Frames of synthetic walks, and the ones before them."""
    clips = [synthetic.clip(seed, 6, SIZE, POLICY["camera"], 0.0)[1] for seed in range(count // 10)]
    return torch.cat([video[:-1:2] for video in clips]), torch.cat([video[1::2] for video in clips])


class Textures(unittest.TestCase):
    def setUp(self):
        self.before, self.now = rendered()
        self.found = texture.statistics(self.before, self.now)
        self.limits = texture.limits(self.found)

    def share(self, before, now):
        return texture.inside(texture.statistics(before, now), self.limits).float().mean().item()

    def test_most_of_what_was_rendered_is_within_its_own_limits(self):
        share = texture.inside(self.found, self.limits).float().mean().item()
        self.assertTrue(0.9 < share <= 1.0, share)

    def test_stripes_haze_noise_and_flicker_are_not(self):
        rows = torch.arange(SIZE[1])[None, :, None, None]
        striped = (self.now + 40 * (rows % 4 < 2)).clamp(0, 255).to(torch.uint8)
        haze = torch.full_like(self.now, 128)
        noisy = (self.now + 40 * torch.randn(self.now.shape)).clamp(0, 255).to(torch.uint8)
        flicker = (0.55 * self.now.float()).to(torch.uint8)
        for name, before, now in (
            ("stripes", striped, striped),
            ("haze", haze, haze),
            ("noise", self.before, noisy),
            ("flicker", self.now, flicker),
        ):
            with self.subTest(name):
                self.assertLess(self.share(before, now), 0.2)

    def test_a_mean_gradient_is_that_of_grey_levels(self):
        ramp = torch.arange(8, dtype=torch.uint8)[None, :].expand(6, 8)[None, :, :, None].expand(-1, -1, -1, 3)
        self.assertAlmostEqual(texture.gradient(3 * ramp).item(), 3.0, places=4)

    def test_sharpness_is_judged_after_the_given_picture_has_left_the_view(self):
        sharp, soft = self.now[:40], self.now[:40] // 2
        drawn = torch.stack([sharp, sharp], 1)
        drawn[walks.SINCE :, 1] = soft[walks.SINCE :]
        found = walks.sharpness(["meadow"], drawn[None], [sharp])
        self.assertAlmostEqual(found["meadow"], 0.5, delta=0.02)


    def test_worlds_of_one_place_have_names_of_their_own(self):
        self.assertEqual(walks.named(["snow", "city", "snow"]), ["snow 1", "city", "snow 2"])


class Scripts(unittest.TestCase):
    def test_a_script_says_what_is_held_in_each_latent_frame(self):
        self.assertEqual(script("w*2,wl,*2,j"), ["w", "w", "wl", "", "", "j"])
        keys = script_of(60)
        self.assertEqual((len(keys), keys[0], data.path_of(keys[1:7])), (241, "", "w*6"))
        self.assertEqual(script(data.path_of(keys)), keys)


class Walks(unittest.TestCase):
    def setUp(self):
        torch.set_num_threads(1)
        torch.manual_seed(0)
        words_of = types.SimpleNamespace(context=lambda prompts: torch.stack([torch.full((4, 24), len(p) / 20) for p in prompts]))
        vae = made(8, 16, 2)
        dit = random_dit(window=3)
        model = types.SimpleNamespace(
            policy=POLICY | {"steps": [1000, 500]}, dit=dit, vae=vae, grid=Checkpoint.grid.fget(types.SimpleNamespace(vae=vae, dit=dit)), context=words_of.context
        )
        self.subject = Subject(model, "cpu")

    def begin(self):
        pictures = torch.randint(256, (2, SIZE[1], SIZE[0], 3), dtype=torch.uint8)
        return self.subject.begin(pictures, ["a", "a longer one"], [1, 2])

    def test_a_fork_draws_what_the_walk_would_have_and_leaves_it_alone(self):
        walk = self.begin()
        self.assertEqual(walk.go(["", "w"]).shape, (2, 5, SIZE[1], SIZE[0], 3))
        one, other = walk.fork(), walk.fork()
        first = one.go(["wl", "l"])
        self.assertFalse(torch.equal(other.go(["j", "j"]), first))
        self.assertTrue(torch.equal(walk.go(["wl", "l"]), first))

    def test_a_prompt_may_change_on_the_way_and_a_picture_be_missing(self):
        walk = self.subject.begin(None, ["a", "b"], [1, 2])
        walk.go(["", "w"])
        other = walk.fork()
        other.say(["something else altogether"] * 2)
        self.assertFalse(torch.equal(walk.step("w"), other.step("w")))

    def test_a_walk_keeps_the_frames_it_is_asked_for_each_after_the_one_before(self):
        walk = self.begin()
        again = walk.fork()
        video = again.go(["", "w", "w"])
        found = walks.walk_on(walk, ["", "w", "w"], torch.tensor([2, 8]))
        self.assertTrue(torch.equal(found[:, 0], video[:, 1:3]) and torch.equal(found[:, 1], video[:, 7:9]))

    def evaluation(self):
        clip = types.SimpleNamespace(
            frames=lambda first, last: torch.randint(256, (1, SIZE[1], SIZE[0], 3), dtype=torch.uint8),
            scenes=[{"prompt": "a", "biome": "meadow", "time": "noon", "weather": "clear"}],
        )
        settings = types.SimpleNamespace(walk_seconds=1, seeds=2, still_seconds=2)
        pictures = {}

        def begin(found, seeds=1):
            shown = torch.cat([c.frames(0, 1) for c in found for _ in range(seeds)])
            return self.subject.begin(shown, ["a"] * len(shown), list(range(len(shown))))

        return types.SimpleNamespace(
            settings=settings, subject=self.subject, truth=lambda _: [clip], begin=begin, sheet=pictures.__setitem__, pictures=pictures
        )

    def test_a_world_that_forgets_is_told_from_one_that_stays(self):
        evaluation = self.evaluation()
        forgets = places.returns(evaluation)
        self.assertEqual(forgets["walks"], 2)
        # One that always shows the same picture comes back to it, but has never looked away.
        frozen = torch.randint(256, (2, 1, SIZE[1], SIZE[0], 3), dtype=torch.uint8)
        still = types.SimpleNamespace(go=lambda keys: frozen.expand(-1, len(keys), -1, -1, -1), step=lambda _: frozen)
        still.fork = lambda: still
        evaluation.begin = lambda found, seeds=1: still
        stays = places.returns(evaluation)
        for degrees in ("30", "90", "360"):
            self.assertGreater(stays[degrees]["to the start"], forgets[degrees]["to the start"])
            self.assertEqual(stays[degrees]["nearer to the start than to the view away"], 0)
            self.assertEqual(stays[degrees]["away is another view"], 0)
        self.assertEqual(evaluation.pictures["returns"].shape[:2], (1, 7))
        self.assertEqual(places.square(evaluation)["nearer to the start than to any other corner"], 0)
        self.assertGreater(places.still(evaluation)["to the start"], 50)


class Words(unittest.TestCase):
    def test_sixty_prompts_and_their_events_ask_for_what_a_world_can_show(self):
        asked = words.sentences()
        self.assertEqual(len(asked["alone"]), 60)
        self.assertGreaterEqual(len(asked["events"]), 20)
        allowed = {"biome": data.BIOMES, "time": data.TIMES, "weather": ("clear", "fog")}
        for one in itertools.chain(*asked.values()):
            self.assertTrue(set(one) - {"say"}, one)
            for kind in set(one) - {"say"}:
                self.assertIn(one[kind], allowed[kind], one)
        self.assertEqual(len({one["say"] for one in asked["alone"]}), 60)

    def test_only_what_was_asked_for_is_judged(self):
        names = {"biome": ["city", "snow"], "time": ["noon", "night"]}

        class Reader(torch.nn.Linear):
            def forward(self, frames):
                return {"biome": torch.tensor([[1.0, 0], [0, 1.0]]), "time": torch.tensor([[1.0, 0], [1.0, 0]])}

        reader = Reader(1, 1)
        reader.names = names
        asked = [{"say": "a", "biome": "city", "time": "night"}, {"say": "b", "biome": "snow"}]
        frames = torch.zeros(2, 1, 1, 3)
        self.assertEqual(words.right(reader, frames, asked), {"biome": 1.0, "time": 0.0})
        self.assertEqual(words.wrong(reader, frames, asked), [{"said": "a", "time": "night, not noon"}])


class Tables(unittest.TestCase):
    def test_a_row_that_was_not_measured_is_named(self):
        still = {"seconds": 60, "to the start": 24.84, "worst world": 21.0, "lost since the tenth second": 1.25}
        page = table.markdown({"still": still}, "96×64, euler, 24 steps, shift 1")
        self.assertIn("| nothing held for 60 s: to the start | ≥ 28 dB, no drift | 24.8 dB, worst 21.0; 1.2 dB lost", page)
        self.assertIn("Not measured: walks, returns, square, likeness, keys, text, events.", page)

    def test_every_preset_asks_for_rows_that_there_are(self):
        from training.evaluation import ROWS

        for path in CONFIGS.glob("*.toml"):
            self.assertLessEqual(set(Config.load(path).evaluate.rows), set(ROWS), path)


if __name__ == "__main__":
    unittest.main()
