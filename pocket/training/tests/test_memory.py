"""Memory by place: pictures land where they belong in another view, and a session keeps and finds the right ones."""

import math
import types
import unittest

import torch

from training import camera, checkpoint, memory, synthetic
from training.evaluation.subject import Subject

from .test_grow import made
from .test_parts import POLICY, random_dit

SIZE = POLICY["size"]
LENS = camera.intrinsics(SIZE, 75.0)
TABLE = POLICY["memory"]


def setUpModule():
    torch.set_num_threads(1)


def pose(ahead=0.0, right=0.0, yaw=0.0, pitch=0.0):
    made = torch.eye(4, dtype=torch.float64)
    made[:3, :3] = camera.about_y(yaw) @ camera.about_x(pitch)
    made[:3, 3] = torch.tensor([right, 0.0, ahead])
    return made


def drawn(*poses):
    """Level ground, 1.6 m below the camera, with hills at infinity: (K, 1, H, W, 3)."""
    return synthetic.picture(3, ("meadow", "noon"), torch.stack(poses), LENS, SIZE).unsqueeze(1)


class Warp(unittest.TestCase):
    def off(self, there, here):
        """Mean difference to the true picture of what is known of `here`, what it is unwarped, and the share that is known."""
        picture, true = drawn(there, here)
        view = memory.warped(picture[None], there[None], here, LENS, synthetic.EYE)
        mask = view.known
        found, still = ((shown - true[0].float()).abs()[mask].mean().item() for shown in (view.picture[0], picture[0].float()))
        return found, still, mask.float().mean().item()

    def test_from_the_same_place_it_is_the_picture(self):
        for here in (pose(), pose(3.0, -1.0, 40.0, 8.0)):
            picture = drawn(here)
            view = memory.warped(picture, here[None], here, LENS, synthetic.EYE)
            self.assertTrue(view.known.all())
            self.assertLess((view.picture - picture[0].float()).abs().max().item(), 1e-6 * 255 * max(SIZE))

    def test_turned_or_moved_what_is_known_is_where_it_is(self):
        for here, least in (
            (pose(yaw=10), 0.8),
            (pose(yaw=-40, pitch=4), 0.35),
            (pose(pitch=8), 0.7),
            (pose(ahead=1), 0.9),
            (pose(ahead=-1.5, right=0.5), 0.5),
            (pose(ahead=1, yaw=20), 0.6),
        ):
            with self.subTest(pose=here):
                found, still, share = self.off(pose(), here)
                # Edges of tiles and hills are a pixel wide, and nothing else is off.
                self.assertLess(found, 0.5 * still)
                self.assertGreater(share, least)

    def test_what_is_behind_or_beside_is_not_known(self):
        picture = drawn(pose())
        for yaw in (90.0, 180.0):
            self.assertFalse(memory.warped(picture, pose()[None], pose(yaw=yaw), LENS, 1.6).known.any())

    def test_of_several_the_first_that_shows_a_pixel_is_taken_and_told(self):
        poses = torch.stack([pose(yaw=20), pose(ahead=-2)])
        pictures = torch.tensor([50, 200], dtype=torch.uint8).view(2, 1, 1, 1, 1).expand(-1, 1, SIZE[1], SIZE[0], 3)
        view = memory.warped(pictures, poses, pose(), LENS, 1.6)
        _, _, first = memory.seen_from(poses[0], pose(), LENS, SIZE, 1.6)
        _, _, second = memory.seen_from(poses[1], pose(), LENS, SIZE, 1.6)
        self.assertTrue(first.any() and (second & ~first).any())
        self.assertTrue((view.picture[0][first] == 50).all() and (view.picture[0][second & ~first] == 200).all())
        self.assertTrue(torch.equal(view.known, first | second))
        self.assertFalse(view.picture[0][~view.known].any())
        shown = memory.shown(view)
        self.assertEqual(shown.shape, (1, 3, 1, SIZE[1], SIZE[0]))
        self.assertFalse(shown[0, :, 0][:, ~view.known].any(), "what is not known is grey")
        self.assertAlmostEqual(shown[0, 0, 0][first].mean().item(), 50 / 127.5 - 1, places=5)


