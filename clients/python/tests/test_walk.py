"""The client against a real server, a line that is cut, and a server that has none of our features.

`clients/check.py` starts them and says where they are.
"""

import asyncio
import os
import subprocess
import sys
import unittest
from pathlib import Path

from causeway_client import BlockingWalk, Closed, Frame, InitAck, Refused, ServerError, Unknown, Walk
from causeway_client.messages import FrameBatch, decode, encode

SERVER, CUT, REFERENCE = (os.environ[name] for name in ("CAUSEWAY_URL", "CUT_URL", "REFERENCE_URL"))
EXAMPLE = Path(__file__).parents[1] / "example.py"
SMALL = {"size": (96, 64), "fps": 16}


async def frames_of(walk: Walk) -> list[Frame]:
    return [frame async for frame in walk]


class AgainstOurServer(unittest.IsolatedAsyncioTestCase):
    async def test_a_walk_gives_every_frame_once_and_in_order(self):
        async with Walk(SERVER, "a meadow", max_chunks=3, **SMALL) as walk:
            frames = await frames_of(walk)
        self.assertEqual([frame.index for frame in frames], list(range(33)))
        self.assertEqual({len(frame.data) for frame in frames}, {96 * 64 * 3})
        self.assertEqual([frame.pts_ms for frame in frames][:3], [0, 62, 125])
        self.assertTrue(frames[0].is_raw)

    async def test_encoded_frames_are_picture_files(self):
        for format, begins in [("jpeg", b"\xff\xd8"), ("webp", b"RIFF")]:
            async with Walk(SERVER, "a meadow", format=format, max_chunks=1, **SMALL) as walk:
                frames = await frames_of(walk)
            self.assertTrue(all(frame.data.startswith(begins) for frame in frames), format)

    async def test_a_receipt_says_which_chunk_shows_an_event_and_which_event_was_replaced(self):
        async with Walk(SERVER, "a meadow", **SMALL) as walk:
            held = await walk.hold("w")
            receipt = asyncio.ensure_future(walk.receipt(held))
            async for frame in walk:
                if frame.event_id == held:
                    break
            self.assertEqual((await receipt).chunk, frame.chunk)
        # Sent while the first chunk is drawn, which shows neither.
        async with Walk(SERVER, "a meadow", **SMALL) as walk:
            first, second = await walk.prompt("by night"), await walk.prompt("by day")
            async for frame in walk:
                if frame.event_id == second:
                    break
            receipts = [await walk.receipt(event_id) for event_id in (first, second)]
            self.assertEqual([receipt.superseded for receipt in receipts], [True, False])

    async def test_rates_and_poses_lead_the_camera_and_a_receipt_names_the_first_frame(self):
        ahead = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, -2, 0, 0, 0, 1]
        async with Walk(SERVER, "a meadow", **SMALL) as walk:
            for lead in (walk.rates(forward=0.5, yaw=-0.25), walk.pose(ahead)):
                led = await lead
                receipt = asyncio.ensure_future(walk.receipt(led))
                async for frame in walk:
                    if frame.event_id == led:
                        break
                self.assertEqual((await receipt).first_frame, frame.index)

    async def test_a_walk_goes_back_and_begins_again_with_the_same_frames(self):
        async with Walk(SERVER, "a meadow", stepped=True, features=(*Walk.FEATURES, "rewind"), **SMALL) as walk:
            async def step(keys):
                return [frame.data for frame in await walk.step(keys)]

            first, second = await step("w"), await step("d")
            await walk.rewind(chunk=1)
            self.assertEqual(await step("d"), second)
            await walk.hold("")
            await walk.reset()
            self.assertEqual(await step("w"), first)
            wrong = await walk.reset(size=(1000, 1000))
            with self.assertRaisesRegex(Refused, "size"):
                await walk.step("d")
                await walk.receipt(wrong)

    async def test_a_pose_that_is_none_is_refused_by_its_name(self):
        async with Walk(SERVER, "a meadow", **SMALL) as walk:
            receipt = asyncio.ensure_future(walk.receipt(await walk.pose([2] * 16)))
            async for frame in walk:
                if receipt.done():
                    break
            with self.assertRaisesRegex(Refused, "pose"):
                await receipt

    async def test_an_event_that_is_refused_says_so_and_the_walk_goes_on(self):
        async with Walk(SERVER, "a meadow", **SMALL) as walk:
            wrong = await walk.event("jump")
            receipt = asyncio.ensure_future(walk.receipt(wrong))
            async for frame in walk:
                if receipt.done() and frame.chunk > 0:
                    break
            with self.assertRaisesRegex(Refused, "kind"):
                await receipt

    async def test_a_mistake_in_the_first_message_names_its_field(self):
        async with Walk(SERVER, "a meadow", size=(96, 64), more={"fps": 25.5}) as walk:
            with self.assertRaisesRegex(Refused, "fps"):
                await anext(walk)

    async def test_a_walk_goes_on_after_its_line_was_cut_with_the_same_frames(self):
        async with Walk(SERVER, "a meadow", max_chunks=4, **SMALL) as walk:
            whole = [frame.data for frame in await frames_of(walk)]
        async with Walk(CUT, "a meadow", max_chunks=4, **SMALL) as walk:
            frames = await frames_of(walk)
        self.assertGreaterEqual(walk.resumes, 1)
        self.assertEqual([frame.index for frame in frames], list(range(45)))
        self.assertEqual([frame.data for frame in frames], whole)

    async def test_a_walk_without_the_feature_ends_with_its_line(self):
        async with Walk(CUT, "a meadow", max_chunks=4, features=[], **SMALL) as walk:
            with self.assertRaises(Closed) as raised:
                await frames_of(walk)
        self.assertEqual(raised.exception.code, 1006)

    async def test_a_token_lets_others_watch_the_same_frames_and_a_viewer_cannot_steer(self):
        async with Walk(SERVER, "a meadow", format="jpeg", paced=True, **SMALL) as walk:
            asked = asyncio.ensure_future(walk.share("view"))
            while not asked.done():
                await anext(walk)
            mine: dict[int, bytes] = {}

            async def play():
                async for frame in walk:
                    mine[frame.index] = frame.data

            playing = asyncio.ensure_future(play())
            async with Walk.watch(SERVER, (await asked).token) as viewer:
                seen = [await anext(viewer) for _ in range(12)]
                receipt = asyncio.ensure_future(viewer.receipt(await viewer.hold("w")))
                while not receipt.done():
                    await anext(viewer)
                with self.assertRaisesRegex(Refused, "a viewer cannot"):
                    await receipt
                self.assertEqual((viewer.watching.role, viewer.watching.viewer_id), ("view", 1))
            playing.cancel()
        self.assertTrue(all(mine[frame.index] == frame.data for frame in seen))
        async with Walk.watch(SERVER, "cwv_nobody") as nobody:
            with self.assertRaisesRegex(Refused, "token"):
                await anext(nobody)

    async def test_a_paused_walk_gives_nothing_until_it_plays(self):
        async with Walk(SERVER, "a meadow", **SMALL) as walk:
            await anext(walk)
            await walk.pause()
            next_frame = None
            with self.assertRaises(TimeoutError):
                while True:
                    next_frame = asyncio.ensure_future(anext(walk))
                    await asyncio.wait_for(asyncio.shield(next_frame), 0.5)
            await walk.play()
            self.assertIsInstance(await next_frame, Frame)

    async def test_a_server_that_is_not_there_is_an_error_of_the_system(self):
        with self.assertRaises(OSError):
            async with Walk("ws://127.0.0.1:9/v1/realtime_video", "a meadow"):
                pass


