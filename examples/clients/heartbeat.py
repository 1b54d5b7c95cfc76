"""The heartbeat of a RACS application: one UDP datagram per interval, sent by the work it vouches for.

In an app: call `beat()` from the loop that does the work, at least every tenth of the interval. A loop that hangs
then falls silent, which is what the platform waits for; a timer thread of its own would beat on over a dead app.

    heart = Heartbeat("goon", "heartbeat.racs.internal", 7400, 1.0)
    while working:
        do_some_work(timeout=heart.remaining())
        heart.beat()
    heart.stop()

Beside an app in another language: `python3 heartbeat.py APP HOST [PORT [INTERVAL]] --fresh FILE` beats as long as the
app has touched FILE within the last two intervals.
"""

import argparse
import json
import os
import signal
import socket
import time


class Heartbeat:
    def __init__(self, app, host, port=7400, interval=1.0):
        self.app = app
        self.interval = interval
        self.seq = 0
        self.due = None  # until the first beat
        # resolved once: the beat must go on when DNS is away
        self.address = resolve(host, port)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)

    def remaining(self):
        """Seconds until the next beat is due."""
        return 0.0 if self.due is None else max(0.0, self.due - time.monotonic())

    def beat(self, state="running"):
        """Send a beat if one is due; True if it was."""
        now = time.monotonic()
        if self.due is None:
            self.due = now
        if now < self.due:
            return False
        self.send(state)
        # on the grid, so that the rate does not drift; what a stall missed is not made up for in a burst
        missed = int((now - self.due) / self.interval)
        self.due += self.interval * (missed + 1)
        return True

    def stop(self):
        """Announce a clean end, at once."""
        self.send("stopping")

    def send(self, state):
        message = {"racs": "heartbeat/1", "app": self.app, "seq": self.seq, "time": time.time(), "state": state}
        try:
            self.socket.sendto(json.dumps(message).encode("utf-8"), self.address)
        except OSError:
            return  # no route just now: the next beat is due soon, and this seq was not used
        self.seq += 1


def resolve(host, port):
    """The address of a platform service; waits for DHCP and DNS at the start."""
    while True:
        try:
            return socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_DGRAM)[0][4]
        except OSError:
            time.sleep(0.1)


def is_fresh(path, age):
    try:
        return abs(time.time() - os.stat(path).st_mtime) < age
    except OSError:
        return False


def main():
    parser = argparse.ArgumentParser(description="Heartbeat of a RACS application")
    parser.add_argument("app")
    parser.add_argument("host")
    parser.add_argument("port", type=int, nargs="?", default=7400)
    parser.add_argument("interval", type=float, nargs="?", default=1.0)
    parser.add_argument("--fresh", required=True, metavar="FILE", help="beat while the app keeps touching FILE")
    options = parser.parse_args()
    heart = Heartbeat(options.app, options.host, options.port, options.interval)
    ended = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    while not ended:
        time.sleep(min(heart.remaining(), 0.1))
        if is_fresh(options.fresh, 2 * options.interval):
            heart.beat()
    heart.stop()


if __name__ == "__main__":
    main()
