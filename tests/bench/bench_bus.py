"""What the guard costs: fan-out of one publisher to ten subscribers, through it and at mosquitto itself, in one run.

    PYTHONPATH=. python tests/bench/bench_bus.py MOSQUITTO

Prints deliveries a second and their ratio; both ways carry the same messages (QoS 0, 100 bytes), and through the guard
every delivery is recorded.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "live"))
from bus_lab import DEADLINE_S, PASSWORD, bus_process

from emulator import mqttpackets
from emulator.mqtt import Framer, PacketType, encode, encode_text
from emulator.mqttpackets import Filter

SUBSCRIBERS, BATCHES, BATCH, ROUNDS = 10, 20, 200, 3  # mosquitto drops QoS 0 beyond 1,000 queued: batch by batch
TOPIC = "racs/cell/bench/load"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def session(streams: Streams, name: str) -> Framer:
    reader, writer = streams
    body = (
        encode_text("MQTT") + bytes([4, 0xC2, 0, 0]) + encode_text(name) + encode_text("goon") + encode_text(PASSWORD)
    )
    writer.write(encode(PacketType.CONNECT, body))
    assert await reader.readexactly(4) == mqttpackets.CONNECTED
    writer.write(mqttpackets.subscribe(b"\0\1", [Filter(TOPIC, 0)]))
    assert await reader.readexactly(5) == b"\x90\x03\0\1\0"
    return Framer(1 << 20)


async def receive(streams: Streams, framer: Framer) -> None:
    left = BATCH
    while left:
        left -= sum(packet.body[2:22] == TOPIC.encode() for packet in framer.feed(await streams[0].read(1 << 16)))


async def fan_out(subscribers: list[Streams], publisher: Streams) -> float:
    """Deliveries a second."""
    framers = [await session(streams, f"bench-{n}") for n, streams in enumerate(subscribers)]
    message = mqttpackets.publish(TOPIC, b"x" * 100, retain=False)
    begin = time.perf_counter()
    for _ in range(BATCHES):
        publisher[1].write(message * BATCH)
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*(receive(*pair) for pair in zip(subscribers, framers, strict=True)))
    took_s = time.perf_counter() - begin
    for _, writer in subscribers:
        writer.close()
    return SUBSCRIBERS * BATCHES * BATCH / took_s


async def compare(broker: str, port: int) -> None:
    publisher = await asyncio.open_unix_connection(broker)
    publisher[1].write(mqttpackets.connect("bench-publisher"))
    assert await publisher[0].readexactly(4) == mqttpackets.CONNECTED
    for _ in range(ROUNDS):
        direct = await fan_out([await asyncio.open_unix_connection(broker) for _ in range(SUBSCRIBERS)], publisher)
        through = await fan_out(
            [await asyncio.open_connection("127.0.0.1", port) for _ in range(SUBSCRIBERS)], publisher
        )
        print(f"mosquitto {direct:,.0f}/s, through the guard {through:,.0f}/s, ratio {through / direct:.2f}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, bus_process(Path(sys.argv[1]), Path(folder)) as bus:
        asyncio.run(compare(f"{folder}/broker/bus.sock", bus.ports["bus"]))


if __name__ == "__main__":
    main()
