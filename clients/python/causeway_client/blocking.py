"""A walk without asyncio: the same methods, and `for frame in walk`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal

from .walk import Frame, Receipt, Walk


class BlockingWalk:
    """As `Walk`, with the same arguments. It may be used by one thread at a time."""

    def __init__(self, url: str, prompt: str, **more: Any) -> None:
        self.walk = Walk(url, prompt, **more)
        """What runs underneath: its attributes may be read."""
        self._runner = asyncio.Runner()

    def __enter__(self) -> BlockingWalk:
        self._runner.run(self.walk.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._runner.run(self.walk.close())
        self._runner.close()

    def __iter__(self) -> BlockingWalk:
        return self

    def __next__(self) -> Frame:
        try:
            return self._runner.run(self.walk.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def hold(self, keys: str | Sequence[str]) -> int:
        return self._runner.run(self.walk.hold(keys))

    def tap(self, keys: str | Sequence[str]) -> int:
        return self._runner.run(self.walk.tap(keys))

    def rates(
        self, forward: float = 0.0, strafe: float = 0.0, yaw: float = 0.0, pitch: float = 0.0, *, at_ms: float | None = None
    ) -> int:
        return self._runner.run(self.walk.rates(forward, strafe, yaw, pitch, at_ms=at_ms))

    def pose(self, camera_from_world: Sequence[float], *, at_ms: float | None = None) -> int:
        return self._runner.run(self.walk.pose(camera_from_world, at_ms=at_ms))

    def lens(self, *, at_ms: float | None = None, **intrinsics: float) -> int:
        return self._runner.run(self.walk.lens(at_ms=at_ms, **intrinsics))

    def script(self, items: Sequence[str | Sequence[str]]) -> int:
        return self._runner.run(self.walk.script(items))

    def prompt(self, text: str, *, recache: bool = False) -> int:
        return self._runner.run(self.walk.prompt(text, recache=recache))

    def step(self, keys: str | Sequence[str] | None = None, prompt: str | None = None, *, within_s: float = 60.0) -> list[Frame]:
        return self._runner.run(self.walk.step(keys, prompt, within_s=within_s))

    def rewind(self, *, seconds: float | None = None, chunk: int | None = None) -> int:
        return self._runner.run(self.walk.rewind(seconds=seconds, chunk=chunk))

    def reset(
        self,
        *,
        prompt: str | None = None,
        seed: int | None = None,
        size: tuple[int, int] | None = None,
        first_frame: bytes | str | Literal[False] | None = None,
    ) -> int:
        return self._runner.run(self.walk.reset(prompt=prompt, seed=seed, size=size, first_frame=first_frame))

    def pause(self) -> None:
        self._runner.run(self.walk.pause())

    def play(self) -> None:
        self._runner.run(self.walk.play())

    def receipt(self, event_id: int) -> Receipt:
        """What became of an event. Frames are read until it is known; they are given by the next iterations."""
        return self._runner.run(self._receipt(event_id))

    async def _receipt(self, event_id: int) -> Receipt:
        waiting = asyncio.ensure_future(self.walk.receipt(event_id))
        await asyncio.sleep(0)
        while not waiting.done():
            if not await self.walk._receive():
                break
            await asyncio.sleep(0)
        return await waiting
