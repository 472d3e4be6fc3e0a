"""The environment over stepped sessions of a real server."""

import os
import unittest
import warnings

import numpy
from gymnasium.utils.env_checker import check_env

from causeway_client import Refused, Walk
from causeway_client.gym import KEYS, CausewayEnv

SERVER, REFERENCE = os.environ["CAUSEWAY_URL"], os.environ["REFERENCE_URL"]
SIZE = (96, 64)


class Stepped(unittest.IsolatedAsyncioTestCase):
    async def test_a_step_gives_exactly_one_chunk_and_nothing_comes_without_one(self):
        async with Walk(SERVER, "a meadow", size=SIZE, stepped=True) as walk:
            chunks = [await walk.step(keys) for keys in (None, "w", "wl")]
            self.assertEqual([len(frames) for frames in chunks], [9, 12, 12])
            self.assertEqual([frames[-1].chunk for frames in chunks], [0, 1, 2])
            self.assertEqual([frames[0].event_id for frames in chunks], [1, 2, 3])

    async def test_a_server_without_stepped_sessions_says_so(self):
        async with Walk(REFERENCE, "a meadow", size=SIZE, stepped=True) as walk:
            with self.assertRaises(Refused):
                for _ in range(4):
                    await walk.step("w")


class Environment(unittest.TestCase):
    def test_the_checker_of_gymnasium_finds_nothing_to_mend(self):
        env = CausewayEnv(SERVER, "a meadow", SIZE, max_steps=50, render_mode="rgb_array")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # Made by hand, not by gymnasium.make.
            warnings.filterwarnings("ignore", message=".*spec.*")
            warnings.filterwarnings("ignore", message=".*different render modes.*")
            check_env(env)
        env.close()

    def test_the_same_seed_and_actions_give_the_same_bytes_and_other_actions_others(self):
        def episode(seed, keys):
            env = CausewayEnv(SERVER, "a meadow", SIZE, max_steps=3)
            first, _ = env.reset(seed=seed)
            action = numpy.array([key in keys for key in KEYS], numpy.int8)
            steps = [env.step(action) for _ in range(3)]
            env.close()
            self.assertEqual([truncated for _, _, _, truncated, _ in steps], [False, False, True])
            self.assertEqual(steps[0][4]["frames"].shape, (12, 64, 96, 3))
            return b"".join(frame.tobytes() for frame in (first, *(step[0] for step in steps)))

        self.assertEqual(episode(7, "wl"), episode(7, "wl"))
        self.assertNotEqual(episode(7, "wl"), episode(7, "s"))


if __name__ == "__main__":
    unittest.main()
