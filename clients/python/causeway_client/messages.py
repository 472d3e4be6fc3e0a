"""The server's messages as types, and reading them.

Fields that a server may leave out have a default, and fields that are not listed here are ignored, so that one type fits
servers with and without features.
"""

from __future__ import annotations

from typing import Any

import msgspec

RAW = "application/x-raw-rgb"


class FrameBatch(msgspec.Struct, kw_only=True):
    """Some consecutive frames of a chunk: `frame_batch`, or `frame_batch_header` with the message after it."""

    chunk_index: int
    content_type: str
    num_frames: int
    total_size: int
    width: int
    height: int
    is_final_frame_batch: bool
    event_id: int | None = None
    bytes_per_frame: int = 0
    payload_lengths: list[int] | None = None
    first_frame_index: int | None = None
    pts_ms: int | None = None
    controls_age_ms: int | None = None
    payload: bytes | None = None

    def pieces(self, payload: bytes) -> list[bytes]:
        """Each frame's bytes. Raises `ValueError` where the payload is not as the header says."""
        lengths = self.payload_lengths
        if lengths is None:
            lengths = [3 * self.width * self.height] * self.num_frames
        if len(payload) != self.total_size or sum(lengths) != len(payload) or len(lengths) != self.num_frames:
            raise ValueError(f"{self.num_frames} frames of {self.total_size} bytes were announced, {len(payload)} bytes came")
        ends = [sum(lengths[: count + 1]) for count in range(len(lengths))]
        return [payload[end - length : end] for end, length in zip(ends, lengths)]


class ChunkStats(msgspec.Struct, kw_only=True):
    """What a chunk cost, in whole milliseconds and bytes. Sent after the chunk's frames."""

    chunk_index: int
    event_id: int | None = None
    num_frames: int = 0
    ws_payload_bytes: int = 0
    scheduler_forward_ms: int = 0
    pace_wait_ms: int = 0
    chunk_total_ms: int = 0


class Details(msgspec.Struct, kw_only=True):
    """Which field was wrong, in which way, and what is allowed."""

    field: str | None = None
    reason: str | None = None


class ServerError(msgspec.Struct, kw_only=True):
    """A refusal. SGLang's servers send `content` alone."""

    content: str = ""
    code: str | None = None
    details: Details | None = None
    event_id: int | None = None

    def __str__(self) -> str:
        where = [part for part in (self.details and self.details.field, self.details and self.details.reason) if part]
        return f"{self.content} ({': '.join(where)})" if where else self.content


class Queue(msgspec.Struct, kw_only=True):
    """There is no place yet; position 1 is the next."""

    position: int
    reason: str | None = None
    estimated_wait_ms: int | None = None


class Session(msgspec.Struct, kw_only=True):
    """How to come back after a cut."""

    session_id: str
    resume_token: str
    grace_ms: int
    next_chunk: int = 0


class Moved(msgspec.Struct, kw_only=True):
    """The session goes on at another server, once this one has closed: at `url`, or where the known address leads.

    It has so many `messages` of this connection, behind the first; later ones are to be sent again.
    """

    messages: int
    url: str | None = None


class InitAck(msgspec.Struct, kw_only=True):
    """What the session is, before its first chunk."""

    session_id: str = ""
    world: str = ""
    width: int = 0
    height: int = 0
    fps: int = 0
    paced: bool = False
    chunk_frames: int = 0
    features: list[str] = []


class EventAck(msgspec.Struct, kw_only=True):
    """Ids of events that chunk `chunk_index` is the first to show, and of those that were replaced before any could."""

    chunk_index: int
    applied: list[int] = []
    superseded: list[int] = []


class First(msgspec.Struct, kw_only=True):
    """The first latent frame, and its first video frame, that show an event."""

    event_id: int
    latent_frame: int
    first_frame_index: int


class EventReceived(msgspec.Struct, kw_only=True):
    """An event has come, at this time of the server's clock since the session began."""

    received_ms: float
    event_id: int | None = None


class EventApplied(msgspec.Struct, kw_only=True):
    """As `EventAck`, with the frames from which on the events show."""

    chunk_index: int
    applied: list[First] = []
    superseded: list[int] = []


class Watching(msgspec.Struct, kw_only=True):
    """What a viewer watches, before anything else."""

    session_id: str
    viewer_id: int
    role: str
    world: str = ""
    width: int = 0
    height: int = 0
    fps: int = 0
    paced: bool = False
    chunk_frames: int = 0


class Stage(msgspec.Struct, kw_only=True):
    """To a viewer: whether the player is `here` or `away`, and which viewer steers; 0 is the player."""

    player: str
    paused: bool
    camera: int
    prompt: int


class Skipped(msgspec.Struct, kw_only=True):
    """Chunks that a slow viewer was not sent."""

    chunks: int
    next_chunk: int


class Shared(msgspec.Struct, kw_only=True):
    """The token that the player asked for. Whoever has it may watch."""

    share_id: int
    role: str
    token: str
    event_id: int | None = None


class Guest(msgspec.Struct, kw_only=True):
    """A viewer that may be handed something."""

    viewer_id: int
    role: str
    share_id: int


class Viewers(msgspec.Struct, kw_only=True):
    """To the player: who watches, and which viewer steers; 0 is the player."""

    count: int
    camera: int
    prompt: int
    guests: list[Guest] = []


class Unknown(msgspec.Struct, kw_only=True):
    """A message of a type that this client does not know."""

    type: str
    fields: dict[str, Any]


News = (
    ChunkStats
    | ServerError
    | Queue
    | Session
    | Moved
    | InitAck
    | EventAck
    | EventReceived
    | EventApplied
    | Watching
    | Stage
    | Skipped
    | Shared
    | Viewers
    | Unknown
)
"""All messages but frames."""

_KNOWN: dict[str, type[Any]] = {
    "frame_batch": FrameBatch,
    "frame_batch_header": FrameBatch,
    "chunk_stats": ChunkStats,
    "error": ServerError,
    "queue": Queue,
    "session": Session,
    "moved": Moved,
    "init_ack": InitAck,
    "event_ack": EventAck,
    "event_received": EventReceived,
    "event_applied": EventApplied,
    "watching": Watching,
    "stage": Stage,
    "skipped": Skipped,
    "shared": Shared,
    "viewers": Viewers,
}


class _Kind(msgspec.Struct):
    type: str = ""


_kind = msgspec.msgpack.Decoder(_Kind)
_decoders = {kind: msgspec.msgpack.Decoder(known) for kind, known in _KNOWN.items()}
_anything = msgspec.msgpack.Decoder(dict[str, Any])
_encoder = msgspec.msgpack.Encoder()


def decode(message: bytes) -> FrameBatch | News:
    """One message. The payload of a `FrameBatch` is `None` where it is the next message."""
    kind = _kind.decode(message).type
    decoder = _decoders.get(kind)
    if decoder is None:
        return Unknown(type=kind, fields=_anything.decode(message))
    read: FrameBatch | News = decoder.decode(message)
    return read


def encode(message: dict[str, Any]) -> bytes:
    """One message, without fields that are `None`."""
    return _encoder.encode({key: value for key, value in message.items() if value is not None})
