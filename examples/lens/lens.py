"""Lens, a transparent application: counts the HTTP requests of each UE and each cell, and changes nothing."""

import collections
import signal
import socket
import threading
import time

import environment
import ntp
from bus import CONNECTED, Bus
from heartbeat import Heartbeat
from wire import Wire

UE_CELL = "racs/ue/+/cell"
PORTS = (80, 8080)
METHODS = (b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ")
REMEMBERED = 4096  # UEs


class Lens:
    """All its work is one loop: packets, messages, heartbeat. If any of it hangs, the heartbeat stops with it."""

    def __init__(self, properties):
        self.app = properties["racs.app.id"]
        self.hang_after = environment.hang_after(properties)
        self.cells = collections.OrderedDict()  # UE to the cell it is in
        self.requests = collections.OrderedDict()  # UE to the number of its requests
        self.next_report = 0.0
        self.stopped = False
        nic = environment.interface(properties["racs.nic.user-plane.mac"])
        self.wire = Wire(nic, properties["racs.userplane.address"])
        self.heart = Heartbeat(
            self.app,
            properties["racs.heartbeat.host"],
            int(properties["racs.heartbeat.port"]),
            float(properties["racs.heartbeat.interval"]),
        )
        self.bus = Bus(properties, [UE_CELL])

    def run(self):
        first = None
        while not self.stopped:
            self.work(min(self.heart.remaining(), 0.1))
            if self.heart.beat() and first is None:
                first = time.monotonic()
            if self.hang_after is not None and first is not None and time.monotonic() >= first + self.hang_after:
                hang()
        self.heart.stop()

    def work(self, timeout):
        for packet in self.wire.packets(timeout):
            self.count(packet)
            self.wire.send()
        for topic, content in self.bus.messages():
            if topic != CONNECTED and isinstance(content.get("cell"), (str, int)):
                remember(self.cells, topic.split("/")[2], content["cell"])
        if time.monotonic() >= self.next_report:
            self.next_report = time.monotonic() + 10
            self.report()

    def count(self, packet):
        """Count a TCP segment to a web port whose payload begins with a method; anything odd is just not counted."""
        header = (packet[0] & 15) * 4
        if packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_TCP or packet[6] & 0x1F or packet[7]:
            return
        segment = packet[header:]
        if len(segment) < 20 or int.from_bytes(segment[2:4], "big") not in PORTS:
            return
        payload = bytes(segment[(segment[12] >> 4) * 4 :][:8])
        if payload.startswith(METHODS):
            ue = socket.inet_ntoa(packet[12:16])
            remember(self.requests, ue, self.requests.get(ue, 0) + 1)

    def report(self):
        cells = collections.Counter()
        for ue, requests in self.requests.items():
            cells[str(self.cells.get(ue, "unknown"))] += requests
        content = {"ues": len(self.requests), "cells": cells, "time": time.time()}
        self.bus.publish(f"app/{self.app}/requests", content)


def remember(table, key, value):
    """Set an entry of a bounded table: the oldest goes."""
    table[key] = value
    if len(table) > REMEMBERED:
        table.popitem(last=False)


def hang():
    """The platform's drill: the work stops for good, the system lives on."""
    while True:
        time.sleep(3600)


def main():
    properties = environment.read()
    synchronised = threading.Event()
    threading.Thread(target=ntp.follow, args=(properties["racs.ntp.host"], synchronised), daemon=True).start()
    lens = Lens(properties)

    def stop(number, frame):
        lens.stopped = True

    signal.signal(signal.SIGTERM, stop)
    synchronised.wait(3)  # so that the first beats tell the right time; without a time server they go on all the same
    lens.run()


if __name__ == "__main__":
    main()
