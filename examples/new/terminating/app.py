"""@NAME@: an echo (RFC 862, UDP and TCP port 7) at an address of its own. Put your service in place of it.

All its work is one loop: users, message bus, heartbeat. If any of it hangs, the heartbeat stops with it, and the
platform starts the app again; a heartbeat from a thread of its own would beat on over a dead app.
"""

import signal
import threading
import time

import environment
import ntp
from bus import CONNECTED, Bus
from echo import Echo
from heartbeat import Heartbeat

REPORT_S = 10


class App:
    def __init__(self, properties):
        self.id = properties["racs.app.id"]
        self.hang_after = environment.hang_after(properties)
        self.load = {}  # cell to its load, as last heard
        self.next_report = 0.0
        self.stopped = False
        self.echo = Echo(properties["racs.userplane.address"])
        host, port = properties["racs.heartbeat.host"], int(properties["racs.heartbeat.port"])
        self.heart = Heartbeat(self.id, host, port, float(properties["racs.heartbeat.interval"]))
        self.bus = Bus(properties, ["racs/cell/+/load"])

    def run(self):
        hang_at = None
        while not self.stopped:
            self.echo.serve(min(self.heart.remaining(), 0.1))
            self.hear()
            self.report()
            if self.heart.beat() and hang_at is None and self.hang_after is not None:
                hang_at = time.monotonic() + self.hang_after
            while hang_at is not None and time.monotonic() >= hang_at:
                time.sleep(3600)  # the platform's drill: the work stops, the system lives on
        self.heart.stop()

    def hear(self):
        for topic, content in self.bus.messages():
            if topic != CONNECTED and isinstance(content.get("load"), (int, float)):
                self.load[topic.split("/")[2]] = content["load"]

    def report(self):
        """Every now and then the busiest cell, for other apps."""
        if self.load and time.monotonic() >= self.next_report:
            self.next_report = time.monotonic() + REPORT_S
            busiest = max(self.load, key=self.load.get)
            content = {"cell": busiest, "load": self.load[busiest], "time": time.time()}
            self.bus.publish(f"app/{self.id}/busiest-cell", content)
            self.load.clear()

    def stop(self, number, frame):
        """The power button was pressed: the loop ends, and the last beat says "stopping"."""
        self.stopped = True


def main():
    properties = environment.read()
    synchronised = threading.Event()
    threading.Thread(target=ntp.follow, args=(properties["racs.ntp.host"], synchronised), daemon=True).start()
    app = App(properties)
    signal.signal(signal.SIGTERM, app.stop)
    synchronised.wait(3)  # so that the first beats tell the right time; without a time server they go on all the same
    app.run()


if __name__ == "__main__":
    main()
