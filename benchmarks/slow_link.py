"""A link of limited rate and some delay, as a proxy before one TCP server: kernels without netem have no other.

    python3 slow_link.py [LISTEN_ADDRESS:]LISTEN_PORT SERVER_PORT MBIT_PER_SECOND ROUND_TRIP_MS

All connections share the rate, each direction has its own. A connection waits one round trip, as its handshake would.
"""

from __future__ import annotations

import asyncio
import sys

CHUNK = 1 << 14


class Direction:
    """The bytes of all connections one way: each is sent when the link is free, and arrives after the delay."""

    def __init__(self, rate: float, delay: float) -> None:
        self.rate, self.delay = rate, delay
        self.free = 0.0

    def arrival(self, size: int) -> float:
        now = asyncio.get_running_loop().time()
        self.free = max(self.free, now) + size / self.rate
        return self.free + self.delay


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
    # what is on its way; a sender is held back as by a TCP window
    way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=256)

    async def deliver() -> None:
        while True:
            at, data = await way.get()
            await asyncio.sleep(max(0.0, at - asyncio.get_running_loop().time()))
            if not data:
                break
            writer.write(data)
            await writer.drain()

    arriving = asyncio.create_task(deliver())
    try:
        while data := await reader.read(CHUNK):
            await way.put((direction.arrival(len(data)), data))
        await way.put((direction.arrival(0), b""))
        await arriving
    except (OSError, asyncio.CancelledError):
        arriving.cancel()
    finally:
        writer.close()


async def main(listen: str, server: int, mbit: float, round_trip: float) -> None:
    rate, delay = mbit * 1e6 / 8, round_trip / 2000
    there, back = Direction(rate, delay), Direction(rate, delay)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * delay)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", server)
        await asyncio.gather(carry(reader, far_writer, there), carry(far_reader, writer, back))

    address, _, port = listen.rpartition(":")
    async with await asyncio.start_server(connect, address or "127.0.0.1", int(port)) as listening:
        await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
