"""Sends routed packets to a transparent guest as the user plane does, and compares what comes back, byte by byte.

`wire_probe.py TAP GUEST_MAC PACKETS RATE_PPS` prints {"sent", "returned", "identical", "in_order", "other", "us_p50"}.
"""

import json
import random
import select
import socket
import struct
import sys
import time
from pathlib import Path

ETH_P_IP = 0x0800


def main() -> None:
    tap, mac, count, rate = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    guest = bytes.fromhex(mac.replace(":", ""))
    gateway = bytes.fromhex(Path(f"/sys/class/net/{tap}/address").read_text().strip().replace(":", ""))
    packets = [packet(number) for number in range(count)]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP)) as sock:
        sock.bind((tap, ETH_P_IP))
        sent: list[float] = []
        back: list[tuple[bytes, float]] = []
        start = time.monotonic()
        while len(sent) < count or time.monotonic() < start + count / rate + 2:
            due = start + len(sent) / rate
            if len(sent) < count and time.monotonic() >= due:
                sock.send(guest + gateway + struct.pack("!H", ETH_P_IP) + packets[len(sent)])
                sent.append(time.monotonic())
                continue
            if select.select([sock], [], [], max(0.0, min(due - time.monotonic(), 0.05)))[0]:
                frame, source = sock.recvfrom(65536)
                if source[2] != socket.PACKET_OUTGOING and frame[:12] == gateway + guest:
                    back.append((frame[14:], time.monotonic()))
    own = [(data, at) for data, at in back if data[30:34] != socket.inet_aton("10.198.0.1")]
    waits = sorted(at - sent[packets.index(data)] for data, at in own if data in packets)
    result = {
        "sent": count,
        "returned": len(own),
        "identical": len({data for data, _ in own} & set(packets)),
        "in_order": [data for data, _ in own] == packets,
        "other": [data.hex() for data, _ in own if data not in packets][:5],
        "us_p50": round(waits[len(waits) // 2] * 1e6) if waits else None,
    }
    print(json.dumps(result))


def packet(number: int) -> bytes:
    """The n-th packet: TCP of both directions in many sizes, first and later fragments, some with nonsense inside."""
    noise = random.Random(number)
    size = (0, 1, 2, 7, 63, 64, 511, 512, 1200, 1399, 1400, 1460)[number % 12]
    uplink = number % 2 == 0
    ports = (40000 + number % 1000, 80) if uplink else (80, 40000 + number % 1000)
    tcp = struct.pack("!HHIIBBHHH", *ports, number, 0, 0x50 if number % 17 else 0x10, 0x18, 8192, 0, 0)
    payload = tcp + (b"GET / HTTP/1.1\r\n" + noise.randbytes(1460))[:size]
    ue, server = socket.inet_aton(f"10.45.0.{2 + number % 8}"), socket.inet_aton("203.0.113.80")
    addresses = ue + server if uplink else server + ue
    fragment = (0, 0, 0x2000, 185)[number % 4]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), number, fragment, 64, 6, 0)
    return head + addresses + payload


if __name__ == "__main__":
    main()
