"""GoOn, a terminating application: an echo server (RFC 862, UDP and TCP) at an address of its own."""

import collections
import signal
import subprocess
import threading
import time

import environment
import ntp
from bus import CONNECTED, Bus
from echo import Echo
from heartbeat import Heartbeat

LOAD = "racs/cell/+/load"
ECHO, GREETING = "goon.echo", "goon.greeting"
FEATURES = (ECHO, GREETING)
KEY = "/etc/dropbear/dropbear_ed25519_host_key"
REMEMBERED = 1024


class Goon:
    """All its work is one loop: echo, messages, heartbeat. If any of it hangs, the heartbeat stops with it."""

    def __init__(self, properties):
        self.app = properties["racs.app.id"]
        self.hang_after = environment.hang_after(properties)
        self.active = set(properties["racs.features"].split())
        self.load = {}
        self.greeted = collections.OrderedDict()
        self.next_report = 0.0
        self.stopped = False
        self.echo = Echo(properties["racs.userplane.address"])
        self.heart = Heartbeat(
            self.app,
            properties["racs.heartbeat.host"],
            int(properties["racs.heartbeat.port"]),
            float(properties["racs.heartbeat.interval"]),
        )
        self.properties_topic = f"racs/app/{self.app}/properties"
        self.bus = Bus(properties, [LOAD, self.properties_topic])

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
        for peer in self.echo.serve(timeout, answering=ECHO in self.active):
            self.greet(peer)
        for topic, content in self.bus.messages():
            self.receive(topic, content)
        if time.monotonic() >= self.next_report:
            self.next_report = time.monotonic() + 10
            self.report_busiest_cell()

    def receive(self, topic, content):
        if topic == CONNECTED:
            self.publish_features()
        elif topic == self.properties_topic:
            features = content.get("features")
            if isinstance(features, list):
                self.active = {feature for feature in FEATURES if feature in features}
            self.publish_features()
        else:
            cell, load = topic.split("/")[2], content.get("load")
            if isinstance(load, (int, float)) and (cell in self.load or len(self.load) < REMEMBERED):
                self.load[cell] = load

    def publish_features(self):
        states = [{"id": feature, "state": "on" if feature in self.active else "off"} for feature in FEATURES]
        self.publish("features", {"features": states}, retain=True)

    def report_busiest_cell(self):
        if self.load:
            cell = max(self.load, key=self.load.get)
            self.publish("busiest-cell", {"cell": cell, "load": self.load[cell]})
        self.load.clear()

    def greet(self, peer):
        """Feature goon.greeting: tell the bus of each address that comes for the first time."""
        if GREETING in self.active and peer not in self.greeted:
            self.greeted[peer] = True
            if len(self.greeted) > REMEMBERED:
                self.greeted.popitem(last=False)
            self.publish("greeting", {"hello": peer})

    def publish(self, name, content, retain=False):
        self.bus.publish(f"app/{self.app}/{name}", dict(content, time=time.time()), retain)


def hang():
    """The platform's drill: the work stops for good, the system lives on."""
    while True:
        time.sleep(3600)


def start_ssh(address):
    """SSH on the service NIC only, by key only; the host's key is made at the first boot."""
    make = f"mkdir -p /etc/dropbear; [ -s {KEY} ] || dropbearkey -t ed25519 -f {KEY}"
    serve = f"exec dropbear -F -s -P /run/dropbear.pid -r {KEY} -p {address}:22"
    subprocess.Popen(["sh", "-c", f"({make}) >/dev/null 2>&1; {serve}"])


def main():
    properties = environment.read()
    synchronised = threading.Event()
    threading.Thread(target=ntp.follow, args=(properties["racs.ntp.host"], synchronised), daemon=True).start()
    goon = Goon(properties)

    def stop(number, frame):
        goon.stopped = True

    signal.signal(signal.SIGTERM, stop)
    start_ssh(environment.address(environment.interface(properties["racs.nic.service.mac"])))
    synchronised.wait(3)  # so that the first beats tell the right time; without a time server they go on all the same
    goon.run()


if __name__ == "__main__":
    main()
