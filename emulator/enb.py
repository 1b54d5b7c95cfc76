"""The eNB: what UEs send goes into their bearers, what comes down a bearer goes to its UE (TS 29.281)."""

from collections import Counter
from collections.abc import Sequence

from conformance import gtpu
from emulator.datapath import Address, Run, Source, segments, source_address
from emulator.ue import Bearer

S1U, RADIO, RADIO_SHARED = "s1u_enb", "ue_tun_", "ran_tun"


class ENodeB:
    """A core with the ports ``s1u_enb``, ``ue_tun_N`` of each UE that has a TUN of its own and ``ran_tun`` of the rest.

    address is its own on S1-U, peer is the other end of its tunnels: the user plane service.
    """

    def __init__(self, bearers: Sequence[Bearer], own_tuns: int, address: str, peer: Address) -> None:
        self.counters: Counter[str] = Counter()
        self._address = address
        self._peer = peer
        self._uplink: dict[bytes, Bearer] = {}
        self._radio: dict[int, str] = {}
        for bearer in bearers:
            self._uplink[bearer.address.packed] = self._uplink[bearer.address_six.packed] = bearer
            self._radio[bearer.downlink_teid] = f"{RADIO}{bearer.ue}" if bearer.ue < own_tuns else RADIO_SHARED

    def receive(self, buffer: bytes, segment_size: int, source: Source, now: float) -> list[Run]:
        del now  # the eNB keeps no time: the signature is every element's
        runs = []
        for packet in segments(buffer, segment_size):
            run = self._downlink(packet, source) if source.port == S1U else self._from_radio(packet, source.port)
            if run is not None:
                runs.append(run)
        return runs

    def _from_radio(self, packet: bytes, port: str) -> Run | None:
        bearer = self._uplink.get(source_address(packet))
        if bearer is None or self._radio[bearer.downlink_teid] != port:
            self.counters["from no attached UE"] += 1  # a UE speaks with its own address only
            return None
        data = gtpu.encode_g_pdu(bearer.uplink_teid, packet)
        return Run(S1U, self._peer, data, len(data))

    def _downlink(self, data: bytes, source: Source) -> Run | None:
        offset = gtpu.g_pdu_offset(data)
        if not offset:
            return answer(data, source, self.counters)
        teid = int.from_bytes(data[4:8])
        port = self._radio.get(teid)
        if port is None:
            self.counters["unknown TEID"] += 1
            data = gtpu.error_indication(teid, self._address)
            return Run(S1U, source.peer, data, len(data))
        return Run(port, None, data[offset:], len(data) - offset)


def answer(data: bytes, source: Source, counters: Counter[str]) -> Run | None:
    """What an end point of S1-U does with a datagram that is no G-PDU it can open (TS 29.281 7.2, 7.3, 5.2.1)."""
    try:
        message = gtpu.decode(data)
    except gtpu.MalformedMessage:
        counters["malformed GTP-U"] += 1
        return None
    if message.type == gtpu.MessageType.ECHO_REQUEST:
        data = gtpu.echo_response(message)
    elif message.type == gtpu.MessageType.G_PDU:
        counters["extension header not understood"] += 1
        data = gtpu.supported_extension_headers()
    else:
        counters[f"GTP-U message {message.type}"] += 1
        return None
    return Run(source.port, source.peer, data, len(data))