class AgainstTheReference(unittest.IsolatedAsyncioTestCase):
    async def test_a_walk_works_without_any_feature(self):
        heard = []
        async with Walk(REFERENCE, "a meadow", max_chunks=6, on_news=heard.append, **SMALL) as walk:
            held = await walk.hold("w")
            receipt = asyncio.ensure_future(walk.receipt(held))
            frames = await frames_of(walk)
            self.assertEqual([frame.index for frame in frames], list(range(9 + 5 * 12)))
            self.assertIsNone(frames[0].pts_ms)
            chunk = (await receipt).chunk
        # Its red counts the keys held.
        self.assertEqual({frame.data[0] for frame in frames if frame.chunk >= chunk}, {40})
        self.assertFalse([news for news in heard if isinstance(news, (InitAck, ServerError, Unknown))])
        self.assertIsNone(walk.session)

    async def test_an_event_that_it_does_not_know_leaves_the_walk_as_it_was(self):
        heard = []
        async with Walk(REFERENCE, "a meadow", max_chunks=6, on_news=heard.append, **SMALL) as walk:
            await walk.pause()
            self.assertEqual(len(await frames_of(walk)), 69)
        self.assertIn("invalid event", [news.content for news in heard if isinstance(news, ServerError)])

    async def test_what_it_refuses_is_told_in_its_words(self):
        async with Walk(REFERENCE, "a meadow", more={"size": "bogus"}) as walk:
            with self.assertRaisesRegex(Refused, "positive WIDTHxHEIGHT"):
                await anext(walk)


class WithoutAServer(unittest.TestCase):
    def test_a_walk_without_asyncio_is_the_same_walk(self):
        with BlockingWalk(SERVER, "a meadow", **SMALL) as walk:
            held = walk.hold("d")
            receipt = walk.receipt(held)
            self.assertEqual(next(frame for frame in walk if frame.event_id == held).chunk, receipt.chunk)

    def test_the_example_runs_against_both_servers(self):
        for url in (SERVER, REFERENCE):
            ran = subprocess.run([sys.executable, EXAMPLE, url], capture_output=True, text=True, timeout=60)
            self.assertEqual(ran.returncode, 0, ran.stderr)
            self.assertIn("bytes", ran.stdout)

    def test_a_payload_that_is_not_as_announced_is_an_error(self):
        header = {"type": "frame_batch_header", "chunk_index": 0, "content_type": "image/jpeg", "num_frames": 2, "total_size": 9}
        header |= {"width": 1, "height": 1, "is_final_frame_batch": True, "payload_lengths": [4, 5]}
        batch = decode(encode(header))
        self.assertIsInstance(batch, FrameBatch)
        self.assertEqual(batch.pieces(b"123456789"), [b"1234", b"56789"])
        with self.assertRaises(ValueError):
            batch.pieces(b"12345678")


if __name__ == "__main__":
    unittest.main()
