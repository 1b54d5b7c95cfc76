"""Objects in network namespaces: a socket belongs to the namespace in which a thread made it, and stays there.

Python 3.11 has no os.setns: ctypes. Each namespace gets a thread of its own, as a thread that left the lab's namespace
must never do other work.
"""

import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from emulator.service import SO_RXQ_OVFL, SO_TIMESTAMPNS, enlarge_receive_buffer

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_TUNSETIFF = 0x400454CA  # linux/if_tun.h
_IFF_TUN, _IFF_TAP, _IFF_NO_PI = 0x0001, 0x0002, 0x1000
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17  # linux/sockios.h, linux/ethtool.h
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23  # linux/if_packet.h
_ETH_P_ALL = 0x0003

_libc = ctypes.CDLL(None, use_errno=True)


class Namespaces:
    """Runs functions inside named network namespaces (``/run/netns/NAME``); home is the one that this process is in."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "Namespaces":
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads.values():
            thread.shutdown()
        self._threads.clear()

    def run_in(self, namespace: str, function: Callable[[], T]) -> T:
        """What function returns, called in a thread of that namespace; child processes it starts live there too.

        Raises what it raises, FileNotFoundError for no such namespace.
        """
        if namespace == self._home:
            return function()
        with self._lock:
            if namespace not in self._threads:
                self._threads[namespace] = _thread_in(namespace)
            thread = self._threads[namespace]
        return thread.submit(function).result()


def _thread_in(namespace: str) -> ThreadPoolExecutor:
    thread = ThreadPoolExecutor(1, f"netns-{namespace}")
    try:
        thread.submit(_enter, namespace).result()
    except OSError:
        thread.shutdown()
        raise
    return thread


def _enter(namespace: str) -> None:
    with open(f"/run/netns/{namespace}", "rb") as file:
        if _libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter network namespace {namespace}: {os.strerror(number)}")


def write_settings(settings: Mapping[str, str]) -> None:
    """Kernel settings below /proc/sys/net, of the calling thread's namespace. IPv6 may be missing from a kernel."""
    for name, value in settings.items():
        try:
            Path("/proc/sys/net", name).write_text(value)
        except FileNotFoundError:
            if not name.startswith("ipv6/"):
                raise


def complete_checksums(interface: str) -> None:
    """Make the kernel finish checksums before a frame leaves: captures and raw-socket DHCP clients see whole ones.

    Without it segmentation offload goes too.
    """
    value = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP8x", interface.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)


def open_tun(name: str, tap: bool = False) -> int:
    """Descriptor of an existing TUN (or tap): one packet (frame) a read or write, without packet information."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        flags = (_IFF_TAP if tap else _IFF_TUN) | _IFF_NO_PI
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def open_udp(address: str, port: int) -> socket.socket:
    """A bound datagram socket as every service of the lab needs it: big buffer, kernel stamps, drop counter."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    _measure(opened)
    opened.bind((address, port))
    return opened


def open_tcp(address: str, port: int) -> socket.socket:
    """A listener."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind((address, port))
    opened.listen(1024)
    return opened


def open_link(interface: str, ignore_outgoing: bool = True) -> socket.socket:
    """An AF_PACKET socket that gets every frame (packet, on a TUN) of an interface, before any filter of the kernel."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    _measure(opened)
    if ignore_outgoing:
        opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    opened.bind((interface, _ETH_P_ALL))
    return opened


def _measure(opened: socket.socket) -> None:
    enlarge_receive_buffer(opened)
    opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    opened.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)


def granted_buffer(opened: socket.socket) -> int:
    """Bytes of receive buffer that the kernel granted (it counts twice, socket(7))."""
    return opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
