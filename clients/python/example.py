import asyncio
import sys

from causeway_client import Walk


async def main(url: str) -> None:
    async with Walk(url, "a meadow", format="jpeg", max_chunks=4) as walk:
        await walk.hold("w")
        async for frame in walk:
            print(frame.chunk, frame.event_id, f"{frame.width}x{frame.height}", len(frame.data), "bytes")


asyncio.run(main(sys.argv[1]))
