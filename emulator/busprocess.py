"""The emulator's bus process: guard, broker, producers, AFM and SWAM on handed-over sockets.

Configuration (plain JSON):

    application        Application.to_json()
    password           of the bus's only user, the application's id
    clock              PlatformClock.to_json()
    seed               what the UEs' places are drawn from
    ues                the UEs' addresses in the order of their indices
    producers          the profile's table of that name: messages per second
    packet_bytes_max   the profile's bus.packet_bytes_max
    mosquitto          path of the broker's binary
    folder             an empty folder that the caller removes: the broker's socket, SWAM's reports
    swam_url           where SWAM takes reports by HTTP POST; empty: they wait

Sockets: ``bus`` (clients are "app"), ``bus_probe`` (clients are "lab"), TCP and bound. Commands (docs/interfaces.md):
``pause`` and ``resume`` {}: the broker ends (sessions and retained messages with it), connects are refused until it is
started anew; ``feature-set`` {features}: ids that are on; ``swam-report`` {} -> {report}; ``producers`` {factor}: times
the configured rates; ``publish`` {topic, payload, repeat, retain}: payload in hex, repeated. A broker that ends by
itself is the event ``process-died`` of the process "mosquitto".
"""

import asyncio
import socket
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from conformance.application import Application
from emulator.account import Account
from emulator.afm import Afm
from emulator.broker import Broker, Publisher
from emulator.bus import Bus, Observer
from emulator.control import Control, Setup
from emulator.guard import Published
from emulator.platform import PlatformClock
from emulator.producers import Population, Producers, Rates
from emulator.publication import Publication
from emulator.service import Note
from emulator.swam import Outbox

_SWAM_RETRY_S = 1.0
_CLIENTS = {"bus": "app", "bus_probe": "lab"}


async def serve(setup: Setup, channel: socket.socket) -> None:
    """Run the bus until the harness closes the channel. Raises KeyError where the configuration lacks a key."""
    listeners = {client: setup.socket(name) for name, client in _CLIENTS.items() if name in setup.descriptors}
    elements = _Elements(setup.config, listeners)
    control = Control(
        channel,
        {
            "pause": elements.pause,
            "resume": elements.resume,
            "feature-set": elements.set_features,
            "swam-report": elements.report,
            "producers": elements.set_rates,
            "publish": elements.publish,
        },
    )
    elements.control = control
    async with AsyncExitStack() as stack:
        for listener in listeners.values():
            stack.enter_context(listener)
        stack.push_async_callback(elements.pause, {})
        await elements.resume({})
        stack.enter_context(control)  # the first command is answered once the bus is up
        ended = asyncio.create_task(control.closed.wait())
        forwarding = asyncio.create_task(elements.forward_reports(setup.config["swam_url"]))
        await asyncio.wait((ended, elements.bus.failed, forwarding), return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, forwarding):
            task.cancel()
        if elements.bus.failed.done():
            elements.bus.failed.result()


class _Elements:
    """The bus's elements and the commands of the control channel; `control` is set before the first command."""

    control: Control

    def __init__(self, config: Mapping[str, Any], listeners: Mapping[str, socket.socket]) -> None:
        self._config = config
        self._folder = Path(config["folder"])
        self._application = Application.from_json(config["application"])
        self._clock = PlatformClock(**config["clock"])
        account = Account(self._application.id, config["password"], self._application.acl)
        observer = Observer(self._note, self._published)
        self.bus = Bus(account, listeners, config["packet_bytes_max"], observer)
        self._afm = Afm(self._application, self._clock)
        self._rates = Rates(**config["producers"])
        population = Population(config["seed"], tuple(config["ues"]))
        self._producers = Producers(population, self._clock, self._rates, time.monotonic())
        self._outbox = Outbox(self._folder)
        self._reported = asyncio.Event()
        self._publisher: Publisher | None = None
        self._stack = AsyncExitStack()
        self._switching = asyncio.Lock()

    async def resume(self, _: Mapping[str, Any]) -> None:
        """Start the broker, publish what is retained, then let clients in."""
        async with self._switching, AsyncExitStack() as stack:
            await self._down()
            broker = Broker(Path(self._config["mosquitto"]), self._folder, self._config["packet_bytes_max"])
            await stack.enter_async_context(broker)
            publisher = await stack.enter_async_context(Publisher(broker))
            await publisher.publish(self._afm.properties(time.monotonic()))
            for task in (self._produce(publisher), self._watch(broker)):
                stack.push_async_callback(_cancel, asyncio.create_task(task))
            await self.bus.open(broker.connect)
            stack.push_async_callback(self.bus.close, "outage")
            self._publisher = publisher
            self._stack = stack.pop_all()

    async def pause(self, _: Mapping[str, Any]) -> None:
        """Cut the clients, refuse connects, end the broker."""
        async with self._switching:
            await self._down()

    async def set_features(self, message: Mapping[str, Any]) -> None:
        publication, note = self._afm.set_features(message["features"], time.monotonic())
        self._note(note)  # before the app can answer
        await self._send(publication)

    async def report(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        now = time.monotonic()
        report = self._outbox.report(self._application, self._afm.active, self._clock.time(now)).to_json()
        self._note(Note("swam-report", now, {"report": report}))
        self._reported.set()
        return {"report": report}

    async def set_rates(self, message: Mapping[str, Any]) -> None:
        self._producers.set_rates(self._rates.times(message["factor"]), time.monotonic())

    async def publish(self, message: Mapping[str, Any]) -> None:
        payload = bytes.fromhex(message["payload"]) * message["repeat"]
        await self._send(Publication(message["topic"], payload, message["retain"]))

    async def forward_reports(self, url: str) -> None:
        """Forward reports to SWAM, again and again until they are taken."""
        while True:
            await self._reported.wait()
            self._reported.clear()
            while url and not await asyncio.to_thread(self._outbox.forward, url):
                await asyncio.sleep(_SWAM_RETRY_S)

    async def _down(self) -> None:
        self._publisher = None
        await self._stack.aclose()

    async def _send(self, publication: Publication) -> None:
        if self._publisher is None:
            raise ConnectionError("the bus is paused")
        await self._publisher.publish(publication)

    async def _published(self, client: str, message: Published) -> None:
        if client == "app" and message.topic == self._afm.status_topic:
            self._note(self._afm.receive(message.payload, time.monotonic()))

    async def _produce(self, publisher: Publisher) -> None:
        with suppress(ConnectionError):  # the broker went away: _watch tells
            while True:
                for publication in self._producers.wake(time.monotonic()):
                    await publisher.publish(publication)
                await asyncio.sleep(min(self._producers.next_wake() - time.monotonic(), 1.0))

    async def _watch(self, broker: Broker) -> None:
        status = await broker.ended()
        self._note(Note("process-died", time.monotonic(), {"process": "mosquitto", "status": status}))
        await self.bus.close("the broker is away")

    def _note(self, note: Note) -> None:
        self.control.note(note.kind, note.at, note.fields)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
