"""Faults on the message bus."""

import json
import socket
import time
from collections.abc import Callable
from typing import Any

from faults_later import later

PLATFORM = "10.199.0.1"


def with_bus(bend: Callable[[Any, dict[str, str], list[str]], None]) -> Callable[[Any], None]:
    """A fault that bends the Bus before it connects."""

    def fault(app: Any) -> None:
        made = app.Bus.__init__

        def make(self: Any, properties: dict[str, str], topics: list[str]) -> None:
            bend(self, properties, topics)
            made(self, properties, topics)

        app.Bus.__init__ = make

    return fault


def wrong_password(bus: Any, properties: dict[str, str], topics: list[str]) -> None:
    properties["racs.mqtt.password"] += "-not"


def forbidden_subscribe(bus: Any, properties: dict[str, str], topics: list[str]) -> None:
    topics.append("#")


def forbidden_publish(bus: Any, properties: dict[str, str], topics: list[str]) -> None:
    connected = bus.connected

    def also_publish(client: Any, *rest: Any) -> None:
        connected(client, *rest)
        client.publish("racs/cell/x/load", json.dumps({"cell": "x", "load": 1, "time": time.time()}))

    bus.connected = also_publish


def no_reconnect(bus: Any, properties: dict[str, str], topics: list[str]) -> None:
    connected = bus.connected

    def once(client: Any, *rest: Any) -> None:
        connected(client, *rest)
        client.on_disconnect = lambda *what: client.disconnect()

    bus.connected = once


def connects_without_bus(app: Any) -> None:
    """For a package without acl.xml: the app has no bus, and tries to reach one all the same."""

    class NoBus:
        def __init__(self, properties: dict[str, str], topics: list[str]) -> None:
            # without features nobody switches the echo on
            self.waiting = [(topics[-1], {"features": list(app.FEATURES)})]
            later(2, self.connect)

        def connect(self) -> None:
            while True:
                with socket.socket() as sock:
                    sock.settimeout(2)
                    sock.connect_ex((PLATFORM, 1883))
                time.sleep(5)

        def messages(self) -> list[Any]:
            waiting, self.waiting = self.waiting, []
            return waiting

        def publish(self, *what: Any, **how: Any) -> None:
            pass

    app.Bus = NoBus
