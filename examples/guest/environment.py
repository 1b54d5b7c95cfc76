"""The OVF environment: what the platform tells an application about itself and its place in the network."""

import fcntl
import os
import socket
import struct
import time
from xml.etree import ElementTree

NAMESPACE = "{http://schemas.dmtf.org/ovf/environment/1}"  # DSP0243, 11
SIOCGIFADDR = 0x8915  # <linux/sockios.h>


def read(path="/media/ovf-env.xml"):
    """All properties, key to value; of keys that come twice the first."""
    properties = {}
    for element in ElementTree.parse(path).iter(NAMESPACE + "Property"):
        properties.setdefault(element.get(NAMESPACE + "key"), element.get(NAMESPACE + "value", ""))
    return properties


def interface(mac):
    """The name of the NIC with this MAC address; the kernel numbers NICs as it likes, addresses stay."""
    for name in sorted(os.listdir("/sys/class/net")):
        with open(f"/sys/class/net/{name}/address") as file:
            if file.read().strip() == mac.lower():
                return name
    raise LookupError("no NIC has the MAC address " + mac)


def hang_after(properties):
    """Seconds after the first running beat at which the platform's drill wants the work to hang, or None."""
    drill, _, seconds = properties.get("racs.drill", "").partition(":")
    return int(seconds) if drill == "hang-after" else None


def address(name):
    """The IPv4 address of this NIC; waits until DHCP has set it."""
    request = struct.pack("256s", name.encode("ascii"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        while True:
            try:
                return socket.inet_ntoa(fcntl.ioctl(sock.fileno(), SIOCGIFADDR, request)[20:24])
            except OSError:
                time.sleep(0.1)
