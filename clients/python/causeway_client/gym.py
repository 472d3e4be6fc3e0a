"""A world as a Gymnasium environment: an action is the keys that are held for one chunk, an observation its last frame.

    pip install "./clients/python[gym]"

A reset begins a new session, so the same seed and the same actions give the same observations, byte for byte. The world knows
no task: `reward` gives each step's reward, and says whether the episode is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy
from numpy.typing import NDArray

from .blocking import BlockingWalk
from .walk import Frame

KEYS = "wasdijkl"
"""The keys of an action, in its order: forward, left, back, right, look up, turn left, look down, turn right."""

Picture = NDArray[numpy.uint8]


class CausewayEnv(gymnasium.Env[Picture, NDArray[numpy.int8]]):
    """One walker in one world.

    `size` is that of the world, `(width, height)`. `reward(frame, steps)` is given the last frame of a step and how many steps
    there were, and returns the reward and whether the episode is over. `options` of `reset` may hold `prompt` and
    `first_frame`. `info["frames"]` has all frames of the step.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 16}

    def __init__(
        self,
        url: str,
        prompt: str,
        size: tuple[int, int],
        *,
        max_steps: int | None = None,
        reward: Callable[[Picture, int], tuple[float, bool]] | None = None,
        render_mode: str | None = None,
        key: str | None = None,
    ) -> None:
        self._url, self._prompt, self._size, self._key = url, prompt, size, key
        self._max_steps = max_steps
        self._reward = reward or (lambda frame, steps: (0.0, False))
        self.render_mode = render_mode
        width, height = size
        self.observation_space = gymnasium.spaces.Box(0, 255, (height, width, 3), numpy.uint8)
        self.action_space = gymnasium.spaces.MultiBinary(len(KEYS))
        self._walk: BlockingWalk | None = None
        self._steps = 0
        self._frame: Picture = numpy.zeros((height, width, 3), numpy.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Picture, dict[str, Any]]:
        super().reset(seed=seed)
        self.close()
        given = options or {}
        self._walk = BlockingWalk(
            self._url,
            given.get("prompt", self._prompt),
            size=self._size,
            seed=int(self.np_random.integers(2**63)) if seed is None else seed,
            first_frame=given.get("first_frame"),
            key=self._key,
            stepped=True,
        )
        self._walk.__enter__()
        self._steps = 0
        return self._see(self._walk.step())

    def step(self, action: NDArray[numpy.int8]) -> tuple[Picture, float, bool, bool, dict[str, Any]]:
        if self._walk is None:
            raise gymnasium.error.ResetNeeded("a walk begins with reset()")
        held = [key for key, down in zip(KEYS, action, strict=True) if down]
        frame, info = self._see(self._walk.step(held))
        self._steps += 1
        reward, is_over = self._reward(frame, self._steps)
        return frame, float(reward), bool(is_over), self._steps == self._max_steps, info

    def render(self) -> Picture | None:
        return self._frame.copy() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        if self._walk is not None:
            self._walk.close()
            self._walk = None

    def _see(self, frames: list[Frame]) -> tuple[Picture, dict[str, Any]]:
        pictures = [numpy.frombuffer(frame.data, numpy.uint8).reshape(self._frame.shape) for frame in frames]
        self._frame = pictures[-1].copy()
        return self._frame.copy(), {"frames": numpy.stack(pictures), "chunk": frames[-1].chunk}
