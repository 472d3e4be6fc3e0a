"""A walk: one session, over as many connections as it takes.

Frames are read by iterating. Nothing is read ahead, so a program that is slow slows the world down and loses nothing; what
comes beside frames (receipts, statistics) arrives while frames are read.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from .messages import (
    RAW,
    ChunkStats,
    EventAck,
    EventApplied,
    FrameBatch,
    InitAck,
    Moved,
    News,
    Queue,
    ServerError,
    Session,
    Shared,
    Watching,
    decode,
    encode,
)

RETURN_EVERY_S = 0.25
"""Between two attempts to come back."""
STILL_EVERY_S = 20.0
"""How often the queue is told that somebody is still there: a server waits for a minute by default."""
OPEN_WITHIN_S = 10.0
"""For a connection to open."""
LINE_LOST = frozenset({1005, 1006, 1001})
"""Close codes of a line that broke, not of a server that ended the walk."""
NO_PONG = "keepalive ping timeout"


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of the video."""

    data: bytes
    """The bytes of a picture file, or RGB8 rows from the top where `content_type` is `application/x-raw-rgb`."""
    content_type: str
    width: int
    height: int
    chunk: int
    """The chunk that it belongs to, from 0."""
    index: int
    """Its number in the video, from 0."""
    event_id: int | None
    """The largest id of the events that it shows."""
    pts_ms: int | None
    """When it is due, counted from the first frame, where the server says so."""

    @property
    def is_raw(self) -> bool:
        return self.content_type == RAW


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an event."""

    event_id: int
    chunk: int
    """The first chunk that shows it."""
    superseded: bool
    """A later event replaced it before any chunk could show it."""
    first_frame: int | None = None
    """The first video frame that shows it, from 0, where the server says so."""


class Refused(Exception):
    """The server did not do what was asked; its own words, and which field was wrong."""

    def __init__(self, error: ServerError) -> None:
        super().__init__(str(error))
        self.error = error


class Closed(Exception):
    """The walk ended otherwise than by its last chunk."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed with {code}: {reason or 'no reason was given'}")
        self.code = code
        self.reason = reason