class Conditions(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)
        self.condition = torch.cat([torch.zeros(2, 4, 4, 6), torch.randn(2, 16, 4, 6)], 1)
        self.remembered = torch.cat([torch.randn(2, 16, 4, 6), torch.ones(2, 1, 4, 6)], 1)

    def test_what_is_remembered_stands_where_a_first_picture_would(self):
        found = memory.told(self.condition, self.remembered, 2)
        self.assertTrue(torch.equal(found, torch.cat([torch.ones(2, 4, 4, 6), self.remembered[:, :16]], 1)))

    def test_a_token_that_is_not_all_known_is_told_nothing(self):
        self.remembered[0, 16, 1, 3] = 0.98
        found = memory.told(self.condition, self.remembered, 2)
        self.assertTrue(torch.equal(found[0, :, :2, 2:4], self.condition[0, :, :2, 2:4]))
        self.assertTrue(found[0, :4, 2:].all() and found[0, :4, :, :2].all() and found[0, :4, :, 4:].all() and found[1, :4].all())

    def test_latents_count_as_far_as_their_pixels_are_known(self):
        vae = made(8, 16, 2)
        known = torch.zeros(SIZE[1], SIZE[0], dtype=torch.bool)
        known[:, :4] = known[:12, 8:16] = True
        view = memory.View(torch.full((2, SIZE[1], SIZE[0], 3), 200.0) * known.unsqueeze(-1), known)
        found = memory.encoded(vae, view)
        self.assertEqual(found.shape, (2, 17, SIZE[1] // 8, SIZE[0] // 8))
        self.assertEqual(found[0, 16, :3, :3].tolist(), [[0.5, 1, 0], [0.5, 0.5, 0], [0.5, 0, 0]])
        whole = vae.normalised(vae.sees(memory.shown(view)))[:, :, 0]
        torch.testing.assert_close(found[:, :16, :, 0], 0.5 * whole[..., 0])


class Kept(unittest.TestCase):
    def places(self, **changed):
        return memory.Places(TABLE | changed, LENS, window=5)

    def test_without_a_table_nothing_is_kept(self):
        places = memory.places({"window": 5}, LENS)
        self.assertEqual(self.walk(places, [pose()]), [])
        self.assertIsNone(places.view(9, pose()))

    def walk(self, places, poses):
        for frame, at in enumerate(poses):
            places.keep(frame, at, torch.full((1, SIZE[1], SIZE[0], 3), frame, dtype=torch.uint8))
        return [kept.frame for kept in places.kept]

    def test_of_nearly_the_same_view_the_first_stays(self):
        found = self.walk(self.places(), [pose(), pose(0.4), pose(yaw=5), pose(1.0), pose(1.0, yaw=10), pose(0.1, yaw=2)])
        self.assertEqual(found, [0, 3, 4])

    def test_where_there_is_no_room_the_farthest_goes(self):
        self.assertEqual(self.walk(self.places(frames=3), [pose(), pose(-2), pose(1), pose(2), pose(3)]), [2, 3, 4])

    def test_what_is_in_the_window_is_shown_only_where_it_is_the_whole_view(self):
        places = self.places()
        self.walk(places, [pose(), pose(yaw=80), pose(yaw=-30)])
        self.assertTrue((places.view(1, pose()).picture == 0).all())
        self.assertTrue((places.view(3, pose(yaw=80)).picture == 1).all())
        # Of these a part is known; it is told once the pictures have left the window.
        self.assertIsNone(places.view(4, pose(yaw=10)))
        self.assertFalse(places.view(5, pose(yaw=10)).known.all())
        self.assertIsNone(places.view(4, pose(-0.4)))
        self.assertFalse(places.view(5, pose(-0.4)).known.all())

    def test_views_that_share_nothing_or_are_far_away_are_not_shown(self):
        places = self.places()
        self.walk(places, [pose()])
        self.assertIsNone(places.view(50, pose(0.6)))
        self.assertIsNone(places.view(50, pose(yaw=-80)))

    def test_the_nearest_are_shown_nearest_first_and_the_older_of_two_alike(self):
        poses = [pose(0.4), pose(yaw=10), pose(yaw=-10), pose(0.2), pose(0.6)]
        self.assertEqual(memory.nearest(poses, pose(), TABLE, LENS), [1, 2, 3])
        self.assertEqual(memory.nearest(poses[::-1], pose(), TABLE | {"seen": 9}, LENS), [2, 3, 1, 4])

    def test_an_angle_is_between_axes(self):
        metres, degrees = memory.apart(pose(3, 4, 30, 0), pose(0, 0, 30, 20))
        self.assertAlmostEqual(metres, 5.0)
        self.assertAlmostEqual(degrees, 20.0)
        self.assertEqual(memory.apart(pose(), pose()), (0.0, 0.0))
        self.assertTrue(math.isfinite(memory.apart(pose(yaw=180), pose())[1]))


class Walks(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)
        vae, transformer = made(8, 16, 2), random_dit(window=3)
        model = types.SimpleNamespace(
            policy=POLICY | {"steps": [1000, 500], "window": 3},
            dit=transformer,
            vae=vae,
            grid=checkpoint.Checkpoint.grid.fget(types.SimpleNamespace(vae=vae, dit=transformer)),
            context=lambda prompts: torch.zeros(len(prompts), 4, 24),
        )
        self.subject = Subject(model, "cpu")

    def begin(self):
        torch.manual_seed(1)
        return self.subject.begin(torch.randint(256, (2, SIZE[1], SIZE[0], 3), dtype=torch.uint8), ["a", "b"], [1, 2])

    def test_a_walk_that_turns_back_is_drawn_from_what_it_remembers(self):
        keys = ["", "l", "j", "l", "j"]
        remembers, forgets = self.begin(), self.begin()
        forgets.places.policy = None
        videos = [walk.go(keys) for walk in (remembers, forgets)]
        # The third latent frame sees what the first did: frames 5 to 8.
        self.assertTrue(torch.equal(videos[0][:, :5], videos[1][:, :5]))
        self.assertFalse(torch.equal(videos[0][:, 5:9], videos[1][:, 5:9]))
        self.assertEqual([kept.frame for kept in remembers.places.kept], [0, 1])

    def test_another_prompt_forgets_and_a_fork_keeps_its_own(self):
        walk = self.begin()
        walk.go(["", "w"])
        other = walk.fork()
        other.go(["w"])
        self.assertEqual([len(one.places.kept) for one in (walk, other)], [2, 3])
        other.say(["c", "d"])
        self.assertEqual([len(one.places.kept) for one in (walk, other)], [2, 0])


if __name__ == "__main__":
    unittest.main()
