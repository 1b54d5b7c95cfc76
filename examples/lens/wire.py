"""The user-plane NIC of a transparent application: each packet goes back as it came, to the gateway that sent it.

The kernel does not own the addresses of UEs and servers and does not forward (ip_forward 0): it drops these packets in
silence, while this socket (packet(7)) sees them.
"""

import contextlib
import ctypes
import fcntl
import select
import socket
import struct

ETH_P_IP = 0x0800
ETHERNET = 14  # bytes of its header
SMALLEST = ETHERNET + 20
SO_RCVBUFFORCE = 33
SIOCETHTOOL, ETHTOOL_SGRO = 0x8946, 0x2C  # <linux/sockios.h>, <linux/ethtool.h>
RECEIVE_BUFFER = 8 << 20
TURN = 64  # packets before the rest of the app gets its turn


class Wire:
    def __init__(self, nic, address):
        switch_off_gro(nic)
        self.address = socket.inet_aton(address)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        self.socket.bind((nic, ETH_P_IP))
        self.buffer = bytearray(65536)
        self.length = 0

    def packets(self, timeout):
        """Wait so long at most, then give each waiting IP packet as a memoryview, good until the next one."""
        wait = int(timeout * 1000)
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        if not poll.poll(wait):
            return
        for _ in range(TURN):
            try:
                self.length, source = self.socket.recvfrom_into(self.buffer, len(self.buffer), socket.MSG_DONTWAIT)
            except OSError:
                return
            # not what we sent ourselves, not broadcasts, nothing for the kernel's own address (DHCP, ping)
            if source[2] != socket.PACKET_HOST or self.length < SMALLEST or self.buffer[30:34] == self.address:
                continue
            yield memoryview(self.buffer)[ETHERNET : self.length]

    def send(self):
        """Send the packet that `packets` gave last: the frame back to the gateway that it came from."""
        buffer = self.buffer
        buffer[0:6], buffer[6:12] = buffer[6:12], buffer[0:6]
        with contextlib.suppress(OSError):  # the link is down, or the frame is longer than it takes
            self.socket.send(memoryview(buffer)[: self.length])


def switch_off_gro(nic):
    """Frames that the kernel merges on receipt are too long to send: `ethtool -K NIC gro off`."""
    value = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_SGRO, 0))
    request = struct.pack("16sP", nic.encode("ascii"), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock.fileno(), SIOCETHTOOL, request.ljust(40, b"\0"))
