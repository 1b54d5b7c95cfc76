"""@NAME@: counts the packets of web traffic by cell on their way, and returns each as it came. Put your work there.

All its work is one loop: packets, message bus, heartbeat. If any of it hangs, the heartbeat stops with it, and the
platform starts the app again; a heartbeat from a thread of its own would beat on over a dead app.
"""

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

REPORT_S = 10
REMEMBERED = 4096  # UEs


class App:
    def __init__(self, properties):
        self.id = properties["racs.app.id"]
        self.hang_after = environment.hang_after(properties)
        self.cells = collections.OrderedDict()  # UE to the cell it is in, as last heard
        self.packets = collections.Counter()  # cell to packets of its UEs since the last report
        self.next_report = 0.0
        self.stopped = False
        nic = environment.interface(properties["racs.nic.user-plane.mac"])
        self.wire = Wire(nic, properties["racs.userplane.address"])
        host, port = properties["racs.heartbeat.host"], int(properties["racs.heartbeat.port"])
        self.heart = Heartbeat(self.id, host, port, float(properties["racs.heartbeat.interval"]))
        self.bus = Bus(properties, ["racs/ue/+/cell"])

    def run(self):
        hang_at = None
        while not self.stopped:
            self.forward(min(self.heart.remaining(), 0.1))
            self.hear()
            self.report()
            if self.heart.beat() and hang_at is None and self.hang_after is not None:
                hang_at = time.monotonic() + self.hang_after
            while hang_at is not None and time.monotonic() >= hang_at:
                time.sleep(3600)  # the platform's drill: the work stops, the system lives on
        self.heart.stop()

    def forward(self, timeout):
        """Return each packet; IP source and destination are its bytes 12 to 20 (RFC 791 3.1), one of them the UE's."""
        for packet in self.wire.packets(timeout):
            ends = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
            self.packets[next((self.cells[end] for end in ends if end in self.cells), "unknown")] += 1
            self.wire.send()

    def hear(self):
        for topic, content in self.bus.messages():
            if topic != CONNECTED and isinstance(content.get("cell"), (str, int)):
                self.cells[topic.split("/")[2]] = str(content["cell"])
                if len(self.cells) > REMEMBERED:
                    self.cells.popitem(last=False)

    def report(self):
        """Every now and then the counts, for other apps."""
        if time.monotonic() >= self.next_report:
            self.next_report = time.monotonic() + REPORT_S
            self.bus.publish(f"app/{self.id}/packets", {"packets": self.packets, "time": time.time()})
            self.packets.clear()

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
