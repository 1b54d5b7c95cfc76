"""A small SNTPv4 client (RFC 4330; RFC 5905, 14): sets the clock at once, then keeps it by gentle polls.

In an app: `threading.Thread(target=ntp.follow, args=(host,), daemon=True).start()`; alone: `python3 ntp.py HOST`.
Needs the right to set the clock (CAP_SYS_TIME). If your distribution brings chrony, that does as well.
"""

import ctypes
import socket
import struct
import sys
import time

ERA = 2208988800  # from 1900 to 1970, seconds
STEP_S = 0.5  # a larger offset is stepped, a smaller one slewed, so that the clock never runs backwards
FIRST_POLL_S = 2
BURST = 4  # requests before the first step
SECOND_POLL_S = 10
POLL_S = 64
SLOWEST_POLL_S = 1024


class KissOfDeath(Exception):
    """The server asks us to be slower (RATE) or to go away (DENY, RSTR): RFC 5905, 7.4."""


def query(address, timeout=1.0):
    """Ask once: the round trip and the server's clock minus ours, in seconds.

    OSError or ValueError when there is no good answer.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        sock.connect((address, 123))
        sent = time.time()
        originate = stamp(sent)
        sock.send(struct.pack("!B39x8s", 4 << 3 | 3, originate))  # version 4, mode 3: client
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            answer = sock.recv(512)
            received = time.time()
            if len(answer) >= 48 and answer[24:32] == originate:  # else an old or forged answer
                return received - sent, offset(answer, sent, received)
    raise ValueError("no answer to this request")


def offset(answer, sent, received):
    flags, stratum = answer[0], answer[1]
    if flags & 7 != 4:
        raise ValueError("not a server's answer")
    if stratum == 0:
        raise KissOfDeath(answer[12:16].decode("ascii", "replace"))
    if flags >> 6 == 3 or stratum > 15 or answer[40:48] == bytes(8):
        raise ValueError("the server is not synchronised")
    arrived, left = seconds(answer[32:40]), seconds(answer[40:48])
    return ((arrived - sent) + (left - received)) / 2


def stamp(now):
    whole = int(now)
    return struct.pack("!II", (whole + ERA) % 2**32, int((now - whole) * 2**32) % 2**32)


def seconds(field):
    whole, part = struct.unpack("!II", field)
    whole += 2**32 if whole < 2**31 else 0  # era 1 begins in 2036 (RFC 4330, 3)
    return whole - ERA + part / 2.0**32


def correct(by, step):
    """Move the clock by so many seconds: in one step, or slowly (adjtime, 0.5 ms a second)."""
    if step:
        time.clock_settime(time.CLOCK_REALTIME, time.time() + by)
    else:
        whole = int(by // 1)
        delta = (ctypes.c_long * 2)(whole, int((by - whole) * 1000000))
        ctypes.CDLL(None).adjtime(delta, None)


def follow(host, synchronised=None):
    """Keep the clock right for ever; `synchronised` (a threading.Event) is set when it first is."""
    address, first, pause, slowest = None, True, FIRST_POLL_S, POLL_S
    while True:
        try:
            address = address or socket.gethostbyname(host)  # once: later DNS may be away
            # a busy boot makes poor samples: the quickest answer is the best one
            by = min(query(address) for _ in range(BURST if first else 1))[1]
            correct(by, step=first or abs(by) > STEP_S)
            pause = SECOND_POLL_S if first else slowest
            first = False
            if synchronised:
                synchronised.set()
        except KissOfDeath as kiss:
            if str(kiss) in ("DENY", "RSTR"):
                return
            slowest = min(2 * slowest, SLOWEST_POLL_S)
            pause = slowest
        except (OSError, ValueError):
            # not there yet, or away: soon again, then less and less often
            pause = min(2 * pause, slowest) if address else 0.2
        time.sleep(pause)


if __name__ == "__main__":
    follow(sys.argv[1])
