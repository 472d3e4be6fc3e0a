"""A server of the realtime wire on the field's stack: FastAPI, uvicorn with uvloop, msgspec, Pillow. It draws nothing: each chunk
is a copy of pictures made before, so what it costs is serving alone.

    python tests/compare/baseline.py --port 30001

It stands in for SGLang's endpoint, whose package needs a GPU's libraries, and does the same for a chunk: the next one is made
while this one is encoded and sent; one header and one payload of at most 16 raw or 6 encoded frames; encoding on a thread of
its own; statistics behind it. It leaves out what would make it slower and is not the stack's: sessions that wait, conditions,
logs.
"""

import argparse
import asyncio
import io
import time
import uuid

import msgspec
import numpy as np
import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from PIL import Image

FIRST, LATER = 9, 12
FRAMES = {"raw": 16, "jpeg": 6, "webp": 6}
TYPES = {"raw": "application/x-raw-rgb", "jpeg": "image/jpeg", "webp": "image/webp"}
# A payload this large is a message of its own.
APART = 65536

app = FastAPI()
encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder()
pictures = {}


def moving(width, height):
    """Twelve frames of a gradient that moves: what our test card draws behind its words."""
    if (width, height) not in pictures:
        wave = np.abs((np.arange(width + height + 256) % 256) - 128)
        line = np.stack([24 + wave, 40 + wave // 2, 150 - wave // 2], -1).astype(np.uint8)
        frames = [[line[4 * t + y : 4 * t + y + width] for y in range(height)] for t in range(LATER)]
        pictures[width, height] = np.stack([np.stack(rows) for rows in frames])
    return pictures[width, height]


def compressed(frames, kind, quality):
    """Each frame as a file."""
    files = []
    for frame in frames:
        file = io.BytesIO()
        if kind == "jpeg":
            Image.fromarray(frame).save(file, "JPEG", quality=quality, subsampling=0)
        else:
            Image.fromarray(frame).save(file, "WEBP", quality=quality, method=0)
        files.append(file.getvalue())
    return files


class Session:
    def __init__(self, socket, init):
        self.socket, self.id, self.event_id, self.next_at = socket, uuid.uuid4().hex, None, None
        self.size = tuple(int(side) for side in init.get("size", "832x480").split("x"))
        self.kind = init.get("realtime_output_format") or "raw"
        self.quality = init.get("output_compression") or 50
        self.fps = init.get("fps") or 16
        self.is_paced = bool(init.get("realtime_output_pacing"))

    async def listen(self):
        while True:
            event = decoder.decode(await self.socket.receive_bytes())
            self.event_id = event.get("event_id", self.event_id)

    async def play(self):
        sending, index = None, 0
        while True:
            event_id, began = self.event_id, time.monotonic()
            # What a model would give: pixels that are in no buffer yet.
            frames = moving(*self.size)[: FIRST if index == 0 else LATER].copy()
            if sending:
                await sending
            if self.is_paced:
                await self.wait(len(frames))
                await self.send(index, frames, event_id, began)
            else:
                sending = asyncio.create_task(self.send(index, frames, event_id, began))
                # Where nothing waits, nobody else would ever be heard.
                await asyncio.sleep(0)
            index += 1

    async def wait(self, count):
        now = time.monotonic()
        at = self.next_at or now
        await asyncio.sleep(max(0.0, at - now))
        self.next_at = max(at, time.monotonic()) + count / self.fps

    async def send(self, index, frames, event_id, began):
        width, height = self.size
        most, request, sent = FRAMES[self.kind], f"{self.id}_{uuid.uuid4().hex}", 0
        batches = [frames[first : first + most] for first in range(0, len(frames), most)]
        for number, batch in enumerate(batches):
            header = {
                "type": "frame_batch",
                "request_id": request,
                "chunk_index": index,
                "content_type": TYPES[self.kind],
                "num_frames": len(batch),
                "frame_batch_index": number,
                "num_frame_batches": len(batches),
                "is_final_frame_batch": number == len(batches) - 1,
                "format": "rgb24" if self.kind == "raw" else self.kind,
                "width": width,
                "height": height,
                "channels": 3,
                "bytes_per_frame": 3 * width * height,
                "encoding": self.kind,
            }
            if event_id is not None:
                header["event_id"] = event_id
            if self.kind == "raw":
                payload = batch.tobytes()
                header["raw_size"] = len(payload)
            else:
                files = await asyncio.to_thread(compressed, batch, self.kind, self.quality)
                payload = b"".join(files)
                header |= {
                    "payload_lengths": [len(file) for file in files],
                    "source_width": width,
                    "source_height": height,
                    "preview_width": width,
                    "preview_height": height,
                }
            header["total_size"] = len(payload)
            sent += len(payload)
            if len(payload) < APART:
                await self.socket.send_bytes(encoder.encode(header | {"payload": payload}))
            else:
                await self.socket.send_bytes(encoder.encode(header | {"type": "frame_batch_header"}))
                await self.socket.send_bytes(payload)
        took = round((time.monotonic() - began) * 1e3)
        stats = {name: 0 for name in ("request_prepare_ms", "scheduler_forward_ms", "pace_wait_ms", "header_write_ms")}
        stats |= {name: 0 for name in ("raw_payload_build_ms", "raw_write_ms", "ws_write_ms")}
        stats |= {"type": "chunk_stats", "session_id": self.id, "request_id": request, "chunk_index": index}
        stats |= {"event_id": event_id, "chunk_total_ms": took, "num_batches": len(batches), "num_frames": len(frames)}
        stats |= {"raw_bytes": frames.nbytes, "ws_payload_bytes": sent, "content_type": TYPES[self.kind]}
        await self.socket.send_bytes(encoder.encode(stats))


@app.websocket("/v1/realtime_video/generate")
async def generate(socket: WebSocket):
    await socket.accept()
    listening = playing = None
    try:
        session = Session(socket, decoder.decode(await socket.receive_bytes()))
        listening, playing = asyncio.create_task(session.listen()), asyncio.create_task(session.play())
        done, _ = await asyncio.wait({listening, playing}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    except (WebSocketDisconnect, RuntimeError):
        pass
    finally:
        for task in (listening, playing):
            if task:
                task.cancel()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--port", type=int, default=30001)
    asked = arguments.parse_args()
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=asked.port,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
