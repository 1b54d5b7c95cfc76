"""Known-bad applications: the sample app with the faults that the Property `racs-fault` of its package names.

Starts the sample's own `main` after bending one thing in it: `python3 faults.py goon`. Only images of the project's
own tests hold this file; the samples know nothing of it. Without a fault the sample runs as it is. What each fault must
bring about stands in expectations.toml.
"""

import fcntl
import importlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faults_beat as beat
import faults_bus as bus
import faults_wire as wire
from faults_later import later

environment: Any = importlib.import_module("environment")  # lies beside this file in the image only

EVIOCGRAB = 0x40044590  # <linux/input.h>
IP_FREEBIND = 15  # <linux/in.h>


def main() -> None:
    app = importlib.import_module(sys.argv[1])
    for fault in environment.read().get("racs-fault", "").split():
        FAULTS[fault](app)
    app.main()


def undeclared_feature(app: Any) -> None:
    app.FEATURES = (*app.FEATURES, "goon.secret")


# The guest


def ignores_button(app: Any) -> None:
    """Grab the power button's events: init waits for them in vain."""
    for device in Path("/sys/class/input").glob("event*"):
        if (device / "device/name").read_text().strip() == "Power Button":
            fcntl.ioctl(os.open(f"/dev/input/{device.name}", os.O_RDONLY), EVIOCGRAB, 1)


def console_oops(app: Any) -> None:
    later(
        5, lambda: Path("/dev/kmsg").write_text("<1>BUG: unable to handle page fault for address: 0000000000000008\n")
    )


def never_boot(app: Any) -> None:
    while True:
        signal.pause()


def is_restart() -> bool:
    """Whether the disk has seen a start before this one."""
    marker = Path("/var/lib/started")
    if marker.exists():
        return True
    marker.touch()
    os.sync()
    return False


def no_return(app: Any) -> None:
    """The first start is good; from the second on the app does not come up."""
    if is_restart():
        never_boot(app)


def deaf_after_restart(app: Any) -> None:
    """The first start is good; from the second on the app beats and takes packets, and none comes back."""
    if is_restart():
        wire.on_the_wire(wire.swallowed)(app)


def needs_less_memory(app: Any) -> None:
    """It runs on the memory that its descriptor asks for, and not on the contract's machine."""
    if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") > 600 << 20:
        never_boot(app)


def listening(network: str) -> Callable[[Any], None]:
    """A TCP port that nobody declared, on the NIC of this network."""

    def fault(app: Any) -> None:
        def listen() -> None:
            nic = environment.interface(environment.read()[f"racs.nic.{network}.mac"])
            with socket.create_server((environment.address(nic), 8081)) as sock:
                while True:
                    sock.accept()[0].close()

        later(0, listen)

    return fault


def no_udp_echo(app: Any) -> None:
    answer = app.Echo.answer_datagrams
    app.Echo.answer_datagrams = lambda self, answering: answer(self, False)


def no_tcp_echo(app: Any) -> None:
    answer = app.Echo.answer_stream
    app.Echo.answer_stream = lambda self, connection, events, answering: answer(self, connection, events, False)


class OtherSource:
    """A datagram socket that answers from another port than it was asked at."""

    def __init__(self, real: Any) -> None:
        self.fileno, self.recvfrom = real.fileno, real.recvfrom
        self.other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.other.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
        self.other.bind((real.getsockname()[0], 7007))
        self.sendto = self.other.sendto


def wrong_source(app: Any) -> None:
    made = app.Echo.__init__

    def make(self: Any, *arguments: Any) -> None:
        made(self, *arguments)
        self.selector.unregister(self.datagrams)
        self.datagrams = OtherSource(self.datagrams)
        self.selector.register(self.datagrams, 1)

    app.Echo.__init__ = make


def users_only(app: Any) -> None:
    """Its answers to the internet end in the guest."""
    subprocess.run(["ip", "route", "add", "blackhole", "203.0.113.0/24"], check=True)


def no_ssh(app: Any) -> None:
    app.start_ssh = lambda address: None


def ignores_feature(app: Any) -> None:
    app.Goon.publish_features = lambda self: None


FAULTS: dict[str, Callable[[Any], None]] = {
    "wrong-app-id": beat.edited(beat.of_another_app),
    "malformed-beat": beat.edited(beat.cut_now_and_then),
    "seq-jump": beat.seq_shifted(lambda count: 5 if count >= beat.AFTER else 0),
    "seq-restart": beat.seq_shifted(lambda count: -beat.AFTER if count >= beat.AFTER else 0),
    "slow-rate": beat.with_heart(beat.slow),
    "gap": beat.edited(beat.silent_for_a_while),
    "jitter": beat.with_heart(beat.jittery),
    "flood": beat.edited(beat.flooding),
    "beat-elsewhere": beat.with_heart(beat.beat_elsewhere),
    "no-beat": beat.edited(beat.silent),
    "no-stopping": beat.with_heart(beat.without_stopping),
    "hang-keeps-beating": beat.hang_keeps_beating,
    "no-clock": beat.no_clock,
    "bad-ntp": beat.bad_ntp,
    "other-ntp": beat.other_ntp,
    "clock-off": beat.clock_off,
    "clock-back": beat.clock_back,
    "wrong-password": bus.with_bus(bus.wrong_password),
    "forbidden-subscribe": bus.with_bus(bus.forbidden_subscribe),
    "forbidden-publish": bus.with_bus(bus.forbidden_publish),
    "no-reconnect": bus.with_bus(bus.no_reconnect),
    "no-bus-app-connects": bus.connects_without_bus,
    "undeclared-feature": undeclared_feature,
    "ignores-feature": ignores_feature,
    "ignores-button": ignores_button,
    "console-oops": console_oops,
    "never-boot": never_boot,
    "no-return": no_return,
    "deaf-after-restart": deaf_after_restart,
    "needs-less-memory": needs_less_memory,
    "open-port": listening("user-plane"),
    "open-service-port": listening("service"),
    "no-udp-echo": no_udp_echo,
    "no-tcp-echo": no_tcp_echo,
    "wrong-source": wrong_source,
    "users-only": users_only,
    "no-ssh": no_ssh,
    "swallow": wire.on_the_wire(wire.swallowed),
    "drop-uplink": wire.on_the_wire(wire.dropped),
    "double": wire.on_the_wire(wire.doubled),
    "rewrite-source": wire.on_the_wire(wire.renumbered),
    "corrupt": wire.on_the_wire(wire.corrupted),
    "leak": wire.on_the_wire(wire.leaked),
    "ttl-two": wire.on_the_wire(wire.two_hops),
}

if __name__ == "__main__":
    main()