class Walk:
    """Connect with `async with`, iterate for frames, steer meanwhile.

    `size` is `(width, height)`; `first_frame` the bytes of a JPEG, PNG or WebP, or a data URL. `key` is shown where the
    server asks for one. `on_news` is called with every message that is no frame. Other fields of the first message go
    into `more`, by their names on the wire. `stepped`: the world stands still but for `step`.
    """

    FEATURES = ("queue", "session", "ack", "timing", "pause", "reset", "rates", "poses", "intrinsics", "receipts", "spectators", "moved")

    def __init__(
        self,
        url: str,
        prompt: str,
        *,
        size: tuple[int, int] | None = None,
        seed: int | None = None,
        fps: int | None = None,
        paced: bool = False,
        stepped: bool = False,
        format: str = "raw",
        max_chunks: int | None = None,
        first_frame: bytes | str | None = None,
        key: str | None = None,
        features: Sequence[str] = FEATURES,
        on_news: Callable[[News], None] | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._on_news = on_news or (lambda news: None)
        self._init = {
            "type": "init",
            "prompt": prompt,
            "size": f"{size[0]}x{size[1]}" if size else None,
            "seed": seed,
            "fps": fps,
            "realtime_output_pacing": paced or None,
            "realtime_output_format": format,
            "max_chunks": max_chunks,
            "first_frame": first_frame,
            "protocol_features": [*features, *(["step"] if stepped else [])] or None,
            **(more or {}),
        }
        self._shares: dict[int, asyncio.Future[Shared]] = {}
        self._socket: ClientConnection | None = None
        self._frames: deque[Frame] = deque()
        self._index = 0
        # The chunk that is arriving: its number, its frames that came over this connection, and those that were given out.
        self._chunk: int | None = None
        self._came = 0
        self._given = 0
        self._whole: int | None = None
        self._event_id = 0
        self._receipts: dict[int, asyncio.Future[Receipt]] = {}
        self._said_to_wait = 0.0
        self._held: tuple[int, dict[str, Any]] | None = None
        self._prompted: tuple[int, dict[str, Any]] | None = None
        self._seen_id: int | None = None
        self._stats: ChunkStats | None = None
        self._refusal: ServerError | None = None
        # The session goes on at another server: the close that follows is no end.
        self._moved = False
        self.session: Session | None = None
        """How to come back after a cut, once the server has said so."""
        self.terms: InitAck | None = None
        """What the session is, once the server has said so."""
        self.watching: Watching | None = None
        """What a viewer watches, once the server has said so."""
        self.standing: Queue | None = None
        """The place in the queue, while there is one."""
        self.resumes = 0
        """How often the walk went on after a cut."""

    @classmethod
    def watch(
        cls,
        url: str,
        token: str,
        *,
        format: str | None = None,
        on_news: Callable[[News], None] | None = None,
        more: dict[str, Any] | None = None,
    ) -> Walk:
        """Watch the session that a token of its player stands for. It steers only what `Stage` says that it holds.

        Without a `format` frames come as to the player. A line that broke is not replaced: watch again.
        """
        walk = cls(url, "", on_news=on_news)
        walk._init = {"type": "watch", "token": token, "realtime_output_format": format, **(more or {})}
        return walk

    async def __aenter__(self) -> Walk:
        self._socket = await self._open()
        await self._socket.send(encode(self._init))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the walk. Receipts that have not come raise `Closed`."""
        self._lose_receipts(Closed(1000, "the client ended the walk"))
        if self._socket is not None:
            await self._socket.close()

    # What steers. Each gives the event's id.

    async def hold(self, keys: str | Sequence[str]) -> int:
        """From now on these keys are held: `hold("wl")` walks and turns right, `hold("")` lets go."""
        transitions = [{"actions": list(keys), "client_ts_ms": int(time.monotonic() * 1000)}]
        return await self._steer("camera_actions", {"mode": "state", "transitions": transitions})

    async def tap(self, keys: str | Sequence[str]) -> int:
        """Press and release: they show for one latent frame at least."""
        transitions = [{"actions": list(keys)}, {"actions": []}]
        return await self._steer("camera_actions", {"mode": "state", "transitions": transitions})

    async def rates(
        self, forward: float = 0.0, strafe: float = 0.0, yaw: float = 0.0, pitch: float = 0.0, *, at_ms: float | None = None
    ) -> int:
        """Move at a part of what a held key does, each from -1 to 1: ahead, to the right, turning right, looking up.

        `at_ms`: when, as `Frame.pts_ms` counts. Only in worlds that follow rates.
        """
        return await self._lead({"rates": {"forward": forward, "strafe": strafe, "yaw": yaw, "pitch": pitch}}, at_ms)

    async def pose(self, camera_from_world: Sequence[float], *, at_ms: float | None = None) -> int:
        """Lead the camera: 16 numbers row by row, axes x right, y down, z forward. Only in worlds that follow poses."""
        return await self._lead({"pose": [float(number) for number in camera_from_world]}, at_ms)

    async def lens(self, *, at_ms: float | None = None, **intrinsics: float) -> int:
        """Another lens: `fx`, `fy`, `cx`, `cy` in pixels, or `fov_x_deg`. Only in worlds that follow it."""
        return await self._lead({"intrinsics": intrinsics}, at_ms)

    async def _lead(self, transition: dict[str, Any], at_ms: float | None) -> int:
        timed = transition if at_ms is None else {**transition, "at_ms": at_ms}
        return await self._steer("camera_actions", {"mode": "state", "transitions": [timed]})

    async def script(self, items: Sequence[str | Sequence[str]]) -> int:
        """The keys of each latent frame to come; then nothing is held."""
        return await self._steer("camera_actions", [list(item) for item in items])

    async def prompt(self, text: str, *, recache: bool = False) -> int:
        """Draw what follows under another prompt. `recache`: let the past count as if it had been drawn with it."""
        return await self._steer("prompt", text, recache=recache or None)

    async def pause(self) -> None:
        """Draw no more. Only for a server that has the feature `pause`."""
        await self._send({"type": "event", "kind": "pause"})

    async def play(self) -> None:
        """Go on after `pause`."""
        await self._send({"type": "event", "kind": "resume"})

    async def rewind(self, *, seconds: float | None = None, chunk: int | None = None) -> int:
        """Go back in the video, by seconds or to a chunk of it, and go on from there.

        Only for a walk whose `features` name `rewind`: the server keeps states for it, which take memory.
        """
        return await self._steer("rewind", {"seconds": seconds} if chunk is None else {"chunk": chunk})

    async def reset(
        self,
        *,
        prompt: str | None = None,
        seed: int | None = None,
        size: tuple[int, int] | None = None,
        first_frame: bytes | str | Literal[False] | None = None,
    ) -> int:
        """Begin another video in this session. What is left out is as it was; `first_frame=False`: no picture."""
        said = {"prompt": prompt, "seed": seed, "size": size and f"{size[0]}x{size[1]}", "first_frame": first_frame}
        return await self._steer("reset", {name: value for name, value in said.items() if value is not None})

    async def share(self, role: str = "view") -> Shared:
        """Let others watch: a token for viewers, `director`s (who may hold the prompt) or `control` (the camera too).

        Comes while frames are read. Only for a server that has the feature `spectators`.
        """
        self._event_id += 1
        event_id = self._event_id
        future = self._shares[event_id] = asyncio.get_running_loop().create_future()
        await self._send({"type": "event", "kind": "share", "event_id": event_id, "payload": {"role": role}})
        try:
            return await future
        finally:
            self._shares.pop(event_id, None)

    async def unshare(self, share_id: int) -> None:
        """End a token, and send its viewers away."""
        await self._send({"type": "event", "kind": "unshare", "payload": {"share_id": share_id}})

    async def hand_over(self, viewer_id: int) -> None:
        """Let a viewer hold what its role allows. `Viewers` says who there is."""
        await self._send({"type": "event", "kind": "hand_over", "payload": {"viewer_id": viewer_id}})

    async def take_back(self) -> None:
        """Steer alone again."""
        await self._send({"type": "event", "kind": "take_back"})

    async def step(self, keys: str | Sequence[str] | None = None, prompt: str | None = None, *, within_s: float = 60.0) -> list[Frame]:
        """Exactly one chunk of a stepped walk: its frames. `keys` are held from it on, `prompt` is drawn from it on.

        The same steps give the same bytes. Raises `Refused` where the server has no stepped sessions, and `TimeoutError`
        where no chunk came, as after a step that was lost with a line that broke.
        """
        parts: dict[str, Any] = {}
        if keys is not None:
            parts["camera_actions"] = {"mode": "state", "transitions": [{"actions": list(keys)}]}
        if prompt is not None:
            parts["prompt"] = prompt
        before, self._refusal = self._stats, None
        await self._steer("step", {"input_types": list(parts), **parts} if parts else None)
        async with asyncio.timeout(within_s):
            while self._stats is before:
                if not await self._receive():
                    raise Closed(1000, "the last chunk was sent already")
                if self._refusal is not None:
                    raise Refused(self._refusal)
        frames = list(self._frames)
        self._frames.clear()
        return frames

    async def event(self, kind: str, payload: Any = None) -> int:
        """Any event, by its name on the wire."""
        return await self._steer(kind, payload)

    async def receipt(self, event_id: int) -> Receipt:
        """What became of an event: comes while frames are read. Raises `Refused` if the server did not take it.

        A server without receipts is believed by the ids on its frames; there, an event that another replaced counts as
        shown by the chunk that shows the other.
        """
        future = self._receipts.get(event_id)
        if future is None:
            raise ValueError(f"event {event_id} was not sent by this walk, or its receipt was taken already")
        try:
            return await asyncio.shield(future)
        finally:
            if future.done():
                self._receipts.pop(event_id, None)

    # Frames.

    def __aiter__(self) -> Walk:
        return self

    async def __anext__(self) -> Frame:
        while not self._frames:
            if not await self._receive():
                raise StopAsyncIteration
        return self._frames.popleft()

    async def _receive(self) -> bool:
        """Handle one message; `False` after the last."""
        try:
            message = await self._next_message()
            read = decode(message)
            if isinstance(read, FrameBatch):
                payload = read.payload
                # Nothing may come between the two, so whatever comes is the payload.
                self._take(read, payload if payload is not None else await self._next_message())
            else:
                self._hear(read)
            return True
        except ConnectionClosed as closed:
            return await self._ended(closed)
        except msgspec.MsgspecError as error:
            raise Closed(1002, f"the server sent a message that cannot be read: {error}") from error

    async def _next_message(self) -> bytes:
        assert self._socket is not None, "a walk is entered with `async with`"
        while self.standing is not None:
            try:
                return await asyncio.wait_for(self._socket.recv(decode=False), STILL_EVERY_S)
            except TimeoutError:
                await self._socket.send(encode({"type": "event", "kind": "wait"}))
        return await self._socket.recv(decode=False)

    def _take(self, batch: FrameBatch, payload: bytes) -> None:
        self.standing = None
        if batch.chunk_index != self._chunk:
            self._chunk, self._came, self._given = batch.chunk_index, 0, 0
        known = self.terms or self.watching
        fps = known.fps if known else 0
        for position, data in enumerate(batch.pieces(payload)):
            self._came += 1
            # A chunk that was cut comes again from its beginning: some of it was given out before.
            if self._came <= self._given:
                continue
            first = batch.first_frame_index
            index = self._index if first is None else first + position
            self._frames.append(
                Frame(
                    data=data,
                    content_type=batch.content_type,
                    width=batch.width,
                    height=batch.height,
                    chunk=batch.chunk_index,
                    index=index,
                    event_id=batch.event_id,
                    pts_ms=index * 1000 // fps if fps and batch.pts_ms is not None else None,
                )
            )
            self._index, self._given = index + 1, self._came
        if batch.is_final_frame_batch:
            self._whole = batch.chunk_index
        # All who steer share one count of events.
        self._event_id = max(self._event_id, batch.event_id or 0)
        if batch.event_id is not None and "ack" not in (self.terms.features if self.terms else []):
            self._seen_id = max(batch.event_id, self._seen_id or 0)
            for event_id in [event_id for event_id in self._receipts if event_id <= batch.event_id]:
                self._settle(Receipt(event_id, batch.chunk_index, superseded=False))

    def _hear(self, news: News) -> None:
        match news:
            case Queue():
                self.standing = news
            case Session():
                self.session = news
            case Moved():
                self._moved, self._url = True, news.url or self._url
            case InitAck():
                self.standing, self.terms = None, news
            case EventApplied():
                for first in news.applied:
                    self._settle(Receipt(first.event_id, news.chunk_index, superseded=False, first_frame=first.first_frame_index))
                for event_id in news.superseded:
                    self._settle(Receipt(event_id, news.chunk_index, superseded=True))
            case EventAck() if "receipts" not in (self.terms.features if self.terms else []):
                for event_id in news.applied:
                    self._settle(Receipt(event_id, news.chunk_index, superseded=False))
                for event_id in news.superseded:
                    self._settle(Receipt(event_id, news.chunk_index, superseded=True))
            case Watching():
                self.watching = news
            case Shared() if (asked := self._shares.get(news.event_id or 0)) is not None and not asked.done():
                asked.set_result(news)
            case ChunkStats():
                self._stats = news
            case ServerError():
                self._refusal = news
                self._refused(news)
        self._on_news(news)

    def _settle(self, receipt: Receipt) -> None:
        self._seen_id = max(receipt.event_id, self._seen_id or 0)
        future = self._receipts.get(receipt.event_id)
        if future is not None and not future.done():
            future.set_result(receipt)

    def _refused(self, error: ServerError) -> None:
        """An error about an event leaves the walk as it was; any other ends it."""
        if error.event_id is None and error.content != "invalid event":
            refused = Refused(error)
            self._lose_receipts(refused)
            raise refused
        of_event = error.event_id if error.event_id is not None else 0
        future = self._receipts.get(of_event) or self._shares.get(of_event)
        if future is not None and not future.done():
            future.set_exception(Refused(error))
            future.exception()  # read here, so that a program that never asks is not warned

    def _lose_receipts(self, why: Exception) -> None:
        for future in [*self._receipts.values(), *self._shares.values()]:
            if not future.done():
                future.set_exception(why)
                future.exception()

    # The line.

    async def _open(self) -> ClientConnection:
        try:
            # A raw chunk is one message of any size; frames are compressed already.
            return await connect(
                self._url, max_size=None, compression=None, additional_headers=self._headers, open_timeout=OPEN_WITHIN_S
            )
        except InvalidStatus as refused:
            said = refused.response.body.decode(errors="replace").strip() if refused.response.body else ""
            content = f"HTTP {refused.response.status_code}" + (f": {said}" if said else "")
            raise Refused(ServerError(content=content)) from refused

    async def _ended(self, closed: ConnectionClosed) -> bool:
        """The connection is over: come back if the line broke, else say why. `False`: the last chunk was sent."""
        by_server = closed.rcvd
        code, reason = (by_server.code, by_server.reason) if by_server else (1006, "the line broke")
        if code == 1000 and reason == "generation complete":
            self._lose_receipts(Closed(code, reason))
            return False
        moved, self._moved = self._moved, False
        if self.session is not None and (moved or code in LINE_LOST or reason == NO_PONG):
            return await self._come_back(self.session)
        ended = Closed(code, reason)
        self._lose_receipts(ended)
        raise ended

    async def _come_back(self, session: Session) -> bool:
        deadline = time.monotonic() + session.grace_ms / 1000
        while True:
            try:
                self._socket = await self._open()
                await self._socket.send(encode({"type": "resume", "token": session.resume_token, "last_chunk": self._whole}))
                answer = decode(await asyncio.wait_for(self._socket.recv(decode=False), OPEN_WITHIN_S))
                break
            except (OSError, InvalidHandshake, ConnectionClosed, TimeoutError) as error:
                if time.monotonic() + RETURN_EVERY_S > deadline:
                    ended = Closed(1006, f"the line broke, and the server could not be reached again: {error}")
                    self._lose_receipts(ended)
                    raise ended from error
                await asyncio.sleep(RETURN_EVERY_S)
        self._came = 0
        self.resumes += 1
        assert not isinstance(answer, FrameBatch), "a resume is answered before frames"
        self._hear(answer)
        # What steered last may have been lost with the line.
        for event in (self._held, self._prompted):
            if event is not None and event[0] > (self._seen_id or 0):
                await self._socket.send(encode(event[1]))
        return True

    async def _steer(self, kind: str, payload: Any, recache: bool | None = None) -> int:
        self._event_id += 1
        event_id = self._event_id
        message = {"type": "event", "kind": kind, "event_id": event_id, "payload": payload, "recache": recache}
        self._receipts[event_id] = asyncio.get_running_loop().create_future()
        while len(self._receipts) > 256:
            self._receipts.pop(next(iter(self._receipts)))
        if kind == "camera_actions":
            self._held = (event_id, message)
        elif kind == "prompt":
            self._prompted = (event_id, message)
        await self._send(message)
        return event_id

    async def _send(self, message: dict[str, Any]) -> None:
        assert self._socket is not None, "a walk is entered with `async with`"
        try:
            await self._socket.send(encode(message))
        except ConnectionClosed:
            # Reading finds out whether the walk goes on; if so, what steered last is sent again.
            pass
