"""Entry point of an emulator process: ``python -m emulator.process ROLE CONTROL_FD``.

Roles: ``time`` (heartbeat with supervision, NTP, DNS), ``userplane`` (eNB, user plane service, EPC), ``bus`` (guard,
broker, producers, AFM, SWAM) and ``backends`` (servers of operator and internet). Each role's module has
``async def serve(setup, channel)`` that returns when the harness closes the channel.
"""

import asyncio
import importlib
import socket
import sys

from emulator.control import receive_setup

ROLES = {
    "time": "emulator.timeprocess",
    "userplane": "emulator.userprocess",
    "bus": "emulator.busprocess",
    "backends": "emulator.backends",
}


def main() -> None:
    role, descriptor = sys.argv[1], int(sys.argv[2])
    channel = socket.socket(fileno=descriptor)
    setup = receive_setup(channel)
    module = importlib.import_module(ROLES[role])
    asyncio.run(module.serve(setup, channel))


if __name__ == "__main__":
    main()
